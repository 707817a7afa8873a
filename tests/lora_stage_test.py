"""A LoRA stage from end to end: hands over an ordinary checkpoint, goes on where it stopped."""

import dataclasses

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints, sample
from mathft_jax import train as train_lib
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.data.example_types import SolutionExample
from mathft_jax.distributed import partitioning
from mathft_jax.inference import sampling
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import losses, optimizers
from tests.train_arguments import group_train_arguments

WORDS = vocabularies.WordVocabulary(
  ('problem', 'solution', *map(str, range(10)))
)
TEMPLATE = prompt_templates.Template(
  solve='problem {question} solution',
  verify_problem='problem {question}',
  verify_solution=' solution {solution}',
  label_words=(' 1', ' 0'),
)
MODEL = model_config.TransformerConfig(
  vocab_size=WORDS.vocab_size,
  embed_dim=8,
  num_layers=2,
  num_heads=2,
  mlp_dim=16,
)
LORA = lora_lib.Lora(rank=2)


@dataclasses.dataclass(frozen=True)
class Copies:
  """`problem 3 4 solution` -> `3 4`."""

  group_size = 1

  def __call__(self, split):
    random = np.random.default_rng(split == 'validation')
    texts = [f'{a} {b}' for a, b in random.integers(10, size=(24, 2))]
    return [
      SolutionExample(
        [WORDS.bos_id, *WORDS.encode(f'problem {text} solution')],
        [*WORDS.encode(text), WORDS.eos_id],
      )
      for text in texts
    ]


def train(workdir, **changes):
  arguments = dict(
    init_from='random',
    examples=Copies(),
    model=MODEL,
    vocabulary=WORDS,
    template=TEMPLATE,
    loss=losses.Mle(),
    optimizer=optimizers.AdamW(learning_rate=0.02),
    train_steps=4,
    batch_size=8,
    max_length=12,
    tensorboard=False,
    lora=LORA,
  )
  return train_lib.train(
    workdir, **group_train_arguments(**arguments | changes)
  )


def params_of(checkpoint):
  return checkpoints.load_params(checkpoint, transformer.abstract_params(MODEL))


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return train(tmp_path_factory.mktemp('base'), lora=None, train_steps=2)


@pytest.fixture(scope='module')
def stage(base, tmp_path_factory):
  """A finished LoRA stage upon the base: its workdir and what it hands over."""
  workdir = tmp_path_factory.mktemp('stage')
  return workdir, train(workdir, init_from=base)


def test_an_ordinary_checkpoint_is_handed_over_with_merged_weights(base, stage):
  before, after = params_of(base), params_of(stage[1])
  for name in ('query', 'key', 'value', 'out'):
    moved = np.abs(
      after['layers']['attention'][name] - before['layers']['attention'][name]
    )
    assert moved.max() > 1e-3 and moved.dtype == np.float32
  for path in (
    ('embedding',),
    ('layers', 'attention_norm', 'scale'),
    ('final_norm', 'scale'),
  ):
    left, right = before, after
    for name in path:
      left, right = left[name], right[name]
    np.testing.assert_array_equal(left, right)


def test_the_next_stage_and_sampling_take_it_as_it_is(tmp_path, stage):
  again = train(
    tmp_path / 'whole', init_from=stage[1], lora=None, train_steps=1
  )
  twice = train(tmp_path / 'lora', init_from=stage[1], train_steps=1)
  assert (
    checkpoints.read_metadata(again)['model']
    == checkpoints.read_metadata(twice)['model']
  )
  sampled = sample.sample(
    tmp_path / 'samples',
    checkpoint=stage[1],
    problems=[schema.Problem('p', '3 4')],
    model=MODEL,
    vocabulary=WORDS,
    template=TEMPLATE,
    method=sampling.Greedy(),
    num_decodes=1,
    max_decode_length=4,
    batch_size=8,
  )
  assert len(schema.read_candidate_sets(sampled)) == 1


def test_a_stopped_stage_goes_on_to_the_same_weights_bit_for_bit(
  tmp_path, base, stage
):
  train(tmp_path, init_from=base, train_steps=2)
  path = train(tmp_path, init_from=base, train_steps=4)
  jax.tree.map(
    np.testing.assert_array_equal, params_of(path), params_of(stage[1])
  )


def test_a_stage_from_random_weights_goes_on_as_well(tmp_path):
  whole = train(tmp_path / 'whole', train_steps=2)
  train(tmp_path / 'parts', train_steps=1)
  parts = train(tmp_path / 'parts', train_steps=2)
  jax.tree.map(
    np.testing.assert_array_equal, params_of(whole), params_of(parts)
  )


def test_a_stage_whose_first_weights_were_exchanged_is_refused(tmp_path, base):
  exchanged = checkpoints.save_safetensors(
    tmp_path / 'base.safetensors',
    params_of(base),
    checkpoints.read_metadata(base),
  )
  train(tmp_path / 'stage', init_from=exchanged, train_steps=1)
  other = jax.tree.map(lambda a: a + 0.01, params_of(base))
  checkpoints.save_safetensors(
    exchanged, other, checkpoints.read_metadata(base)
  )
  with pytest.raises(
    ValueError, match='differs from the saved parameters by up to 0.01'
  ):
    train(tmp_path / 'stage', init_from=exchanged, train_steps=2)


@pytest.mark.parametrize('lora', [None, lora_lib.Lora(rank=3)])
def test_a_workdir_of_other_adapters_is_refused(stage, base, lora):
  with pytest.raises(
    ValueError, match=r"other settings:\n.*'lora': {'class': 'Lora', 'rank': 2"
  ):
    train(stage[0], init_from=base, lora=lora)


def test_a_finished_stage_returns_at_once(stage, base, monkeypatch):
  monkeypatch.setattr(
    Copies, '__call__', None
  )  # the examples are not read again
  assert train(stage[0], init_from=base) == stage[1]


def test_devices_and_microbatches_train_the_same_adapters(
  tmp_path, base, stage
):
  path = train(
    tmp_path,
    init_from=base,
    num_microbatches=2,
    partitioner=partitioning.Partitioner(num_partitions=2, fsdp=True),
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
    params_of(path),
    params_of(stage[1]),
  )


def test_frozen_weights_may_be_bfloat16(tmp_path, base):
  half = dataclasses.replace(LORA, base_dtype='bfloat16')
  path = train(
    tmp_path,
    init_from=base,
    lora=half,
    train_steps=2,
    eval_period=2,
    checkpoint_period=1,
    output_checkpoint='best',
  )
  rounded = np.asarray(params_of(base)['embedding']).astype(jax.numpy.bfloat16)
  np.testing.assert_array_equal(
    params_of(path)['embedding'], rounded.astype(np.float32)
  )


def test_a_dry_run_counts_gradients_and_optimizer_of_adapters_alone():
  shared = dict(
    model=dataclasses.replace(MODEL, embed_dim=1024, mlp_dim=4096),
    loss=losses.Mle(),
    optimizer=optimizers.AdamW(),
    batch_size=8,
    max_length=12,
    vocabulary=WORDS,
    template=TEMPLATE,
  )
  whole, adapted = (
    train_lib.describe(**group_train_arguments(**shared, lora=lora))
    .splitlines()[2]
    .split()
    for lora in (None, LORA)
  )
  assert float(adapted[3]) >= float(whole[3]) > 0  # GiB of parameters
  # Optimizer, gradients.
  assert float(adapted[4]) == float(adapted[5]) == 0.0 < float(whole[5])
