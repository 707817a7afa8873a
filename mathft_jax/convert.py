"""Weights from one form to another: Hugging Face folder, checkpoint, one native file.

  python -m mathft_jax.convert --checkpoint=<Hugging Face folder> --output=base.safetensors
  python -m mathft_jax.convert --checkpoint=<Hugging Face folder> --output=runs/base
  python -m mathft_jax.convert --checkpoint=runs/ssft --output=ssft.safetensors
  python -m mathft_jax.convert --checkpoint=runs/ssft --output=ssft_hf \\
      --tokenizer=<Hugging Face folder>

`checkpoint` is a workdir (its last step), a step, a native file or a Hugging Face folder. An output
that ends in .safetensors is one native file: flat names (`layers/attention/query`), the metadata in
its header. Another output is a folder: of a Hugging Face folder a checkpoint as orbax writes them,
of anything else a Hugging Face folder. Each can be named wherever a checkpoint can.

Files are read and written one tensor at a time. Only an orbax folder is written from the devices'
memory, over all of which the parameters are spread.
"""

from absl import logging
from etils import epath

from mathft_jax import checkpoints, partitioning
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer

PLAIN_FLAGS = ('checkpoint', 'output', 'dtype', 'tokenizer', 'shard_bytes')


def convert(*, checkpoint: epath.PathLike, output: epath.PathLike, dtype: str | None = None,
            tokenizer: epath.PathLike | None = None, shard_bytes: int | None = None) -> epath.Path:
  """The path of what was written.

  Args:
    checkpoint: what is read.
    output: a name that ends in .safetensors, or a new folder.
    dtype: of the numbers written; 'bfloat16' halves a file of float32; None keeps each parameter's
      own.
    tokenizer: a folder whose tokenizer files are copied into a Hugging Face folder.
    shard_bytes: of a file in a Hugging Face folder at most; None: as transformers, 5 GB.
  """
  source = checkpoints.open_params(checkpoint)
  if str(output).endswith('.safetensors'):
    path = checkpoints.write_native(output, source, dtype=dtype)
  elif checkpoints.is_hugging_face(checkpoint):
    path = _write_step(checkpoint, output, dtype)
  else:
    path = _export(source, output, dtype, tokenizer, shard_bytes)
  logging.info('%d parameters: %s', sum(each.size for each in source.shapes.values()), path)
  return path


def _write_step(checkpoint: epath.PathLike, output: epath.PathLike,
                dtype: str | None) -> epath.Path:
  """An orbax folder, by way of all devices."""
  if epath.Path(output).exists():
    raise ValueError(f'{output} is there already; wanted a new folder for the checkpoint.')
  config = checkpoints.model(checkpoint)
  shapes = checkpoints.shapes(checkpoint, dtype)
  partitioner = partitioning.Partitioner(fsdp=True)
  shardings = partitioning.shardings(transformer.logical_axes(config), shapes,
                                     mesh=partitioner.mesh(), rules=partitioner.rules)
  params = checkpoints.load_params(checkpoint, shapes, shardings)
  return checkpoints.write_step(output, params, checkpoints.read_metadata(checkpoint))


def _export(source, output: epath.PathLike, dtype: str | None, tokenizer: epath.PathLike | None,
            shard_bytes: int | None) -> epath.Path:
  """A Hugging Face folder."""
  fields = source.metadata.get('model')
  if not fields:
    raise ValueError('The checkpoint does not say what model it holds; only one of `train` or of '
                     '`convert` can be exported.')
  sizes = {} if shard_bytes is None else {'shard_bytes': int(shard_bytes)}
  config = config_lib.from_plain(fields)
  path = checkpoints.write_folder(output, source, config, dtype=dtype, **sizes)
  copied = checkpoints.copy_tokenizer(tokenizer, path) if tokenizer else []
  logging.info('tokenizer files: %s', ', '.join(copied) or 'none; name their folder: --tokenizer')
  return path


if __name__ == '__main__':
  from mathft_jax import gin_utils
  gin_utils.run(convert, plain_flags=PLAIN_FLAGS)
