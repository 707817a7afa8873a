"""Learning rates at the updates that matter, one step of each optimizer by hand, decay mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.training import optimizers


def rates(schedule, stop, start=0):
  return optimizers.learning_rates(
    optimizers.AdamW(learning_rate=schedule), start, stop
  )


def test_a_number_is_a_constant_rate():
  np.testing.assert_allclose(rates(0.5, 3), [0.5, 0.5, 0.5])


def test_warm_up_reaches_the_peak_and_the_first_update_is_not_wasted():
  np.testing.assert_allclose(
    rates(optimizers.Constant(1.0, warmup_steps=4), 6),
    [0.25, 0.5, 0.75, 1, 1, 1],
    rtol=1e-6,
  )
  np.testing.assert_allclose(rates(optimizers.Constant(1.0), 2), [1, 1])


def test_linear_and_cosine_end_at_their_final_rate():
  linear = rates(
    optimizers.Linear(1.0, decay_steps=10, warmup_steps=2, final=0.2), 12
  )
  np.testing.assert_allclose(
    linear[[0, 1, 5, 9, 11]], [0.5, 1, 0.6, 0.2, 0.2], rtol=1e-6
  )
  cosine = rates(
    optimizers.Cosine(1.0, decay_steps=10, warmup_steps=2, final=0.2), 12
  )
  np.testing.assert_allclose(
    cosine[[0, 1, 5, 9, 11]], [0.5, 1, 0.6, 0.2, 0.2], rtol=1e-6
  )
  assert linear[3] < cosine[3]


def test_rsqrt_falls_with_the_root_of_the_step():
  np.testing.assert_allclose(
    rates(optimizers.Rsqrt(1.0, warmup_steps=4), 16)[[3, 15]],
    [1, 0.5],
    rtol=1e-6,
  )


def test_a_resumed_run_sees_the_rates_of_the_whole_run():
  schedule = optimizers.Cosine(1.0, decay_steps=9, warmup_steps=3)
  np.testing.assert_array_equal(
    rates(schedule, 9, start=4), rates(schedule, 9)[4:]
  )


def test_a_schedule_that_ends_before_its_warm_up_is_refused():
  with pytest.raises(
    ValueError, match='decay_steps must be > warmup_steps. Bind decay_steps'
  ):
    optimizers.Linear(1.0, decay_steps=5, warmup_steps=5)


def update(optimizer, gradient, params):
  transform = optimizer.transform()
  return transform.update(gradient, transform.init(params), params)[0]


def test_the_first_adam_update_is_the_sign_of_the_gradient_plus_decay():
  params = {
    'layers': {'mlp': jnp.array([2.0, -3.0]), 'key_bias': jnp.array([5.0])}
  }
  gradient = {
    'layers': {'mlp': jnp.array([0.1, -7.0]), 'key_bias': jnp.array([1.0])}
  }
  step = update(optimizers.AdamW(weight_decay=0.01), gradient, params)['layers']
  np.testing.assert_allclose(step['mlp'], [1 + 0.02, -1 - 0.03], rtol=1e-5)
  np.testing.assert_allclose(step['key_bias'], [1.0], rtol=1e-5)


def test_the_first_adafactor_update_is_relative_to_the_size_of_the_parameter():
  params = {'w': jnp.full((4, 4), 3.0)}
  gradient = {'w': jnp.where(jnp.eye(4) > 0, -2.0, 0.5)}
  step = update(optimizers.Adafactor(), gradient, params)['w']
  np.testing.assert_allclose(step, 3.0 * jnp.sign(gradient['w']), rtol=1e-4)


def test_adafactor_keeps_rows_and_columns_of_large_arrays_only():
  params = {'large': jnp.zeros((3, 128, 256)), 'small': jnp.zeros((3, 16, 256))}
  state = jax.eval_shape(optimizers.Adafactor().transform().init, params)
  sizes = sum(x.size for x in jax.tree.leaves(state))
  assert 3 * 16 * 256 + 3 * (128 + 256) <= sizes < 3 * 128 * 256


def test_norm_scales_and_biases_are_not_decayed():
  params = {
    'embedding': 0,
    'head': 0,
    'final_norm': {'scale': 0},
    'layers': {
      'attention': {'query': 0, 'query_bias': 0, 'key_norm': {'scale': 0}}
    },
  }
  assert optimizers.weight_decay_mask(params) == {
    'embedding': True,
    'head': True,
    'final_norm': {'scale': False},
    'layers': {
      'attention': {
        'query': True,
        'query_bias': False,
        'key_norm': {'scale': False},
      }
    },
  }


def test_optimizers_that_differ_in_their_rate_share_a_compiled_step():
  slow = optimizers.AdamW(learning_rate=1e-4)
  fast = optimizers.AdamW(learning_rate=optimizers.Cosine(1e-2, decay_steps=7))
  assert slow != fast
  assert optimizers.without_learning_rate(
    slow
  ) == optimizers.without_learning_rate(fast)
  assert hash(optimizers.without_learning_rate(slow)) == hash(
    optimizers.without_learning_rate(fast)
  )
