"""The claims of the paper, tested on the candidates of one recipe run.

  for finding in check_paper_claims(results):
    print(finding.claim, finding.difference.mean, finding.paper_points, finding.verdict)

A claim is a difference between two rows of the tables on the same problems. It `shows` if the
interval of the paired difference is above zero, is `reversed` if it is below, and otherwise
`does not show`.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mathft_jax.evaluation import rule_results, statistics
from mathft_jax.evaluation.evaluated_file import EvaluatedFile

SHOWS, DOES_NOT_SHOW, REVERSED = 'shows', 'does not show', 'reversed'
MAJORITY_ROW, PASS_N_ROW = 'Maj1@N', 'Pass@N'
WEIGHTED_VOTE_ROW = 'W.RR'
LOG_PROB_VOTE_ROW = 'W.RR by log-prob'
UNSCORED_ROWS = (rule_results.GREEDY_ROW, MAJORITY_ROW)

# PaLM 2-L on MATH's 500 (2310.10047): percentage points, from its tables 2, 4, 6 and 7.
PAPER_DIFFERENCES = {
  ('style', rule_results.GREEDY_ROW): 34.8 - 32.8,
  ('style', MAJORITY_ROW): 54.2 - 49.2,
  ('scr', 'margin', 'RR.All'): 57.0 - 55.2,
  ('scr', 'xent', 'RR.All'): 56.8 - 55.2,
  ('scr', 'margin', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'xent', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'margin', WEIGHTED_VOTE_ROW): 60.8 - 55.2,
  ('scr', 'xent', WEIGHTED_VOTE_ROW): 60.8 - 55.2,
  ('mtsf', 'margin', rule_results.GREEDY_ROW): 37.6 - 35.6,
  ('mtsf', 'xent', rule_results.GREEDY_ROW): 36.2 - 35.6,
  ('mtsf', 'margin', MAJORITY_ROW): 57.2 - 55.2,
  ('mtsf', 'xent', MAJORITY_ROW): 56.6 - 55.2,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeResults:
  """The evaluated test candidates of one recipe run.

  If only a part of the paper was run, `evaluators` and the fields after it may be empty; the tables
  then contain what is there.

  Attributes:
    generators: by solution style, candidates of the generators of the first stage, without scores.
    main_style: the style whose generator the evaluators judge and MTSF continues.
    plain_style, fine_style: the two styles to compare; either may be missing.
    evaluators: by loss, candidates of the main style's generator, scored by that loss's evaluator.
    mtsf: by loss, candidates of the third stage's generator, scored by that loss's evaluator.
    controls: by loss, candidates of the generator trained for as many steps as MTSF but without an
      evaluator stage, scored by that loss's evaluator.
    scored_by_control: candidates of the main style's generator, scored by their likelihood under
      the control; None without a control.
  """

  generators: Mapping[str, EvaluatedFile]
  main_style: str
  plain_style: str = 'terse'
  fine_style: str = 'fine'
  evaluators: Mapping[str, EvaluatedFile]
  mtsf: Mapping[str, EvaluatedFile]
  controls: Mapping[str, EvaluatedFile]
  scored_by_control: EvaluatedFile | None = None


@dataclasses.dataclass(frozen=True)
class Finding:
  """The test of one claim: the difference a - b on the same problems, and the paper's.

  Attributes:
    claim: the text 'row: a - b'.
    difference: the paired difference, in shares.
    paper_points: the paper's difference in percentage points; None if it has none.
  """

  claim: str
  difference: statistics.PairedDifference
  paper_points: float | None

  @property
  def verdict(self) -> str:
    if self.difference.low > 0:
      return SHOWS
    return REVERSED if self.difference.high < 0 else DOES_NOT_SHOW


def check_paper_claims(results: RecipeResults) -> list[Finding]:
  """Returns a finding for each claim that this run has both sides of."""
  findings = _style_findings(results)
  for loss, file in results.evaluators.items():
    findings += _scr_findings(loss, file.values(), results.scored_by_control)
  for loss in results.mtsf:
    findings += _mtsf_findings(loss, results)
  return findings


def _style_findings(results: RecipeResults) -> list[Finding]:
  """Fine-grained solutions against terse ones."""
  fine, plain = results.fine_style, results.plain_style
  if fine not in results.generators or plain not in results.generators:
    return []
  return _compare_rows(
    UNSCORED_ROWS,
    results.generators[fine].values(),
    results.generators[plain].values(),
    f'SSFT {fine} - SSFT {plain}',
    ('style',),
  )


def _scr_findings(
  loss: str,
  values: Mapping[str, np.ndarray],
  scored_by_control: EvaluatedFile | None,
) -> list[Finding]:
  """Re-ranking against the majority vote, and against votes weighted by log-probabilities."""
  findings = []
  for row in reranked_rows(values):
    claim = f'{row} by {loss} - Maj1'
    key = ('scr', loss, row)
    findings.append(_finding(claim, values[row], values[MAJORITY_ROW], key))

  claim = f'{WEIGHTED_VOTE_ROW} by {loss} - {WEIGHTED_VOTE_ROW} by the'
  if LOG_PROB_VOTE_ROW in values:
    findings.append(
      _finding(
        f"{claim} generator's log-prob",
        values[WEIGHTED_VOTE_ROW],
        values[LOG_PROB_VOTE_ROW],
      )
    )
  if scored_by_control is not None:
    findings.append(
      _finding(
        f"{claim} control's log-prob",
        values[WEIGHTED_VOTE_ROW],
        scored_by_control.values()[WEIGHTED_VOTE_ROW],
      )
    )
  return findings


def _mtsf_findings(loss: str, results: RecipeResults) -> list[Finding]:
  """MTSF against the first stage, and against the control of equal steps."""
  mtsf = results.mtsf[loss].values()
  findings = _compare_rows(
    UNSCORED_ROWS,
    mtsf,
    results.generators[results.main_style].values(),
    f'MTSF {loss} - SSFT',
    ('mtsf', loss),
  )
  if loss in results.controls:
    findings += _compare_rows(
      (*UNSCORED_ROWS, *reranked_rows(mtsf)),
      mtsf,
      results.controls[loss].values(),
      f'MTSF {loss} - control of equal steps',
      ('control', loss),
    )
  return findings


def _compare_rows(
  rows: Sequence[str],
  a: Mapping[str, np.ndarray],
  b: Mapping[str, np.ndarray],
  sides: str,
  key: tuple[str, ...],
) -> list[Finding]:
  """Returns a finding for each row that both sides have."""
  findings = []
  for row in rows:
    if row in a and row in b:
      findings.append(_finding(f'{row}: {sides}', a[row], b[row], (*key, row)))
  return findings


def _finding(
  claim: str, a_P: np.ndarray, b_P: np.ndarray, key: tuple[str, ...] = ()
) -> Finding:
  """Returns the finding; `key` is that of PAPER_DIFFERENCES."""
  difference = statistics.paired_difference(a_P, b_P)
  return Finding(claim, difference, PAPER_DIFFERENCES.get(key))


def reranked_rows(values: Mapping[str, np.ndarray]) -> list[str]:
  """Returns the names of the rows of RR and W.RR by the evaluator, in their order."""
  rows = []
  for row in values:
    if row.startswith(('RR.', 'W.RR')) and ' by ' not in row:
      rows.append(row)
  return rows
