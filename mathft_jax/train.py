"""Trains one stage: a checkpoint and examples in, a checkpoint out.

  python -m mathft_jax.train --gin_file=models/tiny.gin --gin_file=data/math.gin \
      --gin_file=stages/ssft.gin --gin.MODEL_DIR=runs/ssft --gin.INITIAL_CHECKPOINT_PATH=random

Any objective, by `loss`. Running the same command again goes on where it stopped.
"""

from collections.abc import Iterator, Sequence
import functools
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.data import batching as batches_lib
from mathft_jax.data import example_types, prompt_templates
from mathft_jax.distributed import partitioning, processes
from mathft_jax.inference import batch_jobs
from mathft_jax.monitoring import metrics as metrics_lib
from mathft_jax.monitoring import progress
from mathft_jax.storage import remote_paths
from mathft_jax.training import (
  device_memory,
  optimizers,
  train_config,
  train_loop,
)
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import train_step as step_lib

RANDOM = 'random'  # init_from of a training from scratch


def train(
  workdir: epath.PathLike,
  *,
  init_from: epath.PathLike | None,
  examples: Any,
  model: Any,
  data: train_config.DataConfig,
  optimization: train_config.OptimizationConfig,
  train_steps: int,
  seed: int = 0,
  loop: train_config.LoopConfig = train_config.LoopConfig(),
  checkpointing: train_config.CheckpointConfig = train_config.CheckpointConfig(),
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
) -> epath.Path:
  """Trains a model and returns the path of its checkpoint, `<workdir>/checkpoints/<step>`.

  A run starts from the first of these that exists:
    1. a checkpoint of step `train_steps` in the workdir: nothing is done;
    2. a checkpoint in the workdir: parameters, optimizer state, step and position in the data are
       restored (with LoRA, the frozen parameters are read from `init_from` again);
    3. `init_from`, a path: only parameters are read, checked against model, vocabulary and template;
    4. `init_from` = 'random': parameters are initialized at random.

  Args:
    workdir: folder for checkpoints, metrics.jsonl and TensorBoard events.
    init_from: checkpoint, Hugging Face folder or safetensors file; 'random' trains from scratch.
    examples: source of the splits 'train' and 'validation'.
    model: configuration of the model.
    data: how examples become batches.
    optimization: loss, optimizer, gradient accumulation, LoRA.
    train_steps: last step; steps of an interrupted run count.
    seed: of random parameters and of the order of examples.
    loop: periods of logging, evaluation and saving.
    checkpointing: which checkpoints are kept and which one is returned.
    partitioner: device mesh and sharding rules.

  Raises:
    ValueError: the workdir was created with other settings, or an input does not fit another.
  """
  if checkpointing.saves_best and loop.eval_period is None:
    raise ValueError(
      "output_checkpoint = 'best' (HAND_OVER) needs evaluations; set eval_period (EVAL_PERIOD)."
    )
  store = checkpoints.CheckpointManager(
    epath.Path(workdir) / 'checkpoints',
    keep=checkpointing.max_to_keep,
    higher_is_better=checkpointing.higher_is_better,
    best_metric=checkpointing.best_metric if checkpointing.saves_best else None,
  )
  lora = optimization.lora
  settings = {
    'init_from': _origin(init_from, workdir),
    'loss': repr(optimization.loss),
    'pack': data.pack,
    'batch_size': data.batch_size,
    'max_length': data.sequence_length,
    'seed': seed,
    'lora': None if lora is None else repr(lora),
    'max_grad_norm': optimization.max_grad_norm,
    'optimizer': repr(optimizers.without_learning_rate(optimization.optimizer)),
  }
  with store:
    if not _is_complete(store, train_steps, settings):
      _train(
        epath.Path(workdir),
        init_from,
        optimization.step_config(model, partitioner.mesh(), partitioner.rules),
        optimization.optimizer,
        examples,
        data,
        train_steps,
        loop,
        store,
        settings,
        seed,
        checkpointing.saves_best,
      )
    return _handed_over(store, checkpointing.output_checkpoint)


def describe(
  *,
  model: Any,
  data: train_config.DataConfig,
  optimization: train_config.OptimizationConfig,
  train_steps: int | None = None,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
  **_: Any,
) -> str:
  """Returns the text of a dry run: parameters, tokens per step and memory per device by mesh.

  It works on shapes; no device is used.
  """
  batch_size, length = data.batch_size, data.sequence_length
  sequences = batch_size // optimization.num_microbatches
  found = [
    device_memory.estimate_device_memory(
      optimization.step_config(model, mesh, partitioner.rules),
      batch_size=batch_size,
      max_length=length,
    )
    for mesh in device_memory.candidate_meshes(partitioner, sequences)
  ]
  steps = '' if train_steps is None else f', {train_steps:,} steps'
  return (
    f'{found[0].parameters:,} parameters; {batch_size} rows x {length:,} tokens = '
    f'{batch_size * length:,} tokens a step at most{steps}\n'
    f'{device_memory.device_memory_table(found)}'
  )


def _train(
  workdir: epath.Path,
  init_from: epath.PathLike | None,
  plan: step_lib.TrainStepConfig,
  optimizer: Any,
  examples: Any,
  data: train_config.DataConfig,
  train_steps: int,
  loop: train_config.LoopConfig,
  store: checkpoints.CheckpointManager,
  settings: dict[str, Any],
  seed: int,
  save_evaluated: bool,
) -> None:
  """From the state that the start-up order gives to a checkpoint of the last step."""
  watch = progress.CompilationCounter()
  _check_sizes(plan, examples, data)
  identity = {
    'model': plan.model,
    'fingerprint': prompt_templates.template_fingerprint(
      data.template, data.vocabulary
    ),
  }
  if store.latest_step() is None or plan.lora is not None:
    _check_given(plan, store, init_from, identity)
  rows, shape = _examples(data, examples, 'train')
  settings = {**settings, 'examples': _same_examples(rows, store)}
  held_out = (
    list(_held_out(data, data.eval_examples or examples, loop.eval_steps))
    if loop.eval_period
    else []
  )
  state, start = _start(plan, store, init_from, identity, seed)
  stream = batches_lib.train_batches(
    rows, start_step=start, seed=seed, pack=data.pack, **shape
  )
  with metrics_lib.create_metric_writer(
    workdir, start_step=start, tensorboard=loop.tensorboard
  ) as writer:
    with progress.ProgressBar(
      'train', total=train_steps, unit='steps', done=start
    ) as bar:
      state = train_loop.TrainLoop(
        plan,
        optimizer,
        loop,
        train_steps=train_steps,
        save_evaluated=save_evaluated,
        store=store,
        writer=writer,
        bar=bar,
        watch=watch,
        held_out=held_out,
        metadata={
          **identity,
          **_published(store, init_from),
          'settings': settings,
          'optimizer': repr(optimizer),
        },
      ).run(state, start, stream)
  done = int(jax.device_get(state.step))
  if done != train_steps:
    raise RuntimeError(
      f'{workdir}: {done} steps done, {train_steps} asked for.'
    )


def _start(
  plan: step_lib.TrainStepConfig,
  store: checkpoints.CheckpointManager,
  init_from: epath.PathLike | None,
  identity: dict[str, Any],
  seed: int,
) -> tuple[step_lib.TrainState, int]:
  """(train state, its step): numbers 2 to 5 of the start-up order."""
  step = store.latest_step()
  given = functools.partial(_given, plan, init_from, seed)
  if step is None:
    params = (
      given()
      if plan.lora is None
      else step_lib.add_lora_adapters(plan, given(), seed)
    )
    return step_lib.init_train_state(plan, params), 0
  logging.info('resuming %s at step %d', store.directory, step)
  checkpoints.check_metadata(store.step_path(step), **identity)
  shapes = step_lib.abstract_train_state(plan)
  if plan.lora is None:
    params, optimizer = store.restore(step, shapes.params, shapes.opt_state)
  else:
    _, (adapters, optimizer) = store.restore(
      step, None, (shapes.params.adapters, shapes.opt_state)
    )
    params = lora_lib.LoraParams(given(), adapters)
    plan.lora.check_merged(
      params,
      checkpoints.open_lazy_params(store.step_path(step)).read,
      where=f'{store.step_path(step)}, resumed on {init_from}',
    )
  counter = partitioning.shard_array(
    np.asarray(step, np.int32), shapes.step.sharding
  )
  return step_lib.TrainState(counter, params, optimizer), step


def _check_given(
  plan: step_lib.TrainStepConfig,
  store: checkpoints.CheckpointManager,
  init_from: epath.PathLike | None,
  identity: dict[str, Any],
) -> None:
  """ValueError, before any data is read, for weights that are not there or of something else."""
  if init_from == RANDOM:
    return
  if not init_from:
    raise ValueError(
      f'{store.directory} has no checkpoint to resume and init_from is {init_from!r}: wanted a '
      "checkpoint, or 'random' for training from scratch (INITIAL_CHECKPOINT_PATH)."
    )
  checkpoints.check_metadata(init_from, **identity)
  checkpoints.check_param_shapes(
    step_lib.abstract_model_params(plan),
    checkpoints.load_abstract_params(init_from),
    where=str(init_from),
  )


def _given(
  plan: step_lib.TrainStepConfig, init_from: epath.PathLike, seed: int
) -> Any:
  """The model's parameters that the stage was given."""
  if init_from == RANDOM:
    logging.info('fresh parameters, seed %d', seed)
    return step_lib.init_random_params(plan, seed)
  logging.info('parameters from %s', init_from)
  shapes = step_lib.abstract_model_params(plan)
  return checkpoints.load_params(
    init_from, shapes, jax.tree.map(lambda a: a.sharding, shapes)
  )


def _same_examples(
  rows: Sequence[Any], store: checkpoints.CheckpointManager
) -> str:
  """A digest of the examples; ValueError where a run to be resumed had others."""
  digest = batch_jobs.content_digest(
    (name, np.asarray(value).tolist())
    for row in rows
    for name, value in sorted(example_types.as_dict(row).items())
  )
  step = store.latest_step()
  before = step and checkpoints.read_metadata(store.step_path(step))[
    'settings'
  ].get('examples')
  if before not in (None, digest):
    raise ValueError(
      f'{store.directory} was made with other examples (digest {before}, now '
      f'{digest}): use another MODEL_DIR, or delete this one.'
    )
  processes.assert_equal_across_processes('The digest of the examples', digest)
  return digest


def _published(
  store: checkpoints.CheckpointManager, init_from: epath.PathLike | None
) -> dict[str, Any]:
  """The config.json of the published model that the weights come from, for an export."""
  step = store.latest_step()
  origin = init_from if step is None else store.step_path(step)
  found = {} if origin == RANDOM else checkpoints.read_metadata(origin)
  return {'published': found['published']} if found.get('published') else {}


def _examples(
  data: train_config.DataConfig, examples: Any, split: str
) -> tuple[Sequence[Any], dict[str, Any]]:
  """The examples of a split, and the shape of batches of them."""
  rows = examples(split)
  verdicts = any(isinstance(row, example_types.VerdictExample) for row in rows)
  words = (
    prompt_templates.encode_label_words(data.template, data.vocabulary)
    if verdicts
    else None
  )
  return rows, dict(
    batch_size=data.batch_size,
    max_length=data.sequence_length,
    label_words=words,
    group_size=examples.group_size,
    too_long=data.too_long,
    pad_id=data.vocabulary.pad_id,
  )


def _held_out(
  data: train_config.DataConfig, examples: Any, eval_steps: int | None
) -> Iterator[Any]:
  """The batches of an evaluation."""
  rows, shape = _examples(data, examples, 'validation')
  for number, batch in enumerate(batches_lib.eval_batches(rows, **shape)):
    if number == eval_steps:
      return
    yield batch


def _check_sizes(
  plan: step_lib.TrainStepConfig, examples: Any, data: train_config.DataConfig
) -> None:
  together, parts = examples.group_size, plan.num_microbatches
  if data.batch_size % (together * parts):
    raise ValueError(
      f'batch_size = {data.batch_size} is no multiple of {together} rows that '
      f'belong together x num_microbatches = {parts}.'
    )
  partitioning.check_batch_divisible(
    data.batch_size // parts, plan.mesh, knob='batch_size / num_microbatches'
  )
  if data.vocabulary.vocab_size > plan.model.vocab_size:
    raise ValueError(
      f'The vocabulary has {data.vocabulary.vocab_size} ids, the model '
      f'{plan.model.vocab_size}: bind a vocab_size that is large enough.'
    )


def _origin(
  init_from: epath.PathLike | None, workdir: epath.PathLike
) -> str | None:
  """`init_from` as checkpoints remember it: relative, so that folders can be moved together."""
  if not init_from or init_from == RANDOM:
    return init_from
  return remote_paths.relative_path(init_from, workdir)


def _is_complete(
  store: checkpoints.CheckpointManager,
  train_steps: int,
  settings: dict[str, Any],
) -> bool:
  """Number 1 of the start-up order; ValueError for a checkpoint that another run has left."""
  step = store.latest_step()
  if step is None:
    return False
  if step > train_steps:
    raise ValueError(
      f'{store.directory} has a checkpoint of step {step}, after train_steps = '
      f'{train_steps}: raise TRAIN_STEPS or use another MODEL_DIR.'
    )
  found = checkpoints.read_metadata(store.step_path(step)).get('settings', {})
  differ = [
    name
    for name, value in settings.items()
    if (value is not None or name == 'lora') and found.get(name) != value
  ]
  if differ:
    raise ValueError(
      f'{store.directory} was made with other settings:\n'
      f'  there: { ({name: found.get(name) for name in differ}) }\n'
      f'  now:   { ({name: settings[name] for name in differ}) }\n'
      'Use another MODEL_DIR, or delete this one.'
    )
  return step == train_steps


def _handed_over(
  store: checkpoints.CheckpointManager, output_checkpoint: str
) -> epath.Path:
  """The best or the last checkpoint."""
  step = (
    store.best_step() if output_checkpoint == 'best' else store.latest_step()
  )
  if step is None:
    raise ValueError(
      f'{store.directory}: no checkpoint has the metric to choose the best by; is '
      'best_metric one of those in metrics.jsonl?'
    )
  return store.step_path(step)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(train)
