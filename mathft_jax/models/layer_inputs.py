"""Further inputs of each layer, from a second embedding of the tokens (Gemma 4 E2B and E4B).

Shapes: L layers, B sequences, T tokens, D embed_dim, P layer_input_dim.
"""

from collections.abc import Callable

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib
from mathft_jax.models.lora import einsum_with_lora
from mathft_jax.models.norm import Norm


class LayerInputs(nnx.Module):
  """(embedding of the token + norm(projection of the first layer's input)) / sqrt(2), by layer."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, P = config.embed_dim, config.layer_input_dim
    init = jax.nn.initializers.normal(P**-0.5)
    columns = config.num_layers * P

    self.embedding = nnx.Param(
      init(rngs.params(), (config.embedding_rows, columns)),
      axes=('vocab', 'embed'),
    )
    init = jax.nn.initializers.normal(1.0)
    self.projection = nnx.Param(
      init(rngs.params(), (D, columns)), axes=('embed', 'mlp')
    )
    self.norm = Norm(config, P, None)
    self.config = config

  def __call__(self, tokens_BT: jax.Array, x_BTD: jax.Array) -> jax.Array:
    """Returns the inputs [L, B, T, P] of all layers."""
    L, P = self.config.num_layers, self.config.layer_input_dim
    shape = *tokens_BT.shape, L, P

    embedded = self.embedding[...][tokens_BT].astype(x_BTD.dtype)
    embedded_BTLP = embedded.reshape(shape) * jnp.asarray(P**0.5, x_BTD.dtype)
    projection = self.projection[...].astype(x_BTD.dtype)
    projected_BTLP = jnp.matmul(x_BTD, projection).reshape(shape)
    projected_BTLP *= self.config.embed_dim**-0.5
    inputs_BTLP = (self.norm(projected_BTLP) + embedded_BTLP) * 2**-0.5
    return jnp.moveaxis(inputs_BTLP, 2, 0)


class LayerInputMlp(nnx.Module):
  """norm((activation(x gate) * input) projection) of a layer."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, P = config.embed_dim, config.layer_input_dim
    init = jax.nn.initializers.variance_scaling(
      1.0, 'fan_in', 'truncated_normal'
    )
    self.gate = nnx.Param(init(rngs.params(), (D, P)), axes=('embed', 'mlp'))
    self.down = nnx.Param(init(rngs.params(), (P, D)), axes=('mlp', 'embed'))
    self.norm = Norm(config, D, 'embed')

  def __call__(
    self,
    x_BTD: jax.Array,
    input_BTP: jax.Array,
    activation: Callable[[jax.Array], jax.Array],
  ) -> jax.Array:
    """Returns what is added to the output [B, T, D] of a layer."""
    gate_BTP = activation(einsum_with_lora('BTD,DP->BTP', x_BTD, self.gate))
    out_BTD = einsum_with_lora('BTP,PD->BTD', gate_BTP * input_BTP, self.down)
    return self.norm(out_BTD)
