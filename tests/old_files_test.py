"""Checkpoints and candidate files from before the renaming give the same results today."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints, evaluate, grade, score, train
from mathft_jax.config import entry_point
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.models import transformer

OLD = pathlib.Path(__file__).parent / 'goldens' / 'before_renaming'
MODEL = f'--gin_file={OLD}/model.gin'
# Tests have 8 devices; batches here are smaller.
ALL_DEVICES = '--gin.NUM_PARTITIONS=8'
DATA = ('--gin_file=data/jsonl.gin', f'--gin.DATA_PATH={OLD}/problems.jsonl')


def read_jsonl(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def run(program, *flags):
  argv = [program.__module__, *flags]
  assert entry_point.main(program, argv) == 0


def assert_close(found, wanted, **tolerance):
  """Compares nested JSON values: floats up to the tolerance, everything else exactly."""
  if isinstance(wanted, dict):
    assert sorted(found) == sorted(wanted)
    for key, value in wanted.items():
      assert_close(found[key], value, **tolerance)
  elif isinstance(wanted, list):
    assert len(found) == len(wanted)
    for found_item, wanted_item in zip(found, wanted):
      assert_close(found_item, wanted_item, **tolerance)
  elif isinstance(wanted, float):
    assert found == pytest.approx(wanted, **tolerance)
  else:
    assert found == wanted


@pytest.fixture
def workdir(tmp_path):
  shutil.copytree(OLD / 'workdir', tmp_path / 'workdir')
  return tmp_path / 'workdir'


def test_an_old_checkpoint_restores():
  config = checkpoints.load_model_config(OLD / 'workdir')
  abstract_params = transformer.abstract_params(config)
  params = checkpoints.load_params(OLD / 'workdir', abstract_params)

  assert config == transformer.TransformerConfig(
    259, 8, 2, 2, 16, attention_kernel='einsum'
  )
  for found, wanted in zip(
    jax.tree.leaves(params), jax.tree.leaves(abstract_params), strict=True
  ):
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert np.isfinite(found).all()


def test_an_old_training_run_resumes_with_the_same_losses(workdir):
  run(
    train.train,
    '--gin_file=stages/ssft.gin',
    MODEL,
    ALL_DEVICES,
    *DATA,
    f'--gin.MODEL_DIR={workdir}',
    '--gin.INITIAL_CHECKPOINT_PATH=random',
    '--gin.TRAIN_STEPS=4',
    '--gin.BATCH_SIZE=2',
    '--gin.MAX_LENGTH=160',
    '--gin.LEARNING_RATE=0.01',
    '--gin.WARMUP_STEPS=1',
    '--gin.CHECKPOINT_PERIOD=2',
    '--gin.TENSORBOARD=False',
  )

  old, new = read_jsonl(workdir / 'metrics.jsonl')[-2:]
  [wanted] = read_jsonl(OLD / 'resumed_metrics.jsonl')
  assert (old['step'], new['step']) == (2, 4)
  for name in ('loss', 'token_nll', 'gradient_norm', 'learning_rate'):
    assert new[name] == pytest.approx(wanted[name], rel=1e-5)


def test_old_samples_have_the_same_log_probs_under_their_checkpoint():
  """The samples themselves differ: nucleus sampling draws otherwise since then."""
  config = checkpoints.load_model_config(OLD / 'workdir')
  params = checkpoints.load_params(
    OLD / 'workdir', transformer.abstract_params(config)
  )
  for record in read_jsonl(OLD / 'sampled.jsonl'):
    prompt = prompt_templates.encode_prompt(
      prompt_templates.Template(),
      vocabularies.ByteVocabulary(),
      schema.Problem(**record['problem']),
    )
    for candidate in record['candidates']:
      ids = np.array([[*prompt, *candidate['token_ids']]])
      hidden_BTD, _ = transformer.hidden_states(
        config,
        params,
        ids[:, :-1],
        positions_BT=np.arange(len(ids[0]) - 1)[None],
      )
      logits_BTV = transformer.logits(config, params, hidden_BTD)
      log_probs_TV = jax.nn.log_softmax(logits_BTV[0, len(prompt) - 1 :])
      sampled = log_probs_TV[
        np.arange(len(candidate['token_ids'])), candidate['token_ids']
      ]
      assert float(sampled.sum()) == pytest.approx(
        candidate['log_prob'], abs=1e-3
      )


def _grades(record):
  """Returns a graded record without the grader's version and fields that old ones lack."""
  candidates = []
  for candidate in record['candidates']:
    candidates.append({k: v for k, v in candidate.items() if k != 'how'})
  return {'problem': record['problem'], 'candidates': candidates}


def test_old_candidates_have_the_same_grades(tmp_path):
  run(
    grade.grade,
    '--gin_file=programs/grade.gin',
    f'--gin.CANDIDATES={OLD}/candidates.jsonl',
    f'--gin.INFER_OUTPUT_DIR={tmp_path}',
  )

  found = read_jsonl(tmp_path / 'graded.jsonl')
  wanted = read_jsonl(OLD / 'graded.jsonl')
  assert list(map(_grades, found)) == list(map(_grades, wanted))


def test_old_graded_candidates_have_the_same_scores(tmp_path):
  run(
    score.score,
    '--gin_file=programs/score.gin',
    MODEL,
    ALL_DEVICES,
    f'--gin.CHECKPOINT_PATH={OLD}/workdir',
    f'--gin.CANDIDATES={OLD}/graded.jsonl',
    f'--gin.INFER_OUTPUT_DIR={tmp_path}',
    '--gin.SCORE_BATCH_SIZE=2',
  )

  found = read_jsonl(tmp_path / 'scored.jsonl')
  for record in found:
    for candidate in record['candidates']:
      candidate.pop('log_odds')  # newer than the files
  assert_close(found, read_jsonl(OLD / 'scored.jsonl'), rel=1e-4)


def leave_out_rules_of_eight_clusters(report):
  """Deletes the rows of 8 clusters: a report of 4 candidates has them no longer."""

  def has_eight_clusters(*names):
    return any(
      text in name for name in names for text in ('Top-8', 'Top8', 'K=8')
    )

  def without_eight_clusters(rows):
    return [row for row in rows if not has_eight_clusters(row['name'])]

  for section in report['files'].values():
    section['accuracies'] = without_eight_clusters(section['accuracies'])
    section['by_level'] = {
      level: without_eight_clusters(rows)
      for level, rows in section['by_level'].items()
    }
    section['differences'] = [
      row
      for row in section['differences']
      if not has_eight_clusters(row['a'], row['b'])
    ]
    curves = section['curves']
    curves['rules'] = {
      name: curve
      for name, curve in curves['rules'].items()
      if not has_eight_clusters(name)
    }


def test_old_scored_candidates_have_the_same_report(tmp_path):
  run(
    evaluate.evaluate,
    '--gin_file=programs/evaluate.gin',
    f'--gin.CANDIDATES={OLD}/scored.jsonl',
    f'--gin.EVAL_OUTPUT_DIR={tmp_path}',
  )

  found = json.loads((tmp_path / 'report.json').read_text())
  wanted = json.loads((OLD / 'report.json').read_text())
  del found['inputs']['scored']['path'], wanted['inputs']['scored']['path']
  del found['grader'], wanted['grader']
  # Newer fields; nothing is compared by default.
  assert found.pop('compare') == found.pop('chosen_differences') == []
  assert found.pop('title') == '' and found.pop('browse_candidates')
  assert found.pop('run')['title']
  assert (found.pop('version'), wanted.pop('version')) == (3, 1)
  for section in found['files'].values():
    assert section.pop('score_name') == 'score' and section.pop('calibration')
    assert section.pop('adaptive') and section.pop('cost') is None
  for report in (found, wanted):
    for section in report['files'].values():
      section['notes'] = [
        note for note in section['notes'] if 'run grade' not in note
      ]
  leave_out_rules_of_eight_clusters(wanted)
  assert found == wanted
