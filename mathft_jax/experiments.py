"""Runs a declared sequence of stages, then prints the tables of the experiments on their reports.

  python -m mathft_jax.experiments --gin_file=recipes/tiny_cpu_experiments.gin \
      --gin.MODEL_DIR=runs/experiments

A stage is a program of this package with its inputs. A gin file declares the stages by name, in
their order. An input that is the name of an earlier stage stands for the output of that stage:

  stages = {
      'ssft': (@ssft/train.train, {}),
      'more_ssft': (@more_ssft/train.train, {'init_from': 'ssft'}),
      'test_more_ssft': (@measure.measure, {'checkpoint': 'more_ssft'}),
  }

Each stage writes to its own folder and returns at once if its output is complete. If the program is
stopped, the same command resumes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import inspect
from typing import Any, NamedTuple

from absl import logging
from etils import epath

from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.distributed import processes
from mathft_jax.evaluation.report import (
  experiment_tables,
  stage_cost_table,
  tables,
  terminal,
)
from mathft_jax.monitoring import progress


class Stage(NamedTuple):
  """A program and its inputs; see `resolve_input`."""

  program: BoundProgram
  inputs: Mapping[str, Any]


Stages = Mapping[str, tuple[BoundProgram, Mapping[str, Any]]]
Outputs = Mapping[str, epath.Path]


def experiments(
  workdir: epath.PathLike,
  *,
  stages: Stages,
  tables_by_title: Mapping[str, experiment_tables.Experiment] | None = None,
  seeds: Sequence[int] = (0,),
) -> epath.Path:
  """Returns the path of `<workdir>/experiments.md`, the tables of all experiments.

  Args:
    workdir: each stage writes to its own folder here; with several seeds, to one per seed.
    stages: (program, inputs) by name, in their order.
    tables_by_title: the experiments; their rows are names of stages that return a report. None: the
      stages run, and no table is made of their reports.
    seeds: of whole runs. A program with the parameter `seed` gets it.

  Raises:
    ValueError: an input or a row names a stage that does not exist, or exists later.
  """
  workdir = epath.Path(workdir)
  compilations = progress.CompilationCounter()
  declared = {name: Stage(*stage) for name, stage in stages.items()}
  check_stages(declared)
  experiments_by_title = tables_by_title or {}
  for title, experiment in experiments_by_title.items():
    experiment.check(title, list(declared))

  reports_by_seed = {}
  for seed in seeds:
    run_dir = workdir / f'seed_{seed}' if len(seeds) > 1 else workdir
    outputs = run_stages(run_dir, declared, seed)
    reports_by_seed[seed] = outputs
  logging.info('experiments: %s', compilations.describe())

  processes.run_on_primary(
    'experiments: costs', lambda: stage_cost_table.write_stage_table(workdir)
  )
  if not experiments_by_title:
    return workdir

  def write() -> None:
    made = []
    for title, experiment in experiments_by_title.items():
      made += experiment_tables.make_experiment_tables(
        title, experiment, reports_by_seed
      )
    tables.write_tables(workdir / 'experiments', made)
    for table in made:
      terminal.print_table(table)
    print(f'Tables: {workdir / "experiments.md"}', flush=True)

  processes.run_on_primary('experiments: tables', write)
  return workdir / 'experiments.md'


def run_stages(
  workdir: epath.Path, stages: Mapping[str, Stage], seed: int
) -> dict[str, epath.Path]:
  """Runs the stages in their order and returns their outputs by name."""
  outputs: dict[str, epath.Path] = {}
  for number, (name, stage) in enumerate(stages.items(), 1):
    logging.info('stage %s (%d of %d)', name, number, len(stages))
    inputs = {}
    for parameter, value in stage.inputs.items():
      inputs[parameter] = resolve_input(value, outputs, workdir)
    if 'seed' in inspect.signature(stage.program).parameters:
      inputs.setdefault('seed', seed)
    outputs[name] = epath.Path(stage.program(workdir / name, **inputs))
  return outputs


def resolve_input(value: Any, outputs: Outputs, workdir: epath.Path) -> Any:
  """Returns the value of an input, with names of stages replaced by paths.

  Args:
    value: 'stage' stands for the stage's output, 'stage/file' for a file in its folder. In
      examples, the field `candidates` is such a name; so it is in the parts of a mixture. Other
      values are returned as they are.
    outputs: by name, the outputs of the earlier stages.
    workdir: the folder of all stages.
  """
  if isinstance(value, str):
    name, _, file = value.partition('/')
    if name not in outputs:
      return value
    return workdir / value if file else outputs[name]
  names = _field_names(value)
  if 'candidates' in names:
    candidates = resolve_input(value.candidates, outputs, workdir)
    return dataclasses.replace(value, candidates=str(candidates))
  if 'examples' in names:
    parts = []
    for part in value.examples:
      parts.append(resolve_input(part, outputs, workdir))
    return dataclasses.replace(value, examples=tuple(parts))
  return value


def check_stages(stages: Mapping[str, Stage]) -> None:
  """Raises ValueError if an input names a stage that does not come before its own."""
  earlier: list[str] = []
  for name, stage in stages.items():
    for parameter, value in stage.inputs.items():
      for reference in _references(value):
        if reference.partition('/')[0] not in earlier:
          raise ValueError(
            f'Stage {name!r}: the input {parameter} is {reference!r}, which is no earlier stage '
            f'and no file of one; wanted one of {earlier}. Set other values in the scope of the '
            'program.'
          )
    earlier.append(name)


def _references(value: Any) -> list[str]:
  """Returns the names of stages in an input."""
  if isinstance(value, str):
    return [value]
  names = _field_names(value)
  if 'candidates' in names:
    return _references(value.candidates)
  references = []
  for part in value.examples if 'examples' in names else ():
    references += _references(part)
  return references


def _field_names(value: Any) -> set[str]:
  if not dataclasses.is_dataclass(value):
    return set()
  return {field.name for field in dataclasses.fields(value)}


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(experiments)
