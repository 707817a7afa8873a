"""Time of each sampling method, and its ratio to plain temperature sampling.

  python -m benchmarks.sampling_methods

The logits are random, with a standard deviation at which the nucleus has as many tokens as that of
a language model, a few to some hundreds. As in decoding they are the result of a matmul; its time
is subtracted. Rounds of the methods alternate; medians are printed, as JSON.
"""

import argparse
import json
import time

import jax
import numpy as np

from mathft_jax.inference import sampling

METHODS = {
  'temperature': sampling.Temperature(0.9),
  'greedy': sampling.Greedy(),
  'nucleus 0.95': sampling.Nucleus(0.95, 0.9),
  'nucleus 0.5': sampling.Nucleus(0.5, 0.9),
  'top 40': sampling.TopK(40, 0.9),
}


def milliseconds(run) -> float:
  start = time.perf_counter()
  jax.block_until_ready(run())
  return 1000 * (time.perf_counter() - start)


def measure(rows: int, vocab_size: int, rounds: int) -> dict[str, object]:
  """Medians of all methods with logits [rows, vocab_size]."""
  hidden_BD = 2 * jax.random.normal(jax.random.key(0), (rows, 4))
  head_DV = jax.random.normal(jax.random.key(1), (4, vocab_size))
  programs = {'logits': jax.jit(lambda hidden, head, keys: hidden @ head)}
  for name, method in METHODS.items():
    programs[name] = jax.jit(_after_matmul(method))

  times: dict[str, list[float]] = {name: [] for name in programs}
  for number in range(rounds + 1):
    keys_B = jax.random.split(jax.random.key(number), rows)
    for name, program in programs.items():
      elapsed = milliseconds(lambda: program(hidden_BD, head_DV, keys_B))
      if number:  # the first round compiles
        times[name].append(elapsed)

  medians = {name: float(np.median(each)) for name, each in times.items()}
  matmul = medians.pop('logits')
  sampling_ms = {name: each - matmul for name, each in medians.items()}
  return {
    'rows': rows,
    'vocab_size': vocab_size,
    'matmul, ms': round(matmul, 2),
    'ms': {name: round(each, 2) for name, each in sampling_ms.items()},
    'ratio': {
      name: round(each / sampling_ms['temperature'], 2)
      for name, each in sampling_ms.items()
    },
  }


def _after_matmul(method: sampling.SamplingMethod):
  def sample(hidden_BD: jax.Array, head_DV: jax.Array, keys_B: jax.Array):
    # Stored, as the logits of a model are.
    logits_BV = jax.lax.optimization_barrier(hidden_BD @ head_DV)
    return method(logits_BV, keys_B)

  return sample


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rows', type=int, default=64)
  parser.add_argument('--vocab', type=int, nargs='+', default=[49_152, 262_144])
  parser.add_argument('--rounds', type=int, default=15)
  arguments = parser.parse_args()
  for vocab_size in arguments.vocab:
    result = measure(arguments.rows, vocab_size, arguments.rounds)
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()
