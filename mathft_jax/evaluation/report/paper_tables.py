"""The paper's tables for one run of the recipe, each finding with the paper's number beside it.

`findings` says for every claim of the paper whether it shows in this run: the interval of the
paired difference lies above zero (shows), below it (reversed), or holds zero (does not show).
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

import numpy as np

from mathft_jax.evaluation import auc, rule_results, statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.evaluated_file import EvaluatedFile

SHOWS, OPEN, REVERSED = 'shows', 'does not show', 'reversed'
MAJORITY, PASS_N, BY_LOG_PROB = 'Maj1@N', 'Pass@N', 'W.RR by log-prob'

# PaLM 2-L on MATH's 500 (2310.10047): percentage points, from its tables 2, 4, 6 and 7.
PAPER_DIFFERENCES = {
  ('style', rule_results.GREEDY_ROW): 34.8 - 32.8,
  ('style', MAJORITY): 54.2 - 49.2,
  ('scr', 'margin', 'RR.All'): 57.0 - 55.2,
  ('scr', 'xent', 'RR.All'): 56.8 - 55.2,
  ('scr', 'margin', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'xent', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'margin', 'W.RR'): 60.8 - 55.2,
  ('scr', 'xent', 'W.RR'): 60.8 - 55.2,
  ('mtsf', 'margin', rule_results.GREEDY_ROW): 37.6 - 35.6,
  ('mtsf', 'xent', rule_results.GREEDY_ROW): 36.2 - 35.6,
  ('mtsf', 'margin', MAJORITY): 57.2 - 55.2,
  ('mtsf', 'xent', MAJORITY): 56.6 - 55.2,
}


@dataclasses.dataclass(frozen=True)
class RecipeResults:
  """The test candidates of one run of the recipe, as `report.measure` reads them.

  Attributes:
    styles: by solution style, candidates of the generators fine-tuned once; not scored.
    style: the one that the evaluators judge and that MTSF goes on from.
    plain_style, fine_style: the two styles to compare; either may be missing.
    evaluators: by loss, candidates of `style`'s generator, scored by the evaluator of that loss.
      This and what follows may be empty: a part of the paper makes the tables that it can.
    by_control: the same candidates, scored by the likelihood under the control; None without.
    mtsf: by loss, candidates of the third stage's generator, scored by that loss's evaluator.
    controls: by loss, candidates of the generator trained for as many steps as MTSF but without an
      evaluator stage, scored by that loss's evaluator.
  """

  styles: Mapping[str, EvaluatedFile]
  style: str
  evaluators: Mapping[str, EvaluatedFile]
  mtsf: Mapping[str, EvaluatedFile]
  controls: Mapping[str, EvaluatedFile]
  by_control: EvaluatedFile | None = None
  plain_style: str = 'terse'
  fine_style: str = 'fine'


@dataclasses.dataclass(frozen=True)
class Finding:
  """One claim: the difference of two rows on the same problems, and the paper's, in points."""

  claim: str
  difference: statistics.PairedDifference
  paper: float | None

  @property
  def verdict(self) -> str:
    if self.difference.low > 0:
      return SHOWS
    return REVERSED if self.difference.high < 0 else OPEN


def make_paper_tables(found: RecipeResults) -> list[tables.Table]:
  """SSFT by style, SCR by loss, MTSF against its control, MTSF + SCR, and the findings."""
  made = [_ssft_table(found)]
  if found.evaluators:
    made += [_scr_table(found), _auc_table(found)]
  if found.mtsf:
    made.append(_mtsf_table(found))
  if found.evaluators and found.mtsf:
    made.append(_mtsf_scr_table(found))
  claims = check_paper_claims(found)
  return [*made, make_findings_table(claims)] if claims else made


def accuracies_by_model(found: RecipeResults) -> dict[str, dict[str, float]]:
  """{model: {row: accuracy}} of everything measured, for comparing whole runs."""
  models = {f'SSFT {style}': each for style, each in found.styles.items()}
  models |= {f'SCR {loss}': each for loss, each in found.evaluators.items()}
  models |= {
    f'control, SCR {loss}': each for loss, each in found.controls.items()
  }
  models |= {
    f'MTSF {loss}, SCR {loss}': each for loss, each in found.mtsf.items()
  }
  return {
    model: {
      row: float(np.mean(values_P)) for row, values_P in each.values().items()
    }
    for model, each in models.items()
  }


def check_paper_claims(found: RecipeResults) -> list[Finding]:
  """Each claim that this run has both sides of."""
  made = []
  for key, claim, a_P, b_P in _claims(found):
    difference = statistics.paired_difference(a_P, b_P)
    paper = PAPER_DIFFERENCES.get(key)
    made.append(Finding(claim, difference, paper))
  return made


def make_tables_over_seeds(
  runs: Mapping[int, RecipeResults],
) -> list[tables.Table]:
  """Whole runs side by side: accuracies, and each claim's points with its verdict by seed."""
  by_seed = {seed: accuracies_by_model(found) for seed, found in runs.items()}
  first = next(iter(by_seed.values()))
  rows = {
    f'{model}: {row}': [run[model][row] for run in by_seed.values()]
    for model, columns in first.items()
    for row in columns
    if all(row in run.get(model, {}) for run in by_seed.values())
  }
  made = {
    seed: {finding.claim: finding for finding in check_paper_claims(found)}
    for seed, found in runs.items()
  }
  claims = [
    claim
    for claim in next(iter(made.values()))
    if all(claim in each for each in made.values())
  ]
  body = tuple(
    _claim_row([each[claim] for each in made.values()]) for claim in claims
  )
  header = (
    'a - b',
    *(f'seed {seed}' for seed in runs),
    'mean',
    'paper',
    'shows in',
  )
  accuracies_table = tables.make_seeds_table(
    'Accuracies of whole runs', rows, list(runs)
  )
  if not claims:
    return [accuracies_table]
  return [
    accuracies_table,
    tables.Table(
      'What shows and what does not',
      header,
      body,
      'Percentage points with the 95% paired bootstrap interval of each run. "shows '
      'in" counts the runs whose interval lies above zero (below zero: reversed). '
      '"paper" is PaLM 2-L on 500 problems.',
    ),
  ]


def _claim_row(made: Sequence[Finding]) -> tuple[str, ...]:
  """One claim over the seeds."""
  verdicts = [finding.verdict for finding in made]
  shown = f'{verdicts.count(SHOWS)} of {len(made)}'
  if REVERSED in verdicts:
    shown += f' (reversed in {verdicts.count(REVERSED)})'
  mean = 100 * float(np.mean([finding.difference.mean for finding in made]))
  paper = made[0].paper
  return (
    made[0].claim,
    *(tables.format_points(finding.difference) for finding in made),
    f'{mean:+.1f}',
    '-' if paper is None else f'{paper:+.1f}',
    shown,
  )


def make_findings_table(made: Sequence[Finding]) -> tables.Table:
  """A row per claim: points with interval, p, the paper's points, the verdict."""
  rows = tuple(
    (
      finding.claim,
      tables.format_points(finding.difference),
      tables.format_p_value(finding.difference.p_value),
      '-' if finding.paper is None else f'{finding.paper:+.1f}',
      finding.verdict,
    )
    for finding in made
  )
  return tables.Table(
    'What shows and what does not',
    ('a - b', 'points', 'p', 'paper', 'in this run'),
    rows,
    'Paired on the same problems: bootstrap interval and exact McNemar test. "paper" is PaLM 2-L '
    'on 500 problems, where its own intervals are about +-4 points; - where it has no number.',
  )


def _claims(
  found: RecipeResults,
) -> Iterator[tuple[tuple[str, ...], str, np.ndarray, np.ndarray]]:
  """(key of PAPER_POINTS, claim, values of a, values of b)."""
  first = (rule_results.GREEDY_ROW, MAJORITY)
  if {found.fine_style, found.plain_style} <= set(found.styles):
    fine, plain = (
      found.styles[name].values()
      for name in (found.fine_style, found.plain_style)
    )
    for row in _both(first, fine, plain):
      yield (
        ('style', row),
        f'{row}: SSFT {found.fine_style} - SSFT {found.plain_style}',
        fine[row],
        plain[row],
      )
  for loss, each in found.evaluators.items():
    yield from _scr_claims(loss, each.values(), found.by_control)
  start = found.styles[found.style].values()
  for loss, each in found.mtsf.items():
    again = each.values()
    for row in _both(first, again, start):
      yield (
        ('mtsf', loss, row),
        f'{row}: MTSF {loss} - SSFT',
        again[row],
        start[row],
      )
    control = found.controls[loss].values() if loss in found.controls else {}
    for row in _both((*first, *_reranked(again)), again, control):
      yield (
        ('control', loss, row),
        f'{row}: MTSF {loss} - control of equal steps',
        again[row],
        control[row],
      )


def _scr_claims(
  loss: str, values: Mapping[str, np.ndarray], by_control: EvaluatedFile | None
):
  """Re-ranking against the vote, and against what log-probabilities already know."""
  for row in _reranked(values):
    yield (
      ('scr', loss, row),
      f'{row} by {loss} - Maj1',
      values[row],
      values[MAJORITY],
    )
  if BY_LOG_PROB in values:
    yield (
      ('log-prob', loss),
      f"W.RR by {loss} - W.RR by the generator's log-prob",
      values['W.RR'],
      values[BY_LOG_PROB],
    )
  if by_control is not None:
    yield (
      ('control log-prob', loss),
      f"W.RR by {loss} - W.RR by the control's log-prob",
      values['W.RR'],
      by_control.values()['W.RR'],
    )


def _ssft_table(found: RecipeResults) -> tables.Table:
  rows = {
    f'SSFT {style}': _columns(each, (rule_results.GREEDY_ROW, MAJORITY, PASS_N))
    for style, each in found.styles.items()
  }
  return tables.make_accuracy_table('SSFT: solution styles', rows)


def _scr_table(found: RecipeResults) -> tables.Table:
  """Every rule on the same candidates, under each evaluator and under the controls."""
  rows = {
    f'evaluator, {loss}': _all_columns(each)
    for loss, each in found.evaluators.items()
  }
  values = next(iter(found.evaluators.values())).values()
  rows["generator's log-prob"] = {
    row.removesuffix(' by log-prob'): values[row]
    for row in values
    if 'by log-prob' in row
  }
  if found.by_control is not None:
    rows["control's log-prob"] = _columns(
      found.by_control, _reranked(found.by_control.values())
    )
  rows['chance'] = {
    row.removesuffix(' by chance'): values[row]
    for row in values
    if 'by chance' in row
  }
  return tables.make_accuracy_table(
    f'SCR: candidates of SSFT {found.style}, re-ranked',
    {name: columns for name, columns in rows.items() if columns},
  )


def _auc_table(found: RecipeResults) -> tables.Table:
  """How well each evaluator tells correct from incorrect, within a problem and pooled."""
  scorers = {
    f'evaluator, {loss}': (each, lambda c: c.score)
    for loss, each in found.evaluators.items()
  }
  generator = next(iter(found.evaluators.values()))
  if all(
    c.log_prob is not None
    for s in generator.candidate_sets
    for c in s.candidates
  ):
    scorers["generator's log-prob"] = (generator, lambda c: c.log_prob)
  if found.by_control is not None:
    scorers["control's log-prob"] = (found.by_control, lambda c: c.score)
  rows = []
  for name, (each, score) in scorers.items():
    within = auc.mean_auc_within_problems(each.candidate_sets, score)
    pooled = auc.pooled_auc(each.candidate_sets, score)
    rows.append(
      (
        name,
        *(
          tables.format_percent(value) if value else '-'
          for value in (within, pooled)
        ),
        str(within.n if within else 0),
      )
    )
  return tables.Table(
    'Evaluators: area under the ROC curve',
    ('', 'within a problem', 'pooled', 'n'),
    tuple(rows),
    'In %; 50 is chance. Only the first column helps re-ranking; n '
    'problems with correct and incorrect candidates.',
  )


def _mtsf_table(found: RecipeResults) -> tables.Table:
  models = {'SSFT (start)': found.styles[found.style]}
  models |= _distinct_controls(found)
  models |= {f'MTSF {loss}': each for loss, each in found.mtsf.items()}
  rows = {
    name: _columns(each, (rule_results.GREEDY_ROW, MAJORITY, PASS_N))
    for name, each in models.items()
  }
  return tables.make_accuracy_table(
    'MTSF: one set of weights, SSFT -> SCR -> SSFT', rows
  )


def _distinct_controls(found: RecipeResults) -> dict[str, EvaluatedFile]:
  """The control's candidates once, where losses of equal steps share one control."""
  if not found.controls:
    return {}
  first = next(iter(found.controls.values()))
  if all(
    np.array_equal(each.values()[MAJORITY], first.values()[MAJORITY])
    for each in found.controls.values()
  ):
    return {'control of equal steps': first}
  return {
    f'control of equal steps ({loss})': each
    for loss, each in found.controls.items()
  }


def _mtsf_scr_table(found: RecipeResults) -> tables.Table:
  models = {
    f'SSFT + SCR {loss}': each for loss, each in found.evaluators.items()
  }
  models |= {
    f'control + SCR {loss}': each for loss, each in found.controls.items()
  }
  models |= {
    f'MTSF {loss} + SCR {loss}': each for loss, each in found.mtsf.items()
  }
  rows = {name: _all_columns(each) for name, each in models.items()}
  return tables.make_accuracy_table(
    'MTSF + SCR: each generator re-ranked (not in the paper)', rows
  )


def _all_columns(each: EvaluatedFile) -> dict[str, np.ndarray]:
  return {
    row.name: row.values_P
    for row in each.results
    if row.kind in ('rule', 'ceiling') or row.name == rule_results.GREEDY_ROW
  }


def _columns(
  each: EvaluatedFile, wanted: Sequence[str]
) -> dict[str, np.ndarray]:
  return {row: each.values()[row] for row in wanted if row in each.values()}


def _reranked(values: Mapping[str, np.ndarray]) -> list[str]:
  """The rows of RR and W.RR by the evaluator, in their order."""
  return [
    row
    for row in values
    if row.startswith(('RR.', 'W.RR')) and ' by ' not in row
  ]


def _both(
  rows: Sequence[str], a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> list[str]:
  return [row for row in rows if row in a and row in b]
