"""Chunked log-probabilities equal their formulas, without [B, T, V] logits in memory."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.distributed import partitioning
from mathft_jax.distributed.activation_sharding import ActivationSharding
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


def wanted_log_probs():
  """log softmax in float64, [B, T, V]; and the log normalisers."""
  product = HIDDEN_BTD.astype(np.float64) @ PARAMS['embedding'].T.astype(
    np.float64
  )
  logits = 2.0 * np.tanh(product / 2.0)
  normalizer = np.log(np.exp(logits).sum(axis=-1))
  return logits - normalizer[..., None], normalizer


@pytest.mark.parametrize('rows', [1, 3, 7, 14])
def test_token_log_probs_equal_the_full_softmax(rows):
  log_probs, normalizer = wanted_log_probs()
  found = token_log_probs.ChunkedLogProbs(
    CONFIG, PARAMS, HIDDEN_BTD, max_logits=11 * rows
  ).token_log_probs(TOKENS_BT)
  chosen = np.take_along_axis(log_probs, TOKENS_BT[..., None], axis=-1)[..., 0]
  np.testing.assert_allclose(found.log_prob_BT, chosen, rtol=1e-5)
  np.testing.assert_allclose(found.log_normalizer_BT, normalizer, rtol=1e-5)
  np.testing.assert_allclose(
    found.mean_log_prob_BT, log_probs.mean(axis=-1), rtol=1e-5
  )


HEADS = {
  'tied': (CONFIG, PARAMS),
  'separate, without cap': (
    dataclasses.replace(CONFIG, tied_embeddings=False, final_softcap=None),
    {'head': PARAMS['embedding'].T},
  ),
  'padded': (
    dataclasses.replace(CONFIG, vocab_multiple=8, logits_divisor=1.7),
    {'embedding': np.pad(PARAMS['embedding'], ((0, 5), (0, 0)))},
  ),
}


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('rows', [14, 4])
def test_gradients_are_those_of_the_formulas(name, rows):
  config, params = HEADS[name]

  def loss(statistics):
    return sum(jnp.sum(jnp.sin(x) * x) for x in statistics)

  def chunked(params, hidden_BTD):
    return loss(
      token_log_probs.ChunkedLogProbs(
        config, params, hidden_BTD, max_logits=11 * rows
      ).token_log_probs(TOKENS_BT)
    )

  def plain(params, hidden_BTD):
    head, is_transposed = transformer.output_head(config, params)
    logits_BTV = hidden_BTD @ (head.T if is_transposed else head)
    logits_BTV = logits_BTV[..., : config.vocab_size] / config.logits_divisor
    if config.final_softcap:
      logits_BTV = 2.0 * jnp.tanh(logits_BTV / 2.0)
    log_probs_BTV = jax.nn.log_softmax(logits_BTV)
    chosen = jnp.take_along_axis(log_probs_BTV, TOKENS_BT[..., None], -1)
    normalizer_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    return loss((chosen[..., 0], normalizer_BT, jnp.mean(log_probs_BTV, -1)))

  found = jax.jit(jax.grad(chunked, (0, 1)))(params, HIDDEN_BTD)
  wanted = jax.jit(jax.grad(plain, (0, 1)))(params, HIDDEN_BTD)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5),
    found,
    wanted,
  )


def test_a_mesh_reduces_the_gradient_of_the_head_once():
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  sharding = ActivationSharding(mesh)
  config = dataclasses.replace(CONFIG, vocab_size=12, tied_embeddings=False)
  shapes = {'head': jax.ShapeDtypeStruct((8, 12), jnp.float32)}
  layout = partitioning.logical_to_shardings(
    {'head': ('embed', 'vocab')},
    shapes,
    mesh=mesh,
    rules=partitioning.Partitioner(fsdp=True).rules,
  )
  head = RNG.normal(0, 1, (8, 12)).astype(np.float32)
  hidden_BTD = RNG.normal(0, 1, (8, 6, 8)).astype(np.float32)
  tokens_BT = RNG.integers(0, 12, (8, 6), np.int32)

  def loss(params, hidden_BTD, tokens_BT, sharding, max_logits):
    found = token_log_probs.ChunkedLogProbs(
      config, params, hidden_BTD, max_logits, sharding=sharding
    )
    return jnp.sum(found.target_log_probs(tokens_BT))

  def grads(sharding, max_logits):
    return jax.value_and_grad(
      functools.partial(loss, sharding=sharding, max_logits=max_logits), (0, 1)
    )

  batch = partitioning.batch_sharding(mesh)
  step = jax.jit(
    grads(sharding, 4 * 6),  # four rows of each device
    in_shardings=(layout, batch, batch),
    out_shardings=(None, (layout, batch)),
  )
  arguments = {'head': head}, hidden_BTD, tokens_BT
  compiled = step.lower(*arguments).compile()
  body = compiled.as_text().split('ENTRY')[0]
  reduced = re.findall(r'= f32\[(?:\d+,)*8,6\]\S* all-reduce', body)
  assert not reduced  # no reduction of the head's gradient in the loop

  found = step(*arguments)
  wanted = grads(None, 10**6)(*arguments)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    found,
    wanted,
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
  batch, length, vocab_size, rows = 4, 256, 256_000, 32
  config = dataclasses.replace(CONFIG, vocab_size=vocab_size)

  def loss(params, hidden, tokens):
    readout = token_log_probs.ChunkedLogProbs(
      config, params, hidden, max_logits=rows * vocab_size
    )
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
  one_chunk = 4 * rows * vocab_size
  assert compiled.memory_analysis().temp_size_in_bytes < 6 * one_chunk
  assert 6 * one_chunk < 4 * batch * length * vocab_size / 5


def test_a_chunk_counts_the_part_of_the_vocabulary_on_each_device():
  config = dataclasses.replace(CONFIG, vocab_size=2**18)
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  sharding = ActivationSharding(mesh)
  count = token_log_probs.rows_per_chunk
  assert count(2**26, config, 1, None) == 2**8
  assert count(2**26, config, 4, sharding) == 2**9
  assert count(2**10, config, 1, None) == 1
