"""Estimates memory, step time and MFU of configured stages on TPUs, GPUs or CPUs.

  python -m mathft_jax.plan --gin_file=models/llama3_1_8b.gin --gin_file=stages/ssft.gin \\
      --gin.TOPOLOGY=v5p:4x4x4

The gin files are those of any program or recipe. Each training, sampling and scoring stage that
they configure is estimated. For a TPU slice the stage's XLA programs are compiled ahead of time by
libtpu (extra [plan]); no TPU is needed. For GPUs and CPUs they are traced and counted. The results
are printed and written as JSON. If a stage does not fit, the exit status is 1 and changes of the
settings that reduce its memory are listed. Neither weights nor data are needed.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
from typing import Any

from etils import epath
import jax

from mathft_jax.aot import (
  batch_size_search,
  compile_only_devices,
  estimates,
  memory_savings,
  report,
  sampling_estimate,
  scoring_estimate,
  training_estimate,
)
from mathft_jax.aot.estimates import Arguments, Json, StageEstimate
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.config.configured_programs import ConfiguredProgram as Stage
from mathft_jax.training import optimizers, remat_choice

# Arguments that do not change the compiled programs.
_DATA_ARGUMENTS = ('examples', 'train_steps', 'pack', 'split')


@dataclasses.dataclass(frozen=True)
class Planner:
  """How to estimate one kind of stage.

  Attributes:
    estimate: (name, arguments, target) -> estimate.
    num_batches: (arguments, target) -> batches of the stage; None if unknown.
  """

  estimate: Callable[[str, Arguments, PlanTarget], StageEstimate]
  num_batches: Callable[[Arguments, PlanTarget], int | None]


PARAMETERS_BY_PROGRAM = {
  'train.train': training_estimate.TRAIN_PARAMETERS,
  'sample.sample': sampling_estimate.SAMPLE_PARAMETERS,
  'score.score': scoring_estimate.SCORE_PARAMETERS,
}
PLANNERS = {
  'train.train': Planner(
    training_estimate.estimate_training, training_estimate.num_train_steps
  ),
  'sample.sample': Planner(
    sampling_estimate.estimate_sampling, sampling_estimate.num_sampling_batches
  ),
  'score.score': Planner(
    scoring_estimate.estimate_scoring, scoring_estimate.num_scoring_batches
  ),
}


def plan(
  stages: Sequence[Stage],
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
  """Estimates all stages and returns one line: they fit, or may fit if nothing was compiled.

  Args:
    stages: configured programs; the entry point passes them.
    topology: 'v5p:4x4x4', 'h100:8', ... (`aot.compile_only_devices`). The number of such slices
      is that of the stages' `dcn_mesh_shape`.
    output: path of the JSON file; None: no file.
    prompt_length: tokens of a prompt, rounded up to a power of two.
    text_length: tokens of a scored text, rounded up to a power of two.
    num_texts: distinct texts to score per problem, rounded up to a power of two.
    num_problems: test problems that are sampled or scored.
    num_training_problems: problems that are sampled with split 'train'.
    find_batch: also search for a batch size: the largest that fits for training, that of the best
      rate for sampling and scoring.

  Raises:
    ValueError: a stage does not fit; the message lists changes that reduce its memory.
  """
  if not stages:
    raise ValueError(
      'The gin files configure no training, sampling or scoring program. Add the file of a stage '
      '(stages/*.gin, programs/sample.gin, ...) or of a recipe.'
    )
  _configure_jax()
  target = PlanTarget(
    compile_only_devices.parse_topology(topology, slices=_num_slices(stages)),
    prompt_length=prompt_length,
    text_length=text_length,
    num_texts=num_texts,
    num_problems=num_problems,
    num_training_problems=num_training_problems,
  )
  if output is not None:
    _check_output(epath.Path(output))
  print(
    f'{target.topology.name}: {target.topology.num_chips} chips, '
    f'{target.topology.num_devices} devices\n',
    flush=True,
  )

  results, misfits = _plan_all(stages, target, output, find_batch)
  print(report.format_total_time(results), flush=True)

  if misfits:
    raise ValueError('\n'.join(misfits))
  verdict = 'fit' if target.chip.is_tpu else 'may fit: nothing was compiled'
  file = f'; {output}' if output else ''
  return f'{len(stages)} of {len(stages)} stages {verdict}{file}'


def _configure_jax() -> None:
  # Constants are computed on the CPU; the local accelerator is not used.
  jax.config.update('jax_platforms', 'cpu')
  # jax can store programs for devices that do not exist, but not read them.
  jax.config.update('jax_enable_compilation_cache', False)


def _plan_all(
  stages: Sequence[Stage],
  target: PlanTarget,
  output: epath.PathLike | None,
  find_batch: bool,
) -> tuple[list[Json], list[str]]:
  """Returns the JSON of each stage and messages about those that do not fit.

  The JSON file is written after each group of stages.
  """
  results, misfits = [], []
  for same_programs in _group_by_programs(stages):
    group_results, misfit = _plan_group(same_programs, target, find_batch)
    results += group_results
    misfits += misfit
    if output is not None:
      epath.Path(output).write_text(_to_json(results, target))
  return results, misfits


def _check_output(path: epath.Path) -> None:
  """Creates the folder of the JSON file; ValueError if the file cannot be written."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f'PLAN_OUTPUT is {path}, but its folder cannot be created: {error}. Use another path, or '
      'None for no file.'
    ) from error
  if path.is_dir():
    raise ValueError(
      f'PLAN_OUTPUT is {path}, which is a folder. Use the path of a file, or None for no file.'
    )


def _to_json(results: Sequence[Json], target: PlanTarget) -> str:
  document = {
    'topology': target.topology.name,
    'chip': dataclasses.asdict(target.chip),
    'stages': results,
  }
  document = report.replace_nonfinite_with_none(document)
  return json.dumps(document, indent=1, allow_nan=False) + '\n'


def _plan_group(
  stages: Sequence[Stage], target: PlanTarget, find_batch: bool
) -> tuple[list[Json], list[str]]:
  """Estimates stages that have the same programs, which are compiled once.

  Returns:
    The JSON of each stage, and a message if the stages do not fit.
  """
  first, *others = stages
  planner = PLANNERS[first.program]

  def estimate_with(**changes: Any) -> StageEstimate:
    arguments = {**first.arguments, **changes}
    return planner.estimate(first.name, arguments, target)

  estimate = dataclasses.replace(
    estimate_with(), batches=planner.num_batches(first.arguments, target)
  )
  print(report.format_estimate(estimate, target.chip), flush=True)
  results = [report.estimate_to_json(estimate, target.chip)]
  for stage in others:
    other = _with_own_data(estimate, stage, target)
    time = report.format_stage_time(other, target.chip)
    print(f'  same programs {time}', flush=True)
    results.append(report.estimate_to_json(other, target.chip))

  misfits = []
  if not estimate.fits:
    tried, recommendation = memory_savings.try_memory_savings(
      estimate, estimate_with, first.arguments, target.chip
    )
    results[0]['would_help'] = tried
    memory = report.format_memory(estimate, target.chip)
    misfits.append(f'{first.name}: {memory}. {recommendation}')
  elif find_batch:
    results[0] |= _search_batch_size(
      estimate, estimate_with, first.arguments, target
    )
  print(flush=True)
  return results, misfits


def _search_batch_size(
  estimate: StageEstimate,
  estimate_with: batch_size_search.Estimator,
  arguments: Arguments,
  target: PlanTarget,
) -> Json:
  """Returns the largest batch of a training, or that of the best rate of other stages, as JSON.

  Returns {} where the memory of a training or the times of a stage are not known.
  """
  if estimate.program != 'train':
    if not estimates.throughput_bounds(estimate, target.chip):
      return {}
    best = batch_size_search.search_best_rate(
      estimate, estimate_with, target.chip
    )
    return {'best_rate': best}

  if not estimate.is_compiled:
    return {}
  changes = {}
  if arguments['model'].remat == 'auto':  # the largest batch recomputes most
    model = dataclasses.replace(
      arguments['model'], remat=remat_choice.CHOICES[-1]
    )
    changes['model'] = model
  largest = batch_size_search.search_largest_batch_size(
    estimate, functools.partial(estimate_with, **changes), target.chip
  )
  return {'largest_batch': largest}


def _with_own_data(
  estimate: StageEstimate, stage: Stage, target: PlanTarget
) -> StageEstimate:
  """Returns the estimate of a stage with the same programs and other data."""
  batches = PLANNERS[stage.program].num_batches(stage.arguments, target)
  epoch = {}
  if estimate.program == 'train':
    epoch = training_estimate.epoch_size(stage.arguments)
  return dataclasses.replace(
    estimate, stage=stage.name, batches=batches, **epoch
  )


def _group_by_programs(stages: Sequence[Stage]) -> list[list[Stage]]:
  """Returns groups of stages that differ in their data only."""
  groups: dict[str, list[Stage]] = {}
  for stage in stages:
    arguments = dict(stage.arguments)
    for name in _DATA_ARGUMENTS:
      arguments.pop(name, None)
    if 'optimizer' in arguments:
      arguments['optimizer'] = optimizers.without_learning_rate(
        arguments['optimizer']
      )
    key = repr((stage.program, sorted(arguments.items())))
    groups.setdefault(key, []).append(stage)
  return list(groups.values())


def _num_slices(stages: Sequence[Stage]) -> int:
  """Returns the number of slices of the stages' meshes; ValueError if they differ."""
  counts = {stage.arguments['partitioner'].num_slices for stage in stages}
  if len(counts) > 1:
    raise ValueError(
      f'The meshes of the stages have different numbers of slices: {sorted(counts)}. Use the same '
      'DCN_MESH_SHAPE for all stages.'
    )
  return counts.pop()


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(plan, stage_parameters=PARAMETERS_BY_PROGRAM)
