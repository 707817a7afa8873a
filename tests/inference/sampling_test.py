"""Sampling methods: frequencies of tokens, and independence of sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.inference import rejection_sampling, sampling

# Probabilities of a fake vocabulary of five tokens, on purpose not in order.
PROBABILITIES = np.array([0.10, 0.40, 0.05, 0.30, 0.15])
LOGITS = np.log(PROBABILITIES).astype(np.float32)
DRAWS = 6_000


def draw(method, logits=LOGITS, draws=DRAWS, seed=0):
  keys = jax.random.split(jax.random.key(seed), draws)
  return np.asarray(jax.jit(method)(jnp.tile(logits, (draws, 1)), keys))


def frequencies(method, logits=LOGITS):
  return np.bincount(draw(method, logits), minlength=len(logits)) / DRAWS


def assert_frequencies(method, wanted, logits=LOGITS):
  wanted = np.array(wanted) / np.sum(wanted)
  actual = frequencies(method, logits)
  assert (actual[wanted == 0] == 0).all()
  np.testing.assert_allclose(actual, wanted, atol=4 * np.sqrt(0.25 / DRAWS))


def test_greedy_takes_the_most_probable_token_and_the_first_of_a_tie():
  logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 1.0, 3.0]])
  assert sampling.Greedy()(logits, None).tolist() == [1, 0]


def test_temperature_one_samples_the_distribution_of_the_model():
  assert_frequencies(sampling.Temperature(1.0), PROBABILITIES)


def test_a_temperature_raises_probabilities_to_a_power():
  assert_frequencies(sampling.Temperature(0.5), PROBABILITIES**2)


@pytest.mark.parametrize(
  'k, kept', [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (9, range(5))]
)
def test_top_k_samples_among_the_k_most_probable(k, kept):
  wanted = np.zeros(5)
  wanted[list(kept)] = PROBABILITIES[list(kept)]
  assert_frequencies(sampling.TopK(k, temperature=1.0), wanted)


@pytest.mark.parametrize(
  'p, kept',
  [
    (0.01, [1]),
    (0.39, [1]),
    (0.41, [1, 3]),
    (0.69, [1, 3]),
    (0.71, [1, 3, 4]),
    (0.86, [0, 1, 3, 4]),
    (0.96, range(5)),
    (1.0, range(5)),
  ],
)
def test_nucleus_keeps_the_fewest_tokens_with_probability_p(p, kept):
  wanted = np.zeros(5)
  wanted[list(kept)] = PROBABILITIES[list(kept)]
  assert_frequencies(sampling.Nucleus(p, temperature=1.0), wanted)


def test_nucleus_uses_the_probabilities_at_the_temperature():
  # .034 .552 .009 .310 .078 -> sums.
  cold = PROBABILITIES**2 / np.sum(PROBABILITIES**2)
  assert cold[1] < 0.6 < cold[1] + cold[3]
  assert_frequencies(
    sampling.Nucleus(0.6, temperature=0.5), [0, cold[1], 0, cold[3], 0]
  )


def test_a_large_vocabulary_gives_the_frequencies_of_a_small_one():
  rng = np.random.default_rng(0)
  logits = np.full(3000, -30.0, np.float32)
  tokens = rng.choice(3000, 5, replace=False)
  logits[tokens] = LOGITS
  wanted = np.zeros(3000)
  wanted[tokens] = PROBABILITIES
  actual = frequencies(sampling.Temperature(1.0), logits)
  np.testing.assert_allclose(actual, wanted, atol=0.026)
  assert set(draw(sampling.Nucleus(0.65, 1.0), logits)) == {
    tokens[1],
    tokens[3],
  }


def sorted_reference(probabilities, keep):
  """The distribution of the most probable tokens; `keep`: their sums before -> whether kept."""
  order = np.argsort(-probabilities)
  sums_before = np.cumsum(probabilities[order]) - probabilities[order]
  kept = order[keep(sums_before)]
  wanted = np.zeros_like(probabilities)
  wanted[kept] = probabilities[kept]
  return wanted / wanted.sum()


@pytest.mark.parametrize(
  'method, keep',
  [
    (sampling.Nucleus(0.95, 0.9), lambda sums: sums < 0.95),
    (sampling.Nucleus(0.05, 0.9), lambda sums: sums < 0.05),
    (sampling.TopK(5, 0.9), lambda sums: np.arange(len(sums)) < 5),
    (sampling.TopK(40, 0.9), lambda sums: np.arange(len(sums)) < 40),
    (sampling.TopK(100, 0.9), lambda sums: np.arange(len(sums)) < 100),
  ],
)
def test_a_large_vocabulary_is_sampled_as_if_it_were_sorted(method, keep):
  # Padded to whole blocks; a nucleus of a few to many hundred tokens.
  for spread in (0.1, 2.0):
    logits = np.random.default_rng(0).normal(0, spread, 1000)
    scaled = np.exp(logits / 0.9)
    wanted = sorted_reference(scaled / scaled.sum(), keep)
    actual = frequencies(method, logits.astype(np.float32))
    assert (actual[wanted == 0] == 0).all()
    kept = np.flatnonzero(wanted)
    z = (actual[kept] - wanted[kept]) / np.sqrt(wanted[kept] / DRAWS)
    assert np.sum(z**2) < len(kept) + 5 * np.sqrt(2 * len(kept))


@pytest.mark.parametrize(
  'method', [sampling.Nucleus(0.5, 1.0), sampling.TopK(2, 1.0)]
)
def test_all_tokens_with_the_probability_at_the_border_are_kept(method):
  logits = np.log(np.array([0.3, 0.25, 0.25, 0.2], np.float32))
  assert_frequencies(method, [0.3, 0.25, 0.25, 0], logits)


def test_top_k_keeps_all_equal_tokens_of_many_blocks():
  logits = np.full(1000, -30.0, np.float32)
  equal = [1, 200, 500, 900]
  logits[equal] = 1.0
  logits[700] = 2.0
  together = np.stack([logits, LOGITS.mean() + np.arange(1000) / 100])
  keys = jax.random.split(jax.random.key(0), 400)
  method = jax.jit(jax.vmap(sampling.TopK(2, 1.0), in_axes=(None, 0)))
  tokens = np.asarray(
    method(jnp.array(together, jnp.float32), keys.reshape(200, 2))
  )
  assert set(tokens[:, 0]) == {*equal, 700}
  assert set(tokens[:, 1]) == {998, 999}


def test_greedy_finds_the_first_of_equal_tokens_of_a_large_vocabulary():
  logits = np.zeros((2, 1000), np.float32)
  logits[0, [130, 140, 999]] = 1.0
  logits[1] = -np.inf
  logits[1, 999] = -5.0
  assert sampling.Greedy()(jnp.array(logits), None).tolist() == [130, 999]


@pytest.mark.parametrize('method', [sampling.Nucleus(), sampling.TopK()])
def test_logits_that_are_not_numbers_end_the_loop(method):
  draw(method, np.full(300, np.nan, np.float32), draws=2)


def test_a_token_with_probability_zero_is_never_sampled():
  logits = np.full(1000, -np.inf, np.float32)
  logits[[5, 700]] = 0.0
  assert set(draw(sampling.Temperature(1.0), logits)) == {5, 700}
  weights = jnp.array([[0.0, 1.0, 0.0]])
  assert rejection_sampling._invert_cumulative_sum(weights, jnp.array([1.0]))[
    0
  ].tolist() == [1]


def test_a_token_depends_only_on_its_own_logits_and_key():
  keys = jax.random.split(jax.random.key(1), 64)
  logits = jax.random.normal(jax.random.key(2), (64, 400))
  method = jax.jit(sampling.Nucleus())
  together = method(logits, keys)
  order = np.random.default_rng(0).permutation(64)
  np.testing.assert_array_equal(
    method(logits[order], keys[order]), together[order]
  )
  np.testing.assert_array_equal(method(logits[:3], keys[:3]), together[:3])


@pytest.mark.parametrize(
  'make',
  [
    lambda: sampling.Temperature(0.0),
    lambda: sampling.Nucleus(0.0),
    lambda: sampling.TopK(0),
    lambda: sampling.Nucleus(1.5),
  ],
)
def test_invalid_parameters_are_refused(make):
  with pytest.raises(ValueError, match='must be|wanted'):
    make()
