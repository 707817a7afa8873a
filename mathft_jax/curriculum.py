"""Runs training stages in a row, each from the weights of the one before.

  python -m mathft_jax.curriculum --gin_file=recipes/base.gin --gin.MODEL_DIR=runs/base

This trains the base model of the embedded default. The same command again resumes where it stopped.
"""

from collections.abc import Mapping
from typing import Protocol

from etils import epath

from mathft_jax import checkpoints
from mathft_jax.distributed import processes


class TrainingStage(Protocol):
  """`train.train` with all arguments bound except these two; returns its last checkpoint."""

  def __call__(
    self, workdir: epath.PathLike, /, *, init_from: epath.PathLike
  ) -> epath.Path: ...


def curriculum(
  workdir: epath.PathLike,
  *,
  stages: Mapping[str, TrainingStage],
  init_from: epath.PathLike = 'random',
  export: str | None = None,
) -> epath.Path:
  """Trains all stages and returns the path of the last checkpoint, or of `export`.

  Args:
    workdir: gets one folder for each stage.
    stages: the training stages by name, in their order.
    init_from: weights of the first stage: 'random', or a checkpoint.
    export: safetensors file for the last weights; None writes none.
  """
  if not stages:
    raise ValueError('curriculum: no stages; wanted at least one training.')
  checkpoint = init_from
  for name, train in stages.items():
    checkpoint = train(epath.Path(workdir) / name, init_from=checkpoint)
  if export is None:
    return epath.Path(checkpoint)
  return _export(checkpoint, export)


def _export(checkpoint: epath.PathLike, path: str) -> epath.Path:
  """Writes the weights as one file, with the metadata that programs check when they load it."""
  metadata = checkpoints.read_metadata(checkpoint)
  names = ('model', 'fingerprint', 'settings', 'optimizer')
  exported = {name: metadata[name] for name in names}
  settings = dict(exported['settings'])
  settings.pop('source', None)  # paths of this machine
  exported['settings'] = settings

  def export():
    shapes = checkpoints.load_abstract_params(checkpoint)
    params = checkpoints.load_params(checkpoint, shapes)
    checkpoints.save_safetensors(path, params, exported)

  processes.run_on_primary('curriculum: export', export)
  return epath.Path(path)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(curriculum)
