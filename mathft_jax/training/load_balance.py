"""The load-balance loss of a mixture of experts, as an addition to a training objective."""

import jax
import jax.numpy as jnp

from mathft_jax.models import mixture_of_experts, transformer
from mathft_jax.training.losses import Metrics


def add_load_balance(
  model: transformer.TransformerConfig,
  num_microbatches: int,
  loss: jax.Array,
  metrics: Metrics,
  statistics: mixture_of_experts.RouterStatistics | None,
) -> tuple[jax.Array, Metrics]:
  """Returns the loss and the metrics of a microbatch with those of the load balance.

  The load-balance loss of a batch is the mean over its microbatches. It is no sum over tokens: with
  another number of microbatches it differs.

  Args:
    model: has the weight of the load-balance loss.
    num_microbatches: of the batch.
    loss, metrics: of the objective, for one microbatch.
    statistics: of the routers; None without a mixture of experts.
  """
  if statistics is None:
    return loss, metrics
  balance = mixture_of_experts.load_balance_loss(statistics)
  loss += model.load_balance_weight / num_microbatches * balance
  return loss, {**metrics, 'load_balance': (balance, jnp.ones(()))}
