"""Fields of TransformerConfig: sizes of layers that differ from those of the other layers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GlobalAttention:
  """Attention of global layers if its sizes are not those of local layers (Gemma 4).

  Attributes:
    head_dim, num_kv_heads: as in TransformerConfig, which has those of local layers.
    keys_as_values: as in TransformerConfig.
  """

  head_dim: int
  num_kv_heads: int
  keys_as_values: bool = False


@dataclasses.dataclass(frozen=True)
class SharedKeys:
  """Upper layers without keys and values of their own (Gemma 4 E2B and E4B).

  They attend to those of the last layer of their kind before them.

  Attributes:
    num_layers: the last layers of the model.
    mlp_dim: as in TransformerConfig, which has that of the other layers.
  """

  num_layers: int
  mlp_dim: int
