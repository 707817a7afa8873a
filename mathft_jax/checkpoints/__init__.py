"""Checkpoints: save in the background, resume, restore onto a mesh, export.

  <workdir>/checkpoints/<step>/params      nested dict of arrays (orbax)
                               optimizer   optimizer state, only for resuming
                               metadata    one JSON object: model config, fingerprint, step, ...

A checkpoint is named by the path of a step or of a workdir (its last step), of a safetensors file
with flat names (`layers/attention/query`) and the same metadata in its header, of a Hugging Face
folder (config.json and safetensors files), or of a t5x checkpoint (`checkpoint_<step>`).

  config = checkpoints.load_model_config(path)
  params = checkpoints.load_params(path, transformer.abstract_params(config))
"""

from mathft_jax.checkpoints.checkpoint_manager import (
  TRASH_FOLDER,
  CheckpointManager,
)
from mathft_jax.checkpoints.checksums import DamagedCheckpointError
from mathft_jax.checkpoints.gguf_files import is_gguf, write_tokenizer_files
from mathft_jax.checkpoints.huggingface import export_huggingface
from mathft_jax.checkpoints.json_values import to_json_value
from mathft_jax.checkpoints.metadata_checks import (
  check_metadata,
  last_loss,
  load_model_config,
)
from mathft_jax.checkpoints.restore import (
  COMMIT_MARKER,
  check_param_shapes,
  describe_weights,
  is_huggingface_checkpoint,
  is_t5x_checkpoint,
  load_abstract_params,
  load_params,
  open_lazy_params,
  read_metadata,
  resolve_checkpoint,
)
from mathft_jax.checkpoints.save import (
  export_safetensors,
  save_orbax_checkpoint,
  save_safetensors,
)
from mathft_jax.checkpoints.t5x_format import (
  save_t5x_checkpoint,
  step_in_name,
)
from mathft_jax.checkpoints.tokenizer_files import (
  copy_tokenizer_files,
  find_tokenizer_files,
)

__all__ = [
  'COMMIT_MARKER',
  'TRASH_FOLDER',
  'CheckpointManager',
  'DamagedCheckpointError',
  'check_metadata',
  'check_param_shapes',
  'copy_tokenizer_files',
  'describe_weights',
  'export_huggingface',
  'export_safetensors',
  'find_tokenizer_files',
  'is_gguf',
  'is_huggingface_checkpoint',
  'is_t5x_checkpoint',
  'last_loss',
  'load_abstract_params',
  'load_model_config',
  'load_params',
  'open_lazy_params',
  'read_metadata',
  'resolve_checkpoint',
  'save_orbax_checkpoint',
  'save_safetensors',
  'save_t5x_checkpoint',
  'step_in_name',
  'to_json_value',
  'write_tokenizer_files',
]
