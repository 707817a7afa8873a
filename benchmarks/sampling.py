"""Sampling N candidates per problem: mathft_jax against transformers + torch in the same run.

  python -m benchmarks.sampling            # needs pip install -e '.[bench]'
  python -m benchmarks.sampling --model=runs/smollm2 --problems=16 --candidates=4 --new=48

Both decode with the same model, by default a Llama-like one (28M parameters: d=512, 8 layers, 8
heads, tied embeddings, float32, random weights), from prompts of the same length: nucleus sampling
at the paper's 0.95 and 0.9, a fixed number of new tokens (no EOS). transformers gets
`num_return_sequences` and its static or dynamic cache, as selected by a flag. `--rows` and
`--peer_problems` give each side its own batch. Rounds of the two and of the machine's ceilings
alternate, so that other load on the machine affects all. Medians are printed, as JSON.

The floor is the time of the matrix products of all decode steps at our number of rows. The limit of
the bandwidth is the time to read the weights and the keys and values of all steps.
"""

import argparse
from collections.abc import Callable
import json
import math

import jax
import numpy as np

from benchmarks import ceilings, training
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

Decode = Callable[[], int]


def our_model(
  folder: str | None, dtype: str
) -> tuple[model_config.TransformerConfig, transformer.Params]:
  """(config, parameters of unstacked layers): those of a Hugging Face folder, or random ones."""
  if folder is None:
    config = model_config.TransformerConfig(
      vocab_size=training.V,
      embed_dim=training.D,
      num_layers=training.L,
      num_heads=training.N,
      mlp_dim=training.F,
      dtype=dtype,
    )
    params = transformer.init_params(config, jax.random.key(0))
  else:
    config = checkpoints.load_model_config(folder, dtype=dtype)
    mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
    params = load_params.load_inference_params(
      folder, config, fingerprint={}, mesh=mesh
    )
  return config, transformer.unstack_layers(config, params)


def our_decode(
  config: model_config.TransformerConfig,
  params: transformer.Params,
  prompts_PS: np.ndarray,
  options: argparse.Namespace,
) -> Decode:
  """A function that decodes all candidates and returns their number of tokens."""
  copies, num_rows = options.candidates, options.rows
  length = prompts_PS.shape[1]
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  plan = decode_config.DecodeConfig(
    config,
    sampling.Nucleus(TOP_P, TEMPERATURE),
    num_rows=num_rows,
    rows_per_group=decode_config.rows_per_group(num_rows, copies, mesh),
    prompt_slots=decode_config.prompt_slots(length),
    max_decode_length=options.new,
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

  return decode


def torch_decode(prompts_PS: np.ndarray, options: argparse.Namespace) -> Decode:
  """The same by transformers and torch."""
  import torch
  import transformers

  torch.set_num_threads(options.threads)
  torch.manual_seed(0)
  if options.model is None:
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
    model = model.to(getattr(torch, options.dtype))
  else:
    model = transformers.AutoModelForCausalLM.from_pretrained(
      options.model, dtype=getattr(torch, options.dtype)
    )
  device = ceilings.torch_device()
  model = model.eval().to(device)
  ids_PS = torch.from_numpy(prompts_PS.astype(np.int64)).to(device)
  cache = None if options.cache == 'dynamic' else options.cache

  def decode() -> int:
    num_tokens = 0
    for ids in ids_PS.split(options.peer_problems):
      with torch.inference_mode():
        out = model.generate(
          ids,
          attention_mask=torch.ones_like(ids),
          do_sample=True,
          temperature=TEMPERATURE,
          top_p=TOP_P,
          top_k=0,
          num_return_sequences=options.candidates,
          min_new_tokens=options.new,
          max_new_tokens=options.new,
          cache_implementation=cache,
        )
      num_tokens += out.shape[0] * (out.shape[1] - ids.shape[1])
    return num_tokens

  return decode


def bytes_of_step(
  config: model_config.TransformerConfig,
  params: transformer.Params,
  options: argparse.Namespace,
) -> float:
  """Bytes of weights, and of keys and values at half of the new tokens, that a step reads."""
  item_bytes = 2 if options.dtype == 'bfloat16' else 4
  num_params = sum(x.size for x in jax.tree.leaves(params))
  token_bytes = 2 * config.num_layers * config.kv_heads * config.head_size
  prompts = options.rows / options.candidates
  tokens = prompts * options.prompt + options.rows * options.new / 2
  return item_bytes * (num_params + tokens * token_bytes)


def counted(decode: Decode, wanted: int) -> Decode:
  """The same function, which checks its number of tokens."""

  def run() -> int:
    found = decode()
    if found != wanted:
      raise ValueError(f'{found} tokens were sampled; wanted {wanted}.')
    return found

  return run


def parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--problems', type=int, default=2)
  parser.add_argument(
    '--candidates', type=int, default=64, help='N, of each problem'
  )
  parser.add_argument('--prompt', type=int, default=128, help='tokens')
  parser.add_argument(
    '--new', type=int, default=64, help='tokens of a candidate'
  )
  parser.add_argument(
    '--rows', type=int, help='of our decode batch; default: all candidates'
  )
  parser.add_argument(
    '--peer_problems',
    type=int,
    help='in one call of generate; default: all problems',
  )
  parser.add_argument('--dtype', default='float32', help='or bfloat16')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--threads', type=int, default=2, help='of torch')
  parser.add_argument(
    '--cache', default='dynamic', help='of transformers: dynamic or static'
  )
  parser.add_argument(
    '--model', help='a Hugging Face folder; default: 28M random parameters'
  )
  options = parser.parse_args()
  options.rows = options.rows or options.problems * options.candidates
  options.peer_problems = options.peer_problems or options.problems
  return options


def main() -> None:
  options = parse_arguments()
  shape = (options.problems, options.prompt)
  prompts_PS = (
    np.random.default_rng(0).integers(1, training.V, shape).astype(np.int32)
  )
  tokens = options.problems * options.candidates * options.new
  config, params = our_model(options.model, options.dtype)
  runs = {
    'mathft_jax': counted(
      our_decode(config, params, prompts_PS, options), tokens
    ),
    'transformers': counted(torch_decode(prompts_PS, options), tokens),
    **ceilings.make_ceilings(config, options.rows),
  }
  times = ceilings.alternate(runs, options.rounds)

  medians = {name: float(np.median(each)) for name, each in times.items()}
  num_steps = math.ceil(tokens / options.rows)
  floors = {
    name: num_steps * medians[name] for name in ('matmul, XLA', 'matmul, torch')
  }
  rate = 2 * 4 * ceilings.INCREMENTED / medians['memory']
  limit = num_steps * bytes_of_step(config, params, options) / rate
  sides = ('mathft_jax', 'transformers')
  report = {
    'parameters': sum(x.size for x in jax.tree.leaves(params)),
    'settings': vars(options),
    'tokens': tokens,
    'rounds, s': {name: times[name] for name in sides},
    'tokens_per_s': {name: tokens / medians[name] for name in sides},
    'ratio': medians['transformers'] / medians['mathft_jax'],
    'ceilings': ceilings.report_ceilings(times, config, options.rows),
    'floor of the matrix products, s': floors,
    'limit of the bandwidth, s': limit,
    'share of the limit': limit / medians['mathft_jax'],
    'share of the floor': {
      name: floor / medians['mathft_jax'] for name, floor in floors.items()
    },
  }
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
