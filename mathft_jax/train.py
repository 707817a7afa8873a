"""Trains one stage: a checkpoint and examples in, a checkpoint out.

  python -m mathft_jax.train --gin_file=models/tiny.gin --gin_file=data/math.gin \
      --gin_file=stages/ssft.gin --gin.MODEL_DIR=runs/ssft --gin.INITIAL_CHECKPOINT_PATH=random

Any objective, by `loss`. Running the same command again goes on where it stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.data import batching as batches_lib
from mathft_jax.data import prompt_templates
from mathft_jax.distributed import partitioning, processes
from mathft_jax.inference import batch_jobs
from mathft_jax.monitoring import metrics as metrics_lib
from mathft_jax.monitoring import progress
from mathft_jax.storage import remote_paths
from mathft_jax.training import device_memory, optimizers, train_loop
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import train_step as step_lib

RANDOM = 'random'  # init_from of a training from scratch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feed:
  """How examples become batches."""

  examples: Any
  eval_examples: Any
  vocabulary: Any
  template: prompt_templates.Template
  batch_size: int
  max_length: int
  pack: bool
  too_long: str
  seed: int
  eval_steps: int | None


def train(
  workdir: epath.PathLike,
  *,
  init_from: epath.PathLike | None,
  examples: Any,
  model: Any,
  vocabulary: Any,
  template: prompt_templates.Template,
  loss: Any,
  optimizer: Any,
  train_steps: int,
  batch_size: int,
  max_length: int | Mapping[str, int],
  eval_examples: Any = None,
  num_microbatches: int = 1,
  max_grad_norm: float | None = 1.0,
  pack: bool = False,
  too_long: str = 'truncate',
  seed: int = 0,
  log_period: int = 10,
  eval_period: int | None = None,
  eval_steps: int | None = None,
  checkpoint_period: int | None = None,
  keep: int | None = 1,
  hand_over: str = 'last',
  best_metric: str = 'loss',
  higher_is_better: bool = False,
  tensorboard: bool = True,
  lora: Any = None,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
) -> epath.Path:
  """The path of the checkpoint to hand over, `<workdir>/checkpoints/<step>`.

  Start-up order (a workdir with a checkpoint of other settings is refused):
    1. The workdir has a checkpoint of step `train_steps`: nothing to do.
    2. The workdir has a checkpoint: resume it, with optimizer, step and place in the data (with
       `lora` the frozen weights are read from `init_from` again).
    3. `init_from` is a path: its parameters only, checked against model, vocabulary and template,
       read straight into the mesh; fresh optimizer, step 0.
    4. `init_from` is 'random': fresh parameters.
    5. Else an error.

  Args:
    workdir: checkpoints, metrics.jsonl and TensorBoard events go here.
    examples, eval_examples: of `data.examples`; split 'train' of the first is trained on, split
      'validation' of the second (by default also of the first) is evaluated, `eval_steps` batches.
    train_steps: updates in all, those of an interrupted run included.
    batch_size, max_length: rows of a batch, tokens of a row (t5x's {'inputs': n, 'targets': m} is
      n + m); `pack`: several examples in a row.
    num_microbatches: parts of a batch that are in memory one after the other; same numbers.
    log_period, eval_period, checkpoint_period: in steps; None: never. The last step always counts.
    keep: so many last checkpoints; the best besides when it is handed over.
    hand_over: 'last', or 'best' by `best_metric` on the validation split.
    lora: of `training.lora`: train small adapters only; what is handed over has them merged.
  """
  _check_choices(hand_over, eval_period)
  max_length = _row_length(max_length)
  store = checkpoints.CheckpointManager(
    epath.Path(workdir) / 'checkpoints',
    keep=keep,
    higher_is_better=higher_is_better,
    best_metric=best_metric if hand_over == 'best' else None,
  )
  settings = {
    'init_from': _origin(init_from, workdir),
    'loss': repr(loss),
    'pack': pack,
    'batch_size': batch_size,
    'max_length': max_length,
    'seed': seed,
    'lora': None if lora is None else repr(lora),
    'max_grad_norm': max_grad_norm,
    'optimizer': repr(optimizers.without_learning_rate(optimizer)),
  }
  with store:
    if not _is_complete(store, train_steps, settings):
      plan = step_lib.TrainStepConfig(
        config=model,
        loss=loss,
        optimizer=optimizers.without_learning_rate(optimizer),
        mesh=partitioner.mesh(),
        rules=partitioner.rules,
        num_microbatches=num_microbatches,
        max_grad_norm=max_grad_norm,
        lora=lora,
      )
      feed = Feed(
        examples=examples,
        eval_examples=eval_examples or examples,
        template=template,
        vocabulary=vocabulary,
        batch_size=batch_size,
        max_length=max_length,
        pack=pack,
        too_long=too_long,
        seed=seed,
        eval_steps=eval_steps,
      )
      agenda = train_loop.Agenda(
        train_steps=train_steps,
        log_period=log_period,
        eval_period=eval_period,
        checkpoint_period=checkpoint_period,
        save_evaluated=hand_over == 'best',
      )
      _train(
        epath.Path(workdir),
        init_from,
        plan,
        optimizer,
        feed,
        agenda,
        store,
        settings,
        tensorboard,
      )
    return _handed_over(store, hand_over)


def describe(
  *,
  model: Any,
  loss: Any,
  optimizer: Any,
  batch_size: int,
  max_length: int | Mapping[str, int],
  num_microbatches: int = 1,
  train_steps: int | None = None,
  max_grad_norm: float | None = 1.0,
  lora: Any = None,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
  **_: Any,
) -> str:
  """What a dry run prints: parameters, tokens a step, GiB a device by mesh; no device is asked."""
  rows, length = batch_size // num_microbatches, _row_length(max_length)
  plans = [
    step_lib.TrainStepConfig(
      config=model,
      loss=loss,
      optimizer=optimizers.without_learning_rate(optimizer),
      mesh=mesh,
      rules=partitioner.rules,
      num_microbatches=num_microbatches,
      max_grad_norm=max_grad_norm,
      lora=lora,
    )
    for mesh in device_memory.candidate_meshes(partitioner, rows)
  ]
  found = [
    device_memory.estimate_device_memory(
      plan, batch_size=batch_size, max_length=length
    )
    for plan in plans
  ]
  steps = '' if train_steps is None else f', {train_steps:,} steps'
  return (
    f'{found[0].parameters:,} parameters; {batch_size} rows x {length:,} tokens = '
    f'{batch_size * length:,} tokens a step at most{steps}\n{device_memory.device_memory_table(found)}'
  )


def _train(
  workdir: epath.Path,
  init_from: epath.PathLike | None,
  plan: step_lib.TrainStepConfig,
  optimizer: Any,
  feed: Feed,
  agenda: train_loop.Agenda,
  store: checkpoints.CheckpointManager,
  settings: dict[str, Any],
  tensorboard: bool,
) -> None:
  """From the state that the start-up order gives to a checkpoint of the last step."""
  watch = progress.CompilationCounter()
  _check_sizes(plan, feed)
  identity = {
    'model': plan.config,
    'fingerprint': prompt_templates.template_fingerprint(
      feed.template, feed.vocabulary
    ),
  }
  if store.latest_step() is None or plan.lora is not None:
    _check_given(plan, store, init_from, identity)
  rows, shape = _examples(feed, feed.examples, 'train')
  settings = {**settings, 'examples': _same_examples(rows, store)}
  held_out = list(_held_out(feed)) if agenda.eval_period else []
  state, start = _start(plan, store, init_from, identity, feed.seed)
  stream = batches_lib.train_batches(
    rows, start_step=start, seed=feed.seed, pack=feed.pack, **shape
  )
  with metrics_lib.create_metric_writer(
    workdir, start_step=start, tensorboard=tensorboard
  ) as writer:
    with progress.ProgressBar(
      'train', total=agenda.train_steps, unit='steps', done=start
    ) as bar:
      state = train_loop.TrainLoop(
        plan,
        optimizer,
        agenda,
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
  if done != agenda.train_steps:
    raise RuntimeError(
      f'{workdir}: {done} steps done, {agenda.train_steps} asked for.'
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
    params, optimizer = store.restore(step, shapes.params, shapes.optimizer)
  else:
    _, (adapters, optimizer) = store.restore(
      step, None, (shapes.params.adapters, shapes.optimizer)
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
    (name, np.asarray(row[name]).tolist())
    for row in rows
    for name in sorted(row)
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
  feed: Feed, examples: Any, split: str
) -> tuple[Sequence[Any], dict[str, Any]]:
  """The examples of a split, and the shape of batches of them."""
  rows = examples(split)
  verdicts = any(
    row.get('is_correct') is not None and not len(row['targets'])
    for row in rows
  )
  words = (
    prompt_templates.encode_label_words(feed.template, feed.vocabulary)
    if verdicts
    else None
  )
  return rows, dict(
    batch_size=feed.batch_size,
    max_length=feed.max_length,
    label_words=words,
    group_size=examples.group_size,
    too_long=feed.too_long,
    pad_id=feed.vocabulary.pad_id,
  )


def _held_out(feed: Feed) -> Iterator[Any]:
  """The batches of an evaluation."""
  rows, shape = _examples(feed, feed.eval_examples, 'validation')
  for number, batch in enumerate(batches_lib.eval_batches(rows, **shape)):
    if number == feed.eval_steps:
      return
    yield batch


def _check_sizes(plan: step_lib.TrainStepConfig, feed: Feed) -> None:
  together, parts = feed.examples.group_size, plan.num_microbatches
  if feed.batch_size % (together * parts):
    raise ValueError(
      f'batch_size = {feed.batch_size} is no multiple of {together} rows that '
      f'belong together x num_microbatches = {parts}.'
    )
  partitioning.check_batch_divisible(
    feed.batch_size // parts, plan.mesh, knob='batch_size / num_microbatches'
  )
  if feed.vocabulary.vocab_size > plan.config.vocab_size:
    raise ValueError(
      f'The vocabulary has {feed.vocabulary.vocab_size} ids, the model '
      f'{plan.config.vocab_size}: bind a vocab_size that is large enough.'
    )


def _origin(
  init_from: epath.PathLike | None, workdir: epath.PathLike
) -> str | None:
  """`init_from` as checkpoints remember it: relative, so that folders can be moved together."""
  if not init_from or init_from == RANDOM:
    return init_from
  return remote_paths.relative_path(init_from, workdir)


def _row_length(max_length: int | Mapping[str, int]) -> int:
  if not isinstance(max_length, Mapping):
    return max_length
  if set(max_length) != {'inputs', 'targets'}:
    raise ValueError(
      f"max_length is {dict(max_length)}; wanted a number, or {{'inputs': n, "
      "'targets': m} (TASK_FEATURE_LENGTHS)."
    )
  return sum(max_length.values())


def _check_choices(hand_over: str, eval_period: int | None) -> None:
  if hand_over not in ('last', 'best'):
    raise ValueError(f"hand_over is {hand_over!r}; wanted 'last' or 'best'.")
  if hand_over == 'best' and eval_period is None:
    raise ValueError(
      "hand_over = 'best' needs evaluations to choose by; set eval_period."
    )


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
  store: checkpoints.CheckpointManager, hand_over: str
) -> epath.Path:
  """The best or the last checkpoint."""
  step = store.best_step() if hand_over == 'best' else store.latest_step()
  if step is None:
    raise ValueError(
      f'{store.directory}: no checkpoint has the metric to choose the best by; is '
      'best_metric one of those in metrics.jsonl?'
    )
  return store.step_path(step)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(train)
