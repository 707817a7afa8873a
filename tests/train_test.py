"""Whole trainings of a model of a few hundred parameters: start, stop, go on, hand over."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints
from mathft_jax import train as train_lib
from mathft_jax.data import prompt_templates, vocabularies
from mathft_jax.data.example_types import SolutionExample, VerdictExample
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer
from mathft_jax.monitoring import stage_cost
from mathft_jax.storage import run_config
from mathft_jax.training import losses, optimizers, remat_choice
from tests.train_arguments import group_train_arguments

REPOSITORY = pathlib.Path(__file__).parent.parent
WORDS = tuple('problem solution is correct incorrect'.split()) + tuple(
  map(str, range(10))
)
VOCABULARY = vocabularies.WordVocabulary(WORDS)
TEMPLATE = prompt_templates.Template(
  solve='problem {question} solution',
  verify_problem='problem {question}',
  verify_solution=' solution {solution} is',
)
MODEL = model_config.TransformerConfig(
  vocab_size=VOCABULARY.vocab_size,
  embed_dim=8,
  num_layers=1,
  num_heads=2,
  mlp_dim=16,
  mlp_activation='relu2',
)


def encode(text):
  return [VOCABULARY.bos_id, *VOCABULARY.encode(text)]


@dataclasses.dataclass(frozen=True)
class Copies:
  """`problem 3 4 solution` -> `3 4`; with `verdicts`, whether a candidate is a right copy."""

  verdicts: bool = False
  size: int = 24

  @property
  def group_size(self):
    return 2 if self.verdicts else 1

  def __call__(self, split):
    random = np.random.default_rng(split == 'validation')
    rows = [
      row
      for _ in range(self.size)
      for row in self.rows(random.integers(10, size=2))
    ]
    return rows

  def rows(self, digits):
    question = f'{digits[0]} {digits[1]}'
    if not self.verdicts:
      yield SolutionExample(
        encode(f'problem {question} solution'),
        [*VOCABULARY.encode(question), VOCABULARY.eos_id],
      )
      return
    for is_correct, answer in (
      (1, question),
      (0, f'{digits[0]} {(digits[1] + 1) % 10}'),
    ):
      yield VerdictExample(
        encode(f'problem {question} solution {answer} is'),
        is_correct,
      )


@dataclasses.dataclass(frozen=True)
class CopiesOfFile:
  """`Copies`, whose size is in a file."""

  path: str
  group_size = 1

  def __call__(self, split):
    return Copies(size=int(pathlib.Path(self.path).read_text()))(split)


def train(workdir, **changes):
  """A training of six steps on one device unless told otherwise."""
  arguments = dict(
    init_from='random',
    examples=Copies(),
    model=MODEL,
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    loss=losses.Mle(),
    optimizer=optimizers.AdamW(learning_rate=0.01),
    train_steps=6,
    batch_size=8,
    max_length=12,
    tensorboard=False,
  )
  return train_lib.train(
    workdir, **group_train_arguments(**arguments | changes)
  )


def params_of(checkpoint):
  return checkpoints.load_params(checkpoint, transformer.abstract_params(MODEL))


def assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, params_of(left), params_of(right))


def lines(workdir, split='train'):
  rows = map(
    json.loads,
    (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines(),
  )
  return [row for row in rows if row['split'] == split]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A finished run, for others to start from and to be compared with."""
  workdir = tmp_path_factory.mktemp('finished')
  return workdir, train(workdir)


def test_a_run_ends_with_a_checkpoint_of_its_last_step_that_knows_what_it_is(
  finished,
):
  workdir, path = finished
  assert str(path) == f'{workdir}/checkpoints/6'
  metadata = checkpoints.read_metadata(path)
  assert metadata['step'] == 6 and metadata['model']['embed_dim'] == 8
  assert metadata['fingerprint'] == prompt_templates.template_fingerprint(
    TEMPLATE, VOCABULARY
  )


def test_metrics_are_plain_lines(finished):
  [line] = lines(finished[0])
  assert line['step'] == 6 and line['learning_rate'] == pytest.approx(0.01)
  assert (
    line['loss'] > 0 and line['gradient_norm'] > 0 and line['tokens_per_s'] > 0
  )


def test_the_cost_counts_the_tokens_of_all_steps(finished):
  cost = stage_cost.read_cost(finished[0])
  # Six steps of eight rows: `bos problem 3 4 solution`, then `3 4 eos` as targets.
  assert (cost.tokens_in, cost.tokens_out) == (6 * 8 * 7, 6 * 8 * 3)
  assert (cost.program, cost.starts, cost.inputs) == ('train', 1, ())
  assert cost.seconds > cost.compile_seconds > 0


def test_t5x_feature_lengths_are_the_length_of_a_row(tmp_path, finished):
  path = train(tmp_path, max_length={'inputs': 7, 'targets': 5})
  assert_same(path, finished[1])


def test_a_finished_run_returns_at_once(finished, monkeypatch):
  workdir, path = finished

  def refuse(self, split):
    raise AssertionError('examples were asked for')

  monkeypatch.setattr(Copies, '__call__', refuse)
  assert train(workdir) == path


def test_equal_examples_of_another_source_are_those_of_the_finished_run(
  tmp_path, finished
):
  workdir, path = finished
  (tmp_path / 'size.txt').write_text('24')
  source = CopiesOfFile(str(tmp_path / 'size.txt'))
  assert train(workdir, examples=source) == path


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      dict(optimizer=optimizers.AdamW(learning_rate=0.02)),
      r'another learning rate:\n  saved: 0.01\n  now:   0.02\n.*MODEL_DIR',
    ),
    (
      dict(
        optimizer=optimizers.AdamW(
          learning_rate=optimizers.Cosine(0.01, decay_steps=6)
        )
      ),
      "another learning rate:\n.*\n.*'class': 'Cosine'",
    ),
    (
      dict(examples=Copies(size=23)),
      r'other examples \(digest .*\): size: 24 -> 23',
    ),
    (
      dict(template=dataclasses.replace(TEMPLATE, solve='{question} =')),
      "another fingerprint:\n.*'problem {question} solution'.*\n.*question} ='",
    ),
    (
      dict(model=dataclasses.replace(MODEL, mlp_dim=32)),
      'another model:\n.*16.*\n.*32',
    ),
  ],
)
def test_a_finished_run_of_another_rate_template_or_data_is_not_done(
  finished, changes, message
):
  with pytest.raises(ValueError, match=message):
    train(finished[0], **changes)


def test_a_finished_run_whose_data_file_has_changed_is_not_done(tmp_path):
  file = tmp_path / 'size.txt'
  file.write_text('24')
  source = CopiesOfFile(str(file))
  path = train(tmp_path / 'run', examples=source, train_steps=1)
  file.write_text('023')
  with pytest.raises(ValueError, match='the files have changed. Use the same'):
    train(tmp_path / 'run', examples=source, train_steps=1)
  file.write_text('00024')
  assert train(tmp_path / 'run', examples=source, train_steps=1) == path


def test_the_config_is_written_when_the_folder_is_accepted(
  tmp_path, finished, monkeypatch
):
  copy = tmp_path / 'copy'
  shutil.copytree(finished[0], copy)
  run_config.hold(copy, 'NAME = 1\n')
  with pytest.raises(ValueError, match='other settings'):
    train(copy, train_steps=7, seed=1)
  with pytest.raises(ValueError, match='other examples'):
    train(copy, train_steps=7, examples=Copies(size=23))
  assert not (copy / 'config.gin').exists()

  def stop(*_):
    raise Killed

  monkeypatch.setattr(train_lib.train_loop.TrainLoop, 'run', stop)
  with pytest.raises(Killed):
    train(copy, train_steps=7)
  assert (copy / 'config.gin').read_text() == 'NAME = 1\n'


def test_a_longer_run_goes_on_with_another_learning_rate(
  tmp_path, finished, caplog
):
  caplog.set_level('INFO', logger='absl')
  shutil.copytree(finished[0], tmp_path / 'copy')
  faster = optimizers.AdamW(learning_rate=0.02)
  path = train(tmp_path / 'copy', train_steps=7, optimizer=faster)
  assert caplog.text.count('compiling, then training') == 1
  assert train(tmp_path / 'copy', train_steps=7, optimizer=faster) == path


def test_longer_training_learns_and_reports_validation(tmp_path):
  train(
    tmp_path,
    train_steps=60,
    log_period=20,
    eval_period=30,
    optimizer=optimizers.AdamW(
      learning_rate=optimizers.Cosine(0.03, decay_steps=60)
    ),
  )
  trained, held_out = lines(tmp_path), lines(tmp_path, 'validation')
  assert [line['step'] for line in trained] == [20, 40, 60]
  assert trained[-1]['loss'] < trained[0]['loss'] - 0.3
  assert [line['step'] for line in held_out] == [30, 60]
  last = held_out[-1]
  assert last['loss'] == pytest.approx(last['token_nll'], rel=1e-4)


class Killed(Exception):
  pass


def test_a_run_that_crashed_goes_on_to_the_same_parameters_bit_for_bit(
  tmp_path, finished, monkeypatch
):
  counts, real = [], losses.Mle.weight

  def crash_at_the_sixth(self, batch):
    # Not while the step is traced.
    if isinstance(batch['decoder_loss_weights'], np.ndarray):
      counts.append(1)
      if len(counts) == 6:
        raise Killed
    return real(self, batch)

  monkeypatch.setattr(losses.Mle, 'weight', crash_at_the_sixth)
  with pytest.raises(Killed):
    train(tmp_path, checkpoint_period=2, log_period=1)
  assert sorted(
    p.name for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()
  ) == ['2', '4']
  monkeypatch.undo()
  path = train(tmp_path, checkpoint_period=2, log_period=1)
  assert_same(path, finished[1])
  assert [line['step'] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]


KILLED_RUN = """
import sys, time
sys.path.insert(0, {tests!r})
import train_test
if {slow}:
  seen = []
  real = train_test.losses.Mle.weight
  def slow_weight(self, batch):
    seen.append(1)
    if len(seen) > 12:
      print('waiting', flush=True)
      time.sleep(100)
    return real(self, batch)
  train_test.losses.Mle.weight = slow_weight
train_test.train({workdir!r}, train_steps=20, checkpoint_period=5)
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_parameters_bit_for_bit(tmp_path):
  def start(workdir, slow):
    code = KILLED_RUN.format(
      tests=str(REPOSITORY / 'tests'), workdir=str(workdir), slow=slow
    )
    return subprocess.Popen(
      [sys.executable, '-c', code],
      cwd=REPOSITORY,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )

  killed = start(tmp_path / 'killed', True)
  assert killed.stdout.readline() == 'waiting\n', killed.stderr.read()
  while not (tmp_path / 'killed' / 'checkpoints' / '10').is_dir():
    time.sleep(0.05)
  os.kill(killed.pid, signal.SIGKILL)
  killed.wait()
  for workdir in ('killed', 'whole'):
    process = start(tmp_path / workdir, False)
    assert process.wait() == 0, process.stderr.read()
  assert_same(tmp_path / 'killed', tmp_path / 'whole')


def test_the_next_stage_gets_parameters_only(tmp_path, finished):
  path = train(
    tmp_path,
    init_from=finished[1],
    train_steps=2,
    loss=losses.VerifierXent(),
    examples=Copies(verdicts=True),
  )
  moved = jax.tree.map(
    lambda a, b: float(abs(a - b).max()),
    params_of(path),
    params_of(finished[1]),
  )
  # Two fresh Adam updates of 0.01.
  assert 0.005 < max(jax.tree.leaves(moved)) < 0.03
  assert 'verdict_accuracy' in lines(tmp_path)[0]


def test_a_safetensors_file_can_be_started_from(tmp_path, finished):
  base = checkpoints.save_safetensors(
    tmp_path / 'base.safetensors',
    params_of(finished[1]),
    checkpoints.read_metadata(finished[1]),
  )
  left = train(tmp_path / 'a', init_from=str(base), train_steps=1)
  right = train(tmp_path / 'b', init_from=finished[1], train_steps=1)
  assert_same(left, right)


def test_a_checkpoint_of_another_template_or_model_is_refused(
  tmp_path, finished
):
  with pytest.raises(ValueError, match='made with another fingerprint'):
    train(
      tmp_path / 'a',
      init_from=finished[1],
      train_steps=1,
      template=dataclasses.replace(TEMPLATE, solve='{question} solution'),
    )
  with pytest.raises(
    ValueError, match="another model:\n.*'mlp_dim': 16.*\n.*'mlp_dim': 32"
  ):
    train(
      tmp_path / 'b',
      init_from=finished[1],
      train_steps=1,
      model=dataclasses.replace(MODEL, mlp_dim=32),
    )


def test_without_a_place_to_start_from_there_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="to a checkpoint, or to 'random'"):
    train(tmp_path, init_from=None)
  with pytest.raises(ValueError, match='does not exist'):
    train(tmp_path, init_from=str(tmp_path / 'nowhere'))
  assert not (tmp_path / 'checkpoints').exists()


@pytest.mark.parametrize(
  'changes',
  [
    dict(loss=losses.Mle(z_loss=0.1)),
    dict(batch_size=16),
    dict(seed=1),
    dict(init_from='other'),
    dict(max_grad_norm=9.0),
    dict(optimizer=optimizers.AdamW(learning_rate=0.01, b1=0.5)),
  ],
)
def test_a_workdir_of_other_settings_is_refused_with_the_two_lists(
  finished, changes
):
  with pytest.raises(
    ValueError, match=f'other settings:\n.*saved: .*{next(iter(changes))}'
  ):
    train(finished[0], **changes)


def test_a_run_is_not_resumed_on_other_examples(tmp_path, finished):
  shutil.copytree(finished[0], tmp_path / 'copy')
  with pytest.raises(ValueError, match='created with other examples'):
    train(tmp_path / 'copy', train_steps=7, examples=Copies(size=23))


def test_weights_that_do_not_fit_are_refused_before_any_example_is_read(
  tmp_path, finished
):
  class Unread:
    group_size = 1

    def __call__(self, split):
      raise AssertionError('examples were read')

  with pytest.raises(ValueError, match='does not exist'):
    train(
      tmp_path / 'a', init_from=str(tmp_path / 'nowhere'), examples=Unread()
    )
  with pytest.raises(ValueError, match='another model'):
    train(
      tmp_path / 'b',
      init_from=finished[1],
      examples=Unread(),
      model=dataclasses.replace(MODEL, mlp_dim=32),
    )


def test_a_longer_run_in_a_finished_workdir_goes_on(tmp_path, finished):
  shutil.copytree(finished[0], tmp_path / 'copy')
  assert train(tmp_path / 'copy', train_steps=7).name == '7'
  with pytest.raises(
    ValueError, match='checkpoint of step 7; train_steps is 6'
  ):
    train(tmp_path / 'copy')


def test_the_best_checkpoint_by_validation_is_handed_over(tmp_path):
  arguments = dict(
    train_steps=8,
    eval_period=2,
    output_checkpoint='best',
    optimizer=optimizers.AdamW(learning_rate=Overshooting()),
  )
  path = train(tmp_path, **arguments)
  losses_by_step = {
    line['step']: line['loss'] for line in lines(tmp_path, 'validation')
  }
  best = min(losses_by_step, key=losses_by_step.get)
  assert int(path.name) == best < 8
  assert train(tmp_path, **arguments) == path


@dataclasses.dataclass(frozen=True)
class Overshooting:
  """Small steps, then absurd ones."""

  def __call__(self, update):
    return jax.numpy.where(update <= 4, 0.01, 3.0)


def test_eight_devices_and_microbatches_train_like_one(tmp_path, finished):
  path = train(
    tmp_path,
    num_microbatches=2,
    batch_size=8,
    partitioner=partitioning.Partitioner(num_partitions=2, fsdp=True),
  )
  single = train(
    tmp_path / 'one', partitioner=partitioning.Partitioner(num_partitions=1)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
    params_of(path),
    params_of(single),
  )


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
  with pytest.raises(ValueError, match=r'step [2-6]: \w+ is (nan|inf|-inf)'):
    train(
      tmp_path,
      optimizer=optimizers.AdamW(learning_rate=1e30),
      max_grad_norm=None,
      checkpoint_period=1,
      max_to_keep=None,
    )
  for path in (tmp_path / 'checkpoints').iterdir():
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params_of(path)))


def test_examples_for_another_loss_or_with_nothing_to_learn_stop_the_run(
  tmp_path,
):
  with pytest.raises(
    ValueError, match="needs 'verdict_weights' in its batches"
  ):
    train(tmp_path, loss=losses.VerifierXent())
  with pytest.raises(
    ValueError, match='step 1: a batch has 0.0 tokens to learn from'
  ):
    train(tmp_path, examples=Copies(verdicts=True))


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      dict(batch_size=7, examples=Copies(verdicts=True)),
      'batch_size is 7; it must be a multiple of 2',
    ),
    (dict(batch_size=12), 'does not divide over 8 devices'),
    (dict(max_length={'input': 5}), "must be a number or {'inputs'"),
    (dict(output_checkpoint='first'), "output_checkpoint is 'first'"),
    (dict(output_checkpoint='best'), 'set eval_period'),
    (
      dict(model=dataclasses.replace(MODEL, vocab_size=5)),
      'vocabulary has 18 ids and the model 5',
    ),
  ],
)
def test_wrong_sizes_and_choices_name_the_knob(tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    train(tmp_path, **changes)


def test_stages_that_differ_in_rate_and_steps_share_one_compilation(
  tmp_path, finished
):
  train(tmp_path / 'a', init_from=finished[1], train_steps=2)
  path = train(
    tmp_path / 'b',
    init_from=finished[1],
    train_steps=3,
    optimizer=optimizers.AdamW(learning_rate=0.5),
  )
  assert path.name == '3'
  # The rates, and reading small arrays.
  assert lines(tmp_path / 'b')[0]['compilations'] <= 3


def test_a_workdir_of_an_older_version_is_complete_and_resumes(
  tmp_path, finished
):
  workdir = tmp_path / 'copy'
  shutil.copytree(finished[0], workdir)
  path = workdir / 'checkpoints' / '6' / 'metadata' / 'metadata'
  metadata = json.loads(path.read_text())
  del metadata['checksums'], metadata['metadata_sha256']
  metadata['settings'] = {
    'init_from': 'random',
    'loss': 'Mle(z_loss=0.0, label_smoothing=0.0)',
    'pack': False,
    'batch_size': 8,
    'max_length': 12,
    'seed': 0,
    'lora': None,
    'max_grad_norm': 1.0,
    'optimizer': (
      'AdamW(learning_rate=0.0, b1=0.9, b2=0.95, eps=1e-08, weight_decay=0.0)'
    ),
    'examples': metadata['settings']['examples'],
  }
  path.write_text(json.dumps(metadata))
  before = path.stat().st_mtime_ns

  assert train(workdir) == workdir / 'checkpoints' / '6'
  assert path.stat().st_mtime_ns == before

  assert train(workdir, train_steps=7).name == '7'
  with pytest.raises(ValueError, match='other settings'):
    train(workdir, train_steps=8, loss=losses.Mle(z_loss=0.1))


def test_the_chosen_rematerialisation_is_in_the_metadata(
  tmp_path, finished, monkeypatch
):
  model = dataclasses.replace(MODEL, remat='auto')
  monkeypatch.setattr(remat_choice, '_memory_limit', lambda mesh: 2**40)
  path = train(tmp_path / 'run', model=model)
  assert checkpoints.read_metadata(path)['model']['remat'] == 'none'
  trained, expected = map(checkpoints.open_lazy_params, (path, finished[1]))
  for name in expected.shapes:
    np.testing.assert_array_equal(
      trained.read_array(name, None), expected.read_array(name, None)
    )


def test_speed_packing_and_memory_are_in_the_metrics(tmp_path):
  settings = {'train_steps': 6, 'log_period': 2, 'profile_steps': (3, 4)}
  train(tmp_path, **settings)
  last = lines(tmp_path)[-1]
  # rows of 12 have one example of 7 tokens
  assert last['token_share'] == pytest.approx(7 / 12)
  assert last['tokens_per_s'] * last['step_time_s'] == pytest.approx(8 * 7)
  assert last['memory_gib'] > 0 and last['recompilations'] >= 0
  assert 'step_time_s' in (tmp_path / 'curves.html').read_text()
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_a_failed_self_check_stops_a_training_before_its_first_step(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class WithoutEos(Copies):
    def rows(self, digits):
      for example in super().rows(digits):
        yield SolutionExample(example.inputs, example.targets[:-1])

  with pytest.raises(ValueError, match=r'SELF_CHECKS[^.]*EOS is a trained'):
    train(tmp_path, examples=WithoutEos())
  assert not (tmp_path / 'metrics.jsonl').exists()
  train(tmp_path, examples=WithoutEos(), self_checks='warn', train_steps=2)
  path = train(tmp_path, examples=WithoutEos())
  assert path.name == '6'
