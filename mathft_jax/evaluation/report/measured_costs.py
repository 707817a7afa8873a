"""Accuracy against measured seconds in a report.

section['cost'] = describe_cost(stage_cost.read_costs_of_file(path), section)
made = make_cost_tables(section)

table = make_stage_table('runs/tiny')
"""

from collections.abc import Mapping
import dataclasses

from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.stored_numbers import JsonObject
from mathft_jax.monitoring.stage_cost import StageCost

TITLE = 'Accuracy against measured seconds'


def describe_cost(
  costs: Mapping[str, StageCost], section: JsonObject
) -> JsonObject | None:
  """Returns the cost of a candidate file; None if the cost of sampling is not known.

  Args:
    costs: by program, of `stage_cost.read_costs_of_file`.
    section: the other numbers of the file, as in report.json.

  Returns:
    `stages`: the stage costs; `by_k` and `by_top_clusters`: seconds a problem with k samples, and
    with the K largest clusters scored. The measured seconds, without compilation, are scaled by the
    share of the samples and of the scored candidates.
  """
  if 'sample' not in costs:
    return None
  problems = section['statistics']['problems']
  sampling = _running_seconds(costs['sample']) / problems
  scoring = 0.0
  if 'score' in costs:
    scoring = _running_seconds(costs['score']) / problems

  ks = section['curves']['k']
  by_k = []
  for k in ks:
    share = k / ks[-1]
    by_k.append(
      {
        'k': k,
        'sampling_s': _rounded(sampling * share),
        'scoring_s': _rounded(scoring * share),
      }
    )
  return {
    'stages': {name: dataclasses.asdict(each) for name, each in costs.items()},
    'by_k': by_k,
    'by_top_clusters': _by_top_clusters(section, sampling, scoring),
  }


def _by_top_clusters(
  section: JsonObject, sampling: float, scoring: float
) -> list[JsonObject]:
  """Returns the seconds a problem for each K; the scored share is that of the largest scored K."""
  entries = section['top_clusters']
  scored = [each for each in entries if each['RR.Top-K']]
  if not scored or not scoring:
    return []
  largest = max(each['share'] for each in scored)
  by_top_clusters = []
  for each in scored:
    share = each['share'] / largest
    by_top_clusters.append(
      {
        'top_clusters': each['top_clusters'],
        'sampling_s': _rounded(sampling),
        'scoring_s': _rounded(scoring * share),
      }
    )
  return by_top_clusters


def make_cost_tables(section: JsonObject) -> list[tables.Table]:
  """Returns the table of accuracy against seconds; none if the cost is not known."""
  cost = section.get('cost')
  if not cost:
    return []
  curves = section['curves']
  body = []
  for index, entry in enumerate(cost['by_k']):
    for rule in ('Maj1@N', 'RR.All', 'W.RR'):
      if rule not in curves['rules']:
        continue
      mean = curves['rules'][rule]['mean'][index]
      seconds = entry['sampling_s']
      if rule != 'Maj1@N':
        seconds += entry['scoring_s']
      name = f'{rule.replace("@N", "@k")}, k = {entry["k"]}'
      body.append((seconds, name, f'{100 * mean:.1f}'))
  accuracies = {each['top_clusters']: each for each in section['top_clusters']}
  for entry in cost['by_top_clusters']:
    found = accuracies[entry['top_clusters']]
    seconds = entry['sampling_s'] + entry['scoring_s']
    for rule in ('RR.Top-K', 'W.RR.Top-K'):
      if found[rule]:
        name = f'{rule}, K = {entry["top_clusters"]}'
        body.append((seconds, name, f'{100 * found[rule]["mean"]:.1f}'))
  if not body:
    return []
  body.sort()
  rows = []
  for seconds, name, accuracy in body:
    rows.append((name, f'{seconds:.3g}', accuracy))
  header = ('', 'seconds a problem', 'accuracy, %')
  return [tables.Table(TITLE, header, tuple(rows), _note(cost))]


def _note(cost: JsonObject) -> str:
  parts = []
  for program, stage in cost['stages'].items():
    text = f'{program} {stage["seconds"]:.1f} s'
    if stage['num_devices']:
      text += (
        f' ({stage["compile_seconds"]:.1f} s compilation) on {stage["num_devices"]} x '
        f'{stage["device_kind"]}'
      )
    parts.append(text)
  return (
    f'Measured: {", ".join(parts)}. Rows scale the seconds without compilation by the share of the '
    'samples and of the scored candidates.'
  )


def _running_seconds(cost: StageCost) -> float:
  return max(cost.seconds - cost.compile_seconds, 0.0)


def _rounded(seconds: float) -> float:
  return float(f'{seconds:.6g}')
