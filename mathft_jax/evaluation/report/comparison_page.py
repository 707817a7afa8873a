"""Files that compare the reports of several runs: tables, one HTML page, and its browser.

  write_comparison('runs/comparison', 'margin', compare_reports(folders))

Writes comparison.md, comparison.json and comparison.html. If the runs have candidate browsers,
candidates.html shows the candidates of all runs; counts of problems gained and lost link to it.
"""

from collections.abc import Mapping, Sequence
import json

from etils import epath

from mathft_jax.evaluation import sweep_comparison
from mathft_jax.evaluation.report import (
  candidate_pages,
  page,
  plots_of_files,
  rendering,
  tables,
)
from mathft_jax.evaluation.report.headline import RunDescription
from mathft_jax.evaluation.report.stored_numbers import JsonObject, to_json
from mathft_jax.evaluation.sweep_comparison import (
  ProblemChanges,
  ReportComparison,
  ReportFile,
)
from mathft_jax.storage import local_and_remote_paths

PAGE = 'comparison.html'
MAX_IDS = 500  # ids of problems that the page lists for a run and rule


def write_comparison(
  workdir: epath.PathLike,
  title: str,
  comparisons: Sequence[ReportComparison],
  record: Mapping[str, object] | None = None,
  notes: Sequence[str] = (),
) -> list[tables.Table]:
  """Writes all files of a comparison and returns its tables.

  Args:
    workdir: folder of the comparison.
    title: what is compared.
    comparisons: one for each report that the runs have.
    record: further fields of comparison.json.
    notes: sentences at the top of the page and at the end of comparison.md.
  """
  folder = epath.Path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  made = []
  for comparison in comparisons:
    made += sweep_comparison.make_comparison_tables(title, comparison)
  lines = [*map(tables.table_to_markdown, made)]
  lines += [f'{tables.escape_markdown(note)}\n' for note in notes]
  (folder / 'comparison.md').write_text('\n'.join(lines))

  sources = _browser_sources(folder, comparisons)
  if sources:
    candidate_pages.write_browser_page(folder, title, sources, PAGE)
  browser_page = candidate_pages.PAGE if sources else None
  html = render_comparison(title, folder, comparisons, notes, browser_page)
  (folder / PAGE).write_text(html)
  contents = {
    'schema': 'mathft_jax.comparison',
    **(record or {}),
    'reports': [comparison.to_json() for comparison in comparisons],
  }
  text = json.dumps(contents, indent=1)
  (folder / 'comparison.json').write_text(f'{text}\n')
  return made


def render_comparison(
  title: str,
  folder: epath.Path,
  comparisons: Sequence[ReportComparison],
  notes: Sequence[str],
  browser_page: str | None,
) -> str:
  """Returns the page: for each report of the runs, curves over one another, tables, problems."""
  facts = {}
  for comparison in comparisons:
    for run, file in comparison.files.items():
      path = local_and_remote_paths.relative_path(file.folder, folder)
      name = run if len(comparisons) == 1 else f'{run}: {comparison.label}'
      facts[name] = path
  parts = [page.header(RunDescription(title, facts)), page.notes(notes)]
  if browser_page:
    parts.append(
      f'<p class="browse"><a href="{browser_page}">Browse problems and candidates</a></p>'
    )
  for comparison in comparisons:
    if len(comparisons) > 1:
      parts.append(f'<h2>{tables.escape_html(comparison.label)}</h2>')
    parts += _comparison_parts(title, comparison, comparisons, browser_page)
  return page.make_page(title, parts)


def _comparison_parts(
  title: str,
  comparison: ReportComparison,
  comparisons: Sequence[ReportComparison],
  browser_page: str | None,
) -> list[str]:
  parts, links = [], {}
  first = next(iter(comparison.rows))
  index = 0
  for run, rules in comparison.differences.items():
    for rule in rules:
      this = (_source_name(run, comparison, comparisons), rule)
      other = (_source_name(first, comparison, comparisons), rule)
      links[index, sweep_comparison.COUNTS_COLUMN] = rendering.browser_link(
        browser_page, this, other
      ) + rendering.browser_link(browser_page, other, this)
      index += 1
  for table in sweep_comparison.make_comparison_tables(title, comparison):
    is_difference = table.header[0] == 'run: rule'
    parts.append(tables.table_to_html(table, links if is_difference else None))
  sections = {run: _section(file) for run, file in comparison.files.items()}
  images = plots_of_files.plots_of_files(sections, sweep_comparison.CONFIDENCE)
  row = page.images_row(images, rendering.DESCRIPTIONS, rendering.PLOT_NOTES)
  parts.insert(1, row)
  for run, rules in comparison.changes.items():
    lists = [_problem_lists(rule, rules[rule]) for rule in rules]
    name = f'Problems gained and lost by {run}, compared with {first}'
    parts.append(page.folded(name, ''.join(lists)))
  return parts


def _problem_lists(rule: str, changes: ProblemChanges) -> str:
  """Returns the ids of the problems gained and lost by a rule."""
  parts = []
  for name, ids in changes._asdict().items():
    items = [f'<li>{tables.escape_html(id_)}</li>' for id_ in ids[:MAX_IDS]]
    more = ''
    if len(ids) > MAX_IDS:
      more = page.paragraph(f'and {len(ids) - MAX_IDS:,} more')
    head = tables.escape_html(f'{rule}: {len(ids):,} {name}')
    parts.append(f'<h3>{head}</h3><ul class="ids">{"".join(items)}</ul>{more}')
  return ''.join(parts)


def _section(file: ReportFile) -> JsonObject:
  """Returns what the plots need, as in report.json."""
  accuracies = []
  for name, estimate in file.accuracies.items():
    entry = {'name': name, 'kind': file.kinds[name], **to_json(estimate)}
    accuracies.append(entry)
  return {'accuracies': accuracies, 'curves': file.curves}


def _source_name(
  run: str,
  comparison: ReportComparison,
  comparisons: Sequence[ReportComparison],
) -> str:
  return run if len(comparisons) == 1 else f'{run}, {comparison.label}'


def _browser_sources(
  folder: epath.Path, comparisons: Sequence[ReportComparison]
) -> list[dict[str, str]]:
  """Returns the data of the runs' own browsers, relative to this page; only local ones."""
  sources = []
  for comparison in comparisons:
    for run, file in comparison.files.items():
      data = file.folder / candidate_pages.FOLDER
      is_remote = local_and_remote_paths.is_remote(data)
      if is_remote or not (data / f'{file.number}.index.js').exists():
        continue
      sources.append(
        {
          'name': _source_name(run, comparison, comparisons),
          'folder': local_and_remote_paths.relative_path(data, folder),
          'prefix': str(file.number),
        }
      )
  return sources
