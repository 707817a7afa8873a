"""Problems that stay in an Arrow file: the same problems, examples and batches as in memory."""

import dataclasses
import json

import numpy as np
import pytest

from mathft_jax.data import (
  batching,
  examples,
  packed_row_counts,
  problem_sources,
  prompt_templates,
  stored_problems,
  streamed_batches,
  vocabularies,
)
from mathft_jax.training import train_config, train_inputs

pytest.importorskip('pyarrow')
LAYOUT = batching.BatchLayout(batch_size=4, max_length=60)


@pytest.fixture
def source(tmp_path):
  rows = []
  for n in range(30):
    solution = '' if n % 10 == 9 else f'It is {n}.' * (1 + n % 3)
    rows.append({'problem': f'{n}?', 'solution': solution, 'answer': n})
  path = tmp_path / 'p.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return problem_sources.JsonlProblems(
    str(path), stream_dir=str(tmp_path / 'cache'), validation_fraction=0.2
  )


def solutions(source):
  template = prompt_templates.Template(solve='{question}')
  return examples.SolutionExamples(
    source, template, vocabularies.ByteVocabulary()
  )


def in_memory(source):
  return dataclasses.replace(source, stream_dir=None)


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_stored_problems_are_those_in_memory(source, split):
  stored = source(split)
  assert isinstance(stored, stored_problems.StoredProblems)
  wanted = in_memory(source)(split)
  assert list(stored) == wanted and stored[-1] == wanted[-1]
  assert stored[2:4] == wanted[2:4]
  with pytest.raises(IndexError):
    stored[len(stored)]


def test_a_limit_chooses_the_same_problems(source):
  limited = dataclasses.replace(source, limit=7)
  assert list(limited('train')) == in_memory(limited)('train')


def test_the_file_is_written_once_and_again_for_other_data(source, monkeypatch):
  first = source('train')
  calls = []
  real = stored_problems._write

  def write(problems, path):
    calls.append(path)
    return real(problems, path)

  monkeypatch.setattr(stored_problems, '_write', write)
  assert source('train').digest == first.digest and not calls
  with open(source.path, 'a') as stream:
    stream.write('{"problem": "new?", "solution": "s"}\n')
  assert source('train').digest != first.digest and len(calls) == 1


def test_a_cut_file_is_named(source):
  stored = source('train')
  mark = stored.path.with_suffix('.json')
  contents = json.loads(mark.read_text()) | {'problems': 99}
  mark.write_text(json.dumps(contents))
  with pytest.raises(ValueError, match='says 99. Delete both'):
    source('train')


def test_a_folder_in_a_bucket_is_refused(source):
  remote = dataclasses.replace(source, stream_dir='gs://b/cache')
  with pytest.raises(ValueError, match='STREAM_DIR is gs://b/cache'):
    remote('train')


def take(batches, count):
  return [next(batches) for _ in range(count)]


def assert_same(found, wanted):
  for batch, other in zip(found, wanted, strict=True):
    assert batch.keys() == other.keys()
    for name in batch:
      np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize(
  'start_step, shuffle', [(0, True), (9, True), (9, False)]
)
def test_streamed_batches_are_those_in_memory(source, start_step, shuffle):
  settings = dict(seed=3, start_step=start_step, pack=False, shuffle=shuffle)
  streamed = solutions(source)('train')
  wanted = solutions(in_memory(source))('train')
  assert isinstance(streamed, examples.StreamedSolutions)
  assert len(streamed) == len(wanted)
  assert_same(
    take(streamed_batches.train_batches(streamed, LAYOUT, **settings), 20),
    take(batching.train_batches(wanted, LAYOUT, **settings), 20),
  )
  assert_same(
    streamed_batches.eval_batches(streamed, LAYOUT),
    batching.eval_batches(wanted, LAYOUT),
  )


def texts_of(batches):
  """The questions and solutions of packed rows, as bytes."""
  found = []
  for batch in batches:
    for ids, tokens in zip(
      batch['decoder_segment_ids'], batch['decoder_target_tokens']
    ):
      for segment in range(1, ids.max(initial=0) + 1):
        found.append(tokens[ids == segment].tobytes())
  return found


def test_packed_batches_have_each_example_once_an_epoch(source, monkeypatch):
  monkeypatch.setattr(streamed_batches, 'PACK_WINDOW', 5)
  streamed = solutions(source)('train')
  settings = dict(seed=3, pack=True)
  layout = dataclasses.replace(LAYOUT, batch_size=1, max_length=200)
  batches = streamed_batches.train_batches(
    streamed, layout, start_step=0, **settings
  )
  whole = take(batches, 60)
  found = texts_of(whole)
  assert len(set(found[: len(streamed)])) == len(streamed)
  assert max(batch['decoder_segment_ids'].max() for batch in whole) > 1
  resumed = streamed_batches.train_batches(
    streamed, layout, start_step=25, **settings
  )
  assert_same(take(resumed, 35), whole[25:])


def test_a_resumed_run_packs_no_window_again(source, monkeypatch, tmp_path):
  monkeypatch.setattr(streamed_batches, 'PACK_WINDOW', 5)
  streamed = solutions(source)('train')
  layout = dataclasses.replace(LAYOUT, batch_size=1, max_length=200)
  packed = []
  pack = streamed_batches._pack_window

  def count(examples, indices, *arguments):
    packed.append(len(indices))
    return pack(examples, indices, *arguments)

  monkeypatch.setattr(streamed_batches, '_pack_window', count)

  def batches(start_step):
    packed.clear()
    counts = packed_row_counts.PackedRowCounts(tmp_path / 'counts')
    made = streamed_batches.train_batches(
      streamed,
      layout,
      seed=3,
      start_step=start_step,
      pack=True,
      row_counts=counts,
    )
    return take(made, 30 - start_step)

  whole = batches(0)
  num_windows = len(packed)
  assert_same(batches(28), whole[28:])
  assert len(packed) <= 2 < num_windows
  lines = (tmp_path / 'counts').read_text().splitlines()
  (tmp_path / 'counts').write_text('\n'.join(lines[:-1]) + '\n0 4')
  assert_same(batches(25), whole[25:])


def test_a_dropped_example_leaves_its_row_empty(source):
  layout = dataclasses.replace(LAYOUT, max_length=40, too_long='drop')
  streamed = solutions(source)('train')
  batches = list(streamed_batches.eval_batches(streamed, layout))
  is_empty = [batch['decoder_loss_weights'].sum(1) == 0 for batch in batches]
  lengths = [len(each.inputs) + len(each.targets) - 1 for each in streamed]
  num_long = sum(length > 40 for length in lengths)
  padding = -len(streamed) % 4
  assert 0 < num_long == np.concatenate(is_empty).sum() - padding
  short = dataclasses.replace(layout, max_length=3)
  with pytest.raises(ValueError, match='Nothing to learn from'):
    take(
      streamed_batches.train_batches(
        streamed, short, seed=0, start_step=0, pack=False
      ),
      20,
    )


def test_a_training_run_gets_streamed_examples(source):
  data = train_config.DataConfig(
    vocabulary=vocabularies.ByteVocabulary(),
    template=prompt_templates.Template(),
    batch_size=4,
    max_length=60,
  )
  inputs = train_inputs.TrainInputs(solutions(source), data)
  again = train_inputs.TrainInputs(solutions(source), data)
  assert inputs.digest() == again.digest()
  assert len(inputs.checked_examples) > 10
  batch = next(inputs.train_batches(seed=0, start_step=0))
  assert batch['decoder_input_tokens'].shape == (4, 60)
  assert inputs.eval_batches(1)[0]['decoder_loss_weights'].any()
