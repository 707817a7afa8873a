"""Chunked log-probabilities equal their formulas, without [B, T, V] logits in memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.models import token_log_probs, transformer

CONFIG = transformer.TransformerConfig(
  vocab_size=11,
  embed_dim=8,
  num_layers=1,
  num_heads=1,
  mlp_dim=8,
  final_softcap=2.0,
)
RNG = np.random.default_rng(0)
PARAMS = {'embedding': RNG.normal(0, 1, (11, 8)).astype(np.float32)}
HIDDEN_BTD = RNG.normal(0, 1, (2, 7, 8)).astype(np.float32)
TOKENS_BT = RNG.integers(0, 11, (2, 7), np.int32)


@pytest.fixture(autouse=True)
def logits_of_the_embedding_alone(monkeypatch):
  """The readout with a model that is its embedding: no layer needs to be made."""

  def logits(config, params, hidden):
    product = jnp.matmul(
      hidden, params['embedding'].T, preferred_element_type=jnp.float32
    )
    return config.final_softcap * jnp.tanh(product / config.final_softcap)

  monkeypatch.setattr(transformer, 'logits', logits)


def wanted_log_probs():
  """log softmax in float64, [B, T, V]; and the log normalisers."""
  product = HIDDEN_BTD.astype(np.float64) @ PARAMS['embedding'].T.astype(
    np.float64
  )
  logits = 2.0 * np.tanh(product / 2.0)
  normalizer = np.log(np.exp(logits).sum(axis=-1))
  return logits - normalizer[..., None], normalizer


@pytest.mark.parametrize('chunk', [None, 1, 3, 7])
def test_token_log_probs_equal_the_full_softmax(chunk):
  log_probs, normalizer = wanted_log_probs()
  found = token_log_probs.ChunkedLogProbs(
    CONFIG, PARAMS, HIDDEN_BTD, chunk
  ).token_log_probs(TOKENS_BT)
  chosen = np.take_along_axis(log_probs, TOKENS_BT[..., None], axis=-1)[..., 0]
  np.testing.assert_allclose(found.log_prob_BT, chosen, rtol=1e-5)
  np.testing.assert_allclose(found.log_normalizer_BT, normalizer, rtol=1e-5)
  np.testing.assert_allclose(
    found.mean_log_prob_BT, log_probs.mean(axis=-1), rtol=1e-5
  )


def test_gradients_do_not_depend_on_chunks():
  def loss(params, hidden, chunk):
    found = token_log_probs.ChunkedLogProbs(
      CONFIG, params, hidden, chunk
    ).token_log_probs(TOKENS_BT)
    return sum(jnp.sum(jnp.sin(x) * x) for x in found)

  grads = [
    jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(PARAMS, HIDDEN_BTD, chunk)
    for chunk in (7, 2)
  ]
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5), *grads
  )


def test_word_log_probs_are_sums_over_the_tokens_of_each_word():
  log_probs, _ = wanted_log_probs()
  positions = np.array([[[2, 3], [2, 6]], [[5, 0], [5, 4]]])
  words, mask = np.array([[3, 9], [4, 0]]), np.array([[1, 1], [1, 0]])
  found = token_log_probs.ChunkedLogProbs(
    CONFIG, PARAMS, HIDDEN_BTD
  ).word_log_probs(positions, words, mask)
  wanted = [
    [log_probs[0, 2, 3] + log_probs[0, 3, 9], log_probs[0, 2, 4]],
    [log_probs[1, 5, 3] + log_probs[1, 0, 9], log_probs[1, 5, 4]],
  ]
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_logits_of_one_position_of_each_sequence():
  readout = token_log_probs.ChunkedLogProbs(CONFIG, PARAMS, HIDDEN_BTD)
  log_probs, _ = wanted_log_probs()
  np.testing.assert_allclose(
    jax.nn.log_softmax(readout.logits(np.array([4, 0]))),
    [log_probs[0, 4], log_probs[1, 0]],
    rtol=1e-5,
  )


def test_log_probs_of_bfloat16_hidden_states_are_float32():
  readout = token_log_probs.ChunkedLogProbs(
    CONFIG, PARAMS, jnp.asarray(HIDDEN_BTD, jnp.bfloat16)
  )
  assert readout.target_log_probs(TOKENS_BT).dtype == jnp.float32


def test_all_logits_are_never_in_memory_forward_or_backward():
  batch, length, vocab_size, chunk = 4, 256, 256_000, 8
  config = dataclasses.replace(CONFIG, vocab_size=vocab_size)

  def loss(params, hidden, tokens):
    readout = token_log_probs.ChunkedLogProbs(config, params, hidden, chunk)
    return -jnp.sum(readout.target_log_probs(tokens))

  shapes = (
    jax.ShapeDtypeStruct((vocab_size, 8), jnp.float32),
    jax.ShapeDtypeStruct((batch, length, 8), jnp.float32),
    jax.ShapeDtypeStruct((batch, length), jnp.int32),
  )
  compiled = (
    jax.jit(jax.grad(loss))
    .lower({'embedding': shapes[0]}, *shapes[1:])
    .compile()
  )
  one_chunk = 4 * batch * chunk * vocab_size
  assert compiled.memory_analysis().temp_size_in_bytes < 6 * one_chunk
  assert 6 * one_chunk < 4 * batch * length * vocab_size / 5


@pytest.mark.parametrize(
  'batch, vocab_size, wanted',
  [(2**6, 2**6, 2**17), (2**3, 2**18, 2**8), (2**13, 2**18, 1)],
)
def test_a_chunk_has_2_26_logits_on_each_of_eight_devices(
  batch, vocab_size, wanted
):
  assert jax.device_count() == 8
  assert (
    token_log_probs.positions_per_chunk(batch, vocab_size, num_devices=8)
    == wanted
  )
