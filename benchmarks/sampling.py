"""Sampling N candidates per problem: mathft_jax against transformers + torch in the same run.

  python -m benchmarks.sampling            # needs pip install -e .[bench]

Both decode with the same Llama-like model (28M parameters: d=512, 8 layers, 8 heads, tied
embeddings, float32, random weights) from prompts of the same length: nucleus sampling at the
paper's 0.95 and 0.9, a fixed number of new tokens (no EOS). transformers gets
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
from mathft_jax.distributed import partitioning
from mathft_jax.inference import decoding, sampling
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer

TEMPERATURE, TOP_P = 0.9, 0.95


def our_decode(prompts_PS: np.ndarray, copies: int, new_tokens: int):
  """(a function that decodes all candidates and returns their number of tokens, parameters)."""
  config = model_config.TransformerConfig(
    vocab_size=training.V,
    embed_dim=training.D,
    num_layers=training.L,
    num_heads=training.N,
    mlp_dim=training.F,
  )
  plan = decoding.DecodeConfig(
    config,
    sampling.Nucleus(TOP_P, TEMPERATURE),
    num_candidates=copies,
    max_decode_length=new_tokens,
    end_ids=(-1,),
    vocab_size=training.V,
    mesh=partitioning.Partitioner().mesh(jax.devices()[:1]),
  )
  params = transformer.unstack_layers(
    transformer.init_params(config, jax.random.key(0))
  )
  rows, slots = prompts_PS.shape
  keys_PC = decoding.candidate_prng_keys(
    0, [str(row) for row in range(rows)], np.tile(np.arange(copies), (rows, 1))
  )
  lengths_P = np.full(rows, slots, np.int32)

  def decode() -> int:
    return int(
      decoding.decode(
        plan, params, prompts_PS, lengths_P, keys_PC
      ).lengths_PC.sum()
    )

  return decode, sum(x.size for x in jax.tree.leaves(params))


def torch_decode(
  prompts_PS: np.ndarray, copies: int, new_tokens: int, threads: int, cache: str
):
  """The same by transformers and torch."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  torch.manual_seed(0)
  model = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
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
  ).eval()
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
  arguments = parser.parse_args()
  shape = (arguments.problems, arguments.prompt)
  prompts_PS = (
    np.random.default_rng(0).integers(1, training.V, shape).astype(np.int32)
  )
  ours, our_size = our_decode(prompts_PS, arguments.candidates, arguments.new)
  theirs, their_size = torch_decode(
    prompts_PS,
    arguments.candidates,
    arguments.new,
    arguments.threads,
    arguments.cache,
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
