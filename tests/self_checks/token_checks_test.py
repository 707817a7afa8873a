"""Planted faults of special tokens are found, and right runs pass."""

import dataclasses
import json

import numpy as np
import pytest

from mathft_jax.data import prompt_templates, vocabularies
from mathft_jax.data.example_types import SolutionExample
from mathft_jax.self_checks import token_checks
from tests.self_checks import checked_runs
from tests.self_checks.checked_runs import VOCABULARY

BOS, EOS = VOCABULARY.bos_id, VOCABULARY.eos_id


@pytest.fixture(scope='module')
def run():
  return checked_runs.make_run()


@pytest.fixture
def published(tmp_path):
  """published(generation=..., tokenizer=...): a folder with the small files of a model."""

  def write(generation=None, tokenizer=None):
    (tmp_path / 'config.json').write_text(json.dumps({'eos_token_id': 9}))
    (tmp_path / 'generation_config.json').write_text(
      json.dumps(generation or {})
    )
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(tokenizer or {}))
    return checked_runs.make_run(init_from=tmp_path)

  return write


@pytest.mark.parametrize(
  'check',
  [
    token_checks.check_eos_is_trained,
    token_checks.check_bos_once,
    token_checks.check_pad_is_not_eos,
    token_checks.check_vocabulary_fits,
    token_checks.check_fingerprint,
  ],
)
def test_a_right_run_passes(run, check):
  assert check(run).status == 'ok', check(run).line()


def test_missing_eos_fails(run):
  without = checked_runs.change_examples(
    run, lambda x: SolutionExample(x.inputs, x.targets[:-1])
  )
  finding = token_checks.check_eos_is_trained(without)
  assert finding.status == 'failure'
  assert '0 of 40 solutions train <eos> (1)' in finding.found


def test_eos_without_a_loss_weight_fails(run):
  def mask(example):
    weights = np.ones(len(example.targets))
    weights[-1] = 0
    return SolutionExample(example.inputs, example.targets, weights)

  masked = checked_runs.change_examples(run, mask)
  assert token_checks.check_eos_is_trained(masked).status == 'failure'


def test_eos_that_rows_cut_off_fails(run):
  short = dataclasses.replace(run, data=checked_runs.make_data(max_length=50))
  assert token_checks.check_eos_is_trained(short).status == 'failure'


def test_eos_that_the_batch_masks_fails(run):
  weights = run.batch['decoder_loss_weights'].copy()
  weights[run.batch['decoder_target_tokens'] == EOS] = 0
  masked = checked_runs.with_batch(run, decoder_loss_weights=weights)
  finding = token_checks.check_eos_is_trained(masked)
  assert finding.status == 'failure' and 'first batch' in finding.found


def test_double_bos_fails(run):
  double = checked_runs.change_examples(
    run,
    lambda x: SolutionExample(np.concatenate([[BOS], x.inputs]), x.targets),
  )
  finding = token_checks.check_bos_once(double)
  assert finding.status == 'failure'
  assert '40 have it more than once' in finding.found


def test_missing_bos_fails(run):
  missing = checked_runs.change_examples(
    run, lambda x: SolutionExample(x.inputs[1:], x.targets)
  )
  finding = token_checks.check_bos_once(missing)
  assert finding.status == 'failure'
  assert '40 do not start with <bos> (2)' in finding.found


@pytest.mark.parametrize('adds_bos, status', [(True, 'ok'), (False, 'failure')])
def test_bos_is_that_of_the_published_tokenizer(published, adds_bos, status):
  run = published(tokenizer={'add_bos_token': adds_bos, 'bos_token': '<bos>'})
  assert token_checks.check_bos_once(run).status == status


def test_pad_that_is_eos_fails(run):
  @dataclasses.dataclass(frozen=True)
  class PadIsEos(vocabularies.WordVocabulary):
    pad_id = vocabularies.EOS_ID

  vocabulary = PadIsEos(VOCABULARY.words)
  data = checked_runs.make_data(vocabulary=vocabulary)
  wrong = dataclasses.replace(run, data=data)
  assert token_checks.check_pad_is_not_eos(wrong).status == 'failure'


def test_trained_padding_fails(run):
  segments = run.batch['decoder_segment_ids'].copy()
  segments[:, -5:] = 0  # targets with weights
  wrong = checked_runs.with_batch(run, decoder_segment_ids=segments)
  assert token_checks.check_pad_is_not_eos(wrong).status == 'failure'


@pytest.mark.parametrize(
  'end_ids, status',
  [
    (EOS, 'ok'),
    ([EOS], 'ok'),
    ([EOS, 7], 'warning'),
    ([7], 'warning'),
    (None, 'warning'),  # then that of config.json counts
  ],
)
def test_sampling_stops_at_the_end_tokens_of_the_model(
  published, end_ids, status
):
  run = published(generation={'eos_token_id': end_ids})
  assert token_checks.check_end_tokens(run).status == status


def test_a_vocabulary_larger_than_the_model_fails(run):
  config = checked_runs.make_step_config(vocab_size=50)
  wrong = dataclasses.replace(run, step_config=config)
  assert token_checks.check_vocabulary_fits(wrong).status == 'failure'


def test_ids_of_another_tokenizer_fail(run):
  def change(example):
    return SolutionExample(example.inputs, [*example.targets, 700])

  wrong = dataclasses.replace(run, examples=list(map(change, run.examples)))
  finding = token_checks.check_vocabulary_fits(wrong)
  assert finding.status == 'failure' and '700' in finding.found


def test_a_much_smaller_vocabulary_is_a_warning(run):
  config = checked_runs.make_step_config(vocab_size=80)
  other = dataclasses.replace(run, step_config=config)
  assert token_checks.check_vocabulary_fits(other).status == 'warning'


def test_another_template_than_that_of_the_checkpoint_fails(run):
  template = prompt_templates.Template(solve='{question} ?')
  wrong = dataclasses.replace(
    run, data=checked_runs.make_data(template=template)
  )
  finding = token_checks.check_fingerprint(wrong)
  assert finding.status == 'failure' and 'template.solve' in finding.found
