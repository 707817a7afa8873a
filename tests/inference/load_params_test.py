"""Weights for inference are held in the dtype of the computation, and that changes no number."""

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import load_params
from mathft_jax.models import transformer

CONFIG = transformer.TransformerConfig(
  vocab_size=64,
  embed_dim=16,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  mlp_dim=32,
  qkv_bias=True,
  qk_norm=True,
  tied_embeddings=False,
  dtype='bfloat16',
)


def test_weights_are_held_in_the_dtype_of_the_computation_and_give_the_same_numbers(
  tmp_path,
):
  params = transformer.init_params(CONFIG, jax.random.key(0))
  # Scales and biases of no special value.
  params = jax.tree.map(lambda array: array + 0.01, params)
  path = checkpoints.save_orbax_checkpoint(
    tmp_path / 'step', params, {'model': CONFIG}
  )
  held = load_params.load_inference_params(
    path, CONFIG, fingerprint={}, mesh=partitioning.Partitioner().mesh()
  )
  dtypes = {
    '/'.join(key.key for key in keys): array.dtype
    for keys, array in jax.tree_util.tree_leaves_with_path(held)
  }
  assert {name for name, dtype in dtypes.items() if dtype == jnp.float32} == {
    name for name in dtypes if name.endswith('scale')
  }
  tokens_BT = np.arange(12).reshape(2, 6)
  positions_BT = np.broadcast_to(np.arange(6), (2, 6))
  logits = []
  for each in (params, held):
    hidden_BTD, _ = transformer.hidden_states(
      CONFIG, each, tokens_BT, positions_BT=positions_BT
    )
    logits.append(np.asarray(transformer.logits(CONFIG, each, hidden_BTD)))
  np.testing.assert_array_equal(*logits)
