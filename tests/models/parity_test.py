"""Logits of every family equal those of `transformers`, stored by make_goldens.py.

With `transformers` and torch installed (the extra [hf]) also against models built on the spot.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.checkpoints import safetensors_format
from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import transformer
from tests.models import make_goldens

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
TOLERANCE = 1e-4  # of the largest logit
PREFILL = 9  # tokens; the rest is decoded one by one
pytestmark = pytest.mark.usefixtures('quick_compiles')
each_case = pytest.mark.parametrize('case', make_goldens.CASES)


def expected(case):
  entries, _ = safetensors_format.read_header(
    GOLDENS / case / 'expected.safetensors'
  )
  return {name: np.array(entry.read()) for name, entry in entries.items()}


def load(folder):
  config = checkpoints.load_model_config(folder)
  return config, checkpoints.load_params(
    folder, transformer.abstract_params(config)
  )


def positions(start, end, rows=make_goldens.ROWS):
  return np.broadcast_to(
    np.arange(start, end, dtype=np.int32), (rows, end - start)
  )


@functools.partial(jax.jit, static_argnums=0)
def full_logits(config, params, tokens, positions_BT=None, segment_ids_BT=None):
  if positions_BT is None:
    positions_BT = positions(0, tokens.shape[1], len(tokens))
  hidden, _ = transformer.hidden_states(
    config,
    params,
    tokens,
    positions_BT=positions_BT,
    segment_ids_BT=segment_ids_BT,
  )
  return transformer.logits(config, params, hidden)


@functools.partial(jax.jit, static_argnums=0)
def decoded_logits(config, params, tokens):
  """The prompt at once, then token after token with the prompt as a shared prefix."""
  length = tokens.shape[1]
  cache = cache_lib.allocate_cache(
    config, batch_size=len(tokens), max_length=PREFILL
  )
  first, cache = transformer.hidden_states(
    config,
    params,
    tokens[:, :PREFILL],
    positions_BT=positions(0, PREFILL),
    cache=cache,
  )
  cache = cache_lib.share_prefix(
    cache, config, copies=1, max_length=length - PREFILL
  )

  def step(cache, columns):
    token_B, position_B = columns
    hidden, cache = transformer.hidden_states(
      config,
      params,
      token_B[:, None],
      cache=cache,
      positions_BT=position_B[:, None],
    )
    return cache, hidden[:, 0]

  _, rest = jax.lax.scan(
    step, cache, (tokens.T[PREFILL:], positions(PREFILL, length).T)
  )
  return transformer.logits(
    config, params, jnp.concatenate([first, jnp.swapaxes(rest, 0, 1)], axis=1)
  )


def difference(found, wanted):
  """Largest difference, as a share of the largest logit."""
  return float(
    np.max(np.abs(np.asarray(found) - wanted)) / np.max(np.abs(wanted))
  )


@each_case
def test_logits_are_those_of_transformers(case):
  config, params = load(GOLDENS / case)
  golden = expected(case)
  assert (
    difference(full_logits(config, params, golden['tokens']), golden['logits'])
    < TOLERANCE
  )


@each_case
def test_prefill_and_decoding_give_the_same(case):
  config, params = load(GOLDENS / case)
  golden = expected(case)
  found = decoded_logits(config, params, golden['tokens'])
  assert difference(found, golden['logits']) < TOLERANCE


@pytest.mark.parametrize(
  'case, change',
  [
    ('llama_untied', {'rope_scaling': None}),
    ('mistral', {'sliding_window': 8}),
    ('qwen2_windows', {'attention_pattern': ('global',)}),
    ('gemma2', {'final_softcap': None}),
    ('gemma2', {'attention_softcap': None}),
    ('gemma3', {'local_rope_theta': None}),
    ('gemma3', {'query_scale': None}),
    ('smollm3', {'attention_pattern': ('global',)}),
    ('ministral3', {'query_scale_by_position': None}),
    ('ministral3', {'rope_scaling': None}),
    ('olmo3', {'local_rope_theta': None}),
    ('granite', {'residual_multiplier': 1.0}),
    ('granite', {'embedding_multiplier': 1.0}),
    ('qwen3_moe', {'experts': transformer.Experts(6, 2, 20)}),
    ('gemma4', {'value_norm': False}),
    ('gemma4', {'rope_scaling': None}),
    ('gemma4', {'query_scale': None}),
    ('gemma4', {'local_rope_theta': None}),
  ],
)
def test_without_one_trait_the_logits_differ(case, change):
  config, params = load(GOLDENS / case)
  golden = expected(case)
  other = dataclasses.replace(config, **change)
  assert (
    difference(full_logits(other, params, golden['tokens']), golden['logits'])
    > 1e-3
  )


@pytest.mark.parametrize(
  'case', ['smollm3', 'ministral3', 'olmo3', 'qwen3_moe', 'gemma4_e']
)
def test_packed_rows_give_the_logits_of_separate_rows(case):
  config, params = load(GOLDENS / case)
  golden = expected(case)
  rows, length = golden['tokens'].shape
  segments = np.repeat(np.arange(1, rows + 1, dtype=np.int32), length)
  logits = full_logits(
    config,
    params,
    golden['tokens'].reshape(1, -1),
    positions(0, length).reshape(1, -1),
    segments[None],
  )
  wanted = golden['logits'].reshape(1, rows * length, -1)
  assert difference(logits, wanted) < TOLERANCE


@each_case
def test_logits_equal_installed_transformers_with_and_without_its_cache(
  case, tmp_path
):
  torch = pytest.importorskip('torch', reason='the extra [hf] is not installed')
  pytest.importorskip('transformers', reason='the extra [hf] is not installed')
  model, tokens = make_goldens.build(case, tmp_path)
  model.save_pretrained(tmp_path, safe_serialization=True)
  with torch.no_grad():
    full = model(torch.tensor(tokens)).logits.numpy()
    first = model(torch.tensor(tokens[:, :PREFILL]), use_cache=True)
    parts, past = [first.logits], first.past_key_values
    for at in range(PREFILL, tokens.shape[1]):
      step = model(
        torch.tensor(tokens[:, at : at + 1]),
        past_key_values=past,
        use_cache=True,
      )
      parts.append(step.logits)
    cached = torch.cat(parts, dim=1).numpy()
  config, params = load(tmp_path)
  assert difference(full_logits(config, params, tokens), full) < TOLERANCE
  assert difference(decoded_logits(config, params, tokens), cached) < TOLERANCE


@each_case
def test_installed_transformers_loads_exported_folders(case, tmp_path):
  torch = pytest.importorskip('torch', reason='the extra [hf] is not installed')
  transformers = pytest.importorskip(
    'transformers', reason='the extra [hf] is not installed'
  )
  native = convert.convert(
    checkpoint=GOLDENS / case, output=tmp_path / 'x.safetensors'
  )
  out = convert.convert(
    checkpoint=native, output=tmp_path / 'out', shard_bytes=20_000
  )
  model, told = transformers.AutoModelForCausalLM.from_pretrained(
    out,
    dtype=torch.float32,
    attn_implementation='eager',
    output_loading_info=True,
  )
  assert not told['missing_keys'] and not told['unexpected_keys']
  golden = expected(case)
  with torch.no_grad():
    logits = model(torch.tensor(golden['tokens'])).logits.numpy()
  assert difference(logits, golden['logits']) < TOLERANCE
