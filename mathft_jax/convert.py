"""Converts weights between Hugging Face folders, checkpoints, safetensors files and t5x.

  python -m mathft_jax.convert --checkpoint=<Hugging Face folder> --output=base.safetensors
  python -m mathft_jax.convert --checkpoint=<Hugging Face folder> --output=runs/base
  python -m mathft_jax.convert --checkpoint=runs/ssft --output=ssft.safetensors
  python -m mathft_jax.convert --checkpoint=runs/ssft --output=ssft_hf
  python -m mathft_jax.convert --checkpoint=SmolLM2.Q4_1.gguf --output=smollm2_hf
  python -m mathft_jax.convert --checkpoint=runs/ssft --output=t5x_init/checkpoint_0
  python -m mathft_jax.convert --checkpoint=<model_dir of t5x> --output=runs/from_t5x \\
      --gin_file=programs/convert.gin --gin_file=models/tiny.gin

`checkpoint` is a workdir (its last step), a step, a safetensors or GGUF file, a Hugging Face folder
or a checkpoint of t5x. The values of a GGUF file are dequantised; its tokenizer becomes part of the
folder. `output` determines the format:

  a name that ends in .safetensors    one file: flat names (`layers/attention/query`), metadata in
                                      its header
  checkpoint_<step>                   a checkpoint of t5x, with this step and no optimizer state
  any other name                      from a Hugging Face folder or t5x: an orbax checkpoint
                                      from anything else: a Hugging Face folder

All programs accept each of these as a checkpoint. t5x stores no model, vocabulary or template; for
its checkpoints programs/convert.gin takes them from the gin files that you name.

Files are read and written one tensor at a time, by the primary process. Only an orbax checkpoint is
written from device memory, with the parameters sharded over all devices.
"""

import dataclasses

from absl import logging
from etils import epath
import jax

from mathft_jax import checkpoints
from mathft_jax.checkpoints import lazy_params
from mathft_jax.config import vocabulary_size
from mathft_jax.data import prompt_templates, saved_prompts, served_prompts
from mathft_jax.distributed import partitioning, processes
from mathft_jax.inference import checkpoint_prompts
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer
from mathft_jax.storage import local_and_remote_paths

DTYPES = ('float32', 'bfloat16', 'float16', 'float64')
CONVERT_FLAGS = ('checkpoint', 'output', 'dtype', 'tokenizer', 'shard_bytes')


def convert(
  *,
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  dtype: str | None = None,
  tokenizer: epath.PathLike | None = None,
  shard_bytes: int | None = None,
  model: config_lib.TransformerConfig | None = None,
  vocabulary: prompt_templates.Vocabulary | None = None,
  template: prompt_templates.Template | None = None,
) -> epath.Path:
  """Converts a checkpoint and returns the path of the output.

  Args:
    checkpoint: path of the input.
    output: a name that ends in .safetensors, or a new folder.
    dtype: of the values in the output, one of DTYPES; 'bfloat16' halves a float32 file. None: of
      each parameter.
    tokenizer: a folder whose tokenizer files are copied into a Hugging Face folder. None: that of
      the training run, in its work directory.
    shard_bytes: largest file of a Hugging Face folder, in bytes. None: 5 GB, as transformers.
    model, vocabulary, template: of a t5x checkpoint; others contain them.

  Raises:
    ValueError: arguments do not fit, or the output exists. Nothing has been written.
  """
  _check_dtype(dtype)
  if shard_bytes is not None and shard_bytes < 1:
    raise ValueError(
      f'shard_bytes is {shard_bytes}; it must be at least 1 byte, or absent for 5 GB.'
    )
  if not str(output).strip():
    raise ValueError(
      f'output is {str(output)!r}; it must be the path of a new file or folder.'
    )
  if processes.process_count() > 1:
    # Device discovery is collective; it cannot run while other processes wait for the primary.
    jax.devices()
  processes.run_on_primary(
    'convert: check arguments',
    lambda: _check_arguments(checkpoint, output, tokenizer, shard_bytes),
  )

  metadata = _metadata(checkpoint, model, vocabulary, template)
  # The order matters: a safetensors output is checked before the checkpoint is opened.
  if not _is_safetensors(output) and _becomes_orbax(checkpoint, output):
    path = _write_orbax_checkpoint(checkpoint, output, dtype, metadata)
  else:
    processes.run_on_primary(
      'convert: write files',
      lambda: _write_files(
        checkpoint, output, dtype, tokenizer, shard_bytes, metadata
      ),
    )
    path = epath.Path(output)

  arrays = jax.tree.leaves(checkpoints.load_abstract_params(path))
  num_params = sum(array.size for array in arrays)
  logging.info('Wrote %d parameters to %s', num_params, path)
  return path


def _check_dtype(dtype: str | None) -> None:
  if dtype is not None and dtype not in DTYPES:
    raise ValueError(
      f'dtype is {dtype!r}; it must be one of {", ".join(DTYPES)}, or absent to keep '
      'the dtype of each parameter.'
    )


def _is_safetensors(output: epath.PathLike) -> bool:
  return str(output).endswith('.safetensors')


def _becomes_orbax(checkpoint: epath.PathLike, output: epath.PathLike) -> bool:
  """Whether the output is an orbax checkpoint, of this package or of t5x."""
  return (
    checkpoints.step_in_name(output) is not None
    or checkpoints.is_huggingface_checkpoint(checkpoint)
    or checkpoints.is_t5x_checkpoint(checkpoint)
  )


def _metadata(
  checkpoint: epath.PathLike,
  model: config_lib.TransformerConfig | None,
  vocabulary: prompt_templates.Vocabulary | None,
  template: prompt_templates.Template | None,
) -> config_lib.Json:
  """Returns the metadata of the output; those of a t5x checkpoint are made from the arguments."""
  given = model, vocabulary, template
  if not checkpoints.is_t5x_checkpoint(checkpoint):
    if given != (None, None, None):
      raise ValueError(
        f'MODEL, VOCABULARY and TEMPLATE are given, but {checkpoint} is not of t5x; it contains '
        'its own. Leave out programs/convert.gin.'
      )
    return checkpoints.read_metadata(checkpoint)

  if model is None or vocabulary is None or template is None:
    raise ValueError(
      f'{checkpoint} is a checkpoint of t5x, which contains no model, vocabulary or template. Name '
      'them: --gin_file=programs/convert.gin --gin_file=models/<yours>.gin (MODEL, VOCABULARY, '
      'TEMPLATE).'
    )
  vocabulary_size.check_vocabulary_size(vocabulary, model)
  checkpoints.check_param_shapes(
    transformer.abstract_params(model),
    checkpoints.load_abstract_params(checkpoint),
    where=str(checkpoint),
  )
  return {
    'model': model,
    'fingerprint': prompt_templates.template_fingerprint(template, vocabulary),
  }


def _check_arguments(
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
) -> None:
  """Raises ValueError if arguments do not fit the output, if it exists, or without a tokenizer."""
  if _is_safetensors(output):
    kind = 'native file'
  elif _becomes_orbax(checkpoint, output):
    kind = 'orbax checkpoint'
  else:
    if tokenizer is not None:
      checkpoints.find_tokenizer_files(tokenizer)
    return

  given = []
  if tokenizer is not None:
    given.append('tokenizer')
  if shard_bytes is not None:
    given.append('shard_bytes')
  if given:
    raise ValueError(
      f'{" and ".join(given)} given, but {output} will be a {kind}; only a Hugging '
      'Face folder has them. Leave them out. A checkpoint or a native file becomes a '
      'Hugging Face folder if the output does not end in .safetensors.'
    )
  if epath.Path(output).exists():
    raise ValueError(
      f'{output} exists; the output must be a new {kind}. Delete it or name another output.'
    )


def _write_files(
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  dtype: str | None,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
  metadata: config_lib.Json,
) -> None:
  """Writes a safetensors file or a Hugging Face folder."""
  local_and_remote_paths.check_writable(epath.Path(output).parent)
  source = checkpoints.open_lazy_params(checkpoint)
  source = dataclasses.replace(source, metadata=metadata)
  if _is_safetensors(output):
    checkpoints.export_safetensors(output, source, dtype=dtype)
  else:
    tokenizer = tokenizer or _tokenizer_folder(checkpoint)
    _export_huggingface(source, output, dtype, tokenizer, shard_bytes)
    _warn_about_chat_template(metadata, output)
    if tokenizer is not None:
      return
    if not checkpoints.is_gguf(checkpoint):
      logging.warning(
        'No tokenizer files: %s has none beside it. --tokenizer=<folder> copies them.',
        checkpoint,
      )
    else:
      names = checkpoints.write_tokenizer_files(checkpoint, output)
      logging.info('Tokenizer files: %s', ', '.join(names))


def _warn_about_chat_template(
  metadata: config_lib.Json, output: epath.PathLike
) -> None:
  """Logs a warning if the chat template in the output gives another prompt than the training."""
  if not metadata.get('fingerprint'):
    return
  template = prompt_templates.template_from_fingerprint(metadata['fingerprint'])
  difference = served_prompts.describe_difference(template, output)
  if difference:
    logging.warning(
      'The chat template in %s gives another prompt than that of the training, so a server that '
      'renders it sends another one:\n%s\nSend the trained prompt as plain text, or edit the chat '
      'template.',
      output,
      difference,
    )


def _tokenizer_folder(checkpoint: epath.PathLike) -> epath.Path | None:
  """Returns the folder of a checkpoint's tokenizer; None if it is not known, or a file."""
  prompts = checkpoint_prompts.read_prompts(checkpoint)
  if prompts is None or not saved_prompts.needs_tokenizer(
    prompts['vocabulary']
  ):
    return None
  try:
    path = checkpoint_prompts.find_tokenizer(checkpoint)
  except ValueError:
    return None
  return path if path.is_dir() else None


def _write_orbax_checkpoint(
  checkpoint: epath.PathLike,
  output: epath.PathLike,
  dtype: str | None,
  metadata: config_lib.Json,
) -> epath.Path:
  """Writes an orbax checkpoint from parameters that are sharded over all devices."""
  config = metadata.get('model')
  if not isinstance(config, config_lib.TransformerConfig):
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
  step = checkpoints.step_in_name(output)
  if step is not None:
    return checkpoints.save_t5x_checkpoint(output, params, step)
  return checkpoints.save_orbax_checkpoint(output, params, metadata)


def _export_huggingface(
  source: lazy_params.LazyParams,
  output: epath.PathLike,
  dtype: str | None,
  tokenizer: epath.PathLike | None,
  shard_bytes: int | None,
) -> None:
  """Writes a Hugging Face folder, with the tokenizer's files if given."""
  fields = source.metadata.get('model')
  if not fields:
    raise ValueError(
      'The checkpoint contains no model config; only a checkpoint of `train` or '
      '`convert` can be exported to a Hugging Face folder.'
    )
  config = config_lib.model_config_from_json(fields)
  sizes = {}
  if shard_bytes is not None:
    sizes['shard_bytes'] = int(shard_bytes)
  path = checkpoints.export_huggingface(
    output, source, config, dtype=dtype, **sizes
  )

  if tokenizer is not None:
    names = checkpoints.copy_tokenizer_files(tokenizer, path)
    logging.info('Tokenizer files: %s', ', '.join(names))


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(convert, plain_flags=CONVERT_FLAGS)
