"""Candidates depend on seed, problem and number alone, and a stopped run loses none."""

import dataclasses

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints, sample
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.inference import decoding, sampling
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.monitoring import stage_cost

MODEL = transformer.TransformerConfig(
  vocab_size=300, embed_dim=16, num_layers=2, num_heads=2, mlp_dim=32
)
VOCABULARY = vocabularies.ByteVocabulary()
TEMPLATE = prompt_templates.Template(solve='{question}')
PROBLEMS = [
  schema.Problem(f'p{i}', 'what is it? ' * (1 + i % 5)) for i in range(20)
]


@pytest.fixture(scope='module', name='params')
def _params():
  params = transformer.init_params(MODEL, jax.random.key(0))
  # Some candidates end.
  params['embedding'] = params['embedding'].at[VOCABULARY.eos_id].mul(3)
  return params


@pytest.fixture(name='run')
def _run(tmp_path, params):
  checkpoint = checkpoints.save_safetensors(
    tmp_path / 'c.safetensors', params, {}
  )

  def run(name='samples', **changed):
    arguments = dict(
      checkpoint=checkpoint,
      problems=PROBLEMS,
      model=MODEL,
      vocabulary=VOCABULARY,
      template=TEMPLATE,
      method=sampling.Temperature(1.0),
      max_decode_length=24,
      num_decodes=3,
      batch_size=8,
      seed=5,
    )
    path = sample.sample(tmp_path / name, **(arguments | changed))
    return {
      each.problem.id: each.candidates
      for each in schema.read_candidate_sets(path)
    }

  return run


def texts(found):
  return {
    name: [c.token_ids for c in candidates]
    for name, candidates in found.items()
  }


def test_the_text_does_not_depend_on_rows_order_or_other_problems(run):
  found = texts(run('a'))
  assert texts(run('b', batch_size=16)) == found
  assert texts(run('c', problems=PROBLEMS[::-1])) == found
  few = texts(run('d', problems=PROBLEMS[3:5]))
  assert few == {name: found[name] for name in few}


def test_fewer_candidates_are_the_first_of_more(run):
  more = texts(run('a', num_decodes=5))
  assert texts(run('b')) == {name: ids[:3] for name, ids in more.items()}


def test_further_candidates_continue_those_before(run):
  more = texts(run('a', num_decodes=5))
  further = texts(run('b', num_decodes=2, first_sample=3, batch_size=16))
  assert further == {name: ids[3:] for name, ids in more.items()}


def test_another_seed_gives_other_texts(run):
  assert texts(run('a')) != texts(run('b', seed=6))


def test_the_cost_counts_prompts_once_and_all_sampled_tokens(run, tmp_path):
  found = run(problems=PROBLEMS[:4])
  cost = stage_cost.read_cost(tmp_path / 'samples')
  prompts = sampled = 0
  for problem in PROBLEMS[:4]:
    ids = prompt_templates.encode_prompt(TEMPLATE, VOCABULARY, problem)
    prompts += len(ids)
    for candidate in found[problem.id]:
      sampled += len(candidate.token_ids) + candidate.finished
  assert (cost.tokens_in, cost.tokens_out) == (prompts, sampled)
  run(problems=PROBLEMS[:4])  # complete: it costs nothing
  assert stage_cost.read_cost(tmp_path / 'samples') == cost


def test_the_output_has_the_order_and_all_fields_of_the_problems(run, tmp_path):
  assert list(run()) == [problem.id for problem in PROBLEMS]
  sets = schema.read_candidate_sets(tmp_path / 'samples' / 'candidates.jsonl')
  assert [each.problem for each in sets] == PROBLEMS


def test_the_log_says_what_was_compiled_and_how_many_problems_have_started(
  run, caplog
):
  caplog.set_level('INFO', logger='absl')
  run(problems=PROBLEMS[:2])
  assert 'compiling, then sampling' in caplog.text
  assert 'sample: 2 problems started; ' in caplog.text
  assert 'sample: 2/2 problems' in caplog.text


def test_log_prob_is_the_sum_over_the_sampled_tokens(run, params):
  (candidates,) = run(problems=PROBLEMS[:1]).values()
  prompt = prompt_templates.encode_prompt(TEMPLATE, VOCABULARY, PROBLEMS[0])
  for candidate in candidates:
    ids = [
      *prompt,
      *candidate.token_ids,
      *[VOCABULARY.eos_id] * candidate.finished,
    ]
    tokens = jax.numpy.array([ids])
    hidden, _ = transformer.hidden_states(
      MODEL,
      params,
      tokens[:, :-1],
      positions_BT=jax.numpy.arange(len(ids) - 1)[None],
    )
    log_probs = token_log_probs.ChunkedLogProbs(
      MODEL, params, hidden
    ).target_log_probs(tokens[:, 1:])
    assert candidate.log_prob == pytest.approx(
      float(log_probs[0, len(prompt) - 1 :].sum()), abs=1e-3
    )


def test_candidates_end_at_eos_or_the_limit_and_ids_are_in_the_vocabulary(
  run,
):
  every = [c for candidates in run(num_decodes=8).values() for c in candidates]
  assert {c.finished for c in every} == {True, False}
  assert all(len(c.token_ids) == 24 for c in every if not c.finished)
  assert all(VOCABULARY.eos_id not in c.token_ids for c in every)
  assert max(max(c.token_ids, default=0) for c in every) < VOCABULARY.vocab_size


def test_a_stopped_run_resumes_and_gives_the_same_candidates(
  run, monkeypatch, tmp_path
):
  whole, decode, sizes = run('whole'), decoding.decode, []

  def stops(config, params, prompts, **settings):
    sizes.append(len(prompts))
    for number, block in enumerate(decode(config, params, prompts, **settings)):
      if len(sizes) == 1 and number == 3:
        raise KeyboardInterrupt
      yield block

  with monkeypatch.context() as patch:
    patch.setattr(decoding, 'decode', stops)
    with pytest.raises(KeyboardInterrupt):
      run('stopped')
    assert not (tmp_path / 'stopped' / 'candidates.jsonl').exists()
    # Not only the texts: also the bits of the log-probabilities.
    assert run('stopped') == whole
  assert sizes[0] == 20 and 0 < sizes[1] < 20


def test_a_complete_run_does_nothing_and_other_settings_are_refused(
  run, monkeypatch
):
  whole = run()
  monkeypatch.setattr(decoding, 'decode', None)
  with monkeypatch.context() as patch:
    # Nothing is tokenized.
    patch.setattr(prompt_templates, 'encode_prompt', None)
    assert run() == whole
    with pytest.raises(TypeError):
      run(problems=PROBLEMS[::-1])
  with pytest.raises(ValueError, match="'seed': 5"):
    run(seed=6)
  with pytest.raises(ValueError, match='was created with other settings'):
    run(problems=PROBLEMS[::-1])


def test_repeated_problem_ids_are_refused(run):
  with pytest.raises(ValueError, match="more than once: \\['p0'\\]"):
    run(problems=[PROBLEMS[0], PROBLEMS[0]])


def test_a_candidate_that_continues_with_another_problem_is_cut_and_has_no_log_probability():
  texts_C = ['So 2.', 'So 2.\n\nProblem:\n3 + 3?\n\nSolution:\n6']
  decoded = [
    decoding.DecodedCandidate(
      prompt=0,
      sample=sample,
      tokens=np.array(VOCABULARY.encode(text), np.int32),
      log_prob=log_prob,
      finished=False,
    )
    for sample, (text, log_prob) in enumerate(zip(texts_C, (-1.0, -9.0)))
  ]

  def candidates(template):
    return sample.make_candidate_set(
      PROBLEMS[0], decoded[::-1], VOCABULARY, template
    ).candidates

  whole = candidates(prompt_templates.Template())
  assert [each.solution for each in whole] == texts_C
  ended, cut = candidates(prompt_templates.Template(shots=(('1 + 1?', '2'),)))
  assert ended == whole[0]
  assert cut == schema.Candidate('So 2.', finished=True)


def test_a_vocabulary_larger_than_the_model_is_an_error(run):
  small = dataclasses.replace(MODEL, vocab_size=100)
  with pytest.raises(ValueError, match='has 259 ids and the model 100'):
    run(model=small)


def test_every_end_token_ends_a_candidate(run, monkeypatch):
  ends = (VOCABULARY.eos_id, *range(20, 120))
  monkeypatch.setattr(vocabularies.ByteVocabulary, 'end_ids', ends)
  for candidates in run('many ends').values():
    for candidate in candidates:
      assert candidate.finished or len(candidate.token_ids) == 24
      assert not set(ends) & set(candidate.token_ids)
