"""The table of what each stage of a run cost.

write_stage_table('runs/tiny')     # runs/tiny/costs.md and costs.json
"""

from etils import epath

from mathft_jax.evaluation.report import tables, terminal
from mathft_jax.monitoring import stage_cost
from mathft_jax.monitoring.stage_cost import StageCost
from mathft_jax.storage import local_and_remote_paths

_GIB = 2**30
# Columns that only the files have.
PAGE_COLUMNS = (
  'of it compilation',
  'device-seconds',
  'device memory, GiB',
  'starts',
  'devices',
)


def make_stage_table(workdir: epath.PathLike) -> tables.Table | None:
  """Returns a row for each stage in the folders of a run, and their sum; None without costs."""
  rows = []
  costs = []
  for path in local_and_remote_paths.find_files(workdir, stage_cost.FILE):
    cost = stage_cost.read_cost(path.parent)
    if cost is None:
      continue
    costs.append(cost)
    folder = local_and_remote_paths.relative_path(path.parent, workdir)
    rows.append((folder, cost.program, *_cells(cost), _chip(cost)))
  if not rows:
    return None
  rows.append(('sum', '', *_cells(_sum(costs)), ''))
  header = (
    'stage',
    'program',
    'seconds',
    'of it compilation',
    'device-seconds',
    'tokens in',
    'tokens out',
    'host memory, GiB',
    'device memory, GiB',
    'starts',
    'devices',
  )
  note = (
    'Measured, over all starts. Memory is the peak of the process up to the end of the stage. '
    'docs/report.md explains the columns.'
  )
  return tables.Table('Cost of each stage', header, tuple(rows), note)


def write_stage_table(workdir: epath.PathLike) -> None:
  """Writes <workdir>/costs.md and .json and prints their main columns, if a stage has a cost."""
  table = make_stage_table(workdir)
  if table is None:
    return
  tables.write_tables(epath.Path(workdir) / 'costs', [table])
  shown = tables.without_columns(table, PAGE_COLUMNS)
  terminal.print_table(shown)


def _cells(cost: StageCost) -> tables.Row:
  return (
    f'{cost.seconds:,.1f}',
    f'{cost.compile_seconds:,.1f}',
    f'{cost.device_seconds:,.1f}',
    f'{cost.tokens_in:,}',
    f'{cost.tokens_out:,}',
    _gib(cost.peak_host_bytes),
    _gib(cost.peak_device_bytes),
    f'{cost.starts}',
  )


def _chip(cost: StageCost) -> str:
  if not cost.num_devices:
    return '-'
  return f'{cost.num_devices} x {cost.device_kind}'


def _sum(costs: list[StageCost]) -> StageCost:
  total = StageCost(program='')
  for cost in costs:
    total = stage_cost.add_costs(total, cost)
  return total


def _gib(number: int | None) -> str:
  return '-' if number is None else f'{number / _GIB:.2f}'
