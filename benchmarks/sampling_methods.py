"""Time of each sampling method, and its ratio to plain temperature sampling.

  python -m benchmarks.sampling_methods
  python -m benchmarks.sampling_methods --model=runs/smollm2 --data=../shared/data

The logits are those of a model at random positions of GSM8K solutions. Without `--model` they are
random, with a standard deviation at which the nucleus has a few to some hundreds of tokens.
Rounds of the methods alternate; medians are printed, as JSON. The allocator must keep memory
between calls, or page faults are measured:

  export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296
"""

import argparse
import gzip
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import load_params, sampling
from mathft_jax.models import transformer

METHODS = {
  'temperature': sampling.Temperature(0.9),
  'greedy': sampling.Greedy(),
  'nucleus 0.95': sampling.Nucleus(0.95, 0.9),
  'nucleus 0.5': sampling.Nucleus(0.5, 0.9),
  'top 40': sampling.TopK(40, 0.9),
}
NUM_TOKENS = 256  # of each text that a model reads


def random_logits(rows: int, vocab_size: int) -> jax.Array:
  """Logits [rows, vocab_size] with a standard deviation of 4."""
  hidden_BD = 2 * jax.random.normal(jax.random.key(0), (rows, 4))
  head_DV = jax.random.normal(jax.random.key(1), (4, vocab_size))
  return hidden_BD @ head_DV


def model_logits(rows: int, folder: str, data: pathlib.Path) -> jax.Array:
  """Logits [rows, V] of a Hugging Face model at random positions of solutions."""
  import tokenizers

  path = pathlib.Path(folder) / 'tokenizer.json'
  tokenizer = tokenizers.Tokenizer.from_file(str(path))
  texts = []
  with gzip.open(data / 'gsm8k' / 'test.jsonl.gz', 'rt') as lines:
    for _, line in zip(range(8), lines):
      record = json.loads(line)
      text = f'Question: {record["question"]}\nAnswer: {record["answer"]}'
      texts.append(tokenizer.encode(text).ids[:NUM_TOKENS])

  config = checkpoints.load_model_config(folder, dtype='float32')
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  params = load_params.load_inference_params(
    folder, config, fingerprint={}, mesh=mesh
  )
  rng = np.random.default_rng(0)
  rows_per_text = rows // len(texts)
  logits = []
  for ids in texts:
    hidden_1TD, _ = transformer.hidden_states(
      config,
      params,
      jnp.array([ids], jnp.int32),
      positions_BT=jnp.arange(len(ids))[None],
    )
    positions = rng.choice(len(ids), rows_per_text, replace=False)
    logits.append(transformer.logits(config, params, hidden_1TD[0, positions]))
  return jnp.concatenate(logits)


def measure(logits_BV: jax.Array, rounds: int) -> dict[str, object]:
  """Medians of all methods."""
  logits_BV = jax.block_until_ready(logits_BV)
  programs = {name: jax.jit(method) for name, method in METHODS.items()}
  times: dict[str, list[float]] = {name: [] for name in programs}
  for number in range(rounds + 1):
    keys_B = jax.random.split(jax.random.key(number), len(logits_BV))
    for name, program in programs.items():
      start = time.perf_counter()
      program(logits_BV, keys_B).block_until_ready()
      if number:  # the first round compiles
        times[name].append(1000 * (time.perf_counter() - start))

  medians = {name: float(np.median(each)) for name, each in times.items()}
  return {
    'shape': logits_BV.shape,
    'ms': {name: round(each, 2) for name, each in medians.items()},
    'ratio': {
      name: round(each / medians['temperature'], 2)
      for name, each in medians.items()
    },
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--model', help='a Hugging Face folder')
  parser.add_argument('--data', type=pathlib.Path, default='../shared/data')
  parser.add_argument('--rows', type=int, default=64, help='a multiple of 8')
  parser.add_argument('--vocab', type=int, nargs='+', default=[49_152, 262_144])
  parser.add_argument('--rounds', type=int, default=30)
  options = parser.parse_args()
  if options.model:
    logits_BV = model_logits(options.rows, options.model, options.data)
    print(json.dumps(measure(logits_BV, options.rounds), indent=1))
    return
  for vocab_size in options.vocab:
    logits_BV = random_logits(options.rows, vocab_size)
    print(json.dumps(measure(logits_BV, options.rounds), indent=1))


if __name__ == '__main__':
  main()
