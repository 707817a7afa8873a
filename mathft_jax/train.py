"""Trains a model on examples, from a checkpoint or from random parameters.

  python -m mathft_jax.train --gin_file=models/tiny.gin --gin_file=data/math.gin \
      --gin_file=stages/ssft.gin --gin.MODEL_DIR=runs/ssft --gin.INITIAL_CHECKPOINT_PATH=random

The loss decides what is trained: a generator, an evaluator, or both. Run the same command again to
resume an interrupted run.

A run starts from the first of these that exists:
  1. a checkpoint of step `train_steps` in the workdir: nothing is done, after a check that it is of
     the same settings, learning rate, template and examples;
  2. a checkpoint in the workdir: parameters, optimizer state, step and position in the data are
     restored (with LoRA, the frozen parameters are read from `init_from` again);
  3. `init_from`, a path: only parameters are read; they must fit model, vocabulary and template;
  4. `init_from` = 'random': parameters are initialized at random.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import itertools

from etils import epath
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.data import batching
from mathft_jax.data import examples as examples_lib
from mathft_jax.distributed import locked_folders, partitioning, processes
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress, stage_cost
from mathft_jax.self_checks import all_checks
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.storage import run_config
from mathft_jax.training import (
  device_memory,
  finished_runs,
  initial_state,
  remat_choice,
  run_settings,
  tokenizer_copy,
  train_config,
  train_inputs,
  train_loop,
  train_step,
)


def train(
  workdir: epath.PathLike,
  *,
  init_from: epath.PathLike | None,
  examples: examples_lib.ExampleSource,
  model: transformer.TransformerConfig,
  data: train_config.DataConfig,
  optimization: train_config.OptimizationConfig,
  train_steps: int,
  seed: int = 0,
  loop: train_config.LoopConfig = train_config.LoopConfig(),
  checkpointing: train_config.CheckpointConfig = train_config.CheckpointConfig(),
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
  self_checks: str = 'stop',
) -> epath.Path:
  """Trains a model and returns the path of its checkpoint, `<workdir>/checkpoints/<step>`.

  Args:
    workdir: folder for checkpoints, metrics.jsonl and TensorBoard events.
    init_from: checkpoint, Hugging Face folder or safetensors file; 'random' trains from scratch.
    examples: source of the splits 'train' and 'validation'.
    model: sizes of the model.
    data: how examples become batches.
    optimization: loss, optimizer, gradient accumulation, LoRA.
    train_steps: last step; steps of an interrupted run count, those of `init_from` do not.
    seed: of random parameters, of the order of examples and of dropout.
    loop: periods of logging, evaluation and saving.
    checkpointing: which checkpoints are kept and which one is returned.
    partitioner: device mesh and sharding rules.
    self_checks: 'stop' if a check of tokens, prompts, data or machine fails before step 1; 'warn'
      only logs it, as a resumed run does; 'off' checks nothing (`mathft_jax.doctor`).

  Raises:
    ValueError: the workdir was created with other settings, or an input does not fit another.
  """
  all_checks.check_mode(self_checks)
  wanted = finished_runs.WantedRun(model, data, optimization, examples)
  settings = run_settings.make_run_settings(
    workdir, init_from, data, optimization, seed, model
  )
  with _open_workdir(workdir, loop, checkpointing) as manager:
    if not _is_complete(manager, train_steps, settings, wanted):
      with _meter(workdir, init_from) as meter:
        _run_to_last_step(
          workdir,
          manager,
          optimization.step_config(
            model, partitioner.mesh(), partitioner.rules
          ),
          wanted,
          loop,
          init_from=init_from,
          train_steps=train_steps,
          seed=seed,
          settings=settings,
          checkpointing=checkpointing,
          self_checks=self_checks,
          meter=meter,
        )
    return _output_checkpoint(manager, checkpointing)


def check_arguments(
  *,
  optimization: train_config.OptimizationConfig,
  train_steps: int | None = None,
  **_: object,
) -> None:
  """Raises ValueError if the warm-up is longer than the training."""
  schedule = optimization.optimizer.learning_rate
  warmup_steps = getattr(schedule, 'warmup_steps', 0)
  if train_steps is not None and warmup_steps > train_steps:
    raise ValueError(
      f'warmup_steps is {warmup_steps} and train_steps is {train_steps}; the warm-up must end '
      'within the training. Use a smaller warmup_steps, or more train_steps.'
    )


def describe(
  *,
  model: transformer.TransformerConfig,
  data: train_config.DataConfig,
  optimization: train_config.OptimizationConfig,
  train_steps: int | None = None,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
  **_: object,
) -> str:
  """Returns the text of a dry run: parameters, tokens per step and memory per device by mesh.

  It works on shapes; no device is used.
  """
  batch_size, length = data.batch_size, data.sequence_length
  meshes = device_memory.candidate_meshes(
    partitioner, batch_size // optimization.num_microbatches
  )
  estimates = []
  for mesh in meshes:
    config = optimization.step_config(model, mesh, partitioner.rules)
    estimates.append(
      device_memory.estimate_device_memory(
        config, batch_size=batch_size, max_length=length
      )
    )

  steps = '' if train_steps is None else f', {train_steps:,} steps'
  return (
    f'{estimates[0].parameters:,} parameters; {batch_size} sequences x {length:,} tokens = '
    f'{batch_size * length:,} tokens a step at most{steps}\n'
    f'{device_memory.device_memory_table(estimates)}'
  )


@contextlib.contextmanager
def _open_workdir(
  workdir: epath.PathLike,
  loop: train_config.LoopConfig,
  checkpointing: train_config.CheckpointConfig,
) -> Iterator[checkpoints.CheckpointManager]:
  """Locks the workdir and yields the manager of its checkpoints."""
  with (
    locked_folders.hold(workdir, 'train'),
    _open_manager(workdir, loop, checkpointing) as manager,
  ):
    yield manager


def _open_manager(
  workdir: epath.PathLike,
  loop: train_config.LoopConfig,
  checkpointing: train_config.CheckpointConfig,
) -> checkpoints.CheckpointManager:
  if checkpointing.saves_best and loop.eval_period is None:
    raise ValueError(
      "output_checkpoint = 'best' (HAND_OVER) needs evaluations; set eval_period (EVAL_PERIOD)."
    )
  return checkpoints.CheckpointManager(
    epath.Path(workdir) / 'checkpoints',
    keep=checkpointing.max_to_keep,
    higher_is_better=checkpointing.higher_is_better,
    best_metric=checkpointing.best_metric if checkpointing.saves_best else None,
  )


def _run_to_last_step(
  workdir: epath.PathLike,
  manager: checkpoints.CheckpointManager,
  config: train_step.TrainStepConfig,
  wanted: finished_runs.WantedRun,
  loop: train_config.LoopConfig,
  *,
  init_from: epath.PathLike | None,
  train_steps: int,
  seed: int,
  settings: dict[str, object],
  checkpointing: train_config.CheckpointConfig,
  self_checks: str,
  meter: stage_cost.StageMeter,
) -> None:
  """Prepares data and state, then trains up to the last step and saves it."""
  data, examples = wanted.data, wanted.examples
  config = config.with_dropout_seed(seed)
  compilations = progress.CompilationCounter()
  train_inputs.check_batch_size(config, examples, data)
  source = initial_state.StateSource(
    config, manager, init_from, seed, data.fingerprint()
  )
  source.check()
  inputs = train_inputs.TrainInputs(examples, data)
  saved_examples = _check_same_examples(manager, inputs, examples)
  eval_batches = _eval_batches(inputs, loop)

  state, start_step = source.create()
  batches = inputs.train_batches(seed=seed, start_step=start_step)
  run = CheckedRun(
    workdir,
    init_from,
    config,
    data,
    examples.group_size,
    inputs.checked_examples,
    max_to_keep=checkpointing.max_to_keep,
  )
  batches = _check_first_batch(batches, run, self_checks, start_step)
  config, batches = _choose_remat(config, state, batches)
  metadata = {
    **source.origin_metadata(config.model),
    'settings': run_settings.settings_to_json(settings) | saved_examples,
    'optimizer': repr(wanted.optimization.optimizer),
    **_begin_output(workdir, data),
  }
  train_loop.TrainLoop(
    config,
    wanted.optimization.optimizer,
    loop,
    train_steps=train_steps,
    workdir=workdir,
    checkpoint_manager=manager,
    compilations=compilations,
    metadata=metadata,
    eval_batches=eval_batches,
    save_evaluated=checkpointing.saves_best,
    unlogged_metrics=source.unlogged_metrics(),
  ).run(state, start_step, _count_tokens(batches, meter))


def _begin_output(
  workdir: epath.PathLike, data: train_config.DataConfig
) -> dict[str, object]:
  """Writes config.gin and a copy of the tokenizer; returns metadata that need them."""
  run_config.begin_output(workdir)
  tokenizer_copy.copy_tokenizer(data.vocabulary, workdir)
  return data.prompts_metadata()


def _eval_batches(
  inputs: train_inputs.TrainInputs, loop: train_config.LoopConfig
) -> list[batching.Batch]:
  if loop.eval_period is None:
    return []
  return inputs.eval_batches(loop.eval_steps)


def _check_first_batch(
  batches: Iterator[batching.Batch],
  run: CheckedRun,
  mode: str,
  start_step: int,
) -> Iterator[batching.Batch]:
  """Returns the same batches after the self-checks of the run and its first batch."""
  if mode == 'stop' and start_step > 0:
    mode = 'warn'  # it was accepted when it began
  first = next(batches)
  all_checks.check_at_start(dataclasses.replace(run, batch=first), mode)
  return itertools.chain([first], batches)


def _choose_remat(
  config: train_step.TrainStepConfig,
  state: train_step.TrainState,
  batches: Iterator[batching.Batch],
) -> tuple[train_step.TrainStepConfig, Iterator[batching.Batch]]:
  """Returns the configuration with a policy instead of `remat = 'auto'`, and the same batches."""
  first = next(batches)
  config = remat_choice.choose_remat(config, state, first)
  return config, itertools.chain([first], batches)


def _count_tokens(
  batches: Iterator[batching.Batch], meter: stage_cost.StageMeter
) -> Iterator[batching.Batch]:
  """Yields the batches; counts their tokens on the primary process, which sees all of them."""
  for batch in batches:
    if processes.is_primary():
      meter.add(
        tokens_in=int(np.count_nonzero(batch['decoder_segment_ids'])),
        tokens_out=int(np.count_nonzero(batch['decoder_loss_weights'])),
      )
    yield batch


def _meter(
  workdir: epath.PathLike, init_from: epath.PathLike | None
) -> stage_cost.StageMeter:
  inputs = [] if init_from in (None, 'random') else [init_from]
  return stage_cost.StageMeter(workdir, 'train', inputs=inputs)


def _is_complete(
  manager: checkpoints.CheckpointManager,
  train_steps: int,
  settings: dict[str, object],
  wanted: finished_runs.WantedRun,
) -> bool:
  """Whether the workdir has the last checkpoint of this run; ValueError if it is of another run."""
  step = manager.latest_step()
  if step is None:
    return False
  if step > train_steps:
    raise ValueError(
      f'{manager.directory} has a checkpoint of step {step}; train_steps is {train_steps}. '
      'Increase TRAIN_STEPS or use another MODEL_DIR.'
    )
  metadata = checkpoints.read_metadata(manager.step_path(step))
  run_settings.check_settings(
    metadata.get('settings', {}), settings, str(manager.directory)
  )
  if step < train_steps:
    return False
  wanted.check_finished(manager.step_path(step))
  run_config.keep_existing(manager.directory.parent)
  return True


def _check_same_examples(
  manager: checkpoints.CheckpointManager,
  inputs: train_inputs.TrainInputs,
  examples: examples_lib.ExampleSource,
) -> dict[str, object]:
  """Returns what is saved of the examples.

  Raises:
    ValueError: the run resumes with other examples, or processes have different ones.
  """
  digest = inputs.digest()
  description = finished_runs.describe_examples(examples)
  step = manager.latest_step()
  if step is not None:
    metadata = checkpoints.read_metadata(manager.step_path(step))
    finished_runs.check_examples(
      metadata['settings'], digest, description, str(manager.directory)
    )
  processes.assert_equal_across_processes('The digest of the examples', digest)
  return {'examples': digest, 'source': description}


def _output_checkpoint(
  manager: checkpoints.CheckpointManager,
  checkpointing: train_config.CheckpointConfig,
) -> epath.Path:
  """Returns the path of the best or the last checkpoint."""
  step = manager.latest_step()
  if checkpointing.saves_best:
    step = manager.best_step()
  if step is None:
    raise ValueError(
      f'{manager.directory}: no checkpoint has the metric {checkpointing.best_metric!r} '
      '(BEST_METRIC). Use a name from the validation lines of metrics.jsonl.'
    )
  return manager.step_path(step)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(train)
