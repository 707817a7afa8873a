"""Published samples of real models: grade and evaluate find the published accuracies."""

import dataclasses
import json
import logging

import pytest

from benchmarks import real_samples
from mathft_jax import evaluate, grade
from mathft_jax.data import schema
from mathft_jax.evaluation import voting

# Solved problems of GSM8K test (of 1,319) by the publisher's labels, in %.
OPENAI = {
  '6b_finetuning': 21.7,
  '6b_verification': 39.0,
  '175b_finetuning': 34.7,
  '175b_verification': 56.3,
}
# Gold "4:30 p.m.", all samples "4:30", all labelled wrong.
DISTRUSTED = 'math_qwen/3'


@pytest.fixture(scope='module')
def converted(shared_data, tmp_path_factory):
  """Name -> candidate file."""
  paths = real_samples.convert(shared_data, tmp_path_factory.mktemp('samples'))
  return {path.stem: path for path in paths}


def accuracies(path, name):
  rows = json.loads(path.read_text())['files'][name]['accuracies']
  return {row['name']: row for row in rows}


def correct(path, name):
  return {
    rule: round(row['mean'] * row['n'])
    for rule, row in accuracies(path, name).items()
  }


def split_by_model(path, folder):
  """OpenAI's file, four models' solutions of a problem, as one graded file per model."""
  sets = schema.read_candidate_sets(path)
  return {
    model: schema.write_jsonl(
      folder / f'{model}.jsonl',
      [
        dataclasses.replace(each, candidates=each.candidates[index : index + 1])
        for each in sets
      ],
    )
    for index, model in enumerate(real_samples.OPENAI_MODELS)
  }


def test_openais_accuracies_on_gsm8k(converted, tmp_path):
  graded = grade.grade(
    tmp_path / 'graded', candidates=converted['gsm8k_openai']
  )
  files = split_by_model(graded, tmp_path)
  report = evaluate.evaluate(
    tmp_path / 'report',
    candidates=files,
    rules=[voting.Majority()],
    resamples=200,
  )
  for model, wanted in OPENAI.items():
    row = accuracies(report, model)['Pass@1 (mean of samples)']
    assert 100 * row['mean'] == pytest.approx(wanted, abs=0.3), model
    assert row['n'] == 1319 and row['low'] < row['mean'] < row['high']
  whole = evaluate.evaluate(
    tmp_path / 'all', candidates=graded, rules=[voting.Oracle()], resamples=200
  )
  assert 100 * accuracies(whole, 'graded')['Pass@N']['mean'] == pytest.approx(
    67.2, abs=0.5
  )


def test_qwens_vote_and_reward_model_by_the_publishers_labels(
  converted, tmp_path
):
  labelled = []
  for each in schema.read_candidate_sets(converted['math_qwen']):
    answers = list(dict.fromkeys(c.answer for c in each.candidates))
    labelled.append(
      dataclasses.replace(
        each,
        candidates=tuple(
          dataclasses.replace(c, cluster=answers.index(c.answer))
          for c in each.candidates
        ),
      )
    )
  path = schema.write_jsonl(tmp_path / 'labelled.jsonl', labelled)
  report = evaluate.evaluate(
    tmp_path / 'report', candidates=path, rules=voting.paper_rules()
  )
  found = correct(report, 'labelled')
  assert (found['Maj1@N'], found['RR.All'], found['Pass@N']) == (48, 48, 49)


def test_qwens_vote_and_reward_model_by_our_grader(converted, tmp_path, caplog):
  graded = grade.grade(tmp_path / 'graded', candidates=converted['math_qwen'])
  trusted = [
    each
    for each in schema.read_candidate_sets(graded)
    if each.problem.id != DISTRUSTED
  ]
  path = schema.write_jsonl(tmp_path / 'trusted.jsonl', trusted)
  with caplog.at_level(logging.INFO):
    report = evaluate.evaluate(
      tmp_path / 'report', candidates=path, rules=voting.paper_rules()
    )
  found = correct(report, 'trusted')
  assert (found['Maj1@N'], found['RR.All'], found['Pass@N']) == (48, 48, 49)
  assert 'candidates/s' in caplog.text
