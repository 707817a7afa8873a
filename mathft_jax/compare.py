r"""Compares the reports of two or more runs in one page: differences, problems gained and lost.

  python -m mathft_jax.compare --gin_file=programs/compare.gin \
      --gin.REPORTS="{'SSFT': 'runs/ssft/report', 'MTSF': 'runs/mtsf/report'}" \
      --gin.EVAL_OUTPUT_DIR=runs/comparison

The reports are folders that evaluate wrote, or folders of runs that contain them; those at the same
place in each run are compared. All runs are compared with the first, problem by problem.
"""

from collections.abc import Mapping

from etils import epath

from mathft_jax.distributed import processes
from mathft_jax.evaluation import sweep_comparison
from mathft_jax.evaluation.report import comparison_page, terminal


def compare(
  workdir: epath.PathLike,
  *,
  reports: Mapping[str, epath.PathLike],
  title: str = '',
) -> epath.Path:
  """Returns the path of comparison.html; comparison.md and comparison.json are beside it.

  With several processes, only the primary process works.

  Args:
    workdir: directory of the comparison.
    reports: folders of reports, or of runs that contain reports, by name.
    title: title of the page; by default the names.

  Raises:
    ValueError: there are fewer than two folders, or one has no report.
  """
  if len(reports) < 2:
    raise ValueError(
      f'reports names {list(reports)}; wanted at least two folders, as '
      "{'name': 'runs/a/report', 'other': 'runs/b/report'} (REPORTS)."
    )
  page = epath.Path(workdir) / comparison_page.PAGE

  def work() -> None:
    comparisons = sweep_comparison.compare_reports(reports)
    found = set().union(*(each.rows for each in comparisons))
    missing = [name for name in reports if name not in found]
    if missing:
      raise ValueError(
        f'No report.json in {[str(reports[name]) for name in missing]} (REPORTS); wanted folders '
        'that evaluate wrote.'
      )
    name = title or ', '.join(reports)
    made = comparison_page.write_comparison(workdir, name, comparisons)
    for table in made:
      terminal.print_table(table)
    print(f'Comparison: {page}', flush=True)

  processes.run_on_primary('compare', work)
  return page


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(compare)
