"""Mixture of experts: many MLPs, of which each token uses a few (Qwen3-MoE, arXiv 2505.09388).

The router gives each token a probability of each expert. The output of a token is the sum of the
outputs of its most probable experts, weighted by their probabilities. Experts have no capacity: no
token is dropped.

Tokens are sorted by expert, so that the tokens of an expert are neighbouring rows of a grouped
matrix product. On a mesh each device has some of the experts, by the rule of the logical axis
'experts', and computes the tokens that use them. The results of the devices are summed.

Further axes: E experts, U experts that a token uses, R = B T U rows, one for each use.
"""

import functools
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib
from mathft_jax.models.activations import ACTIVATIONS, Activation
from mathft_jax.models.grouped_matmul import grouped_matmul
from mathft_jax.models.layer_sizes import Experts
from mathft_jax.models.splash_attention import KernelSharding

scaled_init = functools.partial(
  jax.nn.initializers.variance_scaling,
  mode='fan_in',
  distribution='truncated_normal',
  batch_axis=0,
)


# Logical axes of the arrays of `apply_experts`. 'embed' is not sharded: with FSDP a device gathers
# the matrices of its own experts.
EXPERT_AXES = (
  ('batch', None, None),
  ('batch', None, None),
  ('batch', None, None),
  ('experts',),
  ('experts', None, 'mlp'),
  ('experts', None, 'mlp'),
  ('experts', 'mlp', None),
)


class RouterStatistics(NamedTuple):
  """Sums over the tokens of a layer, or of several layers; float32. Padding does not count."""

  uses_E: jax.Array  # tokens that use each expert
  probability_E: jax.Array  # sum of their probabilities
  num_tokens: jax.Array


class MoeInputs(NamedTuple):
  """What the experts of all layers share in one call.

  Attributes:
    is_token_BT: False for padding; None: there is no padding.
    kernel_sharding: runs the experts on their devices. None: a single device.
  """

  is_token_BT: jax.Array | None
  kernel_sharding: KernelSharding | None


class MixtureOfExperts(nnx.Module):
  """A router and stacked experts activation(x @ gate) * (x @ up) @ down."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    assert config.experts is not None
    E, D, F = config.experts.count, config.embed_dim, config.experts.mlp_dim
    init = scaled_init(1.0)
    init_down = scaled_init(1 / (2 * config.num_layers))

    # The router is not sharded over 'experts': each device needs all probabilities.
    self.router = nnx.Param(
      jax.nn.initializers.normal(D**-0.5)(rngs.params(), (D, E)),
      axes=('embed', None),
    )
    self.gate = nnx.Param(
      init(rngs.params(), (E, D, F)), axes=('experts', 'embed', 'mlp')
    )
    self.up = nnx.Param(
      init(rngs.params(), (E, D, F)), axes=('experts', 'embed', 'mlp')
    )
    self.down = nnx.Param(
      init_down(rngs.params(), (E, F, D)), axes=('experts', 'mlp', 'embed')
    )
    self.config = config

  def __call__(
    self, x_BTD: jax.Array, inputs: MoeInputs
  ) -> tuple[jax.Array, RouterStatistics]:
    """Returns the output [B, T, D] and the statistics of the router."""
    assert self.config.experts is not None
    probabilities_BTE, weights_BTU, used_BTU = choose_experts(
      self.config.experts, self.router[...], x_BTD
    )
    statistics = router_statistics(
      probabilities_BTE, used_BTU, inputs.is_token_BT
    )

    sharding = inputs.kernel_sharding
    platform = jax.default_backend() if sharding is None else sharding.platform
    apply = functools.partial(
      apply_experts, ACTIVATIONS[self.config.mlp_activation], platform
    )
    if sharding is not None:
      apply = sharding.sum_of_parts(apply, EXPERT_AXES)

    out_BTD = apply(
      x_BTD,
      used_BTU,
      weights_BTU.astype(x_BTD.dtype),
      jnp.arange(self.config.experts.count, dtype=jnp.int32),
      self.gate[...].astype(x_BTD.dtype),
      self.up[...].astype(x_BTD.dtype),
      self.down[...].astype(x_BTD.dtype),
    )
    return out_BTD, statistics


def choose_experts(
  experts: Experts, router_DE: jax.Array, x_BTD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the router's probabilities, and weights and indices of the experts of each token.

  Computed in float32: a rounding error of a probability may change the experts of a token.

  Returns:
    probabilities [B, T, E]; weights [B, T, U]; indices [B, T, U] of the experts, int32.
  """
  logits_BTE = jnp.einsum(
    'BTD,DE->BTE',
    x_BTD.astype(jnp.float32),
    router_DE.astype(jnp.float32),
    precision='highest',
  )
  probabilities_BTE = jax.nn.softmax(logits_BTE)
  weights_BTU, used_BTU = jax.lax.top_k(probabilities_BTE, experts.per_token)
  if experts.normalise_weights:
    weights_BTU /= jnp.sum(weights_BTU, axis=-1, keepdims=True)
  return probabilities_BTE, weights_BTU, used_BTU


def router_statistics(
  probabilities_BTE: jax.Array,
  used_BTU: jax.Array,
  is_token_BT: jax.Array | None,
) -> RouterStatistics:
  """Returns the sums over all tokens that are not padding."""
  batch, length, num_experts = probabilities_BTE.shape
  if is_token_BT is None:
    is_token_BT = jnp.ones((batch, length), bool)
  counts_BT1 = is_token_BT[..., None].astype(jnp.float32)
  uses_BTE = jnp.sum(jax.nn.one_hot(used_BTU, num_experts), axis=2)
  return RouterStatistics(
    uses_E=jnp.sum(uses_BTE * counts_BT1, axis=(0, 1)),
    probability_E=jnp.sum(probabilities_BTE * counts_BT1, axis=(0, 1)),
    num_tokens=jnp.sum(counts_BT1),
  )


def no_statistics(
  config: config_lib.TransformerConfig,
) -> RouterStatistics | None:
  """Returns statistics without tokens; None without a mixture of experts."""
  if config.experts is None:
    return None
  zeros_E = jnp.zeros(config.experts.count, jnp.float32)
  return RouterStatistics(zeros_E, zeros_E, jnp.zeros((), jnp.float32))


def add_statistics(
  total: RouterStatistics | None, added: RouterStatistics | None
) -> RouterStatistics | None:
  """Returns the sums; None without a mixture of experts."""
  return jax.tree.map(jnp.add, total, added)


def load_balance_loss(statistics: RouterStatistics) -> jax.Array:
  """Returns E sum_e f_e P_e, the load-balance loss of Switch Transformer (arXiv 2101.03961, eq. 4).

  f_e is the fraction of the tokens that use expert e, P_e the mean probability of e, both over all
  tokens and layers, as in `transformers`. It is the number of experts of a token (U) if all experts
  are used equally, and larger otherwise.
  """
  num_experts = statistics.uses_E.shape[0]
  num_tokens = jnp.maximum(statistics.num_tokens, 1)
  fraction_E = statistics.uses_E / num_tokens
  mean_probability_E = statistics.probability_E / num_tokens
  return num_experts * jnp.sum(fraction_E * mean_probability_E)


def apply_experts(
  activation: Activation,
  platform: str,
  x_BTD: jax.Array,
  used_BTU: jax.Array,
  weights_BTU: jax.Array,
  experts_E: jax.Array,
  gate_EDF: jax.Array,
  up_EDF: jax.Array,
  down_EFD: jax.Array,
) -> jax.Array:
  """Returns the weighted sum [B, T, D] over the experts of each token that are on this device.

  Args:
    activation: of the gate.
    platform: as for `grouped_matmul`.
    used_BTU, weights_BTU: indices and weights of the experts of each token.
    experts_E: indices of the experts on this device, consecutive.
    gate_EDF, up_EDF, down_EFD: of these experts.
  """
  num_experts = experts_E.shape[0]
  index_R = used_BTU.reshape(-1) - experts_E[0]
  is_here_R = (index_R >= 0) & (index_R < num_experts)
  index_R = jnp.where(is_here_R, index_R, num_experts)  # the others are last
  order_R = jnp.argsort(index_R)
  inverse_R = jnp.argsort(order_R)
  uses_RE = index_R[:, None] == jnp.arange(num_experts)
  group_sizes_E = jnp.sum(uses_RE, axis=0, dtype=jnp.int32)

  rows_BTUD = jnp.broadcast_to(
    x_BTD[:, :, None], (*used_BTU.shape, x_BTD.shape[-1])
  )
  x_RD = rows_BTUD.reshape(-1, x_BTD.shape[-1])
  x_RD = permute_rows(x_RD, order_R, inverse_R)
  gate_RF = grouped_matmul(x_RD, gate_EDF, group_sizes_E, platform)
  up_RF = grouped_matmul(x_RD, up_EDF, group_sizes_E, platform)
  hidden_RF = activation(gate_RF) * up_RF
  out_RD = grouped_matmul(hidden_RF, down_EFD, group_sizes_E, platform)

  out_RD = permute_rows(out_RD, inverse_R, order_R)
  out_BTUD = out_RD.reshape(rows_BTUD.shape)
  return jnp.sum(out_BTUD * weights_BTU[..., None], axis=2)


@jax.custom_vjp
def permute_rows(
  x_RD: jax.Array, order_R: jax.Array, inverse_R: jax.Array
) -> jax.Array:
  """Returns x[order]. The gradient is a gather by the inverse order instead of a scatter."""
  return x_RD[order_R]


def _permute_rows_forward(
  x_RD: jax.Array, order_R: jax.Array, inverse_R: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return x_RD[order_R], inverse_R


def _permute_rows_backward(
  inverse_R: jax.Array, gradient_RD: jax.Array
) -> tuple[jax.Array, None, None]:
  return gradient_RD[inverse_R], None, None


permute_rows.defvjp(_permute_rows_forward, _permute_rows_backward)
