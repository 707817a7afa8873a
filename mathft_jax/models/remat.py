"""What the backward pass recomputes: the policies of `TransformerConfig.remat`.

A layer names its activations. A policy saves those of some names, on the device or in host memory,
and recomputes all others.
"""

import jax

from mathft_jax.models import splash_attention

QKV = 'qkv_projections'  # queries, keys and values after rotary embeddings
OUT = 'output_projections'  # outputs of attention and MLP

_policies = jax.checkpoint_policies
_save = _policies.save_only_these_names

# What the backward kernels of splash attention read is saved with the queries, keys and values.
_WITH_QKV = QKV, splash_attention.RESIDUALS_NAME

POLICIES = {
  'full': _policies.nothing_saveable,
  'auto': _policies.nothing_saveable,  # `train` chooses another policy before its first step
  'save_out': _save(OUT),
  'save_qkv': _save(*_WITH_QKV),
  'save_qkv_out': _save(*_WITH_QKV, OUT),
  'offload_qkv_out': _policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=[*_WITH_QKV, OUT],
    offload_src='device',
    offload_dst='pinned_host',
  ),
  'dots': _policies.save_from_both_policies(
    _policies.dots_with_no_batch_dims_saveable,
    _save(splash_attention.RESIDUALS_NAME),
  ),
}
