"""Sampling N candidates per problem: mathft_jax against transformers + torch in the same run.

  python -m benchmarks.sampling            # needs pip install -e .[bench]
  python -m benchmarks.sampling --model=runs/smollm2 --problems=16 --candidates=4 --new=48

Both decode with the same model, by default a Llama-like one (28M parameters: d=512, 8 layers, 8
heads, tied embeddings, float32, random weights), from prompts of the same length: nucleus sampling
at the paper's 0.95 and 0.9, a fixed number of new tokens (no EOS). transformers gets
`num_return_sequences` and its static or dynamic cache, as selected by a flag. Rounds of the two
alternate, so that other load on the machine affects both. The time of each is that of its fastest
round. mathft_jax is compiled before; the seconds of that are printed separately.
"""

import argparse
import json
import time

import jax
import numpy as np

from benchmarks import training
from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import (
  decode_config,
  decoding,
  load_params,
  prefill,
  sampling,
)
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer

TEMPERATURE, TOP_P = 0.9, 0.95


def our_model(folder: str | None):
  """(config, parameters of unstacked layers): those of a Hugging Face folder, or random ones."""
  if folder is None:
    config = model_config.TransformerConfig(
      vocab_size=training.V,
      embed_dim=training.D,
      num_layers=training.L,
      num_heads=training.N,
      mlp_dim=training.F,
    )
    params = transformer.init_params(config, jax.random.key(0))
  else:
    config = checkpoints.load_model_config(folder, dtype='float32')
    mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
    params = load_params.load_inference_params(
      folder, config, fingerprint={}, mesh=mesh
    )
  return config, transformer.unstack_layers(config, params)


def our_decode(
  prompts_PS: np.ndarray, copies: int, new_tokens: int, folder: str | None
):
  """(a function that decodes all candidates and returns their number of tokens, parameters)."""
  config, params = our_model(folder)
  num_problems, length = prompts_PS.shape
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  num_rows = num_problems * copies
  plan = decode_config.DecodeConfig(
    config,
    sampling.Nucleus(TOP_P, TEMPERATURE),
    num_rows=num_rows,
    rows_per_group=decode_config.rows_per_group(num_rows, copies, mesh),
    prompt_slots=decode_config.prompt_slots(length),
    max_decode_length=new_tokens,
    end_ids=(-1,),
    vocab_size=config.vocab_size,
    mesh=mesh,
    stacked=False,
  )
  prompts = [
    prefill.Prompt(str(row), ids.tolist()) for row, ids in enumerate(prompts_PS)
  ]

  def decode() -> int:
    blocks = decoding.decode(
      plan, params, prompts, num_candidates=copies, seed=0
    )
    return sum(block.num_tokens for block in blocks)

  return decode, sum(x.size for x in jax.tree.leaves(params))


def torch_decode(
  prompts_PS: np.ndarray,
  copies: int,
  new_tokens: int,
  threads: int,
  cache: str,
  folder: str | None,
):
  """The same by transformers and torch."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  torch.manual_seed(0)
  if folder is None:
    config = transformers.LlamaConfig(
      vocab_size=training.V,
      hidden_size=training.D,
      num_hidden_layers=training.L,
      num_attention_heads=training.N,
      intermediate_size=training.F,
      tie_word_embeddings=True,
      bos_token_id=None,
      eos_token_id=None,
      pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
  else:
    model = transformers.AutoModelForCausalLM.from_pretrained(
      folder, dtype=torch.float32
    )
  model = model.eval()
  ids = torch.from_numpy(prompts_PS.astype(np.int64))

  def decode() -> int:
    with torch.inference_mode():
      out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        top_k=0,
        num_return_sequences=copies,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        cache_implementation=None if cache == 'dynamic' else cache,
      )
    return int(out.shape[0] * (out.shape[1] - ids.shape[1]))

  return decode, sum(p.numel() for p in model.parameters())


def seconds(decode) -> float:
  start = time.perf_counter()
  decode()
  return time.perf_counter() - start


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--problems', type=int, default=2)
  parser.add_argument(
    '--candidates', type=int, default=64, help='N, of each problem'
  )
  parser.add_argument('--prompt', type=int, default=128, help='tokens')
  parser.add_argument(
    '--new', type=int, default=64, help='tokens of a candidate'
  )
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--threads', type=int, default=2, help='of torch')
  parser.add_argument(
    '--cache', default='dynamic', help='of transformers: dynamic or static'
  )
  parser.add_argument(
    '--model', help='a Hugging Face folder; default: 28M random parameters'
  )
  arguments = parser.parse_args()
  shape = (arguments.problems, arguments.prompt)
  prompts_PS = (
    np.random.default_rng(0).integers(1, training.V, shape).astype(np.int32)
  )
  ours, our_size = our_decode(
    prompts_PS, arguments.candidates, arguments.new, arguments.model
  )
  theirs, their_size = torch_decode(
    prompts_PS,
    arguments.candidates,
    arguments.new,
    arguments.threads,
    arguments.cache,
    arguments.model,
  )
  first = seconds(ours)
  tokens = arguments.problems * arguments.candidates * arguments.new
  for decode in (ours, theirs):
    if (count := decode()) != tokens:
      raise ValueError(f'{decode} made {count} tokens; wanted {tokens}.')
  rounds = [(seconds(ours), seconds(theirs)) for _ in range(arguments.rounds)]
  fastest = np.min(rounds, axis=0)
  print(
    json.dumps(
      {
        'parameters': [our_size, their_size],
        'settings': vars(arguments),
        'tokens': tokens,
        'first call with compiling, s': first,
        'rounds': np.round(rounds, 3).tolist(),
        'seconds': {'mathft_jax': fastest[0], 'transformers': fastest[1]},
        'tokens_per_s': {
          'mathft_jax': tokens / fastest[0],
          'transformers': tokens / fastest[1],
        },
        'candidates_per_s': {
          'mathft_jax': tokens / arguments.new / fastest[0],
          'transformers': tokens / arguments.new / fastest[1],
        },
        'ratio': fastest[1] / fastest[0],
      },
      indent=1,
    )
  )


if __name__ == '__main__':
  main()
