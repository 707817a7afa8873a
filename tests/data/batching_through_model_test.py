"""Model outputs do not depend on how examples are arranged in rows."""

import jax
import numpy as np
import pytest

from mathft_jax.data import (
  batching,
  examples,
  prompt_templates,
  schema,
  vocabularies,
)
from mathft_jax.data.example_types import SolutionExample, VerdictExample
from mathft_jax.models import token_log_probs, transformer

BYTES = vocabularies.ByteVocabulary()
CONFIG = transformer.TransformerConfig(
  vocab_size=BYTES.vocab_size,
  embed_dim=32,
  num_layers=2,
  num_heads=2,
  mlp_dim=64,
)


@pytest.fixture(scope='module')
def params():
  return transformer.init_params(CONFIG, jax.random.key(0))


def readout(params, batch):
  hidden_BTD, _ = transformer.hidden_states(
    CONFIG,
    params,
    batch['decoder_input_tokens'],
    positions_BT=batch['decoder_positions'],
    segment_ids_BT=batch['decoder_segment_ids'],
    branch_ids_BT=batch.get('decoder_branch_ids'),
  )
  return token_log_probs.ChunkedLogProbs(CONFIG, params, hidden_BTD)


@jax.jit
def target_log_probs(params, batch):
  return readout(params, batch).target_log_probs(batch['decoder_target_tokens'])


@jax.jit
def word_log_probs(params, batch):
  return readout(params, batch).word_log_probs(
    batch['word_positions'], batch['label_words'], batch['label_word_mask']
  )


def sequence_log_prob(params, inputs, targets):
  """log p(targets | inputs) of one sequence alone."""
  example = SolutionExample(inputs, targets)
  layout = batching.BatchLayout(batch_size=1, max_length=96)
  batch = next(batching.eval_batches([example], layout))
  return float(
    (target_log_probs(params, batch) * batch['decoder_loss_weights']).sum()
  )


@pytest.mark.parametrize(
  'words', [(' correct', ' incorrect'), ('yes', 'no'), ('1', '0')]
)
def test_label_words_on_branches_have_the_probabilities_of_separate_sequences(
  params, words
):
  template = prompt_templates.Template(
    verify_problem='{question} |', label_words=words
  )
  problem = schema.Problem('p', 'What is 1+1?')
  prompt = prompt_templates.encode_evaluator_problem(
    template, BYTES, problem
  ) + prompt_templates.encode_evaluator_solution(template, BYTES, 'It is 2')
  layout = batching.BatchLayout(
    batch_size=2,
    max_length=100,
    label_words=prompt_templates.make_label_words(template, BYTES),
  )
  batch = next(batching.eval_batches([VerdictExample(prompt, 1)], layout))
  log_probs_BW = word_log_probs(params, batch)
  alone = [
    sequence_log_prob(params, prompt, BYTES.encode(word)) for word in words
  ]
  np.testing.assert_allclose(log_probs_BW[0], alone, rtol=1e-5)


def test_packed_examples_have_the_likelihoods_of_separate_sequences(params):
  problems = [
    schema.Problem(f'p{n}', 'Q' * n, 'A' * (n % 3 + 1) + str(n))
    for n in range(1, 8)
  ]
  made = examples.SolutionExamples(
    lambda split: problems, prompt_templates.Template(), BYTES
  )('train')
  layout = batching.BatchLayout(batch_size=3, max_length=96)
  batch = next(batching.train_batches(made, layout, seed=0, pack=True))
  assert batch['decoder_segment_ids'].max() > 1
  weighted_BT = (
    np.asarray(target_log_probs(params, batch)) * batch['decoder_loss_weights']
  )
  alone = {
    len(e.inputs): sequence_log_prob(params, e.inputs, e.targets) for e in made
  }
  for row, segments in enumerate(batch['decoder_segment_ids']):
    for segment in range(1, segments.max() + 1):
      here = segments == segment
      num_inputs = (
        int((here & (batch['decoder_loss_weights'][row] == 0)).sum()) + 1
      )
      np.testing.assert_allclose(
        weighted_BT[row][here].sum(), alone[num_inputs], rtol=1e-5
      )
