"""Checks a training run for silent failures before it starts.

  python -m mathft_jax.doctor --gin_file=models/tiny.gin --gin_file=stages/ssft.gin \\
      --gin_file=data/jsonl.gin --gin.DATA_PATH=mine.jsonl --gin.MODEL_DIR=runs/ssft \\
      --gin.INITIAL_CHECKPOINT_PATH=random

The gin files and macros are those of `train` or of a recipe. The examples, the tokenizer, the
weights and the machine of the run are checked; each check prints one line. If one fails, the exit
status is 1. `--json` prints one JSON object instead. Nothing is trained and nothing is written.
"""

from collections.abc import Sequence
import dataclasses
import json as json_lib
from typing import Any

from absl import logging

from mathft_jax import checkpoints
from mathft_jax.config.configured_programs import ConfiguredProgram as Stage
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.self_checks import (
  all_checks,
  findings,
  first_rows,
  machine_checks,
)
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.training import train_config, train_inputs
from mathft_jax.training import train_step as step_lib

PARAMETERS_BY_PROGRAM = {
  'train.train': (
    'model',
    'data',
    'optimization',
    '?partitioner',
    '?examples',
    '?init_from',
    '?workdir',
    '?seed',
    '?checkpointing',
  ),
  'recipe.recipe': (
    '?workdir',
    '?pretrained',
    '?solution_examples',
    '?main_style',
  ),
}


@dataclasses.dataclass(frozen=True)
class StageReport:
  """What was found about one stage, and its first examples as text."""

  stage: str
  findings: tuple[findings.Finding, ...]
  first_examples: str


def doctor(
  stages: Sequence[Stage],
  *,
  check_weights: bool = True,
  printed_examples: int = 2,
  expected_devices: int | None = None,
  json: bool = False,
) -> str:
  """Prints the findings and returns one line with their numbers.

  Args:
    stages: configured programs; the entry point passes them.
    check_weights: load the weights and run the model; else only the checks that `train` also does.
    printed_examples: examples of the first batch to print.
    expected_devices: number of devices; None: any.
    json: print one JSON object instead of lines.

  Raises:
    ValueError: a check failed, or there is no training stage with examples.
  """
  reports = []
  for stage in _stages_with_examples(stages):
    run = _make_run(stage)
    found = all_checks.run_fast_checks(run)
    if expected_devices is not None:
      found.append(machine_checks.check_devices(run, expected=expected_devices))
    if not json:
      print(stage.name)
      for finding in found:
        print(finding.line(), flush=True)
    found += _check_weights(run, check_weights, print_lines=not json)
    examples = first_rows.format_first_rows(
      run.batch, run.vocabulary, printed_examples
    )
    if not json:
      print(f'\nfirst examples\n{examples}\n', flush=True)
    reports.append(StageReport(stage.name, tuple(found), examples))

  if json:
    print(json_lib.dumps(_to_json(reports), indent=1, ensure_ascii=False))
  all_found = [finding for report in reports for finding in report.findings]
  counts = findings.count_by_status(all_found)
  summary = (
    f'{counts["ok"]} ok, {counts["warning"]} warnings, {counts["failure"]} failures, '
    f'{counts["skipped"]} skipped'
  )
  if counts['failure']:
    raise ValueError(summary)
  return summary


def _stages_with_examples(stages: Sequence[Stage]) -> list[Stage]:
  """Returns the training stages whose examples exist before the run.

  Of a recipe this is the first one, from the pretrained weights. ValueError if there is none.
  """
  recipe_arguments = {}
  for stage in stages:
    if stage.program == 'recipe.recipe':
      recipe_arguments = dict(stage.arguments)
  chosen, left_out = [], []
  for stage in stages:
    if stage.program != 'train.train':
      continue
    arguments = dict(stage.arguments)
    if 'main_style' in recipe_arguments and stage.scope == 'ssft':
      style = recipe_arguments['main_style']
      arguments['examples'] = recipe_arguments['solution_examples'][style]
      arguments['init_from'] = recipe_arguments['pretrained']
      arguments['workdir'] = f'{recipe_arguments["workdir"]}/ssft_{style}'
    elif recipe_arguments or arguments.get('examples') is None:
      left_out.append(stage.name)
      continue
    chosen.append(dataclasses.replace(stage, arguments=arguments))
  if left_out and chosen:
    logging.info(
      'not checked, because their examples do not exist yet: %s. Their fast checks run when they '
      'start.',
      ', '.join(left_out),
    )
  if not chosen:
    raise ValueError(
      'The gin files configure no training with examples. Name stages/*.gin with data/*.gin, or a '
      'recipe, and set its macros, for example --gin.DATA_PATH.'
    )
  return chosen


def _make_run(stage: Stage) -> CheckedRun:
  """Reads the examples of a stage and makes its first batch."""
  arguments: dict[str, Any] = dict(stage.arguments)
  partitioner = arguments.get('partitioner') or partitioning.Partitioner()
  data: train_config.DataConfig = arguments['data']
  config = arguments['optimization'].step_config(
    arguments['model'], partitioner.mesh(), partitioner.rules
  )
  examples = arguments['examples']
  train_inputs.check_batch_size(config, examples, data)
  inputs = train_inputs.TrainInputs(examples, data)
  batches = inputs.train_batches(seed=arguments.get('seed') or 0, start_step=0)
  checkpointing = arguments.get('checkpointing')
  return CheckedRun(
    workdir=arguments.get('workdir') or '.',
    init_from=arguments.get('init_from'),
    step_config=config,
    data=data,
    group_size=examples.group_size,
    examples=inputs.checked_examples,
    batch=next(batches),
    max_to_keep=checkpointing.max_to_keep if checkpointing else 1,
  )


def _check_weights(
  run: CheckedRun, check_weights: bool, print_lines: bool
) -> list[findings.Finding]:
  """Returns the findings about the weights, which are loaded as `train` loads them."""
  if not check_weights or run.init_from is None:
    return []
  memory = machine_checks.check_memory(run)
  if memory.status == 'failure':
    each_finding = iter(
      [findings.skipped('weights', 'they do not fit into memory')]
    )
  else:
    each_finding = all_checks.run_model_checks(run, _load_params(run))
  found = []
  for finding in each_finding:
    found.append(finding)
    if print_lines:
      print(finding.line(), flush=True)
  return found


def _load_params(run: CheckedRun) -> transformer.Params:
  config = dataclasses.replace(run.step_config, lora=None)
  if run.starts_random or run.init_from is None:
    return step_lib.init_random_params(config, seed=0)
  checkpoints.check_metadata(run.init_from, model=run.model)
  abstract = step_lib.abstract_base_params(config)
  checkpoints.check_param_shapes(
    abstract,
    checkpoints.load_abstract_params(run.init_from),
    where=str(run.init_from),
  )
  return checkpoints.load_params(
    run.init_from, abstract, step_lib.train_state_shardings(config).params
  )


def _to_json(reports: Sequence[StageReport]) -> dict[str, object]:
  stages = []
  for report in reports:
    stages.append(dataclasses.asdict(report))
  return {'stages': stages}


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(
    doctor,
    plain_flags=('json=True',),
    stage_parameters=PARAMETERS_BY_PROGRAM,
  )
