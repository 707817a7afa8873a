"""Decoding inside another traced program: one candidate of each prompt, without refilled rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.inference import decode_block, decode_caches, prefill
from mathft_jax.inference.decode_block import Rows
from mathft_jax.inference.decode_caches import Caches
from mathft_jax.inference.decode_config import DecodeConfig
from mathft_jax.models import transformer


class TracedCandidates(NamedTuple):
  """One candidate of each prompt; U is the room for tokens."""

  tokens_BU: jax.Array  # the end token included, then zeros
  lengths_B: jax.Array
  log_probs_B: jax.Array


def decode_in_trace(
  config: DecodeConfig,
  params: transformer.Params,
  prompts_BS: jax.Array,
  lengths_B: jax.Array,
  keys_B: jax.Array,
) -> TracedCandidates:
  """Decodes one candidate of each prompt; can be traced inside `jax.jit`.

  Args:
    config: with one row for each prompt, and groups of one row.
    prompts_BS: token ids, padded on the right to `config.prompt_slots`.
    lengths_B: tokens of each prompt, at least 1.
    keys_B: PRNG keys of the candidates.
  """
  prompts = prefill.prompt_keys(config, params, prompts_BS, lengths_B)
  caches = decode_caches.empty_caches(config)._replace(prompts=(prompts,))
  caches = decode_caches.constrain(config, caches)
  last_B1 = lengths_B[:, None] - 1
  zeros_B = jnp.zeros_like(lengths_B)
  rows = Rows(
    problem_words_B2=jnp.zeros((config.num_rows, 2), jnp.uint32),
    samples_B=zeros_B,
    places_B=zeros_B,
    prompt_lengths_B=lengths_B,
    lengths_B=zeros_B,
    last_tokens_B=jnp.take_along_axis(prompts_BS, last_B1, axis=1)[:, 0],
    log_probs_B=jnp.zeros(config.num_rows),
    active_B=jnp.ones(config.num_rows, bool),
  )

  def run_block(
    carry: tuple[Caches, Rows[jax.Array]], _: None
  ) -> tuple[tuple[Caches, Rows[jax.Array]], jax.Array]:
    caches, rows, tokens_BJ = decode_block.decode_steps(
      config, params, *carry, keys_B
    )
    return (caches, rows), tokens_BJ

  num_blocks = -(-config.max_decode_length // config.block_size)
  (_, rows), blocks = jax.lax.scan(run_block, (caches, rows), length=num_blocks)
  tokens_BU = jnp.moveaxis(blocks, 0, 1).reshape(config.num_rows, -1)
  return TracedCandidates(
    tokens_BU[:, : config.max_decode_length], rows.lengths_B, rows.log_probs_B
  )
