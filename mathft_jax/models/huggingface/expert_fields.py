"""Mixture of experts in config.json (Qwen3-MoE)."""

from mathft_jax.models import config as config_lib
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface.field_conversion import FieldConversion
from mathft_jax.models.layer_sizes import Experts

# Newer versions of transformers write the number of experts under the second name.
COUNT_KEYS = ('num_experts', 'num_local_experts')
DEFAULTS = {
  'num_experts_per_tok': 8,
  'moe_intermediate_size': 768,
  'norm_topk_prob': False,
  'router_aux_loss_coef': 0.001,
}


def read_experts(keys: Json) -> Fields:
  """Returns `experts` and `load_balance_weight`.

  Raises:
    ValueError: some layers have no experts, or a value is not supported.
  """
  keys = {**DEFAULTS, **keys}
  if keys.get('decoder_sparse_step', 1) != 1 or keys.get('mlp_only_layers'):
    raise ValueError(
      f'decoder_sparse_step is {keys.get("decoder_sparse_step")} and mlp_only_layers is '
      f'{keys.get("mlp_only_layers")}; only 1 and [] are supported: all layers have experts.'
    )
  counts = [keys[key] for key in COUNT_KEYS if key in keys]
  if len(set(counts)) != 1 or type(counts[0]) is not int or counts[0] < 1:
    raise ValueError(
      f'{" and ".join(COUNT_KEYS)} are {counts}; one must be an integer >= 1, or both the same one.'
    )
  experts = Experts(
    count=counts[0],
    per_token=keys['num_experts_per_tok'],
    mlp_dim=keys['moe_intermediate_size'],
    normalise_weights=keys['norm_topk_prob'],
  )
  return {
    'experts': experts,
    'load_balance_weight': keys['router_aux_loss_coef'],
  }


def write_experts(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_experts` reads; ValueError for a model without experts."""
  experts = config.experts
  if experts is None:
    raise ValueError('the model has no experts.')
  return {
    'num_experts': experts.count,
    'num_experts_per_tok': experts.per_token,
    'moe_intermediate_size': experts.mlp_dim,
    'norm_topk_prob': experts.normalise_weights,
    'router_aux_loss_coef': config.load_balance_weight,
    'decoder_sparse_step': 1,
    'mlp_only_layers': [],
  }


EXPERTS = FieldConversion(read_experts, write_experts)
