"""Sampling candidates with the lengths of published samples: this program against an earlier one.

  git worktree add ../earlier b197776
  python -m benchmarks.real_lengths --data=../shared/data --earlier=../earlier
  python -m benchmarks.real_lengths --data=../shared/data --count    # no model, in seconds

Each problem gets the lengths of one problem's published samples: characters / 4 as tokens, at most
`--limit`. A candidate ends at its length, whatever it samples. Both programs sample the same
problems, in processes of their own, in alternating rounds. The program of commit b197776 decodes
whole batches of `--batch` problems, which wait for their longest candidate; ours has `--rows` rows.
The first round compiles; it samples one batch of problems.

Printed as JSON: seconds of each round, kept tokens per second, the share of the row-steps that kept
a token, the compilations after the first round, and the machine's ceilings between the rounds. With
`--count` only the share is printed, for 256 rows, 64 candidates a problem and the lengths of two
sources.
"""

import argparse
from collections.abc import Callable
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

# Path of published samples, and characters of a token.
SOURCES = {
  'GSM8K, Llama 3.1 8B': ('samples/gsm8k_llama31_8b_15x_60.jsonl.gz', 4),
  'MATH, Qwen 2.5': ('samples/math_qwen_8x_rm_first50.jsonl.gz', 3),
}
# So small that the other program's cache of 1,024 rows with 1,024 slots fits into 10 GB.
VOCAB_SIZE, WIDTH, LAYERS, HEADS, KV_HEADS, MLP = 8192, 256, 4, 4, 2, 768
PROMPT_LENGTH = 96
BLOCK_SIZE = 16  # that of decode_config.DecodeConfig

# Samples the first problems and returns (kept tokens, row-steps).
Run = Callable[[int], tuple[int, int]]


def real_lengths(
  data: pathlib.Path,
  problems: int,
  candidates: int,
  limit: int,
  source: str = 'GSM8K, Llama 3.1 8B',
) -> np.ndarray:
  """Tokens [P, C] of candidates of different problems."""
  path, characters = SOURCES[source]
  by_problem = []
  with gzip.open(data / path, 'rt') as lines:
    for line in lines:
      found = []
      for sample in json.loads(line)['samples']:
        text = sample.get('text') or sample.get('solution') or ''
        found.append(min(limit, max(1, len(text) // characters)))
      by_problem.append(found)
  rng = random.Random(0)
  lengths = [
    rng.choices(rng.choice(by_problem), k=candidates) for _ in range(problems)
  ]
  return np.array(lengths, np.int32)


def count_kept_share(lengths_PC: np.ndarray, num_rows: int) -> float:
  """The share of row-steps that keep a token with refilled rows in groups of 32."""
  from mathft_jax.inference import row_schedule

  num_problems, num_candidates = lengths_PC.shape
  schedule = row_schedule.RowSchedule(
    num_problems=num_problems,
    num_candidates=num_candidates,
    num_groups=num_rows // 32,
    rows_per_group=32,
  )
  left_by_row: dict[int, int] = {}
  num_steps = 0
  while not schedule.is_done():
    _, starts = schedule.fill()
    for start in starts:
      left_by_row[start.row] = int(lengths_PC[start.problem, start.sample])
    num_steps += BLOCK_SIZE
    for row in list(left_by_row):
      left_by_row[row] -= BLOCK_SIZE
      if left_by_row[row] <= 0:
        del left_by_row[row]
        schedule.end(row)
  return float(lengths_PC.sum() / (num_steps * num_rows))


def print_kept_shares(options: argparse.Namespace) -> None:
  for source in SOURCES:
    lengths_PC = real_lengths(options.data, 512, 64, options.limit, source)
    batches = lengths_PC.reshape(-1, 16 * 64)
    whole = lengths_PC.sum() / (batches.max(axis=1).sum() * 16 * 64)
    shares = {
      'whole batches of 16 problems': round(float(whole), 3),
      '256 refilled rows': round(count_kept_share(lengths_PC, 256), 3),
    }
    print(source, json.dumps(shares))


def model_arguments() -> dict[str, int]:
  return dict(
    vocab_size=VOCAB_SIZE,
    embed_dim=WIDTH,
    num_layers=LAYERS,
    num_heads=HEADS,
    num_kv_heads=KV_HEADS,
    mlp_dim=MLP,
  )


def end_at_length(lengths_PC: np.ndarray) -> None:
  """Makes each candidate end at its length."""
  import jax.numpy as jnp

  from mathft_jax.inference import decode_block

  sample_tokens = decode_block._sample_tokens

  def sample_until_length(config, rows, logits_BV, keys_B):
    new_rows, tokens_B = sample_tokens(config, rows, logits_BV, keys_B)
    limits_B = jnp.array(lengths_PC)[
      rows.problem_words_B2[:, 0], rows.samples_B
    ]
    active_B = new_rows.active_B & (new_rows.lengths_B < limits_B)
    return new_rows._replace(active_B=active_B), tokens_B

  # Instead of random words: the index of the problem.
  decode_block.problem_words = lambda name: np.array([int(name), 0], np.uint32)
  decode_block._sample_tokens = sample_until_length


def refilled_rows(lengths_PC: np.ndarray, options: argparse.Namespace) -> Run:
  """A function that samples the first problems and returns (kept tokens, row-steps)."""
  import jax

  from mathft_jax.distributed import partitioning
  from mathft_jax.inference import (
    decode_config,
    decoding,
    prefill,
    sampling,
  )
  from mathft_jax.models import transformer

  num_problems, num_candidates = lengths_PC.shape
  end_at_length(lengths_PC)
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  num_rows = options.rows
  config = decode_config.DecodeConfig(
    model=transformer.TransformerConfig(**model_arguments()),
    method=sampling.Nucleus(0.95, 0.9),
    num_rows=num_rows,
    rows_per_group=decode_config.rows_per_group(num_rows, num_candidates, mesh),
    prompt_slots=decode_config.prompt_slots(PROMPT_LENGTH),
    max_decode_length=options.limit,
    end_ids=(-1,),
    vocab_size=VOCAB_SIZE,
    mesh=mesh,
    stacked=False,
  )
  params = transformer.init_params(config.model, jax.random.key(0))
  params = transformer.unstack_layers(config.model, params)
  prompts = [
    prefill.Prompt(str(index), ids.tolist())
    for index, ids in enumerate(random_prompts(num_problems))
  ]

  def run(num_problems: int) -> tuple[int, int]:
    tokens = row_steps = 0
    for block in decoding.decode(
      config,
      params,
      prompts[:num_problems],
      num_candidates=num_candidates,
      seed=0,
    ):
      tokens += block.num_tokens
      row_steps += block.num_row_steps
    return tokens, row_steps

  return run


def whole_batches(lengths_PC: np.ndarray, options: argparse.Namespace) -> Run:
  """The same by the program of commit b197776."""
  import jax

  from mathft_jax.inference import decoding, sampling
  from mathft_jax.models import transformer

  num_problems, num_candidates = lengths_PC.shape
  append = decoding._append

  def append_until_length(plan, state, logits_BV, keys_B):
    new_state = append(plan, state, logits_BV, keys_B)
    limits_B = jax.random.key_data(keys_B)[:, 0]
    finished_B = new_state.finished_B | (new_state.lengths_B >= limits_B)
    return new_state._replace(finished_B=finished_B)

  decoding._append = append_until_length
  plan = decoding.Plan(
    transformer.TransformerConfig(**model_arguments()),
    sampling.Nucleus(0.95, 0.9),
    copies=num_candidates,
    max_length=options.limit,
    eos_id=-1,
    num_tokens=VOCAB_SIZE,
  )
  params = transformer.init_params(plan.config, jax.random.key(0))
  params = transformer.unstacked(params)
  prompts_PS = np.zeros((num_problems, 128), np.int32)
  prompts_PS[:, :PROMPT_LENGTH] = random_prompts(num_problems)
  lengths_P = np.full(num_problems, PROMPT_LENGTH, np.int32)
  noise_PC = np.random.default_rng(0).integers(2**32, size=lengths_PC.shape)
  # The first word of a key is the length of the candidate.
  words = np.stack([lengths_PC, noise_PC], axis=-1).astype(np.uint32)

  def run(num_problems: int) -> tuple[int, int]:
    tokens = row_steps = 0
    for start in range(0, num_problems, options.batch):
      batch = slice(start, start + options.batch)
      keys_PC = jax.random.wrap_key_data(words[batch], impl='threefry2x32')
      samples = decoding.decode(
        plan, params, prompts_PS[batch], lengths_P[batch], keys_PC
      )
      tokens += int(samples.lengths_PC.sum())
      row_steps += samples.lengths_PC.size * int(samples.lengths_PC.max())
    return tokens, row_steps

  return run


def random_prompts(num_problems: int) -> np.ndarray:
  """Token ids [P, PROMPT_LENGTH]."""
  rng = np.random.default_rng(0)
  return rng.integers(1, VOCAB_SIZE, (num_problems, PROMPT_LENGTH), np.int32)


def work(options: argparse.Namespace) -> None:
  """Runs a round for each number of problems on standard input and prints its result as JSON."""
  import jax

  compilations = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **kwargs: (
      compilations.append(seconds)
      if event == '/jax/core/compile/backend_compile_duration'
      else None
    )
  )
  lengths_PC = real_lengths(
    options.data, options.problems, options.candidates, options.limit
  )
  make = refilled_rows if options.worker == 'refilled rows' else whole_batches
  run = make(lengths_PC, options)
  for line in sys.stdin:
    before, start = len(compilations), time.perf_counter()
    tokens, row_steps = run(int(line))
    result = {
      'seconds': round(time.perf_counter() - start, 3),
      'tokens': tokens,
      'kept_share': round(tokens / row_steps, 3),
      'compilations': len(compilations) - before,
    }
    print(json.dumps(result), flush=True)


def start_worker(name: str, checkout: pathlib.Path) -> subprocess.Popen:
  """Starts this file with the package of a checkout."""
  command = [sys.executable, __file__, *sys.argv[1:], f'--worker={name}']
  environment = {**os.environ, 'PYTHONPATH': str(checkout.resolve())}
  return subprocess.Popen(
    command,
    env=environment,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def one_round(worker: subprocess.Popen, num_problems: int) -> dict[str, float]:
  assert worker.stdin is not None and worker.stdout is not None
  worker.stdin.write(f'{num_problems}\n')
  worker.stdin.flush()
  return json.loads(worker.stdout.readline())


def timed_rounds(
  options: argparse.Namespace, workers: dict[str, subprocess.Popen]
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
  """Results of each worker's rounds, the first of which compiles, and the machine's ceilings."""
  from benchmarks import ceilings
  from mathft_jax.models import config as model_config

  model = model_config.TransformerConfig(**model_arguments())
  timed = ceilings.make_ceilings(model, options.rows)
  rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
  times: dict[str, list[float]] = {name: [] for name in timed}
  for number in range(options.rounds + 1):
    num_problems = options.problems if number else options.batch
    for name, worker in workers.items():
      rounds[name].append(one_round(worker, num_problems))
    for name, each in ceilings.alternate(timed, 1).items():
      times[name] += each
  return rounds, ceilings.report_ceilings(times, model, options.rows)


def parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data', type=pathlib.Path, required=True)
  parser.add_argument('--earlier', type=pathlib.Path, help='a checkout')
  parser.add_argument('--problems', type=int, default=16)
  parser.add_argument('--candidates', type=int, default=16)
  parser.add_argument(
    '--batch', type=int, default=4, help='problems of a whole batch'
  )
  parser.add_argument(
    '--rows', type=int, help='refilled; default: batch x candidates'
  )
  parser.add_argument('--limit', type=int, default=1024, help='tokens')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--count', action='store_true', help='no model')
  parser.add_argument('--worker', help='internal')
  options = parser.parse_args()
  options.rows = options.rows or options.batch * options.candidates
  return options


def main() -> None:
  options = parse_arguments()
  if options.count:
    print_kept_shares(options)
    return
  if options.worker:
    work(options)
    return

  here = pathlib.Path(__file__).parent.parent
  workers = {'refilled rows': start_worker('refilled rows', here)}
  if options.earlier:
    workers['whole batches'] = start_worker('whole batches', options.earlier)
  rounds, ceilings = timed_rounds(options, workers)

  report: dict[str, object] = {}
  medians = {}
  for name, results in rounds.items():
    seconds = [each['seconds'] for each in results[1:]]
    medians[name] = float(np.median(seconds))
    report[name] = {
      'first round with compiling, s': results[0]['seconds'],
      'seconds': seconds,
      'tokens_per_s': round(results[-1]['tokens'] / medians[name]),
      'kept_share': results[-1]['kept_share'],
      'compilations after the first round': sum(
        each['compilations'] for each in results[1:]
      ),
    }
  if options.earlier:
    ratio = medians['whole batches'] / medians['refilled rows']
    report['ratio'] = round(ratio, 2)
  report['ceilings'] = ceilings
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
