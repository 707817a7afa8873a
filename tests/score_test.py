"""Scores are equal to those of plain forward passes, for any batch; stopped runs resume."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, score
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.monitoring import stage_cost

MODEL = transformer.TransformerConfig(
  vocab_size=260, embed_dim=16, num_layers=2, num_heads=2, mlp_dim=32
)
VOCABULARY = vocabularies.ByteVocabulary()
# Several tokens each: bytes.
TEMPLATE = prompt_templates.Template(label_words=('yes', 'no'))
ONE_TOKEN = prompt_templates.Template(label_words=('y', 'n'))


def candidate_sets():
  texts = [('so 4', 'well, 5', 'so 4'), ('a longer text, 6', '7'), ()]
  return [
    schema.CandidateSet(
      schema.Problem(f'p{i}', '?' * (3 + 40 * i)),
      tuple(
        schema.Candidate(text, cluster=cluster)
        for cluster, text in enumerate(solutions)
      ),
    )
    for i, solutions in enumerate(texts)
  ]


@pytest.fixture(scope='module', name='params')
def _params():
  params = transformer.init_params(MODEL, jax.random.key(0))
  return jax.tree.map(
    lambda a: a + 0.3 * jax.random.normal(jax.random.key(1), a.shape), params
  )


@pytest.fixture(name='run')
def _run(tmp_path, params):
  checkpoint = checkpoints.save_safetensors(
    tmp_path / 'c.safetensors', params, {}
  )
  candidates = schema.write_jsonl(tmp_path / 'graded.jsonl', candidate_sets())

  def run(name='scored', **changed):
    arguments = dict(
      checkpoint=checkpoint,
      candidates=candidates,
      model=MODEL,
      vocabulary=VOCABULARY,
      template=TEMPLATE,
      batch_size=8,
    )
    return schema.read_candidate_sets(
      score.score(tmp_path / name, **(arguments | changed))
    )

  return run


def all_scores(sets):
  return [candidate.score for each in sets for candidate in each.candidates]


def test_bfloat16_scores_are_close_to_those_in_float32(run):
  bfloat16 = dataclasses.replace(MODEL, dtype='bfloat16')
  wide = all_scores(run('wide'))
  # Two problems on each device.
  narrow = all_scores(run('narrow', model=bfloat16, batch_size=16))
  np.testing.assert_allclose(narrow, wide, rtol=0.1)


def test_the_cost_counts_each_problem_and_distinct_text_once(run, tmp_path):
  run()
  cost = stage_cost.read_cost(tmp_path / 'scored')
  tokens = 0
  for each in candidate_sets()[:2]:  # the third has no candidates
    tokens += len(
      prompt_templates.encode_evaluator_problem(
        TEMPLATE, VOCABULARY, each.problem
      )
    )
    for text in {candidate.solution for candidate in each.candidates}:
      tokens += len(
        prompt_templates.encode_evaluator_solution(TEMPLATE, VOCABULARY, text)
      )
  assert (cost.tokens_in, cost.tokens_out) == (tokens, 0)
  assert cost.inputs == ('../c.safetensors', '../graded.jsonl')


def log_prob(params, ids, start):
  """log p(ids[start:] | ids[:start]) of one sequence alone, by a plain forward pass."""
  tokens = jnp.array([ids], jnp.int32)
  positions = jnp.arange(len(ids))[None]
  hidden, _ = transformer.hidden_states(
    MODEL, params, tokens[:, :-1], positions_BT=positions[:, :-1]
  )
  readout = token_log_probs.ChunkedLogProbs(MODEL, params, hidden)
  return float(readout.target_log_probs(tokens[:, 1:])[0, start - 1 :].sum())


@pytest.mark.parametrize('template', [TEMPLATE, ONE_TOKEN])
def test_s_cls_compares_whole_label_words_after_the_whole_prompt(
  run, params, template
):
  scored = run(template=template)
  for each in scored:
    for candidate in each.candidates:
      prompt = prompt_templates.encode_evaluator_problem(
        template, VOCABULARY, each.problem
      ) + prompt_templates.encode_evaluator_solution(
        template, VOCABULARY, candidate.solution
      )
      correct, incorrect = (
        log_prob(params, prompt + VOCABULARY.encode(word), len(prompt))
        for word in template.label_words
      )
      words = np.exp([correct, incorrect])
      assert candidate.score == pytest.approx(words[0] / sum(words), rel=1e-4)
      assert candidate.log_odds == pytest.approx(correct - incorrect, abs=1e-3)


def test_log_odds_differ_where_s_cls_is_exactly_one(run, monkeypatch):
  gaps = [np.array([40.0, 41.0]), np.array([1000.0, -1000.0])]
  monkeypatch.setattr(
    score.scoring,
    'score_texts',
    lambda config, params, problems, **sizes: gaps[: len(problems)],
  )
  (first, second, *_) = run(batch_size=8)
  assert [c.score for c in first.candidates] == [1.0, 1.0, 1.0]
  assert len({c.log_odds for c in first.candidates}) == 2
  assert [c.score for c in second.candidates] == [1.0, 0.0]


def test_likelihood_and_log_prob_are_of_the_solution_after_the_prompt_of_the_generator(
  run, params
):
  scored = run(quantity='likelihood')[0]
  prompt = prompt_templates.encode_prompt(TEMPLATE, VOCABULARY, scored.problem)
  wanted = [
    log_prob(
      params,
      prompt + prompt_templates.encode_solution(VOCABULARY, c.solution),
      len(prompt),
    )
    for c in scored.candidates
  ]
  assert [c.score for c in scored.candidates] == pytest.approx(
    np.exp(np.array(wanted) - max(wanted)), rel=1e-3
  )

  with_log_probs = run('log_prob', quantity='log_prob')[0]
  log_probs = [c.log_prob for c in with_log_probs.candidates]
  assert log_probs == pytest.approx(wanted, rel=1e-3)
  assert [c.score for c in with_log_probs.candidates] == 3 * [None]


def test_scores_do_not_depend_on_the_batch(run):
  assert all_scores(run('a')) == pytest.approx(
    all_scores(run('b', batch_size=16)), rel=1e-5
  )


def test_only_members_of_the_largest_clusters_are_scored(run, caplog):
  caplog.set_level('INFO', logger='absl')
  # The third repeats the text of the first.
  assert [score is None for score in all_scores(run(top_clusters=1))] == [
    False,
    True,
    False,
    False,
    True,
  ]
  assert 'outside of the 1 largest clusters' in caplog.text
  assert 'compiling, then scoring' in caplog.text


def test_a_stopped_run_resumes_and_gives_the_same_scores(
  run, monkeypatch, tmp_path
):
  whole, scored, calls = run('whole'), score._score_part, []

  def stops(*arguments):
    if calls:
      raise KeyboardInterrupt
    calls.append(arguments)
    return scored(*arguments)

  with monkeypatch.context() as patch:
    patch.setattr(score, '_score_part', stops)
    patch.setattr(
      score.partitioning, 'check_batch_divisible', lambda *_, **__: None
    )
    with pytest.raises(KeyboardInterrupt):
      run('stopped', batch_size=1, partitioner=one_device())
  assert not (tmp_path / 'stopped' / 'scored.jsonl').exists()
  assert all_scores(run('stopped')) == pytest.approx(
    all_scores(whole), rel=1e-5
  )


def test_the_attention_kernel_gets_the_axis_rules_of_the_partitioner(
  run, monkeypatch
):
  rules = (('kv', None), *score.partitioning.DEFAULT_AXIS_RULES)
  partitioner = score.partitioning.Partitioner(rules=rules)
  kernel_sharding = score.scoring.KernelSharding
  found = []

  def record(mesh, rules):
    found.append(rules)
    return kernel_sharding(mesh, rules)

  monkeypatch.setattr(score.scoring, 'KernelSharding', record)
  run(partitioner=partitioner)
  assert set(found) == {partitioner.rules}


def test_other_settings_in_the_same_folder_are_refused(run):
  run()
  with pytest.raises(ValueError, match="'top_clusters': None"):
    run(top_clusters=2)


def one_device():
  @dataclasses.dataclass(frozen=True)
  class OneDevice(score.partitioning.Partitioner):
    def mesh(self, devices=None):
      return super().mesh(jax.devices()[:1])

  return OneDevice()


@pytest.mark.parametrize(
  'metadata, warning',
  [
    ({'settings': {'loss': {'class': 'Mle'}}}, 'was trained with Mle'),
    ({'settings': {'loss': 'Mle(z_loss=0.0)'}}, 'was trained with Mle'),
    ({'published': {'model_type': 'llama'}}, 'is a published model'),
    ({'published': {}, 'settings': {'loss': {'class': 'Joint'}}}, ''),
    ({}, ''),
  ],
)
def test_a_checkpoint_that_is_no_evaluator_gets_a_warning(
  run, params, tmp_path, caplog, metadata, warning
):
  path = tmp_path / 'other.safetensors'
  run(checkpoint=checkpoints.save_safetensors(path, params, metadata))
  if warning:
    # at the start and at the end
    assert caplog.text.count(f'{path} {warning}') == 2
    assert 'stages/scr_xent.gin' in caplog.text
    caplog.clear()
    run(checkpoint=path)  # complete
    assert f'{path} {warning}' in caplog.text
  else:
    assert 'evaluator' not in caplog.text
  caplog.clear()
  run('b', checkpoint=path, quantity='likelihood')
  assert 'evaluator' not in caplog.text
