"""Decoding with rows that are refilled (continuous batching).

  for block in decode(config, params, prompts, num_candidates=64, seed=0):
    for candidate in block.ended:
      ...

A fixed number of rows is decoded, in blocks of 16 steps. One block is one jitted loop. At its end
the rows that have ended take the next candidates (`row_schedule`), so no candidate waits for a
longer one. The rows of a group are neighbours and share prompts: a prompt is prefilled once, and
its keys are read by one matmul for all rows of the group.

The keys and values of a row are of three kinds. All have fixed shapes, so that their memory is
known before the first prompt:

  prompts  for each place of a prompt in a group: the prompt, without its last token
  chunks   the tokens of the blocks before this one, 128 slots a chunk; a chunk without a token of
           any row is not read
  block    the tokens of this block; appended to the chunks at its end

The first input token of a row is the last token of its prompt, so that prefill needs no logits.

The random numbers of a candidate are functions of (seed, problem id, sample index, token index). No
operation mixes rows, and all shapes are fixed. Therefore a candidate has the same bits for the same
sizes (`DecodeConfig`, rows per device), whichever row, place, neighbours or order it has.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mathft_jax.inference import (
  decode_block,
  decode_caches,
  prefill,
  row_schedule,
)
from mathft_jax.inference.decode_block import Rows
from mathft_jax.inference.decode_config import DecodeConfig
from mathft_jax.inference.prefill import Prompt
from mathft_jax.models import transformer


class DecodedCandidate(NamedTuple):
  """A candidate in host memory.

  Attributes:
    prompt: index of its prompt.
    sample: its number among the candidates of the prompt.
    tokens: int32, the end token included if finished.
    log_prob: log p(X|P) at temperature 1, natural log, of all tokens.
    finished: whether an end token was sampled within `max_decode_length`.
  """

  prompt: int
  sample: int
  tokens: np.ndarray
  log_prob: float
  finished: bool


class Block(NamedTuple):
  """What a block of steps gave.

  Attributes:
    ended: the candidates that have ended.
    num_tokens: tokens of all rows.
    num_row_steps: steps times rows; `num_tokens` if no row was idle.
    num_started: prompts of which a candidate has begun, in this block or before.
  """

  ended: list[DecodedCandidate]
  num_tokens: int
  num_row_steps: int
  num_started: int


def decode(
  config: DecodeConfig,
  params: transformer.Params,
  prompts: Sequence[Prompt],
  *,
  num_candidates: int,
  seed: int,
  first_sample: int = 0,
) -> Iterator[Block]:
  """Decodes all candidates of all prompts, and yields after each block of steps.

  All processes of the mesh call it with the same arguments and get all candidates.

  Args:
    params: of `config.model`, on `config.mesh`.
    prompts: with at most `config.prompt_slots` tokens.
    num_candidates: of each prompt.
    seed: of all random numbers.
    first_sample: number of the first candidate of each prompt; those before it are left out.
  """
  schedule = row_schedule.RowSchedule(
    num_problems=len(prompts),
    num_candidates=num_candidates,
    num_groups=config.num_groups,
    rows_per_group=config.rows_per_group,
    places_per_group=config.places_per_group,
  )
  caches = decode_caches.allocate(config)
  rows = decode_block.idle_rows(config)
  starts: dict[int, row_schedule.CandidateStart] = {}
  tokens_by_row: dict[int, list[np.ndarray]] = {}
  started: set[int] = set()

  while not schedule.is_done():
    prompt_starts, candidate_starts = schedule.fill()
    caches = prefill.prefill_prompts(
      config, params, caches, prompts, prompt_starts
    )
    for start in candidate_starts:
      start = start._replace(sample=first_sample + start.sample)
      _start_row(rows, start, prompts[start.problem])
      starts[start.row] = start
      started.add(start.problem)
      tokens_by_row[start.row] = []

    previous = rows
    caches, rows, tokens_BJ = decode_block.run_block(
      config, params, caches, rows, seed
    )
    new_tokens_B = rows.lengths_B - previous.lengths_B
    ended = []
    for row in map(int, np.flatnonzero(previous.active_B)):
      tokens_by_row[row].append(tokens_BJ[row, : new_tokens_B[row]])
      if not rows.active_B[row]:
        schedule.end(row)
        tokens = np.concatenate(tokens_by_row.pop(row))
        ended.append(_ended(config, starts.pop(row), rows, tokens))
    row_steps = int(new_tokens_B.max()) * config.num_rows
    yield Block(ended, int(new_tokens_B.sum()), row_steps, len(started))


def _ended(
  config: DecodeConfig,
  start: row_schedule.CandidateStart,
  rows: Rows[np.ndarray],
  tokens: np.ndarray,
) -> DecodedCandidate:
  return DecodedCandidate(
    prompt=start.problem,
    sample=start.sample,
    tokens=tokens,
    log_prob=float(rows.log_probs_B[start.row]),
    finished=int(tokens[-1]) in config.end_ids,
  )


def _start_row(
  rows: Rows[np.ndarray], start: row_schedule.CandidateStart, prompt: Prompt
) -> None:
  """Sets a row of host arrays to the beginning of a candidate."""
  row = start.row
  rows.problem_words_B2[row] = decode_block.problem_words(prompt.problem_id)
  rows.samples_B[row] = start.sample
  rows.places_B[row] = start.place
  rows.prompt_lengths_B[row] = len(prompt.ids)
  rows.lengths_B[row] = 0
  rows.last_tokens_B[row] = prompt.ids[-1]
  rows.log_probs_B[row] = 0
  rows.active_B[row] = True
