"""Does a run fit on accelerators that nobody here owns, how fast is it at best, what would help?

  python -m mathft_jax.plan --gin_file=models/llama3_1_8b.gin --gin_file=stages/ssft.gin \\
      --gin.TOPOLOGY=v5p:4x4x4

Takes the gin files of any program or recipe, and plans each training, sampling and scoring stage
that they configure: compiles its real programs for the topology (TPUs, by libtpu of the extra
[plan]; no TPU is needed) or counts what they do (GPUs, CPUs), prints what it finds and writes it as
json. The exit status is 1 when a stage does not fit; then it says what would help. No weights and
no data are needed.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import math
from typing import Any

from etils import epath
import jax

from mathft_jax.aot import (
  batch_size_search,
  sampling_estimate,
  report,
  topologies,
  training_estimate,
)
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.training import optimizers

PARAMETERS_BY_PROGRAM = {
  'train.train': training_estimate.TRAIN_PARAMETERS,
  'sample.sample': sampling_estimate.SAMPLE_PARAMETERS,
  'score.score': sampling_estimate.SCORE_PARAMETERS,
}
PLANNERS: Mapping[str, Callable[..., report.StageEstimate]] = {
  'train.train': training_estimate.estimate_training,
  'sample.sample': sampling_estimate.estimate_sampling,
  'score.score': sampling_estimate.estimate_scoring,
}


def plan(
  stages: Sequence[Any],
  *,
  topology: str,
  output: epath.PathLike | None = 'plan.json',
  prompt_length: int = 256,
  text_length: int = 512,
  num_texts: int = 64,
  num_problems: int = 500,
  num_training_problems: int = 12_000,
  find_batch: bool = True,
) -> str:
  """A line: all stages fit, or may fit where nothing is compiled; ValueError where one does not.

  The error says what would help.

  Args:
    stages: of `gin_utils.stages`.
    topology: 'v5p:4x4x4', 'h100:8', ... (planning.topologies); as many slices of it as the
      stages' `dcn_mesh_shape` has.
    output: of the json; None: nowhere.
    prompt_length: tokens of a prompt, rounded up to a power of two.
    text_length: tokens of a scored text, likewise.
    num_texts: distinct texts of a problem to score, likewise.
    num_problems, num_training_problems: that a stage samples or scores.
    find_batch: also find the largest batch that fits.
  """
  if not stages:
    raise ValueError(
      'The gin files configure no training, sampling or scoring. Name those of a '
      'stage (stages/*.gin, programs/sample.gin, ...) or of a recipe.'
    )
  jax.config.update(
    'jax_platforms', 'cpu'
  )  # of constants; the accelerator here is not asked
  place = PlanTarget(
    topologies.parse_topology(topology, slices=_slices(stages)),
    prompt_length=prompt_length,
    text_length=text_length,
    num_texts=num_texts,
    num_problems=num_problems,
    num_training_problems=num_training_problems,
  )
  if output is not None:
    _check_output(epath.Path(output))
  print(
    f'{place.topology.name}: {place.topology.num_chips} chips, '
    f'{place.topology.num_devices} devices\n',
    flush=True,
  )
  found, misfits = [], []
  for stage, alike in _distinct(stages):
    entry, misfit = _one(stage, alike, place, find_batch)
    found += entry
    misfits += misfit
    if output is not None:
      epath.Path(output).write_text(
        json.dumps(
          report.replace_nonfinite_with_none(
            {
              'topology': place.topology.name,
              'chip': dataclasses.asdict(place.chip),
              'stages': found,
            }
          ),
          indent=1,
          allow_nan=False,
        )
        + '\n'
      )
  print(report.format_total_time(found), flush=True)
  if misfits:
    raise ValueError('\n'.join(misfits))
  certain = all(stage['is_compiled'] for stage in found)
  verdict = 'fit' if certain else 'may fit: nothing was compiled'
  return f'{len(stages)} of {len(stages)} stages {verdict}' + (
    f'; {output}' if output else ''
  )


def _check_output(path: epath.Path) -> None:
  """Makes the folder of the json; ValueError where the file could not be written in the end."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f'PLAN_OUTPUT is {path}, whose folder cannot be made: {error}. Name another file, or None.'
    ) from error
  if path.is_dir():
    raise ValueError(
      f'PLAN_OUTPUT is {path}, which is a folder; wanted a file, or None.'
    )


def _one(
  stage: Any, alike: Sequence[Any], place: PlanTarget, find_batch: bool
) -> tuple[list[dict[str, Any]], list[str]]:
  """(json of a stage and of those with the same programs, why it does not fit)."""
  planner = PLANNERS[stage.program]
  make = lambda **changes: planner(
    stage.name, {**stage.arguments, **changes}, place
  )
  planned = dataclasses.replace(make(), batches=_batches(stage, place))
  print(report.format_estimate(planned, place.chip), flush=True)
  others = [
    dataclasses.replace(
      planned, stage=each.name, batches=_batches(each, place), **_epoch(each)
    )
    for each in alike
  ]
  for other in others:
    print(
      f'  the same      {report.format_stage_time(other, place.chip)}',
      flush=True,
    )
  entry, misfit = report.estimate_to_json(planned, place.chip), []
  if planned.fits and find_batch and planned.is_compiled:
    entry['largest_batch'] = batch_size_search.find_largest_batch_size(
      planned, make, place.chip
    )
  if not planned.fits:
    entry['would_help'], line = batch_size_search.try_memory_savings(
      planned, make, stage.arguments, place.chip
    )
    misfit = [
      f'{stage.name}: {report.format_memory(planned, place.chip)}. {line}'
    ]
  print(flush=True)
  return [
    entry,
    *(report.estimate_to_json(other, place.chip) for other in others),
  ], misfit


def _batches(stage: Any, place: PlanTarget) -> int | None:
  """Steps of a training, where its config says how many; batches of problems of another stage."""
  if stage.program == 'train.train':
    return stage.arguments.get('train_steps')
  problems = (
    place.num_training_problems
    if 'training' in stage.scope
    else place.num_problems
  )
  return math.ceil(problems / stage.arguments['batch_size'])


def _epoch(stage: Any) -> dict[str, Any]:
  """The fields of a plan about the stage's own data."""
  return (
    training_estimate.epoch_size(stage.arguments)
    if stage.program == 'train.train'
    else {}
  )


def _distinct(stages: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
  """Each stage with those after it that have the same programs."""
  groups: dict[str, list[Any]] = {}
  for stage in stages:
    what = {
      name: value
      for name, value in stage.arguments.items()
      if name not in ('examples', 'train_steps', 'pack')
    }
    if 'optimizer' in what:
      what['optimizer'] = optimizers.without_learning_rate(what['optimizer'])
    groups.setdefault(repr((stage.program, sorted(what.items()))), []).append(
      stage
    )
  return [(first, others) for first, *others in groups.values()]


def _slices(stages: Sequence[Any]) -> int:
  """How many slices the stages' meshes ask for; ValueError where they disagree."""
  shapes = {stage.arguments['partitioner'].num_slices for stage in stages}
  if len(shapes) > 1:
    raise ValueError(
      f'The stages have meshes over {sorted(shapes)} slices (dcn_mesh_shape); '
      'wanted the same number in all.'
    )
  return shapes.pop()


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(plan, of_stages=PARAMETERS_BY_PROGRAM)
