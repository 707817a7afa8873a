"""Writes the parameters of a checkpoint as one safetensors file.

  python -m mathft_jax.convert --checkpoint=runs/ssft/checkpoints/1000 --output=ssft.safetensors

The file has flat names (`layers/attention/query`) and the checkpoint's metadata in its header; it
can be named wherever a checkpoint can, as INITIAL_CHECKPOINT_PATH or CHECKPOINT_PATH.
"""

from absl import logging
from etils import epath
import jax

from mathft_jax import checkpoints


def convert(*, checkpoint: epath.PathLike, output: epath.PathLike,
            dtype: str | None = None) -> epath.Path:
  """The path of the safetensors file.

  Args:
    checkpoint: a step's folder, a workdir (its last step), or a safetensors file.
    output: the file to write; its name ends in .safetensors.
    dtype: 'bfloat16' halves the file; None keeps each parameter's own.
  """
  if not str(output).endswith('.safetensors'):
    raise ValueError(f'output is {output}; wanted a name that ends in .safetensors.')
  params = jax.device_get(checkpoints.load_params(
      checkpoint, checkpoints.shapes(checkpoint, dtype)))
  path = checkpoints.write_safetensors(output, params, checkpoints.read_metadata(checkpoint))
  count = sum(array.size for array in jax.tree.leaves(params))
  logging.info('%d parameters, %.1f MB: %s', count, path.stat().length / 1e6, path)
  return path


if __name__ == '__main__':
  from mathft_jax import gin_utils
  gin_utils.run(convert, plain_flags=('checkpoint', 'output', 'dtype'))
