"""The paper's tables for one recipe run, and for several seeds, with the paper's numbers.

for table in make_paper_tables(results):
  print(tables.table_to_markdown(table))
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mathft_jax.data.schema import Candidate
from mathft_jax.evaluation import auc, rule_results, voting
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report import tables, training_curves
from mathft_jax.evaluation.report.paper_claims import (
  MAJORITY_ROW,
  MTSF_GROUP,
  PASS_N_ROW,
  REVERSED,
  SCR_GROUP,
  SHOWS,
  SSFT_GROUP,
  UNCLEAR,
  Finding,
  RecipeResults,
  check_paper_claims,
  display_name,
  reranked_rows,
)

Columns = dict[str, np.ndarray]  # row name -> values_P
GENERATOR_ROWS = (rule_results.GREEDY_ROW, MAJORITY_ROW, PASS_N_ROW)
FINDINGS_TITLE = 'What shows and what does not'
GROUPS = (SSFT_GROUP, SCR_GROUP, MTSF_GROUP)


def make_tables(runs: Mapping[int, RecipeResults]) -> list[tables.Table]:
  """Returns the tables of one run, or those of several seeds side by side."""
  if len(runs) > 1:
    return make_tables_over_seeds(runs)
  return make_paper_tables(*runs.values())


def make_paper_tables(results: RecipeResults) -> list[tables.Table]:
  """Returns tables of SSFT by style, SCR by evaluator, MTSF, curves, and the findings by group."""
  made = [_ssft_table(results)]
  if results.evaluators:
    made += [_scr_table(results), _auc_table(results)]
  if results.mtsf:
    made.append(_mtsf_table(results))
  if results.evaluators and results.mtsf:
    made.append(_mtsf_scr_table(results))
  if results.curves:
    made.append(training_curves.make_curves_table(results.curves))
  findings = check_paper_claims(results)
  for group in GROUPS:
    of_group = [finding for finding in findings if finding.group == group]
    if of_group:
      made.append(make_findings_table(of_group))
  return made


def make_tables_over_seeds(
  runs: Mapping[int, RecipeResults],
) -> list[tables.Table]:
  """Returns accuracies by seed, and the points and the verdict of each claim by seed.

  Args:
    runs: results by seed; rows and claims that not all seeds have are omitted.
  """
  seeds = list(runs)
  by_seed = [*map(accuracies_by_row, runs.values())]
  rows = {}
  for row in _in_all(by_seed):
    rows[row] = [accuracies[row] for accuracies in by_seed]
  made = [tables.make_seeds_table('Accuracies of whole runs', rows, seeds)]

  findings_by_seed = [*map(_findings_by_claim, runs.values())]
  body = []
  for claim in _in_all(findings_by_seed):
    body.append(_claim_row([findings[claim] for findings in findings_by_seed]))
  if body:
    header = ('a - b', *tables.seed_columns(seeds), 'mean', 'paper', 'shows in')
    note = (
      'Percentage points with the 95% paired bootstrap interval of each run. "shows in" counts '
      'the runs whose interval lies above zero with an adjusted p below 0.05 (Holm, over the '
      'claims of a table of that run); reversed: below zero; unclear: interval and p disagree. '
      '"paper" is PaLM 2-L on 500 problems.'
    )
    made.append(tables.Table(FINDINGS_TITLE, header, tuple(body), note))
  return made


def select_findings(made: Sequence[tables.Table]) -> list[tables.Table]:
  """Returns the part of the tables of what shows that fits on a terminal.

  It has the claims for which the paper has a number, and all that are reversed; the note counts the
  others by verdict.
  """
  found = []
  for table in made:
    if not table.title.startswith(FINDINGS_TITLE):
      continue
    paper = table.header.index('paper')
    kept, others = [], collections.Counter()
    for row in table.rows:
      if row[paper] != '-' or REVERSED in row[-1]:
        kept.append(row)
      else:
        others[row[-1]] += 1
    counts = [f'{verdict} {count}' for verdict, count in others.items()]
    note = (
      f'Without a number in the paper: {", ".join(counts)}.' if counts else ''
    )
    short = dataclasses.replace(table, rows=tuple(kept), note=note)
    found.append(tables.without_columns(short, ('p', 'p (Holm)')))
  return found


def accuracies_by_row(results: RecipeResults) -> dict[str, float]:
  """Returns the accuracy of everything evaluated, by 'model: row'."""
  models = {}
  for prefix, files in (
    ('few-shot {}', results.few_shot),
    ('SSFT {}', results.generators),
    ('SCR {}', results.evaluators),
    ('control, SCR {}', results.controls),
    ('MTSF {0}, SCR {0}', results.mtsf),
  ):
    models |= _named(prefix, files)
  accuracies = {}
  for model, file in models.items():
    for row, values_P in file.values().items():
      accuracies[f'{model}: {row}'] = float(np.mean(values_P))
  return accuracies


def _named(
  pattern: str, files: Mapping[str, EvaluatedFile]
) -> dict[str, EvaluatedFile]:
  """Returns the files under names made from a pattern and their keys (a style or a loss)."""
  return {
    pattern.format(display_name(key)): file for key, file in files.items()
  }


def _in_all(mappings: Sequence[Mapping[str, object]]) -> list[str]:
  """Returns the keys that all mappings have, in the order of the first."""
  keys = list(mappings[0])
  for mapping in mappings[1:]:
    keys = [key for key in keys if key in mapping]
  return keys


def _findings_by_claim(results: RecipeResults) -> dict[str, Finding]:
  return {finding.claim: finding for finding in check_paper_claims(results)}


def _claim_row(findings: Sequence[Finding]) -> tables.Row:
  """Returns one claim over the seeds."""
  verdicts = [finding.verdict for finding in findings]
  shows_in = f'{verdicts.count(SHOWS)} of {len(findings)}'
  for verdict in (REVERSED, UNCLEAR):
    if verdict in verdicts:
      shows_in += f' ({verdict} in {verdicts.count(verdict)})'
  points = [tables.format_points(finding.difference) for finding in findings]
  mean = np.mean([finding.difference.mean for finding in findings])
  return (
    findings[0].claim,
    *points,
    _signed(100 * float(mean)),
    _signed(findings[0].paper_points),
    shows_in,
  )


def _signed(points: float | None) -> str:
  return '-' if points is None else f'{points:+.1f}'


def make_findings_table(findings: Sequence[Finding]) -> tables.Table:
  """Returns a row per claim: points with interval, p, the paper's points, the verdict.

  Args:
    findings: of one group, which the title names.
  """
  body = []
  for finding in findings:
    body.append(
      (
        finding.claim,
        tables.format_points(finding.difference),
        tables.format_p_value(finding.difference.p_value),
        tables.format_p_value(finding.p_adjusted),
        _signed(finding.paper_points),
        finding.verdict,
      )
    )
  return tables.Table(
    f'{FINDINGS_TITLE}: {findings[0].group}',
    ('a - b', 'points', 'p', 'p (Holm)', 'paper', 'in this run'),
    tuple(body),
    'Paired on the same problems: bootstrap interval and exact McNemar test, plain and adjusted '
    'for the rows of this table. Shows: interval above zero and adjusted p below 0.05; reversed: '
    'below zero and the same; unclear: only one of both. "paper" is PaLM 2-L on 500 problems, '
    'where its own intervals are about +-4 points; - where it has no number.',
  )


def _ssft_table(results: RecipeResults) -> tables.Table:
  models = _named('pre-trained, few-shot {}', results.few_shot)
  models |= _named('SSFT {}', results.generators)
  title = 'SSFT: solution styles'
  return tables.make_accuracy_table(title, _select_all(models, GENERATOR_ROWS))


def _scr_table(results: RecipeResults) -> tables.Table:
  """Returns every rule on the same candidates, with each evaluator and with the controls."""
  rows = {}
  for loss, file in results.evaluators.items():
    rows[f'SCR {display_name(loss)}'] = _rule_columns(file)
  values = next(iter(results.evaluators.values())).values()
  rows["generator's log-prob"] = _with_suffix(values, ' by log-prob')
  control = results.scored_by_control
  if control is not None:
    columns = reranked_rows(control.values())
    rows["control's log-prob"] = _select(control, columns)
  rows['chance'] = _with_suffix(values, ' by chance')
  return tables.make_accuracy_table(
    f'SCR: candidates of SSFT {results.main_style}, re-ranked',
    {name: columns for name, columns in rows.items() if columns},
  )


def _log_prob_of(candidate: Candidate) -> float | None:
  return candidate.log_prob


def _auc_table(results: RecipeResults) -> tables.Table:
  """Returns how well each evaluator separates correct from incorrect candidates."""
  scorers = []
  for loss, file in results.evaluators.items():
    scorers.append((f'SCR {display_name(loss)}', file, voting.ranking_key))
  generator = next(iter(results.evaluators.values()))
  candidates = rule_results.all_candidates(generator.candidate_sets)
  if None not in map(_log_prob_of, candidates):
    scorers.append(("generator's log-prob", generator, _log_prob_of))
  if results.scored_by_control is not None:
    scorers.append(
      ("control's log-prob", results.scored_by_control, voting.ranking_key)
    )

  body = []
  for name, file, score in scorers:
    within = auc.mean_auc_within_problems(file.candidate_sets, score)
    pooled = auc.pooled_auc(file.candidate_sets, score)
    body.append(
      (
        name,
        tables.format_percent(within) if within else '-',
        tables.format_percent(pooled) if pooled else '-',
        str(within.n if within else 0),
      )
    )
  return tables.Table(
    'Evaluators: area under the ROC curve',
    ('', 'within a problem', 'pooled', 'n'),
    tuple(body),
    'In %; 50 is chance. Only the first column helps re-ranking; n '
    'problems with correct and incorrect candidates.',
  )


def _mtsf_table(results: RecipeResults) -> tables.Table:
  models = {'SSFT (start)': results.generators[results.main_style]}
  models |= _distinct_controls(results.controls)
  models |= _named('MTSF {}', results.mtsf)
  return tables.make_accuracy_table(
    'MTSF: one set of weights, SSFT -> SCR -> SSFT',
    _select_all(models, GENERATOR_ROWS),
  )


def _distinct_controls(
  controls: Mapping[str, EvaluatedFile],
) -> dict[str, EvaluatedFile]:
  """Returns one control if the losses share it (they have equal steps), else one per loss."""
  if not controls:
    return {}
  votes = [file.values()[MAJORITY_ROW] for file in controls.values()]
  if all(np.array_equal(values_P, votes[0]) for values_P in votes):
    return {'control of equal steps': next(iter(controls.values()))}
  return _named('control of equal steps ({})', controls)


def _mtsf_scr_table(results: RecipeResults) -> tables.Table:
  models = _named('SSFT + SCR {}', results.evaluators)
  models |= _named('control + SCR {}', results.controls)
  models |= _named('MTSF {0} + SCR {0}', results.mtsf)
  rows = {name: _rule_columns(file) for name, file in models.items()}
  return tables.make_accuracy_table(
    'MTSF + SCR: each generator re-ranked (not in the paper)', rows
  )


def _rule_columns(file: EvaluatedFile) -> Columns:
  """Returns the greedy row, the rules and the ceilings."""
  columns = {}
  for result in file.results:
    is_greedy = result.name == rule_results.GREEDY_ROW
    if is_greedy or result.kind in ('rule', 'ceiling'):
      columns[result.name] = result.values_P
  return columns


def _with_suffix(values: Mapping[str, np.ndarray], suffix: str) -> Columns:
  """Returns the rows whose name ends in the suffix, without it."""
  columns = {}
  for row, values_P in values.items():
    if row.endswith(suffix):
      columns[row.removesuffix(suffix)] = values_P
  return columns


def _select(file: EvaluatedFile, rows: Sequence[str]) -> Columns:
  values = file.values()
  return {row: values[row] for row in rows if row in values}


def _select_all(
  files: Mapping[str, EvaluatedFile], rows: Sequence[str]
) -> dict[str, Columns]:
  return {name: _select(file, rows) for name, file in files.items()}
