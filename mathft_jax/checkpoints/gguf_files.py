"""Reads GGUF files of the llama architecture: dequantised parameters, and the tokenizer.

  params = open_gguf('SmolLM2-135M-Instruct.Q4_1.gguf')
  write_tokenizer_files('SmolLM2-135M-Instruct.Q4_1.gguf', folder)

Needs the package gguf: mathft_jax[gguf]. Quantised values are read as float32.
"""

from collections.abc import Mapping
import dataclasses
import functools
import json
from types import ModuleType
from typing import Any

from etils import epath
import jax
import numpy as np

from mathft_jax.checkpoints import lazy_params
from mathft_jax.models import layer_stacks, rope_scaling, transformer
from mathft_jax.models.huggingface import config_json, tensor_names

SUFFIX = '.gguf'
ARCHITECTURE = 'llama'
# Name in a Hugging Face folder -> name in the file; {} is the layer.
TENSOR_NAMES = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
  'model.layers.{}.input_layernorm.weight': 'blk.{}.attn_norm.weight',
  'model.layers.{}.post_attention_layernorm.weight': 'blk.{}.ffn_norm.weight',
  'model.layers.{}.self_attn.q_proj.weight': 'blk.{}.attn_q.weight',
  'model.layers.{}.self_attn.k_proj.weight': 'blk.{}.attn_k.weight',
  'model.layers.{}.self_attn.v_proj.weight': 'blk.{}.attn_v.weight',
  'model.layers.{}.self_attn.o_proj.weight': 'blk.{}.attn_output.weight',
  'model.layers.{}.mlp.gate_proj.weight': 'blk.{}.ffn_gate.weight',
  'model.layers.{}.mlp.up_proj.weight': 'blk.{}.ffn_up.weight',
  'model.layers.{}.mlp.down_proj.weight': 'blk.{}.ffn_down.weight',
}
# Parameters whose rotated dimensions are stored as neighbours (2 i, 2 i + 1).
ROTATED = ('layers/attention/query', 'layers/attention/key')
ROPE_FACTORS = 'rope_freqs.weight'  # of Llama 3.1 and later
ORIGINAL_LENGTH = (
  8192  # tokens, of Llama 3.1 and later; files do not contain it
)
# Pre-tokenizer in the file -> that of tokenizer.json.
DIGITS = {'type': 'Digits', 'individual_digits': True}
BYTES = {
  'type': 'ByteLevel',
  'add_prefix_space': False,
  'trim_offsets': True,
  'use_regex': True,
}
LLAMA3_PATTERN = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
  r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
PRE_TOKENIZERS = {
  'gpt-2': [BYTES],
  'smollm': [DIGITS, BYTES],
  'llama-bpe': [
    {
      'type': 'Split',
      'pattern': {'Regex': LLAMA3_PATTERN},
      'behavior': 'Isolated',
      'invert': False,
    },
    {**BYTES, 'use_regex': False},
  ],
}
CONTROL, USER_DEFINED = 3, 4  # token types


@dataclasses.dataclass(frozen=True)
class GgufFile:
  """An open file: values of its header by name, and its tensors."""

  path: epath.Path
  values: Mapping[str, Any]
  tensors: Mapping[str, Any]

  def value(self, name: str) -> Any:
    """Returns a value of the header; ValueError if it is absent."""
    if name not in self.values:
      raise ValueError(f'{self.path} has no {name}; the file is not complete.')
    return self.values[name]


def is_gguf(path: epath.PathLike) -> bool:
  """Whether a path names a GGUF file."""
  path = epath.Path(path)
  return path.suffix == SUFFIX and path.is_file()


def open_gguf(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a file, dequantised to float32 one tensor at a time.

  Raises:
    ValueError: the file is of another architecture, is damaged, or lacks a tensor.
  """
  file = _read_file(path)
  published = read_config_json(file)
  family, config = config_json.family_and_model_config(
    published, where=str(file.path)
  )
  params = lazy_params.flatten_params(transformer.abstract_params(config))
  mappings = {}
  for mapping in tensor_names.select_mappings(family.tensors, params):
    mappings[mapping.param_name] = mapping
  _check_tensors(file, mappings, config)

  def read_array(name: str, layer: int | None) -> np.ndarray:
    mapping, shape = mappings[name], params[name].shape
    tensor = _dequantize(file, mapping, layer)
    if layer is not None:
      shape = shape[1:]
    if tensor.shape != mapping.tensor_shape(shape):
      raise ValueError(
        f'{file.path}: {_tensor_name(mapping, layer)} has shape {tensor.shape}; its header needs '
        f'{mapping.tensor_shape(shape)}.'
      )
    if name in ROTATED:
      tensor = _separate_rotated_halves(tensor, config.head_size)
    return mapping.to_param(tensor, shape)

  shapes = {}
  for name, param in params.items():
    shapes[name] = jax.ShapeDtypeStruct(param.shape, np.float32)
  metadata = {'model': dataclasses.asdict(config), 'published': published}
  return lazy_params.LazyParams(shapes, metadata, read_array)


def read_config_json(file: GgufFile) -> dict[str, Any]:
  """Returns the config.json of the model, from the header.

  Raises:
    ValueError: the architecture is not supported.
  """
  architecture = file.value('general.architecture')
  experts = file.values.get(f'{architecture}.expert_count', 0)
  if architecture != ARCHITECTURE or experts:
    raise ValueError(
      f'{file.path}: architecture {architecture!r} with {experts} experts; only {ARCHITECTURE!r} '
      'without experts is supported (Llama, SmolLM2, Mistral). Use the safetensors files of the '
      'model.'
    )
  size = functools.partial(_size, file)
  keys = {
    'model_type': 'llama',
    'vocab_size': file.tensors['token_embd.weight'].data.shape[0],
    'hidden_size': size('embedding_length'),
    'num_hidden_layers': size('block_count'),
    'num_attention_heads': size('attention.head_count'),
    'num_key_value_heads': size('attention.head_count_kv'),
    'intermediate_size': size('feed_forward_length'),
    'rms_norm_eps': _short_float(size('attention.layer_norm_rms_epsilon')),
    'rope_theta': float(file.values.get('llama.rope.freq_base', 10_000.0)),
    'max_position_embeddings': size('context_length'),
    'tie_word_embeddings': 'output.weight' not in file.tensors,
  }
  if 'llama.rope.dimension_count' in file.values:
    keys['head_dim'] = size('rope.dimension_count')
  for role in ('bos', 'eos'):
    token_id = file.values.get(f'tokenizer.ggml.{role}_token_id')
    if token_id is not None:
      keys[f'{role}_token_id'] = int(token_id)
  keys['rope_scaling'] = _read_rope_scaling(file)
  return keys


def write_tokenizer_files(
  path: epath.PathLike, folder: epath.PathLike
) -> list[str]:
  """Writes tokenizer.json and tokenizer_config.json from a file, and returns their names.

  Raises:
    ValueError: the tokenizer is not a byte-level BPE with a known pre-tokenizer.
  """
  file = _read_file(path)
  contents = {
    'tokenizer.json': _tokenizer_json(file),
    'tokenizer_config.json': _tokenizer_config(file),
  }
  for name, content in contents.items():
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (epath.Path(folder) / name).write_text(text + '\n')
  return list(contents)


def _tokenizer_json(file: GgufFile) -> dict[str, Any]:
  model = file.value('tokenizer.ggml.model')
  pre_tokenizer = file.values.get('tokenizer.ggml.pre')
  if model != 'gpt2' or pre_tokenizer not in PRE_TOKENIZERS:
    raise ValueError(
      f'{file.path}: tokenizer {model!r} with pre-tokenizer {pre_tokenizer!r}; only byte-level BPE '
      f"('gpt2') with one of {sorted(PRE_TOKENIZERS)} can be read. Use the tokenizer.json or "
      'tokenizer.model of the model.'
    )
  tokens = file.value('tokenizer.ggml.tokens')
  added = []
  for index, kind in enumerate(file.value('tokenizer.ggml.token_type')):
    if kind in (CONTROL, USER_DEFINED):
      added.append(_added_token(index, tokens[index], kind == CONTROL))
  return {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': added,
    'normalizer': None,
    'pre_tokenizer': {
      'type': 'Sequence',
      'pretokenizers': PRE_TOKENIZERS[pre_tokenizer],
    },
    'post_processor': None,
    'decoder': BYTES,
    'model': {
      'type': 'BPE',
      'vocab': {token: index for index, token in enumerate(tokens)},
      'merges': list(file.value('tokenizer.ggml.merges')),
    },
  }


def _added_token(index: int, name: str, special: bool) -> dict[str, Any]:
  return {
    'id': index,
    'content': name,
    'single_word': False,
    'lstrip': False,
    'rstrip': False,
    'normalized': False,
    'special': special,
  }


def _tokenizer_config(file: GgufFile) -> dict[str, Any]:
  tokens = file.value('tokenizer.ggml.tokens')
  config: dict[str, Any] = {'tokenizer_class': 'PreTrainedTokenizerFast'}
  for role, name in (('bos', 'bos'), ('eos', 'eos'), ('padding', 'pad')):
    index = file.values.get(f'tokenizer.ggml.{role}_token_id')
    if index is not None:
      config[f'{name}_token'] = tokens[index]
  config['add_bos_token'] = bool(
    file.values.get('tokenizer.ggml.add_bos_token', False)
  )
  chat_template = file.values.get('tokenizer.chat_template')
  if chat_template is not None:
    config['chat_template'] = chat_template
  return config


def _read_file(path: epath.PathLike) -> GgufFile:
  path = epath.Path(path)
  gguf = _import_gguf()
  try:
    reader = gguf.GGUFReader(str(path))
  except (ValueError, IndexError, KeyError) as error:
    raise ValueError(
      f'{path} is not a complete GGUF file: {error}. Copy it again.'
    ) from error
  values = {name: field.contents() for name, field in reader.fields.items()}
  tensors = {tensor.name: tensor for tensor in reader.tensors}
  return GgufFile(path, values, tensors)


def _import_gguf() -> ModuleType:
  try:
    import gguf  # not at the top: an optional package
  except ImportError as error:
    raise ImportError(
      'GGUF files need the package gguf; install mathft_jax[gguf].'
    ) from error
  return gguf


def _size(file: GgufFile, name: str) -> Any:
  return file.value(f'{ARCHITECTURE}.{name}')


def _short_float(value: float) -> float:
  """Returns the decimal number that a float32 was written as: 1e-5, not 9.99999974e-06."""
  return float(np.format_float_positional(np.float32(value)))


def _read_rope_scaling(file: GgufFile) -> dict[str, Any] | None:
  """Returns `rope_scaling` of config.json; Llama 3.1's is stored as divisors of frequencies."""
  kind = file.values.get('llama.rope.scaling.type', 'none')
  if kind not in ('none', 'linear'):
    raise ValueError(
      f"{file.path}: rope scaling is {kind!r}; only 'none' and 'linear' are supported."
    )
  if kind == 'linear':
    factor = float(file.value('llama.rope.scaling.factor'))
    return {'rope_type': 'linear', 'factor': factor}
  if ROPE_FACTORS not in file.tensors:
    return None

  divisors = np.asarray(file.tensors[ROPE_FACTORS].data, np.float64)
  scaling = rope_scaling.Llama3RopeScaling(
    factor=float(divisors.max()), original_max_position=ORIGINAL_LENGTH
  )
  theta = float(file.value('llama.rope.freq_base'))
  unscaled = theta ** -(np.arange(len(divisors)) / len(divisors))
  if not np.allclose(unscaled / scaling(unscaled), divisors, rtol=1e-3):
    raise ValueError(
      f'{file.path}: {ROPE_FACTORS} is not the scaling of Llama 3.1; it cannot be read.'
    )
  return {
    'rope_type': 'llama3',
    'factor': scaling.factor,
    'low_freq_factor': scaling.low_freq_factor,
    'high_freq_factor': scaling.high_freq_factor,
    'original_max_position_embeddings': scaling.original_max_position,
  }


def _tensor_name(mapping: tensor_names.TensorMapping, layer: int | None) -> str:
  return TENSOR_NAMES[mapping.tensor_name_format].format(layer)


def _check_tensors(
  file: GgufFile,
  mappings: Mapping[str, tensor_names.TensorMapping],
  config: transformer.TransformerConfig,
) -> None:
  wanted = {ROPE_FACTORS}
  for mapping in mappings.values():
    for layer in layer_stacks.layers_of_param(config, mapping.param_name):
      wanted.add(_tensor_name(mapping, layer))
  missing = sorted(wanted - set(file.tensors) - {ROPE_FACTORS})
  unknown = sorted(set(file.tensors) - wanted)
  if missing or unknown:
    raise ValueError(
      f'{file.path}: {len(missing)} tensors are missing ({missing[:3]}), {len(unknown)} are '
      f'unknown ({unknown[:3]}); the file must have those of a {ARCHITECTURE} model.'
    )


def _dequantize(
  file: GgufFile, mapping: tensor_names.TensorMapping, layer: int | None
) -> np.ndarray:
  tensor = file.tensors[_tensor_name(mapping, layer)]
  values = _import_gguf().dequantize(tensor.data, tensor.tensor_type)
  return np.asarray(values, np.float32)


def _separate_rotated_halves(tensor: np.ndarray, head_size: int) -> np.ndarray:
  """Returns rows in which the rotated dimensions of a head are (i, i + H / 2)."""
  heads = tensor.reshape(-1, head_size // 2, 2, tensor.shape[-1])
  return heads.swapaxes(1, 2).reshape(tensor.shape)
