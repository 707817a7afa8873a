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

Files are read and written one tensor at a time, by the first of several processes. Only an orbax
folder is written from the devices' memory, over all of which the parameters are spread.
"""

from collections.abc import Mapping
from typing import Any

from absl import logging
from etils import epath
import jax

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning, processes
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer
from mathft_jax.storage import remote_paths

DTYPES = ('float32', 'bfloat16', 'float16', 'float64')
CONVERT_FLAGS = ('checkpoint', 'output', 'dtype', 'tokenizer', 'shard_bytes')


def convert(
  *,
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  dtype: str | None = None,
  tokenizer: epath.PathLike | None = None,
  shard_bytes: int | None = None,
) -> epath.Path:
  """The path of what was written.

  Args:
    checkpoint: what is read.
    output: a name that ends in .safetensors, or a new folder.
    dtype: of the numbers written, one of DTYPES; 'bfloat16' halves a file of float32; None keeps
      each parameter's own.
    tokenizer: a folder whose tokenizer files are copied into a Hugging Face folder.
    shard_bytes: of a file in a Hugging Face folder at most; None: as transformers, 5 GB.

  ValueError before anything is written, and for an output that is there already.
  """
  if dtype is not None and dtype not in DTYPES:
    raise ValueError(
      f'dtype is {dtype!r}; wanted one of {", ".join(DTYPES)}, or none to keep that '
      'of each parameter.'
    )
  if processes.process_count() > 1:
    jax.devices()  # found by all together: not possible while one works and the others wait
  processes.run_on_primary(
    'convert: checked',
    lambda: _check(checkpoint, output, tokenizer, shard_bytes),
  )
  if not _is_native(output) and checkpoints.is_huggingface_checkpoint(
    checkpoint
  ):
    path = _write_step(checkpoint, output, dtype)
  else:
    processes.run_on_primary(
      'convert: written',
      lambda: _write_files(checkpoint, output, dtype, tokenizer, shard_bytes),
    )
    path = epath.Path(output)
  logging.info(
    '%d parameters: %s',
    sum(
      each.size
      for each in jax.tree.leaves(checkpoints.load_abstract_params(path))
    ),
    path,
  )
  return path


def _is_native(output: epath.PathLike) -> bool:
  return str(output).endswith('.safetensors')


def _check(
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
) -> None:
  """ValueError for what does not go together, for an output that is there, for no tokenizer."""
  if _is_native(output) or checkpoints.is_huggingface_checkpoint(checkpoint):
    _check_plain(
      output,
      'native file' if _is_native(output) else 'folder that orbax writes',
      {'tokenizer': tokenizer, 'shard_bytes': shard_bytes},
    )
  elif tokenizer is not None:
    checkpoints.find_tokenizer_files(tokenizer)


def _write_files(
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  dtype: str | None,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
) -> None:
  """A native file, or a Hugging Face folder."""
  remote_paths.check_writable(epath.Path(output).parent)
  source = checkpoints.open_lazy_params(checkpoint)
  if _is_native(output):
    checkpoints.export_safetensors(output, source, dtype=dtype)
  else:
    _export(source, output, dtype, tokenizer, shard_bytes)


def _check_plain(
  output: epath.PathLike, kind: str, unused: Mapping[str, Any]
) -> None:
  """ValueError for an output that is there, and for what only a Hugging Face folder has."""
  if given := [name for name, value in unused.items() if value is not None]:
    raise ValueError(
      f'{" and ".join(given)} given, but {output} will be a {kind}, which has no '
      'use for it. Leave it out; a Hugging Face folder is what a checkpoint or a '
      'native file becomes, under a name that does not end in .safetensors.'
    )
  if epath.Path(output).exists():
    raise ValueError(
      f'{output} is there already; wanted a new {kind}. Delete it or name another output.'
    )


def _write_step(
  checkpoint: epath.PathLike, output: epath.PathLike, dtype: str | None
) -> epath.Path:
  """An orbax folder, by way of all devices."""
  config = checkpoints.load_model_config(checkpoint)
  shapes = checkpoints.load_abstract_params(checkpoint, dtype)
  partitioner = partitioning.Partitioner(fsdp=True)
  shardings = partitioning.logical_to_shardings(
    transformer.param_logical_axes(config),
    shapes,
    mesh=partitioner.mesh(),
    rules=partitioner.rules,
  )
  params = checkpoints.load_params(checkpoint, shapes, shardings)
  return checkpoints.save_orbax_checkpoint(
    output, params, checkpoints.read_metadata(checkpoint)
  )


def _export(
  source,
  output: epath.PathLike,
  dtype: str | None,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
) -> epath.Path:
  """A Hugging Face folder."""
  fields = source.metadata.get('model')
  if not fields:
    raise ValueError(
      'The checkpoint does not say what model it holds; only one of `train` or of '
      '`convert` can be exported.'
    )
  sizes = {} if shard_bytes is None else {'shard_bytes': int(shard_bytes)}
  config = config_lib.model_config_from_json(fields)
  path = checkpoints.export_huggingface(
    output, source, config, dtype=dtype, **sizes
  )
  copied = (
    []
    if tokenizer is None
    else checkpoints.copy_tokenizer_files(tokenizer, path)
  )
  logging.info(
    'tokenizer files: %s',
    ', '.join(copied) or 'none; name their folder: --tokenizer',
  )
  return path


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(convert, plain_flags=CONVERT_FLAGS)
