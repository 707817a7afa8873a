"""Accuracy against mean N: the majority vote if sampling stops when the vote is decided.

section['adaptive'] = simulate_adaptive(candidate_sets)
made = make_adaptive_tables(section)
"""

from collections.abc import Sequence

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import stopping_rules
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.stored_numbers import (
  JsonObject,
  difference_from_json,
  estimate_from_json,
  to_json,
)

CONFIDENCES = (0.7, 0.8, 0.9, 0.95, 0.99)
TITLE = 'Accuracy against mean N'


def simulate_adaptive(
  candidate_sets: Sequence[CandidateSet],
) -> list[JsonObject]:
  """Returns an entry for each confidence of the Beta rule, and for all N; [] for one candidate.

  The rule is applied to the candidates of the file in their sampling order, so no other sample is
  needed.
  """
  if max(len(each.candidates) for each in candidate_sets) < 2:
    return []
  entries = []
  for point in stopping_rules.adaptive_curve(candidate_sets, CONFIDENCES):
    entries.append(
      {
        'confidence': point.confidence,
        'mean_candidates': point.mean_candidates,
        'stopped_share': point.stopped_share,
        'accuracy': to_json(point.accuracy),
        'difference': to_json(point.difference),
      }
    )
  return entries


def error_bound(entry: JsonObject) -> str:
  """Returns the name of an entry: the error bound of the rule, or 'all N'."""
  if entry['confidence'] == 1:
    return 'all N'
  return f'{1 - entry["confidence"]:.2g}'


def make_adaptive_tables(section: JsonObject) -> list[tables.Table]:
  """Returns a row for each confidence; an empty list if the file has one candidate a problem."""
  rows = []
  for entry in section.get('adaptive', []):
    rows.append(
      (
        error_bound(entry),
        f'{entry["mean_candidates"]:.1f}',
        f'{100 * entry["stopped_share"]:.0f}',
        tables.format_percent(estimate_from_json(entry['accuracy'])),
        tables.format_points(difference_from_json(entry['difference'])),
      )
    )
  if not rows:
    return []
  header = (
    'error bound',
    'mean N',
    'stopped early, %',
    'Maj1, %',
    'minus the vote of all N',
  )
  note = (
    'Sampling of a problem stops when the two largest clusters would change places with a '
    'probability of at most the error bound (Beta posterior). The rule reads answers, not labels. '
    'Intervals as in the other tables.'
  )
  return [tables.Table(TITLE, header, tuple(rows), note)]
