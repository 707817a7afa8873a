"""Fields of TransformerConfig: sizes of layers that are not those of ordinary layers."""

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


@dataclasses.dataclass(frozen=True)
class Experts:
  """A mixture of experts, which each layer has instead of an MLP (Qwen3-MoE).

  Attributes:
    count: experts of a layer.
    per_token: experts that compute a token, those with the highest router probabilities.
    mlp_dim: hidden size of an expert.
    normalise_weights: the probabilities of a token's experts are divided by their sum.
  """

  count: int
  per_token: int
  mlp_dim: int
  normalise_weights: bool = False

  def __post_init__(self):
    if not 1 <= self.per_token <= self.count:
      raise ValueError(
        f'Experts.per_token is {self.per_token}; it must be 1 to count ({self.count}).'
      )
