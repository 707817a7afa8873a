"""The claims of the paper, tested on the candidates of one recipe run.

  for finding in check_paper_claims(results):
    print(finding.claim, finding.difference.mean, finding.paper_points, finding.verdict)

A claim is a difference between two rows of the tables on the same problems. It `shows` if the
interval of the paired difference is above zero, and it is `reversed` if it is below; in both cases
the p-value, adjusted for all claims of the group (Holm), must be below 0.05. If only one
of interval and adjusted p-value excludes zero, it is `unclear`. Otherwise it `does not show`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re

import numpy as np

from mathft_jax.evaluation import rule_results, statistics
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report.training_curves import TrainingCurve

SHOWS, DOES_NOT_SHOW = 'shows', 'does not show'
REVERSED, UNCLEAR = 'reversed', 'unclear'
SIGNIFICANCE = 0.05  # of the adjusted p-value
SSFT_GROUP, SCR_GROUP, MTSF_GROUP = 'SSFT and few-shot', 'SCR', 'MTSF'
MAJORITY_ROW, PASS_N_ROW = 'Maj1@N', 'Pass@N'
WEIGHTED_VOTE_ROW = 'W.RR'
RERANK_ROW = 'RR.All'
TOP_ROW = re.compile(r'RR\.Top-\d+')
LOG_PROB_VOTE_ROW = 'W.RR by log-prob'
UNSCORED_ROWS = (rule_results.GREEDY_ROW, MAJORITY_ROW)

# PaLM 2-L on MATH's 500 (2310.10047): percentage points, tables 2, 4, 6 and 7. An evaluator
# is 'margin' or 'xent'; variants that the paper does not have ('margin_mixed') have no number.
PAPER_DIFFERENCES = {
  ('few_shot', 'plain', rule_results.GREEDY_ROW): 35.6 - 33.4,
  ('few_shot', 'plain', MAJORITY_ROW): 55.2 - 47.6,
  ('few_shot', 'fine', rule_results.GREEDY_ROW): 35.6 - 31.4,
  ('few_shot', 'fine', MAJORITY_ROW): 55.2 - 47.2,
  ('headline', 'plain', 'margin', 'RR.Top-8'): 58.8 - 47.6,
  ('headline', 'plain', 'xent', 'RR.Top-8'): 58.8 - 47.6,
  ('headline', 'fine', 'margin', 'RR.Top-8'): 58.8 - 47.2,
  ('headline', 'fine', 'xent', 'RR.Top-8'): 58.8 - 47.2,
  ('style', rule_results.GREEDY_ROW): 34.8 - 32.8,
  ('style', MAJORITY_ROW): 54.2 - 49.2,
  ('scr', 'margin', 'RR.All'): 57.0 - 55.2,
  ('scr', 'xent', 'RR.All'): 56.8 - 55.2,
  ('scr', 'margin', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'xent', 'RR.Top-8'): 58.8 - 55.2,
  ('scr', 'margin', WEIGHTED_VOTE_ROW): 60.8 - 55.2,
  ('scr', 'xent', WEIGHTED_VOTE_ROW): 60.8 - 55.2,
  ('scr', 'margin', 'RR.Top-8', RERANK_ROW): 58.8 - 57.0,
  ('scr', 'xent', 'RR.Top-8', RERANK_ROW): 58.8 - 56.8,
  ('scr', 'margin', WEIGHTED_VOTE_ROW, RERANK_ROW): 60.8 - 57.0,
  ('scr', 'xent', WEIGHTED_VOTE_ROW, RERANK_ROW): 60.8 - 56.8,
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
    few_shot: by style of the demonstrations, candidates of the pre-trained model.
    curves: of the training runs that evaluated the validation split.
    evaluators: by name (a loss and perhaps its variant), candidates of the main style's generator,
      scored by that evaluator.
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
  few_shot: Mapping[str, EvaluatedFile] = dataclasses.field(
    default_factory=dict
  )
  curves: Sequence[TrainingCurve] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
  """The test of one claim: the difference a - b on the same problems, and the paper's.

  Attributes:
    claim: the text 'row: a - b'.
    group: the table of the claim; its p-values are adjusted together.
    difference: the paired difference, in shares.
    paper_points: the paper's difference in percentage points; None if it has none.
    p_adjusted: p of the difference, adjusted for the claims of the group.
  """

  claim: str
  group: str
  difference: statistics.PairedDifference
  paper_points: float | None
  p_adjusted: float

  @property
  def verdict(self) -> str:
    excludes_zero = self.difference.low > 0 or self.difference.high < 0
    is_significant = self.p_adjusted < SIGNIFICANCE
    if excludes_zero != is_significant:
      return UNCLEAR
    if not excludes_zero:
      return DOES_NOT_SHOW
    return SHOWS if self.difference.low > 0 else REVERSED


@dataclasses.dataclass(frozen=True)
class _Claim:
  """A claim before its test: values of both sides, and its key in PAPER_DIFFERENCES."""

  text: str
  a_P: np.ndarray
  b_P: np.ndarray
  key: tuple[str, ...] = ()


def display_name(name: str) -> str:
  """Returns the name of an evaluator or style in the tables: 'xent words' for 'xent_words'."""
  return name.replace('_', ' ')


def check_paper_claims(results: RecipeResults) -> list[Finding]:
  """Returns a finding for each claim that this run has both sides of."""
  scr_claims, mtsf_claims = [], []
  for loss, file in results.evaluators.items():
    scr_claims += _scr_claims(loss, file.values(), results.scored_by_control)
  for loss in results.mtsf:
    mtsf_claims += _mtsf_claims(loss, results)
  ssft_claims = _style_claims(results) + _few_shot_claims(results)
  return [
    *_test_claims(SSFT_GROUP, ssft_claims),
    *_test_claims(SCR_GROUP, scr_claims),
    *_test_claims(MTSF_GROUP, mtsf_claims),
  ]


def _test_claims(group: str, claims: Sequence[_Claim]) -> list[Finding]:
  """Returns the findings of one group, with p-values adjusted for all of its claims."""
  differences, p_values = [], []
  for claim in claims:
    difference = statistics.paired_difference(claim.a_P, claim.b_P)
    differences.append(difference)
    p_values.append(difference.p_value)
  findings = []
  adjusted = statistics.holm_adjusted_p_values(p_values)
  for claim, difference, p in zip(claims, differences, adjusted):
    paper_points = PAPER_DIFFERENCES.get(claim.key)
    findings.append(Finding(claim.text, group, difference, paper_points, p))
  return findings


def _style_claims(results: RecipeResults) -> list[_Claim]:
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


def _few_shot_claims(results: RecipeResults) -> list[_Claim]:
  """The tuned model against the pre-trained one with demonstrations: the paper's headline."""
  claims = []
  tuned = results.generators[results.main_style].values()
  for style, file in results.few_shot.items():
    few_shot = file.values()
    name = f'few-shot {display_name(style)}'
    kind = 'fine' if style == results.fine_style else 'plain'
    claims += _compare_rows(
      UNSCORED_ROWS,
      tuned,
      few_shot,
      f'SSFT {display_name(results.main_style)} - {name}',
      ('few_shot', kind),
    )
    for loss, scored in results.evaluators.items():
      values = scored.values()
      top_rows = [row for row in values if TOP_ROW.fullmatch(row)]
      if top_rows:
        row = max(top_rows, key=_top_clusters)
        text = f'SCR {display_name(loss)} {row} - {name} {MAJORITY_ROW}'
        key = ('headline', kind, loss, row)
        claims.append(_Claim(text, values[row], few_shot[MAJORITY_ROW], key))
  return claims


def _top_clusters(row: str) -> int:
  """Returns K of a row 'RR.Top-K'."""
  return int(row.removeprefix('RR.Top-'))


def _scr_claims(
  loss: str,
  values: Mapping[str, np.ndarray],
  scored_by_control: EvaluatedFile | None,
) -> list[_Claim]:
  """Re-ranking against the vote, and both together against re-ranking alone.

  Also against votes weighted by log-probabilities.
  """
  claims = []
  name = display_name(loss)
  rows = reranked_rows(values)
  for row in rows:
    text = f'{row} by {name} - Maj1'
    key = ('scr', loss, row)
    claims.append(_Claim(text, values[row], values[MAJORITY_ROW], key))
  for row in rows:
    if row != RERANK_ROW and RERANK_ROW in values:
      text = f'{row} by {name} - {RERANK_ROW} by {name}'
      key = ('scr', loss, row, RERANK_ROW)
      claims.append(_Claim(text, values[row], values[RERANK_ROW], key))

  text = f'{WEIGHTED_VOTE_ROW} by {name} - {WEIGHTED_VOTE_ROW} by the'
  if WEIGHTED_VOTE_ROW in values and LOG_PROB_VOTE_ROW in values:
    claims.append(
      _Claim(
        f"{text} generator's log-prob",
        values[WEIGHTED_VOTE_ROW],
        values[LOG_PROB_VOTE_ROW],
      )
    )
  if WEIGHTED_VOTE_ROW in values and scored_by_control is not None:
    claims.append(
      _Claim(
        f"{text} control's log-prob",
        values[WEIGHTED_VOTE_ROW],
        scored_by_control.values()[WEIGHTED_VOTE_ROW],
      )
    )
  return claims


def _mtsf_claims(loss: str, results: RecipeResults) -> list[_Claim]:
  """MTSF against the first stage, and against the control of equal steps."""
  mtsf = results.mtsf[loss].values()
  name = display_name(loss)
  claims = _compare_rows(
    UNSCORED_ROWS,
    mtsf,
    results.generators[results.main_style].values(),
    f'MTSF {name} - SSFT',
    ('mtsf', loss),
  )
  if loss in results.controls:
    claims += _compare_rows(
      (*UNSCORED_ROWS, RERANK_ROW, WEIGHTED_VOTE_ROW),
      mtsf,
      results.controls[loss].values(),
      f'MTSF {name} - control of equal steps',
      ('control', loss),
    )
  return claims


def _compare_rows(
  rows: Sequence[str],
  a: Mapping[str, np.ndarray],
  b: Mapping[str, np.ndarray],
  sides: str,
  key: tuple[str, ...],
) -> list[_Claim]:
  """Returns a claim for each row that both sides have."""
  claims = []
  for row in rows:
    if row in a and row in b:
      claims.append(_Claim(f'{row}: {sides}', a[row], b[row], (*key, row)))
  return claims


def reranked_rows(values: Mapping[str, np.ndarray]) -> list[str]:
  """Returns the names of the rows of RR and W.RR by the evaluator, in their order."""
  rows = []
  for row in values:
    if row.startswith(('RR.', 'W.RR')) and ' by ' not in row:
      rows.append(row)
  return rows
