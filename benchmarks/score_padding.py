"""Share of padded positions when candidates of one file are scored.

  python -m benchmarks.score_padding --candidates=runs/graded/graded.jsonl --words_per_token=0.75

Compares rows of several texts (`mathft_jax/inference/score_packing.py`) with one row a text, padded
to the next power of two of the longest text of the batch. A row of several texts begins with the
problem; the share of positions that repeat a problem is printed separately. Lengths are estimated
from the number of words, or counted with `--tokenizer`. Nothing is compiled.
"""

import argparse
from collections.abc import Callable, Sequence
import json

from mathft_jax.data import schema
from mathft_jax.inference import resumable_output, score_packing


def make_counter(options: argparse.Namespace) -> Callable[[str], int]:
  """Returns a function that counts the tokens of a text."""
  if options.tokenizer is None:
    return lambda text: int(len(text.split()) / options.words_per_token) + 1
  import tokenizers

  tokenizer = tokenizers.Tokenizer.from_file(options.tokenizer)
  return lambda text: len(tokenizer.encode(text).ids)


def make_problems(
  path: str, count_tokens: Callable[[str], int]
) -> list[score_packing.Problem]:
  """Returns the distinct texts of each problem as lists of equal token ids."""
  problems = []
  for candidate_set in schema.read_candidate_sets(path):
    texts = {candidate.solution for candidate in candidate_set.candidates}
    tails = [[1] * length for length in sorted(map(count_tokens, texts))]
    prefix = [1] * count_tokens(candidate_set.problem.question)
    problems.append(score_packing.Problem(prefix, tails))
  problems.sort(key=lambda each: len(each.prefix) + len(each.tails[-1]))
  return problems


def count_positions(
  batch: Sequence[score_packing.Problem],
  row_lengths: Sequence[int],
  num_shards: int,
) -> dict[str, int]:
  """Returns the tokens of a batch and the positions that are computed for them."""
  lengths = [score_packing.problem_lengths(each, None) for each in batch]
  packed = repeated = 0
  for length, rows in score_packing.iter_calls(
    batch, None, row_lengths, num_shards
  ):
    packed += score_packing.rows_per_call(length, num_shards) * length
    repeated += sum(lengths[row.problem].prefix for row in rows)
  tokens = 0
  for problem in lengths:
    tokens += sum(problem.texts)
    repeated -= problem.prefix
    tokens += problem.prefix

  longest = max(max(problem.texts) for problem in lengths)
  most = max(len(problem.texts) for problem in lengths)
  round_up = resumable_output.round_up_to_power_of_two
  prefix = round_up(max(problem.prefix for problem in lengths))
  padded = len(batch) * (round_up(most, 4) * round_up(longest) + prefix)
  return {
    'tokens': tokens,
    'repeated problems': repeated,
    'packed': packed,
    'one row a text': padded,
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--candidates', required=True)
  parser.add_argument('--words_per_token', type=float, default=0.75)
  parser.add_argument('--tokenizer', help='path of a tokenizer.json')
  parser.add_argument('--batch_size', type=int, default=16, help='problems')
  parser.add_argument('--devices', type=int, default=1, help='along `data`')
  options = parser.parse_args()
  problems = make_problems(options.candidates, make_counter(options))
  row_lengths = score_packing.choose_row_lengths(
    [score_packing.problem_lengths(each, None) for each in problems]
  )
  totals: dict[str, int] = {}
  for start in range(0, len(problems), options.batch_size):
    batch = problems[start : start + options.batch_size]
    counts = count_positions(batch, row_lengths, options.devices)
    for name, count in counts.items():
      totals[name] = totals.get(name, 0) + count

  used = totals['tokens'] + totals['repeated problems']
  report = {
    'row lengths': row_lengths,
    'positions': totals,
    'padded share': {
      'packed': round(1 - used / totals['packed'], 4),
      'one row a text': round(
        1 - totals['tokens'] / totals['one row a text'], 4
      ),
    },
    'repeated problems, share': round(
      totals['repeated problems'] / totals['packed'], 4
    ),
  }
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
