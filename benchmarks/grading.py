"""Compares the grader with Math-Verify: accuracy, time per pair, and time of clustering.

  python -m benchmarks.grading --data=../shared/data [--skip-peer] [--only=labelled,...]

Prints one Markdown table per measurement, with a column for each grader. The comparison needs
`pip install math-verify`. Both graders run in one worker process of `grading.worker_pool`, with
empty caches and 5 s for a pair; the worker measures the time. On two idle cores this grader takes
about a minute and Math-Verify about an hour. `--peer-answers` limits the answers for Math-Verify.
"""

import argparse
from collections.abc import Iterable, Sequence
import fractions
import gzip
import json
import pathlib
import random
import re
import statistics
import sys
import time
from typing import NamedTuple

from benchmarks import answer_variants, timed_graders
from mathft_jax import grading
from mathft_jax.grading import worker_pool, worker_process

# As in the published tables of graders; a slower pair counts as wrong.
DEADLINE_S = 5.0
STALL_S = 1.0
# All other kinds are ordinary.
_EXTREME_KINDS = (
  'hostile',
  'bignum',
  'malformed',
)

_NOTATION_PAIRS = (
  pathlib.Path(__file__).parents[1] / 'tests' / 'grading' / 'notation_pairs.tsv'
)

Pair = tuple[str, str]
Table = dict[str, float]  # measurement -> value


class Grade(NamedTuple):
  """The verdict on a pair (None if a limit was exceeded), its time, and the limit."""

  verdict: bool | None
  seconds: float
  limit: str | None


class Worker:
  """A grader in a worker process."""

  def __init__(
    self, grader: worker_process.Function, pool: worker_pool.WorkerPool
  ):
    self.grader = grader
    self.pool = pool

  def grade(self, pairs: Iterable[Pair]) -> list[Grade]:
    """Returns the verdict on each pair."""
    grades: list[Grade] = []
    for result in self.pool.map(self.grader, pairs, DEADLINE_S):
      # Without a value, a limit was exceeded.
      verdict, seconds = result.value or (None, DEADLINE_S)
      grades.append(Grade(verdict, seconds, result.limit))
    return grades


def measure_labelled(data: pathlib.Path, worker: Worker) -> Table:
  """Returns accuracy, errors and times on the labelled pairs."""
  cases = _read_jsonl(data / 'grading' / 'dev_cases.jsonl')
  grades = worker.grade((case['gold'], case['pred']) for case in cases)
  is_right: list[bool] = []
  is_right_ordinary: list[bool] = []
  counts = dict.fromkeys(
    (
      'false positives, ordinary',
      'false negatives',
      'crashes',
      'stalls over 1 s',
    ),
    0,
  )
  for case, (verdict, seconds, limit) in zip(cases, grades):
    is_ordinary = case['kind'] not in _EXTREME_KINDS
    is_right.append(verdict == case['equal'])
    if is_ordinary:
      is_right_ordinary.append(is_right[-1])
    if case['equal']:
      counts['false negatives'] += verdict is not True
    else:
      counts['false positives, ordinary'] += verdict is True and is_ordinary
    has_crashed = limit not in (None, 'deadline')
    counts['crashes'] += has_crashed
    counts['stalls over 1 s'] += seconds > STALL_S and not has_crashed

  times = sorted(grade.seconds for grade in grades)
  return {
    'pairs': len(cases),
    'accuracy': statistics.mean(is_right),
    'accuracy, ordinary': statistics.mean(is_right_ordinary),
    **counts,
    'median ms': 1e3 * statistics.median(times),
    'p99 ms': 1e3 * times[int(0.99 * len(times))],
  }


def measure_notations(data: pathlib.Path, worker: Worker) -> Table:
  """Returns accuracies on the cases of public bug reports and on the pairs of notations."""
  cases: list[tuple[Pair, bool]] = []
  for case in _read_jsonl(data / 'trouble' / 'grading.jsonl'):
    if case['kind'] == 'equivalent':
      pair = case['input']['reference'], case['input']['answer']
      cases.append((pair, case['expected']))
  num_reported = len(cases)
  is_equal = False
  for line in _NOTATION_PAIRS.read_text(encoding='utf-8').split('\n')[:-1]:
    left, tab, right = line.partition('\t')
    if tab:
      cases.append(((left, right), is_equal))
    else:
      is_equal = line.endswith(': equal')

  grades = worker.grade(pair for pair, _ in cases)
  is_right: list[bool] = []
  num_false_positives = 0
  for (_, expected), grade in zip(cases, grades):
    is_right.append(grade.verdict == expected)
    num_false_positives += bool(grade.verdict) and not expected
  return {
    'reported pairs': num_reported,
    'accuracy, reported pairs': statistics.mean(is_right[:num_reported]),
    'pairs of notations': len(cases) - num_reported,
    'accuracy, pairs of notations': statistics.mean(is_right[num_reported:]),
    'false positives': num_false_positives,
  }


def measure_variants(data: pathlib.Path, worker: Worker, count: int) -> Table:
  """Returns accuracies on answers of the MATH test set.

  Args:
    data: folder with `math/test.jsonl.gz`.
    worker: the grader.
    count: how many answers are compared with a variant of themselves, for each kind of variant;
      twice as many pairs of different answers are compared.
  """
  answers = _read_math_answers(data)
  table: Table = {}
  for name, change in answer_variants.VARIANTS.items():
    rng = random.Random(0)
    pairs = [(answer, change(answer, rng)) for answer in answers[:count]]
    table[name] = _share_of(worker.grade(pairs), equal=True)

  candidates = answer_variants.sample_different_pairs(
    answers, 2 * count, random.Random(0)
  )
  pairs = [pair for pair in candidates if not _are_equal_numbers(*pair)]
  grades = worker.grade(pairs)
  if worker.grader == timed_graders.grade_with_mathft:
    for pair, grade in zip(pairs, grades):
      if grade.verdict:
        print('Graded as equal:', *pair)
  table['distinct'] = _share_of(grades, equal=False)
  table['distinct, pairs'] = len(pairs)
  mean_seconds = statistics.mean(grade.seconds for grade in grades)
  table['distinct, mean ms'] = 1e3 * mean_seconds
  return table


def _share_of(grades: Sequence[Grade], equal: bool) -> float:
  """Returns the share of pairs that are graded as equal, or that are not."""
  return statistics.mean((grade.verdict is True) == equal for grade in grades)


def _are_equal_numbers(left: str, right: str) -> bool:
  """Returns True for equal numbers, without the use of the grader."""
  value = _plain_number(left)
  return value is not None and value == _plain_number(right)


def _plain_number(text: str) -> fractions.Fraction | None:
  r"""Returns the value of a number such as `-12`, `1,\!000`, `\frac{1}{2}`, `5\text{ cm}`."""
  text = re.sub(
    r'\\(?:text|mbox) ?\{[^{}]*\}(\^\d)?|\\[!,;$%]|\^\{?\\circ\}?|^[a-z] ?=|\s|\{,\}',
    '',
    text.replace('dfrac', 'frac').replace('tfrac', 'frac'),
  )
  text = re.sub(r'\\frac(\d)(\d)$', r'\\frac{\1}{\2}', text)
  text = re.sub(r'\\frac\{?(\d+)\}?\{(\d+)\}', r'\1/\2', text)
  text = re.sub(r'(\d),(?=\d{3})', r'\1', text)
  try:
    return fractions.Fraction(text)
  except (ValueError, ZeroDivisionError):
    return None


def measure_extraction(data: pathlib.Path) -> Table:
  """Returns the share of labelled solutions whose final answer is found."""
  cases = _read_jsonl(data / 'grading' / 'dev_extraction.jsonl')
  num_found = 0
  for case in cases:
    answer = grading.extract_answer(case['solution'])
    num_found += _strip_markup(answer) == _strip_markup(case['answer'])
  return {'solutions': len(cases), 'extraction': num_found / len(cases)}


def _strip_markup(answer: str | None) -> str | None:
  """Removes what the labels ignore: white space, dollar signs, bold, a final full stop."""
  if answer is None:
    return None
  return ''.join(answer.replace('$', '').replace('**', '').split()).rstrip('.')


def measure_clustering(
  data: pathlib.Path, num_candidates: int, pair_ms: float | None
) -> Table:
  """Returns the process time of extraction and clustering for the MATH test set.

  Args:
    data: folder with `math/test.jsonl.gz`.
    num_candidates: solutions of each problem.
    pair_ms: mean time of Math-Verify for a pair; with it, its time for pairwise clustering is
      extrapolated.
  """
  answers = _read_math_answers(data)
  sampled = answer_variants.sample_candidate_answers(
    answers, num_candidates, random.Random(0)
  )
  solutions = [
    list(map(answer_variants.make_solution, candidates))
    for candidates in sampled
  ]
  start = time.process_time()
  labels = []
  for texts in solutions:
    found = list(map(grading.extract_answer, texts))
    labels.append(grading.cluster_answers(found))
  seconds = time.process_time() - start

  num_calls = sum(map(_count_pairwise_calls, sampled, labels))
  table: Table = {
    'problems': len(answers),
    'candidates': num_candidates,
    'seconds': seconds,
    'pairwise calls': num_calls,
  }
  if pair_ms is not None:
    table['pairwise, seconds'] = num_calls * pair_ms / 1e3
  return table


def _count_pairwise_calls(
  answers: Sequence[str], labels: Sequence[int | None]
) -> int:
  """Returns the calls needed to compare each new string with one member of each earlier cluster."""
  num_calls = 0
  seen: set[str] = set()
  known_labels: set[int | None] = set()
  for answer, label in zip(answers, labels):
    if answer not in seen:
      is_known = label in known_labels
      num_calls += (label or 0) + 1 if is_known else len(known_labels)
    seen.add(answer)
    known_labels.add(label)
  return num_calls


def _read_jsonl(path: pathlib.Path) -> list[dict]:
  with gzip.open(path, 'rt') if path.suffix == '.gz' else path.open() as stream:
    return list(map(json.loads, stream))


def _read_math_answers(data: pathlib.Path) -> list[str]:
  return [row['answer'] for row in _read_jsonl(data / 'math' / 'test.jsonl.gz')]


def print_table(title: str, table: Table, peer_table: Table | None) -> None:
  """Prints both columns and, for times, the ratio of Math-Verify to this grader."""
  name = f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'
  print(f'\n{title}\n| | {name} | math-verify | ratio |\n|---|---|---|---|')
  for row, value in table.items():
    peer_value = (peer_table or {}).get(row)
    ratio = ''
    if peer_value and value and ('ms' in row or 'second' in row):
      ratio = f'{peer_value / value:.1f}'
    peer_text = '' if peer_value is None else _format_number(peer_value)
    print(f'| {row} | {_format_number(value)} | {peer_text} | {ratio} |')


def _format_number(value: float) -> str:
  if isinstance(value, int):
    return str(value)
  return f'{value:.4f}' if value <= 1 else f'{value:.2f}'


def parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser()
  parser.add_argument(
    '--data', type=pathlib.Path, default=pathlib.Path('../shared/data')
  )
  parser.add_argument(
    '--skip-peer', action='store_true', help='do not run Math-Verify'
  )
  parser.add_argument(
    '--only', default='labelled,notations,variants,extraction,clustering'
  )
  parser.add_argument(
    '--answers',
    type=int,
    default=5000,
    help='answers of MATH test for variants',
  )
  parser.add_argument(
    '--peer-answers', type=int, default=500, help='the same for Math-Verify'
  )
  parser.add_argument('--candidates', type=int, default=64)
  return parser.parse_args()


def measure(options: argparse.Namespace, pool: worker_pool.WorkerPool) -> None:
  """Runs the selected measurements and prints their tables."""
  data, selected = options.data, options.only.split(',')
  worker = Worker(timed_graders.grade_with_mathft, pool)
  peer = None
  if not options.skip_peer:
    peer = Worker(timed_graders.grade_with_math_verify, pool)

  if 'labelled' in selected:
    peer_table = measure_labelled(data, peer) if peer else None
    print_table('Labelled pairs', measure_labelled(data, worker), peer_table)
  if 'notations' in selected:
    peer_table = measure_notations(data, peer) if peer else None
    table = measure_notations(data, worker)
    print_table('Notations', table, peer_table)
  pair_ms = None
  if 'variants' in selected:
    peer_table = None
    if peer:
      peer_table = measure_variants(data, peer, options.peer_answers)
      pair_ms = peer_table['distinct, mean ms']
    table = measure_variants(data, worker, options.answers)
    print_table('Answers of the MATH test set', table, peer_table)
  if 'extraction' in selected:
    print_table('Final answers', measure_extraction(data), None)
  if 'clustering' in selected:
    table = measure_clustering(data, options.candidates, pair_ms)
    peer_seconds = table.pop('pairwise, seconds', None)
    peer_table = {'seconds': peer_seconds} if peer_seconds else None
    print_table('Clustering', table, peer_table)


def main() -> None:
  options = parse_arguments()
  if not options.data.is_dir():
    sys.exit(
      f'benchmarks.grading: there is no folder {options.data}. Name the folder that has grading/, '
      'math/ and trouble/ with --data.'
    )
  with worker_pool.WorkerPool() as pool:
    measure(options, pool)


if __name__ == '__main__':
  main()
