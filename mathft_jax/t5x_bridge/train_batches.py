"""The batches of `mathft_jax.train` for `t5x.train`: a function of (seed, step)."""

from collections.abc import Callable, Iterator, Mapping
import functools

from clu.data import dataset_iterator
from etils import epath
import numpy as np
import seqio
from t5x import utils as t5x_utils

from mathft_jax.data import examples as examples_lib
from mathft_jax.distributed import partitioning
from mathft_jax.t5x_bridge import feature_converter
from mathft_jax.training import train_config, train_inputs

Batch = dict[str, np.ndarray]


class BatchIterator(dataset_iterator.DatasetIterator):
  """Endless batches from a step on; the step is its only state.

  Args:
    batches_from: step -> the batches from this step on.
    rows: the rows of this process.
  """

  def __init__(
    self, batches_from: Callable[[int], Iterator[Batch]], rows: slice
  ):
    self._batches_from, self._rows = batches_from, rows
    self._first = self._own_rows(next(batches_from(0)))
    self._start(0)

  def __next__(self) -> Batch:
    batch = self._own_rows(next(self._batches))
    self._step += 1
    return batch

  @property
  def element_spec(self) -> dict[str, dataset_iterator.ArraySpec]:
    """Returns dtype and shape of each array of this process."""
    spec = {}
    for name, array in self._first.items():
      spec[name] = dataset_iterator.ArraySpec(array.dtype, array.shape)
    return spec

  def reset(self) -> None:
    """Starts again at step 0."""
    self._start(0)

  def save(self, filename: epath.PathLike) -> None:
    """Writes the step of the next batch."""
    epath.Path(filename).write_text(str(self._step))

  def restore(self, filename: epath.PathLike | int) -> None:
    """Continues at the step that `save` has written, or at the given step."""
    if not isinstance(filename, int):
      filename = int(epath.Path(filename).read_text())
    self._start(filename)

  def _start(self, step: int) -> None:
    self._step = step
    self._batches = self._batches_from(step)

  def _own_rows(self, batch: Mapping[str, np.ndarray]) -> Batch:
    return _take_rows(batch, self._rows)


def get_dataset(
  cfg: t5x_utils.DatasetConfig,
  shard_id: int,
  num_shards: int,
  feature_converter_cls: Callable[..., seqio.FeatureConverter],
  num_epochs: int | None = None,
  continue_from_last_checkpoint: bool = False,
  *,
  examples: examples_lib.ExampleSource,
  data: train_config.DataConfig,
) -> BatchIterator:
  """Returns the training batches; bind it as `train_script.train.get_dataset_fn`.

  Args:
    cfg: of t5x; its batch size must be that of `data`, and its seed is that of the order.
    shard_id, num_shards: which rows this process needs.
    feature_converter_cls: must be that of `MathModel`.
    num_epochs, continue_from_last_checkpoint: of t5x; batches are endless.
    examples: source of the split 'train'.
    data: how examples become batches.
  """
  del num_epochs, continue_from_last_checkpoint
  _check(cfg, feature_converter_cls, data)
  if cfg.seed is None:
    raise ValueError(
      'DatasetConfig.seed is None; batches are a function of the seed. Bind RANDOM_SEED = 0.'
    )
  inputs = train_inputs.TrainInputs(examples, data)

  def batches_from(step: int) -> Iterator[Batch]:
    return inputs.train_batches(seed=cfg.seed, start_step=step)

  return BatchIterator(batches_from, _rows_of(data, shard_id, num_shards))


def get_eval_datasets(
  cfg: t5x_utils.DatasetConfig,
  shard_id: int,
  num_shards: int,
  eval_steps: int,
  feature_converter_cls: Callable[..., seqio.FeatureConverter],
  *,
  examples: examples_lib.ExampleSource,
  data: train_config.DataConfig,
) -> dict[str, 'EvalBatches']:
  """Returns the validation batches; bind it as `train_script.train.train_eval_get_dataset_fn`."""
  _check(cfg, feature_converter_cls, data)
  inputs = train_inputs.TrainInputs(examples, data)
  rows = _rows_of(data, shard_id, num_shards)
  batches = []
  for batch in inputs.eval_batches(eval_steps):
    batches.append(_take_rows(batch, rows))
  return {'validation': EvalBatches(batches)}


class EvalBatches:
  """Batches that can be iterated over again and again."""

  def __init__(self, batches: list[Batch]):
    self._batches = batches

  def __iter__(self) -> Iterator[Batch]:
    return iter(self._batches)

  @property
  def element_spec(self) -> Batch:
    """Returns a batch, which has the dtype and shape of each array."""
    return self._batches[0]


def _check(
  cfg: t5x_utils.DatasetConfig,
  feature_converter_cls: Callable[..., seqio.FeatureConverter],
  data: train_config.DataConfig,
) -> None:
  """Raises ValueError if the batches are not for the model or not as t5x is told."""
  converter = feature_converter_cls
  if isinstance(converter, functools.partial):
    converter = converter.func
  if converter is not feature_converter.MathFeatureConverter:
    raise ValueError(
      f'The model has the feature converter {converter}; these batches are for a MathModel. Bind '
      'train_script.train.model = @math_model.MathModel().'
    )
  if cfg.batch_size != data.batch_size:
    raise ValueError(
      f'DatasetConfig.batch_size is {cfg.batch_size} and DataConfig.batch_size '
      f'{data.batch_size}; bind both to %BATCH_SIZE.'
    )


def _rows_of(
  data: train_config.DataConfig, shard_id: int, num_shards: int
) -> slice:
  """Returns the rows of this process."""
  if data.batch_size % num_shards:
    raise ValueError(
      f'BATCH_SIZE is {data.batch_size}; it must be a multiple of {num_shards}, the processes.'
    )
  size = data.batch_size // num_shards
  return slice(shard_id * size, (shard_id + 1) * size)


def _take_rows(batch: Mapping[str, np.ndarray], rows: slice) -> Batch:
  """Returns the rows of the arrays that have a batch axis."""
  replicated = partitioning.REPLICATED_BATCH_ARRAYS
  return {
    name: array[rows] for name, array in batch.items() if name not in replicated
  }
