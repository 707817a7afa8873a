"""Trainings in a row, each from the weights of the one before: how a base model is made.

  python -m mathft_jax.curriculum --gin_file=recipes/base.gin --gin.MODEL_DIR=runs/base

Running the same command again goes on where it stopped.
"""

from collections.abc import Callable, Mapping

from etils import epath

from mathft_jax import checkpoints
from mathft_jax.distributed import processes

Stage = Callable[
  ..., epath.Path
]  # train with all bound but its workdir and where it starts


def curriculum(
  workdir: epath.PathLike,
  *,
  stages: Mapping[str, Stage],
  init_from: epath.PathLike = 'random',
  export: str | None = None,
) -> epath.Path:
  """The path of the last checkpoint, or of `export`.

  Args:
    workdir: one folder for each lesson goes here.
    stages: by name, in their order, the trainings.
    init_from: where the first one starts: 'random', or a checkpoint.
    export: a safetensors file to write the last weights to.
  """
  if not stages:
    raise ValueError('curriculum: no stages; wanted at least one training.')
  checkpoint = init_from
  for name, stage in stages.items():
    checkpoint = stage(epath.Path(workdir) / name, init_from=checkpoint)
  if export is None:
    return checkpoint
  return _export(checkpoint, export)


def _export(checkpoint: epath.PathLike, path: str) -> epath.Path:
  """The weights as one file, with what it needs to be checked at a hand-over."""
  metadata = checkpoints.read_metadata(checkpoint)
  processes.run_on_primary(
    'curriculum: export',
    lambda: checkpoints.save_safetensors(
      path,
      checkpoints.load_params(
        checkpoint, checkpoints.load_abstract_params(checkpoint)
      ),
      {
        name: metadata[name]
        for name in ('model', 'fingerprint', 'settings', 'optimizer')
      },
    ),
  )
  return epath.Path(path)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(curriculum)
