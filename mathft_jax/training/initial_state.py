"""The training state that a run starts from: resumed, from a checkpoint, or random.

source = StateSource(config, manager, init_from, seed, identity)
source.check()
state, step = source.create()
"""

import dataclasses

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import train_step as step_lib
from mathft_jax.training.run_settings import RANDOM_INIT


@dataclasses.dataclass(frozen=True)
class StateSource:
  """Creates the first training state of a run.

  Attributes:
    config: configuration of the train step.
    manager: checkpoints of the run; if there is one, the run resumes from it.
    init_from: checkpoint to start from, or 'random'.
    seed: of random parameters and adapters.
    fingerprint: of template and vocabulary; a checkpoint must have the same.
  """

  config: step_lib.TrainStepConfig
  manager: checkpoints.CheckpointManager
  init_from: epath.PathLike | None
  seed: int
  fingerprint: dict[str, str]

  def check(self) -> None:
    """Checks `init_from`, and the space for a checkpoint, before any example is read.

    Raises:
      ValueError: there is no checkpoint, it belongs to another model, vocabulary or template, or
        the disk is full.
    """
    abstract = step_lib.abstract_train_state(self.config)
    self.manager.check_free_space(abstract.params, abstract.opt_state)
    is_resumed = self.manager.latest_step() is not None
    if is_resumed and self.config.lora is None:
      return
    if self.init_from == RANDOM_INIT:
      return
    if not self.init_from:
      raise ValueError(
        f'{self.manager.directory} has no checkpoint to resume from, and init_from is '
        f"{self.init_from!r}. Set INITIAL_CHECKPOINT_PATH to a checkpoint, or to 'random' for "
        'training from scratch.'
      )
    self._check_metadata(self.init_from)
    checkpoints.check_param_shapes(
      step_lib.abstract_base_params(self.config),
      checkpoints.load_abstract_params(self.init_from),
      where=str(self.init_from),
    )

  def create(self) -> tuple[step_lib.TrainState, int]:
    """Returns the training state and its step."""
    step = self.manager.latest_step()
    while step is not None:
      try:
        return self._resume(step), step
      except checkpoints.DamagedCheckpointError as error:
        step = self.manager.set_aside(step, str(error))

    params = self._load_or_init_params()
    if self.config.lora is not None:
      params = step_lib.add_lora_adapters(self.config, params, self.seed)
    return step_lib.init_train_state(self.config, params), 0

  def unlogged_metrics(self) -> dict[str, list[float]]:
    """Returns sums of a resumed run's steps that are in no line of metrics.jsonl yet."""
    step = self.manager.latest_step()
    if step is None:
      return {}
    metadata = checkpoints.read_metadata(self.manager.step_path(step))
    return metadata.get('unlogged_metrics', {})

  def origin_metadata(
    self, model: transformer.TransformerConfig
  ) -> dict[str, object]:
    """Returns the model, the fingerprint and, if it is known, the published model's config.json.

    Args:
      model: with the chosen rematerialisation.
    """
    return {
      'model': model,
      'fingerprint': self.fingerprint,
      **self._published_config(),
    }

  def _published_config(self) -> dict[str, object]:
    """Returns the saved config.json of the published model, for an export; {} if there is none."""
    step = self.manager.latest_step()
    origin = self.init_from if step is None else self.manager.step_path(step)
    if origin is None or origin == RANDOM_INIT:
      return {}
    metadata = checkpoints.read_metadata(origin)
    published = metadata.get('published')
    return {'published': published} if published else {}

  def _resume(self, step: int) -> step_lib.TrainState:
    path = self.manager.step_path(step)
    logging.info('Resuming %s at step %d', self.manager.directory, step)
    self._check_metadata(path)

    abstract = step_lib.abstract_train_state(self.config)
    if self.config.lora is None:
      params, opt_state = self.manager.restore(
        step, abstract.params, abstract.opt_state
      )
    else:
      _, (adapters, opt_state) = self.manager.restore(
        step, None, (abstract.params.adapters, abstract.opt_state)
      )
      params = lora_lib.LoraParams(self._load_or_init_params(), adapters)
      self.config.lora.check_merged(
        params,
        checkpoints.open_lazy_params(path).read_array,
        where=f'{path}, resumed with {self.init_from}',
      )

    counter = partitioning.shard_array(
      np.asarray(step, np.int32),
      partitioning.replicated_sharding(self.config.mesh),
    )
    return step_lib.TrainState(counter, params, opt_state)

  def _check_metadata(self, path: epath.PathLike) -> None:
    checkpoints.check_metadata(
      path, model=self.config.model, fingerprint=self.fingerprint
    )

  def _load_or_init_params(self) -> transformer.Params:
    if self.init_from == RANDOM_INIT or self.init_from is None:
      logging.info('Initializing random parameters, seed %d', self.seed)
      return step_lib.init_random_params(self.config, self.seed)

    logging.info('Loading parameters from %s', self.init_from)
    abstract = step_lib.abstract_base_params(self.config)
    shardings = jax.tree.map(lambda array: array.sharding, abstract)
    return checkpoints.load_params(self.init_from, abstract, shardings)
