"""Share of padded positions when candidates of one file are scored.

  python -m benchmarks.score_padding --candidates=runs/graded/graded.jsonl --words_per_token=0.75

Compares rows of several texts (`mathft_jax/inference/score_packing.py`) with one row a text, padded
to the next power of two of the longest text of the batch. Lengths are estimated from the number of
words, so no tokenizer is needed. Nothing is compiled.
"""

import argparse
import json

from mathft_jax.data import schema
from mathft_jax.inference import resumable_output, score_packing


def make_problems(
  path: str, words_per_token: float
) -> list[score_packing.Problem]:
  """Returns the distinct texts of each problem as lists of equal token ids."""
  problems = []
  for candidate_set in schema.read_candidate_sets(path):
    texts = {candidate.solution for candidate in candidate_set.candidates}
    lengths = [int(len(text.split()) / words_per_token) + 1 for text in texts]
    prefix_length = len(candidate_set.problem.question.split())
    tails = [[1] * length for length in sorted(lengths)]
    prefix = [1] * int(prefix_length / words_per_token + 1)
    problems.append(score_packing.Problem(prefix, tails))
  problems.sort(key=lambda each: len(each.tails[-1]))
  return problems


def count_positions(batch: list[score_packing.Problem]) -> dict[str, int]:
  """Returns the tokens of a batch and the positions that are computed for them."""
  longest = max(len(problem.tails[-1]) for problem in batch) + 1
  most = max(len(problem.tails) for problem in batch)
  round_up = resumable_output.round_up_to_power_of_two
  padded = score_packing.PaddedShape(score_packing.row_length(longest), 0)
  packed = 0
  for shape, _ in score_packing.iter_calls(batch, None, padded, 1):
    packed += shape.num_units(1) * shape.rows_per_unit * shape.length
  tokens = 0
  for problem in batch:
    for tail in problem.tails:
      tokens += score_packing.num_tokens(tail, None)
  padded = len(batch) * round_up(most, 4) * round_up(longest)
  return {'tokens': tokens, 'packed': packed, 'one row a text': padded}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--candidates', required=True)
  parser.add_argument('--words_per_token', type=float, default=0.75)
  parser.add_argument('--batch_size', type=int, default=16, help='problems')
  options = parser.parse_args()
  problems = make_problems(options.candidates, options.words_per_token)
  totals = {'tokens': 0, 'packed': 0, 'one row a text': 0}
  for start in range(0, len(problems), options.batch_size):
    counts = count_positions(problems[start : start + options.batch_size])
    for name, count in counts.items():
      totals[name] += count
  shares = {}
  for name in ('packed', 'one row a text'):
    shares[name] = round(1 - totals['tokens'] / totals[name], 4)
  print(json.dumps({'positions': totals, 'padded share': shares}, indent=1))


if __name__ == '__main__':
  main()
