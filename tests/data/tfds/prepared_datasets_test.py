"""TFDS builders on small manual folders and, if available, on the real PRM800K."""

import json

import pytest

tfds = pytest.importorskip('tensorflow_datasets')

from mathft_jax.data.tfds import (  # noqa: E402
  math,
  prepared_datasets,
  prm800k,
  prm800k_trajectories,
  splits,
)


@pytest.fixture(scope='module')
def storage(tmp_path_factory):
  manual = tmp_path_factory.mktemp('manual')
  (manual / 'math').mkdir()
  rows = [
    {
      'problem': f'What is {n}é?',
      'solution': f'\\boxed{{{n}}}',
      'level': 'Level 2',
      'type': 'Algebra',
      'unique_id': f'train/algebra/{n}.json',
    }
    for n in range(60)
  ]
  for name, part in (('train', rows[:30]), ('test', rows[30:])):
    text = ''.join(json.dumps(row) + '\n' for row in part)
    (manual / 'math' / f'{name}.jsonl').write_text(text)
  return prepared_datasets.TfdsConfig(
    tfds_data_dir=str(tmp_path_factory.mktemp('tfds')), manual_dir=str(manual)
  )


def problems(storage, name, **fields):
  return prepared_datasets.TfdsProblems(
    name=name,
    **{
      'tfds_data_dir': storage.tfds_data_dir,
      'manual_dir': storage.manual_dir,
    },
    **fields,
  )


def test_the_data_set_has_the_problems_of_the_manual_folder(storage):
  read = {p.id: p for p in math.read_math_problems(storage.manual_dir)}
  for split in ('train', 'validation'):
    stored = problems(storage, 'math')(split)
    assert {p.id for p in stored} == {
      p.id for p in read.values() if p.split == split
    }
    assert all(problem == read[problem.id] for problem in stored)


def test_the_order_is_the_same_every_time(storage):
  assert problems(storage, 'math')('train') == problems(storage, 'math')(
    'train'
  )
  assert len(problems(storage, 'math', limit=7)('train')) == 7


def test_a_prepared_data_set_does_not_need_the_manual_folder(storage):
  prepared_datasets.prepare_dataset('math', storage)
  gone = prepared_datasets.TfdsConfig(
    tfds_data_dir=storage.tfds_data_dir, manual_dir='/nowhere'
  )
  assert (
    prepared_datasets.prepare_dataset('math', gone)
    .info.splits['train']
    .num_examples
    > 40
  )


def test_tfds_and_seqio_find_the_data_set_by_name(storage):
  prepared_datasets.prepare_dataset('math', storage)
  found = tfds.load(
    prepared_datasets.TFDS_NAMES['math'],
    data_dir=storage.tfds_data_dir,
    split='train',
  )
  assert len(found) == len(problems(storage, 'math')('train'))


def test_an_unknown_data_set_is_an_error(storage):
  with pytest.raises(ValueError, match="'aime'; wanted one of"):
    problems(storage, 'aime')('train')


def test_the_error_for_a_missing_manual_folder_says_what_to_download(tmp_path):
  empty = prepared_datasets.TfdsConfig(
    tfds_data_dir=str(tmp_path), manual_dir=str(tmp_path / 'none')
  )
  with pytest.raises(ValueError, match='openai/prm800k'):
    prepared_datasets.prepare_dataset('prm800k', empty)


def test_each_selection_has_its_own_data_set():
  names = {
    prm800k.make_builder_config(selection).name
    for selection in (
      prm800k_trajectories.Selection(),
      prm800k_trajectories.Selection(human_steps=False),
      prm800k_trajectories.Selection(per_problem=1),
    )
  }
  assert len(names) == 3 and 'finished' in names


def test_real_prm800k_trains_on_no_test_or_validation_problem_of_math(
  shared_data, tmp_path
):
  where = prepared_datasets.TfdsConfig(
    tfds_data_dir=str(tmp_path), manual_dir=str(shared_data)
  )
  found = {split: problems(where, 'prm800k')(split) for split in splits.SPLITS}
  assert [len(found[split]) for split in splits.SPLITS] == [743, 79, 90]
  for split, solutions in found.items():
    assert {splits.assign_math_split(p.question) for p in solutions} == {split}
  held_out = splits.load_math500_digests().keys()
  assert (
    not {
      splits.question_digest(p.question)
      for p in found['train'] + found['validation']
    }
    & held_out
  )
