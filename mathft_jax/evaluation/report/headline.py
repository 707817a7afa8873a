"""What a report says first: what was measured, the accuracies, and what is wrong with the samples.

  for figure in headline_figures(section):
    print(figure.label, figure.value, figure.interval)

Shares of candidates without an answer, or cut at the length limit, bound every accuracy, so they
are figures like the accuracies.
"""

from collections.abc import Mapping
import dataclasses

from mathft_jax.data import answer_shares
from mathft_jax.evaluation.report.stored_numbers import JsonObject

MAX_CUT = 0.05  # a larger share of cut candidates is marked
# The first row that exists is shown, from each of these prefixes.
_SHOWN_ROWS = (
  ('Pass@1 (greedy)', 'Pass@1'),
  ('Maj1@N',),
  ('RR.Top-', 'RR.All'),
  ('W.RR',),
  ('Pass@N',),
)


@dataclasses.dataclass(frozen=True)
class RunDescription:
  """Which run a report is about.

  Attributes:
    title: title of the page.
    facts: what is known of the run by name: candidate file, generator, evaluator, problems.
    paths: the whole path of each fact that is a shortened one, relative to the folder of the
      report, so that equal runs have equal reports in any folder.
  """

  title: str
  facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  paths: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Figure:
  """One number of the headline.

  Attributes:
    label: the row of the table, or a share of the candidates.
    value: in percent, such as '56.3%'.
    interval: '[53.6, 58.9]', or an explanation.
    is_warning: whether the share is unusually large.
  """

  label: str
  value: str
  interval: str = ''
  is_warning: bool = False


def headline_figures(section: JsonObject) -> list[Figure]:
  """Returns the main accuracies of a file, and the shares without answer and cut."""
  figures = []
  for prefixes in _SHOWN_ROWS:
    entry = _first_row(section, prefixes)
    if entry:
      interval = f'[{100 * entry["low"]:.1f}, {100 * entry["high"]:.1f}]'
      label = with_sample_count(entry['name'], section)
      figures.append(Figure(label, f'{100 * entry["mean"]:.1f}%', interval))
  return [*figures, *_sample_figures(section['statistics'])]


def _first_row(
  section: JsonObject, prefixes: tuple[str, ...]
) -> JsonObject | None:
  for prefix in prefixes:
    for entry in section['accuracies']:
      if entry['name'].startswith(prefix) and entry['kind'] != 'control':
        return entry
  return None


def _sample_figures(statistics: JsonObject) -> list[Figure]:
  unanswered = 1 - statistics['answered']
  figures = [
    Figure(
      'no answer found',
      f'{unanswered:.1%}',
      'of the candidates',
      unanswered > answer_shares.MAX_WITHOUT_ANSWER,
    )
  ]
  finished = statistics['finished']
  if finished is None:
    figures.append(Figure('cut at the length limit', '?', 'not recorded'))
  else:
    cut = 1 - finished
    figures.append(
      Figure(
        'cut at the length limit',
        f'{cut:.1%}',
        'of the candidates',
        cut > MAX_CUT,
      )
    )
  return figures


def format_sample_size(section: JsonObject) -> str:
  """Returns `500 problems x 64 candidates`."""
  problems = section['statistics']['problems']
  return f'{problems:,} problems x {_sample_count(section)} candidates'


def with_sample_count(name: str, section: JsonObject) -> str:
  """Returns the row's name with the number of candidates for N, as in the paper: Maj1@64."""
  return name.replace('@N', f'@{_sample_count(section)}')


def _sample_count(section: JsonObject) -> str:
  low = section['statistics']['candidates_per_problem_min']
  high = section['statistics']['candidates_per_problem_max']
  return str(low) if low == high else f'{low}-{high}'
