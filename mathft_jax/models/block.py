"""One Transformer layer: attention and an MLP, each with a norm and a residual connection."""

from typing import NamedTuple

from flax import nnx
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from mathft_jax.models import attention as attention_lib
from mathft_jax.models import config as config_lib
from mathft_jax.models import dropout as dropout_lib
from mathft_jax.models import kv_cache, mixture_of_experts, remat
from mathft_jax.models.activations import ACTIVATIONS
from mathft_jax.models.layer_inputs import LayerInputMlp
from mathft_jax.models.lora import einsum_with_lora
from mathft_jax.models.norm import Norm


class Mlp(nnx.Module):
  """activation(x @ gate) * (x @ up) @ down, or activation(x @ up) @ down without a gate."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, F = config.embed_dim, config.mlp_dim
    init = attention_lib.scaled_init(1.0, 'fan_in', 'truncated_normal')
    init_down = attention_lib.scaled_init(
      1 / (2 * config.num_layers), 'fan_in', 'truncated_normal'
    )

    if config.gated_mlp:
      self.gate = nnx.Param(init(rngs.params(), (D, F)), axes=('embed', 'mlp'))
    self.up = nnx.Param(init(rngs.params(), (D, F)), axes=('embed', 'mlp'))
    self.down = nnx.Param(
      init_down(rngs.params(), (F, D)), axes=('mlp', 'embed')
    )
    self.config = config

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    activation = ACTIVATIONS[self.config.mlp_activation]
    up_BTF = einsum_with_lora('BTD,DF->BTF', x_BTD, self.up)
    if self.config.gated_mlp:
      gate_BTF = einsum_with_lora('BTD,DF->BTF', x_BTD, self.gate)
      hidden_BTF = up_BTF * activation(gate_BTF)
    else:
      hidden_BTF = activation(up_BTF)
    return einsum_with_lora('BTF,FD->BTD', hidden_BTF, self.down)


class BlockOutputs(NamedTuple):
  """Output of a layer.

  Attributes:
    x_BTD: the activations.
    cache: with the keys and values of the new tokens appended.
    router_statistics: of a mixture of experts; None for other models.
  """

  x_BTD: jax.Array
  cache: kv_cache.LayerCache | None
  router_statistics: mixture_of_experts.RouterStatistics | None


class Block(nnx.Module):
  """x + attention(norm(x)), then + mlp(norm(x)); in parallel blocks both from one norm.

  With `post_norms` also the outputs are normalised; without `pre_norms` only they are. With
  `output_scale` the result is multiplied by a scalar.
  """

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    width = config.embed_dim
    if config.pre_norms:
      self.attention_norm = Norm(config, width, 'embed')
    if config.has_keys:
      self.attention = attention_lib.Attention(config, rngs=rngs)
    else:
      self.attention = attention_lib.SharedKeysAttention(config, rngs=rngs)
    if config.pre_norms and not config.parallel_block:
      self.mlp_norm = Norm(config, width, 'embed')
    if config.experts is None:
      self.mlp = Mlp(config, rngs=rngs)
    else:
      self.mlp = mixture_of_experts.MixtureOfExperts(config, rngs=rngs)
    if config.post_norms:
      self.post_attention_norm = Norm(config, width, 'embed')
      self.post_mlp_norm = Norm(config, width, 'embed')
    if config.layer_input_dim:
      self.layer_input = LayerInputMlp(config, rngs=rngs)
    if config.output_scale:
      self.output_scale = nnx.Param(jnp.ones(()), axes=())
    self.config = config

  def __call__(
    self,
    x_BTD: jax.Array,
    inputs: attention_lib.AttentionInputs,
    cache: kv_cache.LayerCache | None = None,
    layer: int | jax.Array = 0,
    layer_input_BTP: jax.Array | None = None,
    dropout: dropout_lib.Dropout | None = None,
    moe_inputs: mixture_of_experts.MoeInputs | None = None,
  ) -> BlockOutputs:
    """Returns the output of the layer.

    Args:
      x_BTD: output of the layer before.
      inputs: masks and rotary embeddings.
      cache: keys and values of earlier tokens; None without a cache.
      layer: index of the layer, for dropout.
      layer_input_BTP: further input of the layer, with `layer_input_dim`.
      dropout: for training; None: no dropout.
      moe_inputs: for a mixture of experts.
    """
    normed_BTD = x_BTD
    if self.config.pre_norms:
      normed_BTD = self.attention_norm(x_BTD)
    attended_BTD, cache = self.attention(normed_BTD, inputs, cache)
    attended_BTD = checkpoint_name(attended_BTD, remat.OUT)
    if self.config.post_norms:
      attended_BTD = self.post_attention_norm(attended_BTD)
    attended_BTD = scale_residual(self.config, attended_BTD)
    if dropout is not None:
      place = dropout_lib.attention_place(layer)
      attended_BTD = dropout(attended_BTD, place)

    if not self.config.parallel_block:
      x_BTD += attended_BTD
      normed_BTD = x_BTD
      if self.config.pre_norms:
        normed_BTD = self.mlp_norm(x_BTD)

    mlp_BTD, statistics = self._apply_mlp(normed_BTD, moe_inputs)
    mlp_BTD = checkpoint_name(mlp_BTD, remat.OUT)
    if self.config.post_norms:
      mlp_BTD = self.post_mlp_norm(mlp_BTD)
    mlp_BTD = scale_residual(self.config, mlp_BTD)
    if dropout is not None:
      mlp_BTD = dropout(mlp_BTD, dropout_lib.mlp_place(layer))

    if self.config.parallel_block:
      x_BTD += attended_BTD
    x_BTD += mlp_BTD
    if layer_input_BTP is not None:
      activation = ACTIVATIONS[self.config.mlp_activation]
      x_BTD += self.layer_input(x_BTD, layer_input_BTP, activation)
    if self.config.output_scale:
      scale = jax.lax.stop_gradient(self.output_scale[...])
      x_BTD *= scale.astype(x_BTD.dtype)
    return BlockOutputs(x_BTD, cache, statistics)

  def _apply_mlp(
    self, x_BTD: jax.Array, inputs: mixture_of_experts.MoeInputs | None
  ) -> tuple[jax.Array, mixture_of_experts.RouterStatistics | None]:
    if isinstance(self.mlp, Mlp):
      return self.mlp(x_BTD), None
    assert inputs is not None
    return self.mlp(x_BTD, inputs)


def scale_residual(
  config: config_lib.TransformerConfig, x_BTD: jax.Array
) -> jax.Array:
  """Returns the output of attention or MLP times `residual_multiplier` (Granite)."""
  if config.residual_multiplier == 1.0:
    return x_BTD
  return x_BTD * config.residual_multiplier
