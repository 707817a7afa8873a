"""Names and layouts of published tensors, as one table that is read in both directions.

A row maps a parameter of `models/transformer.py` to tensors of a Hugging Face folder:

             parameter                            tensors of the folder
  layers     stacked on the first axis            one tensor per layer
  heads      an axis of their own                 merged into inputs or outputs
  matrices   [inputs, outputs]                    [outputs, inputs]
  fused      several parameters                   one tensor, outputs joined
  experts    an axis after the layers             one tensor per expert
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from mathft_jax.models import layer_stacks

LAYERS_PREFIX = layer_stacks.PREFIX


@dataclasses.dataclass(frozen=True)
class TensorMapping:
  """A row of the table.

  Attributes:
    param_name: flat name of a parameter.
    tensor_name_format: name in the folder; {} is replaced by the number of the layer, a second {}
      by that of the expert.
    num_input_axes: how many axes of a matrix (without the layers') are inputs; 0 for vectors; None
      if both layouts are the same.
    joined: parameters whose outputs the tensor contains, in order, this one included; empty if it
      contains this one alone.
    is_per_expert: the first axis of the parameter (without the layers') is experts.
  """

  param_name: str
  tensor_name_format: str
  num_input_axes: int | None = 0
  joined: tuple[str, ...] = ()
  is_per_expert: bool = False

  @property
  def is_stacked(self) -> bool:
    return self.param_name.startswith(LAYERS_PREFIX)

  def tensor_name(self, layer: int | None, expert: int = 0) -> str:
    return self.tensor_name_format.format(layer, expert)

  def tensor_names(
    self, layer: int | None, param_shape: Sequence[int]
  ) -> list[str]:
    """Returns the names of the tensors of a parameter (shape without the layers' axis)."""
    num_experts = param_shape[0] if self.is_per_expert else 1
    return [self.tensor_name(layer, expert) for expert in range(num_experts)]

  def tensor_shape(self, param_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of a tensor of a parameter (shape without the layers' axis)."""
    if self.is_per_expert:
      param_shape = param_shape[1:]
    return self._tensor_shape(param_shape)

  def _tensor_shape(self, param_shape: Sequence[int]) -> tuple[int, ...]:
    if self.num_input_axes is None:
      return tuple(param_shape)
    outputs = math.prod(param_shape[self.num_input_axes :])
    if self.num_input_axes == 0:
      return (outputs,)
    return outputs, math.prod(param_shape[: self.num_input_axes])

  def select_outputs(
    self, tensor: np.ndarray, param_shapes: Mapping[str, Sequence[int]]
  ) -> np.ndarray:
    """Returns the rows of a tensor that belong to this parameter: a view.

    Args:
      param_shapes: shapes of the joined parameters, without the layers' axis.
    """
    if not self.joined:
      return tensor
    start = 0
    for name in self.joined[: self.joined.index(self.param_name)]:
      start += self.tensor_shape(param_shapes[name])[0]
    size = self.tensor_shape(param_shapes[self.param_name])[0]
    return tensor[start : start + size]

  def joined_shape(
    self, param_shapes: Mapping[str, Sequence[int]]
  ) -> tuple[int, ...]:
    """Returns the shape of the tensor; arguments as for `select_outputs`."""
    names = self.joined or (self.param_name,)
    shapes = [self.tensor_shape(param_shapes[name]) for name in names]
    if len(shapes) == 1:
      return shapes[0]
    return sum(shape[0] for shape in shapes), *shapes[0][1:]

  def to_param(
    self, tensor: np.ndarray, param_shape: Sequence[int]
  ) -> np.ndarray:
    """Returns a tensor in the layout of the parameter, or of one expert: a view, without a copy."""
    if self.num_input_axes is None:
      return tensor
    if self.is_per_expert:
      param_shape = param_shape[1:]
    return tensor.T.reshape(param_shape)

  def join_experts(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the parameter of one layer from `to_param` of its tensors; experts are copied."""
    return np.stack(arrays) if self.is_per_expert else arrays[0]

  def split_experts(self, param: np.ndarray) -> list[np.ndarray]:
    """Returns the arrays that `join_experts` takes."""
    return list(param) if self.is_per_expert else [param]

  def to_tensor(self, param: np.ndarray) -> np.ndarray:
    """Returns the parameter (of one layer, or of one expert) in the layout of the tensor."""
    if self.num_input_axes is None:
      return param
    shape = self._tensor_shape(param.shape)
    return param.reshape(shape[::-1]).T.reshape(shape)


def _of_layer(
  param_name: str, tensor_name: str, num_input_axes: int = 0
) -> TensorMapping:
  return TensorMapping(
    LAYERS_PREFIX + param_name,
    f'model.layers.{{}}.{tensor_name}',
    num_input_axes,
  )


def _of_expert(param_name: str, tensor_name: str) -> TensorMapping:
  return TensorMapping(
    LAYERS_PREFIX + param_name,
    f'model.layers.{{}}.mlp.experts.{{}}.{tensor_name}',
    num_input_axes=1,
    is_per_expert=True,
  )


def _joined_of_layer(
  tensor_name: str, param_names: Sequence[str]
) -> tuple[TensorMapping, ...]:
  """Returns a row for each of several matrices that one tensor of a layer contains."""
  joined = tuple(LAYERS_PREFIX + name for name in param_names)
  tensor_format = f'model.layers.{{}}.{tensor_name}'
  return tuple(TensorMapping(name, tensor_format, 1, joined) for name in joined)


def _of_stack(
  stack: str, table: Sequence[TensorMapping]
) -> tuple[TensorMapping, ...]:
  """Returns the rows of layers for a stack with this name."""
  rows = []
  for row in table:
    if row.param_name.startswith(LAYERS_PREFIX):
      name = row.param_name.removeprefix(LAYERS_PREFIX)
      param_name = f'{LAYERS_PREFIX}{stack}/{name}'
      rows.append(dataclasses.replace(row, param_name=param_name))
  return tuple(rows)


ATTENTION_TENSORS = (
  TensorMapping('embedding', 'model.embed_tokens.weight', None),
  _of_layer('attention_norm/scale', 'input_layernorm.weight'),
  _of_layer('attention/query', 'self_attn.q_proj.weight', 1),
  _of_layer('attention/key', 'self_attn.k_proj.weight', 1),
  _of_layer('attention/value', 'self_attn.v_proj.weight', 1),
  _of_layer('attention/out', 'self_attn.o_proj.weight', 2),
  _of_layer('attention/query_bias', 'self_attn.q_proj.bias'),
  _of_layer('attention/key_bias', 'self_attn.k_proj.bias'),
  _of_layer('attention/value_bias', 'self_attn.v_proj.bias'),
  _of_layer('attention/query_norm/scale', 'self_attn.q_norm.weight'),
  _of_layer('attention/key_norm/scale', 'self_attn.k_norm.weight'),
  TensorMapping('final_norm/scale', 'model.norm.weight'),
  TensorMapping('head', 'lm_head.weight', 1),
)
COMMON_TENSORS = (
  *ATTENTION_TENSORS,
  _of_layer('mlp/gate', 'mlp.gate_proj.weight', 1),
  _of_layer('mlp/up', 'mlp.up_proj.weight', 1),
  _of_layer('mlp/down', 'mlp.down_proj.weight', 1),
)
# Qwen3-MoE: experts instead of an MLP.
EXPERT_TENSORS = (
  *ATTENTION_TENSORS,
  _of_layer('mlp_norm/scale', 'post_attention_layernorm.weight'),
  _of_layer('mlp/router', 'mlp.gate.weight', 1),
  _of_expert('mlp/gate', 'gate_proj.weight'),
  _of_expert('mlp/up', 'up_proj.weight'),
  _of_expert('mlp/down', 'down_proj.weight'),
)
# Families with one norm before attention and one before the MLP.
PRE_NORM_TENSORS = (
  *COMMON_TENSORS,
  _of_layer('mlp_norm/scale', 'post_attention_layernorm.weight'),
)
# Families that also normalise the outputs of attention and MLP.
PRE_AND_POST_NORM_TENSORS = (
  *COMMON_TENSORS,
  _of_layer('post_attention_norm/scale', 'post_attention_layernorm.weight'),
  _of_layer('mlp_norm/scale', 'pre_feedforward_layernorm.weight'),
  _of_layer('post_mlp_norm/scale', 'post_feedforward_layernorm.weight'),
)
GEMMA4_LAYER_TENSORS = (
  *PRE_AND_POST_NORM_TENSORS,
  _of_layer('layer_input/gate', 'per_layer_input_gate.weight', 1),
  _of_layer('layer_input/down', 'per_layer_projection.weight', 1),
  _of_layer('layer_input/norm/scale', 'post_per_layer_input_norm.weight'),
  _of_layer('output_scale', 'layer_scalar'),
)
GEMMA4_TENSORS = (
  *_of_stack('local', GEMMA4_LAYER_TENSORS),
  *_of_stack('global', GEMMA4_LAYER_TENSORS),
  *_of_stack('shared_local', GEMMA4_LAYER_TENSORS),
  *_of_stack('shared_global', GEMMA4_LAYER_TENSORS),
  TensorMapping('embedding', 'model.embed_tokens.weight', None),
  TensorMapping(
    'layer_inputs/embedding', 'model.embed_tokens_per_layer.weight', None
  ),
  TensorMapping(
    'layer_inputs/projection', 'model.per_layer_model_projection.weight', 1
  ),
  TensorMapping(
    'layer_inputs/norm/scale', 'model.per_layer_projection_norm.weight'
  ),
  TensorMapping('final_norm/scale', 'model.norm.weight'),
  TensorMapping('head', 'lm_head.weight', 1),
)
# Families that normalise only the outputs (OLMo 2 and 3).
POST_NORM_TENSORS = (
  *COMMON_TENSORS,
  _of_layer('post_attention_norm/scale', 'post_attention_layernorm.weight'),
  _of_layer('post_mlp_norm/scale', 'post_feedforward_layernorm.weight'),
)
# Phi-3 and Phi-4: as PRE_NORM_TENSORS, with fused projections.
FUSED_TENSORS = (
  TensorMapping('embedding', 'model.embed_tokens.weight', None),
  _of_layer('attention_norm/scale', 'input_layernorm.weight'),
  *_joined_of_layer(
    'self_attn.qkv_proj.weight',
    ('attention/query', 'attention/key', 'attention/value'),
  ),
  _of_layer('attention/out', 'self_attn.o_proj.weight', 2),
  *_joined_of_layer('mlp.gate_up_proj.weight', ('mlp/gate', 'mlp/up')),
  _of_layer('mlp/down', 'mlp.down_proj.weight', 1),
  TensorMapping('final_norm/scale', 'model.norm.weight'),
  TensorMapping('head', 'lm_head.weight', 1),
  _of_layer('mlp_norm/scale', 'post_attention_layernorm.weight'),
)


def select_mappings(
  table: Sequence[TensorMapping], param_names: Mapping[str, object]
) -> list[TensorMapping]:
  """Returns the rows of the given parameters (flat names), in the order of the table.

  Raises:
    ValueError: a parameter has no row.
  """
  known = {row.param_name for row in table}
  missing = sorted(set(param_names) - known)
  if missing:
    raise ValueError(
      f'Parameters {missing} have no row in the table of published tensors.'
    )
  return [row for row in table if row.param_name in param_names]
