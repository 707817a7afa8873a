"""Measures the grader beside math-verify: right, false, slow, and how long clustering takes.

  python -m benchmarks.grading --data=../shared/data [--skip-peer] [--only=labelled,...]

Needs `pip install math-verify` for the comparison. Every pair is graded in a worker of
`grading.pool`, one worker, 5 s a pair, caches empty, for both graders alike; the time is measured
inside the worker. Prints tables with ours, theirs and the ratio. On two idle cores ours alone takes
about a minute; math-verify takes about an hour, most of it in `distinct`, of which it gets
--peer-pairs only.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
import fractions
import gzip
import json
import pathlib
import random
import re
import statistics
import time

from benchmarks import answer_variants, timed_graders
from mathft_jax import grading
from mathft_jax.grading import worker_pool

DEADLINE_S = 5.0  # a pair that takes longer counts as wrong, as in the tables of the published graders
STALL_S = 1.0
_EXTREME_KINDS = ('hostile', 'bignum', 'malformed')  # the others are ordinary

Pair = tuple[str, str]
Graded = tuple[
  bool | None, float
]  # the verdict, None for an error or a limit; seconds


def graded(
  grader: worker_pool.Function,
  pairs: Iterable[Pair],
  workers: worker_pool.WorkerPool,
) -> list[Graded]:
  """Verdicts and times of one grader on fresh pairs."""
  results = workers.map(grader, pairs, DEADLINE_S)
  return [
    (None, DEADLINE_S) if result.limit else result.value for result in results
  ]


def labelled(
  data: pathlib.Path,
  grader: worker_pool.Function,
  workers: worker_pool.WorkerPool,
) -> dict[str, float]:
  """Accuracy and errors on the labelled pairs; an error or a limit counts as wrong."""
  cases = _rows(data / 'grading' / 'dev_cases.jsonl')
  results = graded(
    grader, [(case['gold'], case['pred']) for case in cases], workers
  )
  right = [
    verdict == case['equal'] for case, (verdict, _) in zip(cases, results)
  ]
  ordinary = [case['kind'] not in _EXTREME_KINDS for case in cases]
  times = sorted(seconds for _, seconds in results)
  return {
    'pairs': len(cases),
    'accuracy': statistics.mean(right),
    'accuracy, ordinary': statistics.mean(
      r for r, o in zip(right, ordinary) if o
    ),
    'false positives, ordinary': sum(
      verdict is True and not case['equal'] and o
      for case, (verdict, _), o in zip(cases, results, ordinary)
    ),
    'false negatives': sum(
      verdict is not True and case['equal']
      for case, (verdict, _) in zip(cases, results)
    ),
    'crashes': sum(
      verdict is None and seconds < DEADLINE_S for verdict, seconds in results
    ),
    'stalls over 1 s': sum(seconds > STALL_S for seconds in times),
    'median ms': 1e3 * statistics.median(times),
    'p99 ms': 1e3 * times[int(0.99 * len(times))],
  }


def variants(
  data: pathlib.Path,
  grader: worker_pool.Function,
  workers: worker_pool.WorkerPool,
  count: int,
) -> dict[str, float]:
  """Shares of MATH's test answers that equal their own variants, and of pairs told apart."""
  golds = _math_answers(data)
  rows: dict[str, float] = {}
  for name, change in answer_variants.VARIANTS.items():
    rng = random.Random(0)
    pairs = [(gold, change(gold, rng)) for gold in golds[:count]]
    rows[name] = statistics.mean(
      v is True for v, _ in graded(grader, pairs, workers)
    )
  pairs = answer_variants.different_pairs(golds, 2 * count, random.Random(0))
  truly = [pair for pair in pairs if not _equal_numbers(*pair)]
  results = graded(grader, truly, workers)
  for pair, (verdict, _) in zip(truly, results):
    if verdict and grader == timed_graders.grade_with_mathft:
      print('called equal:', *pair)
  rows['distinct'] = statistics.mean(
    verdict is not True for verdict, _ in results
  )
  rows['distinct, pairs'] = len(truly)
  rows['distinct, mean ms'] = 1e3 * statistics.mean(
    seconds for _, seconds in results
  )
  return rows


def _equal_numbers(one: str, other: str) -> bool:
  """True for two numbers, plain or in fractions, that are equal; found without the grader."""
  values = [_plain_number(text) for text in (one, other)]
  return values[0] is not None and values[0] == values[1]


def _plain_number(text: str) -> fractions.Fraction | None:
  """The value of `-12`, `1,\\!000`, `\\frac{1}{2}`, `x=3`, `\\$2.50`, `5\\text{ cm}`; None for others."""
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


def extraction(data: pathlib.Path) -> dict[str, float]:
  """The share of labelled solutions whose final answer is found."""
  cases = _rows(data / 'grading' / 'dev_extraction.jsonl')
  found = [
    _plain(grading.extract_answer(case['solution'])) == _plain(case['answer'])
    for case in cases
  ]
  return {'solutions': len(cases), 'extraction': statistics.mean(found)}


def _plain(answer: str | None) -> str | None:
  """Without what the labels ignore: white space, dollar signs, bold, a full stop at the end."""
  if answer is None:
    return None
  return ''.join(answer.replace('$', '').replace('**', '').split()).rstrip('.')


def clustering(
  data: pathlib.Path, candidates: int, pair_ms: float | None
) -> dict[str, float]:
  """Seconds to extract and cluster all of MATH's test problems; and pairwise, at `pair_ms` a call."""
  golds = _math_answers(data)
  sampled = answer_variants.candidate_answers(
    golds, candidates, random.Random(0)
  )
  solutions = [
    list(map(answer_variants.solution_with, answers)) for answers in sampled
  ]
  start = time.process_time()
  clusters = [
    grading.cluster_answers(list(map(grading.extract_answer, each)))
    for each in solutions
  ]
  seconds = time.process_time() - start
  calls = sum(
    _pairwise_calls(answers, labels)
    for answers, labels in zip(sampled, clusters)
  )
  rows = {
    'problems': len(golds),
    'candidates': candidates,
    'seconds': seconds,
    'pairwise calls': calls,
  }
  return (
    rows
    if pair_ms is None
    else {**rows, 'pairwise, seconds': calls * pair_ms / 1e3}
  )


def _pairwise_calls(
  answers: Sequence[str], labels: Sequence[int | None]
) -> int:
  """Calls that compare each new string with one member of every cluster so far."""
  seen, calls = set(), 0
  known: set[int | None] = set()
  for answer, label in zip(answers, labels):
    if answer not in seen:
      calls += label + 1 if label in known else len(known)
    seen.add(answer)
    known.add(label)
  return calls


def _rows(path: pathlib.Path) -> list[dict]:
  with gzip.open(path, 'rt') if path.suffix == '.gz' else path.open() as stream:
    return [json.loads(line) for line in stream]


def _math_answers(data: pathlib.Path) -> list[str]:
  return [row['answer'] for row in _rows(data / 'math' / 'test.jsonl.gz')]


def print_table(
  title: str, ours: dict[str, float], theirs: dict[str, float] | None
) -> None:
  """Three columns and the ratio theirs / ours where both are times."""
  print(
    f'\n{title}\n| | {grading.GRADER_NAME} {grading.GRADER_VERSION} | math-verify | theirs / ours |\n|---|---|---|---|'
  )
  for name, value in ours.items():
    other = (theirs or {}).get(name)
    ratio = (
      f'{other / value:.1f}'
      if other and value and ('ms' in name or 'second' in name)
      else ''
    )
    print(
      f'| {name} | {_number(value)} | {"" if other is None else _number(other)} | {ratio} |'
    )


def _number(value: float) -> str:
  return (
    str(value)
    if isinstance(value, int)
    else f'{value:.4f}'
    if value <= 1
    else f'{value:.2f}'
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument(
    '--data', type=pathlib.Path, default=pathlib.Path('../shared/data')
  )
  parser.add_argument(
    '--skip-peer', action='store_true', help='measure ours only'
  )
  parser.add_argument(
    '--only', default='labelled,variants,extraction,clustering'
  )
  parser.add_argument(
    '--answers', type=int, default=5000, help='of MATH test, for variants'
  )
  parser.add_argument(
    '--peer-answers', type=int, default=500, help='the same for math-verify'
  )
  parser.add_argument('--candidates', type=int, default=64)
  options = parser.parse_args()
  wanted = options.only.split(',')
  with worker_pool.WorkerPool() as workers:
    measure(options, wanted, workers)


def measure(
  options: argparse.Namespace,
  wanted: Sequence[str],
  workers: worker_pool.WorkerPool,
) -> None:
  """Prints the tables that are wanted."""

  def both(
    measured: Callable[[worker_pool.Function, int], dict[str, float]],
  ) -> tuple:
    theirs = (
      None
      if options.skip_peer
      else measured(timed_graders.grade_with_math_verify, options.peer_answers)
    )
    return measured(timed_graders.grade_with_mathft, options.answers), theirs

  pair_ms = None
  if 'labelled' in wanted:
    tables = both(lambda grader, _: labelled(options.data, grader, workers))
    print_table('Labelled pairs', *tables)
  if 'variants' in wanted:
    tables = both(
      lambda grader, count: variants(options.data, grader, workers, count)
    )
    print_table('Answers of the MATH test set', *tables)
    pair_ms = tables[1] and tables[1]['distinct, mean ms']
  if 'extraction' in wanted:
    print_table('Final answers', extraction(options.data), None)
  if 'clustering' in wanted:
    rows = clustering(options.data, options.candidates, pair_ms)
    theirs = (
      {'seconds': rows.pop('pairwise, seconds')}
      if 'pairwise, seconds' in rows
      else None
    )
    print_table('Clustering', rows, theirs)


if __name__ == '__main__':
  main()
