"""Names and layouts of published tensors: one table, read in both directions.

A row joins one of our parameters to a tensor of a Hugging Face folder. Ours keep heads as an axis
and have matrices as [inputs, outputs], layers stacked in front; theirs are one tensor per layer,
heads joined, matrices as [outputs, inputs].
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

LAYERS_PREFIX = (
  'layers/'  # our names that begin so have the layers as their first axis
)


@dataclasses.dataclass(frozen=True)
class TensorMapping:
  """A row of the table.

  Attributes:
    ours: flat name of a parameter.
    theirs: their name; {} stands for the layer's number.
    inputs: how many of our first axes (without the layers') are a matrix's inputs; 0 for vectors;
      None where both are laid out alike.
  """

  ours: str
  theirs: str
  inputs: int | None = 0

  @property
  def is_stacked(self) -> bool:
    return self.ours.startswith(LAYERS_PREFIX)

  def their_name(self, layer: int | None) -> str:
    return self.theirs.format(layer)

  def their_shape(self, ours: Sequence[int]) -> tuple[int, ...]:
    """The shape of their tensor; `ours` is without the layers' axis."""
    if self.inputs is None:
      return tuple(ours)
    outputs = math.prod(ours[self.inputs :])
    return (
      (outputs, math.prod(ours[: self.inputs])) if self.inputs else (outputs,)
    )

  def to_ours(self, theirs: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Their tensor as ours of that shape: a view, nothing is copied."""
    return theirs if self.inputs is None else theirs.T.reshape(shape)

  def to_theirs(self, ours: np.ndarray) -> np.ndarray:
    """Our parameter of one layer as theirs."""
    if self.inputs is None:
      return ours
    outputs, inputs = (*self.their_shape(ours.shape), 1)[:2]
    return ours.reshape(inputs, outputs).T.reshape(self.their_shape(ours.shape))


def _layer(ours: str, theirs: str, inputs: int = 0) -> TensorMapping:
  return TensorMapping(
    f'{LAYERS_PREFIX}{ours}', f'model.layers.{{}}.{theirs}', inputs
  )


COMMON_TENSORS = (
  TensorMapping('embedding', 'model.embed_tokens.weight', None),
  _layer('attention_norm/scale', 'input_layernorm.weight'),
  _layer('attention/query', 'self_attn.q_proj.weight', 1),
  _layer('attention/key', 'self_attn.k_proj.weight', 1),
  _layer('attention/value', 'self_attn.v_proj.weight', 1),
  _layer('attention/out', 'self_attn.o_proj.weight', 2),
  _layer('attention/query_bias', 'self_attn.q_proj.bias'),
  _layer('attention/key_bias', 'self_attn.k_proj.bias'),
  _layer('attention/value_bias', 'self_attn.v_proj.bias'),
  _layer('attention/query_norm/scale', 'self_attn.q_norm.weight'),
  _layer('attention/key_norm/scale', 'self_attn.k_norm.weight'),
  _layer('mlp/gate', 'mlp.gate_proj.weight', 1),
  _layer('mlp/up', 'mlp.up_proj.weight', 1),
  _layer('mlp/down', 'mlp.down_proj.weight', 1),
  TensorMapping('final_norm/scale', 'model.norm.weight'),
  TensorMapping('head', 'lm_head.weight', 1),
)
PRE_NORM_TENSORS = (
  *COMMON_TENSORS,
  _layer('mlp_norm/scale', 'post_attention_layernorm.weight'),
)
PRE_AND_POST_NORM_TENSORS = (
  *COMMON_TENSORS,
  _layer('post_attention_norm/scale', 'post_attention_layernorm.weight'),
  _layer('mlp_norm/scale', 'pre_feedforward_layernorm.weight'),
  _layer('post_mlp_norm/scale', 'post_feedforward_layernorm.weight'),
)


def select_mappings(
  table: Sequence[TensorMapping], shapes: Mapping[str, Sequence[int]]
) -> list[TensorMapping]:
  """The table's rows for the parameters in `shapes` (flat names), in the order of the table."""
  known = {row.ours: row for row in table}
  missing = sorted(set(shapes) - set(known))
  if missing:
    raise ValueError(
      f'Parameters {missing} have no name in the table of published tensors.'
    )
  return [row for row in table if row.ours in shapes]
