"""Our model, losses, tasks and batches under t5x. `bash .ci/t5x` installs t5x and runs them."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

pytest.importorskip(
  't5x', reason='t5x is not installed; `bash .ci/t5x` fetches it (docs/t5x.md)'
)

import gin  # noqa: E402
import seqio  # noqa: E402
from t5x import eval as t5x_eval  # noqa: E402
from t5x import infer as t5x_infer  # noqa: E402
from t5x import models as t5x_models  # noqa: E402
from t5x import partitioning  # noqa: E402
from t5x import train as t5x_train  # noqa: E402
from t5x import utils as t5x_utils  # noqa: E402

import mathft_jax as mf  # noqa: E402
from mathft_jax import checkpoints, convert, tasks  # noqa: E402
from mathft_jax.data import (  # noqa: E402
  prompt_templates,
  seqio_tasks,
  vocabularies,
)
from mathft_jax.dials import dial_problems  # noqa: E402
from mathft_jax.distributed import partitioning as our_partitioning  # noqa: E402
from mathft_jax.inference import (  # noqa: E402
  decode_config,
  decoding,
  prefill,
  sampling,
  score_packing,
  scoring,
)
from mathft_jax.models import config as model_config  # noqa: E402
from mathft_jax.models import transformer  # noqa: E402
from mathft_jax.t5x_bridge import (  # noqa: E402
  feature_converter,
  math_model,
  math_trainer,
  train_batches,
)
from mathft_jax.training import (  # noqa: E402
  losses,
  optimizers,
  train_config,
)

REPOSITORY = pathlib.Path(__file__).parents[2]
DIALS = REPOSITORY / 'mathft_jax' / 'dials' / 'small_base_weights.safetensors'
GRADED = REPOSITORY / 'tests/goldens/before_renaming/graded.jsonl'
VOCABULARY = dial_problems.dial_vocabulary()
TEMPLATE = prompt_templates.Template(
  solve='{question}',
  verify_problem='{question}',
  verify_solution=' {solution} verdict',
)
NUM_PROBLEMS = 16


def make_model(loss=losses.Mle(), **fields):
  config = checkpoints.load_model_config(DIALS)
  arguments = {
    'model': config,
    'optimization': train_config.OptimizationConfig(
      loss=loss, optimizer=optimizers.AdamW()
    ),
    'vocabulary': VOCABULARY,
    'template': TEMPLATE,
    'partitioner': partitioning.PjitPartitioner(
      num_partitions=1,
      logical_axis_rules=math_model.logical_axis_rules(config, 1),
    ),
    'max_decode_length': 48,
  }
  return math_model.MathModel(**arguments | fields)


@pytest.fixture(scope='module')
def dials():
  """The model of the embedded default with its base weights, and tasks for it."""
  config = seqio_tasks.TaskConfig(
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    candidates=str(GRADED),
    metric_objs=(tasks.Accuracy(),),
  )
  tasks.register_all_tasks(config)
  problems = dial_problems.DialProblems(
    num_train=NUM_PROBLEMS,
    num_validation=NUM_PROBLEMS,
    num_test=NUM_PROBLEMS,
    turn_range=(1, 6),  # the base model can do turns of 1 to 5
  )
  seqio_tasks.add_jsonl_task('dials_ssft', problems, config)
  model = make_model()
  shapes = transformer.abstract_params(model.step_config.model)
  replicated = jax.sharding.NamedSharding(
    model.step_config.mesh, jax.sharding.PartitionSpec()
  )
  shardings = jax.tree.map(lambda _: replicated, shapes)
  params = checkpoints.load_params(DIALS, shapes, shardings)
  yield model, params, problems('test')
  tasks.register_all_tasks()


def read_rows(model, task, lengths, split):
  """Returns the elements of a task, and the same as one batch of model features."""
  elements = seqio.get_mixture_or_task(task).get_dataset(
    lengths, split, shuffle=False
  )
  rows = model.FEATURE_CONVERTER_CLS()(elements, lengths)
  batch = next(rows.batch(NUM_PROBLEMS).as_numpy_iterator())
  return list(elements.as_numpy_iterator()), batch


@pytest.mark.parametrize('num_devices', [1, 4])
def test_five_steps_equal_those_of_mathft_jax_train(num_devices, tmp_path):
  """Losses and parameters; one process for all cases. On CPUs t5x shards over `model`."""
  flags = f'--xla_force_host_platform_device_count={num_devices}'
  command = [sys.executable, '-m', 'tests.t5x.compare_runs', str(tmp_path)]
  done = subprocess.run(
    command,
    capture_output=True,
    text=True,
    cwd=REPOSITORY,
    env={**__import__('os').environ, 'XLA_FLAGS': flags},
  )
  assert done.returncode == 0, done.stderr[-2000:]
  lines = list(map(json.loads, done.stdout.splitlines()))
  assert len(lines) == 14
  for line in lines:
    assert line['devices'] == num_devices
    # Dropout on four devices differs by 1.0e-5 of 3: sums in another order.
    limit = 3e-5 if line['loss'] == 'dropout' else 1e-5
    assert line['largest_difference'] < limit, line
    assert line['first_step_difference'] < 1e-6, line


def test_greedy_predictions_equal_those_of_decode(dials):
  model, params, _ = dials
  lengths = {'inputs': 40, 'targets': 50}
  elements, batch = read_rows(model, 'dials_ssft', lengths, 'test')
  found = np.asarray(jax.jit(model.predict_batch)(params, batch))

  config = decode_config.DecodeConfig(
    model=model.step_config.model,
    method=sampling.Greedy(),
    num_rows=NUM_PROBLEMS,
    rows_per_group=1,
    prompt_slots=64,
    max_decode_length=48,
    end_ids=VOCABULARY.end_ids,
    vocab_size=VOCABULARY.vocab_size,
    mesh=our_partitioning.Partitioner().mesh(),
  )
  prompts = [
    prefill.Prompt(f'x{row}', element['inputs'].tolist())
    for row, element in enumerate(elements)
  ]
  blocks = decoding.decode(
    config, jax.device_get(params), prompts, num_candidates=1, seed=0
  )
  candidates = {each.prompt: each for block in blocks for each in block.ended}
  for index, row in enumerate(found):
    tokens = candidates[index].tokens
    np.testing.assert_array_equal(row[: len(tokens)], tokens)
    assert (row[len(tokens) :] == VOCABULARY.pad_id).all()


def test_scores_equal_those_of_score_candidates(dials):
  model, params, _ = dials
  elements, batch = read_rows(model, 'math_scr_xent', {'inputs': 96}, 'train')
  found = jax.jit(model.score_batch)(params, batch)
  config = scoring.ScoreConfig(
    model.step_config.model,
    prompt_templates.make_label_words(TEMPLATE, VOCABULARY),
    our_partitioning.Partitioner().mesh(jax.devices()[:1]),
  )
  prompts = [element['inputs'].tolist() for element in elements][:NUM_PROBLEMS]
  problems = [
    score_packing.Problem(prompt[:5], [prompt[5:]]) for prompt in prompts
  ]
  scores = scoring.score_texts(
    config,
    jax.device_get(params),
    problems,
    row_lengths=(128,),
  )
  expected = np.concatenate(scores)
  assert np.std(expected) > 0
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_t5x_eval_gives_the_accuracy_of_evaluate(dials, tmp_path):
  model, _, problems = dials
  path = convert.convert(
    checkpoint=DIALS, output=tmp_path / 'init' / 'checkpoint_0'
  )
  (tmp_path / 'inference_eval').mkdir()  # TensorBoardLogger would make it
  t5x_eval.evaluate(
    model=model,
    dataset_cfg=t5x_utils.DatasetConfig(
      mixture_or_task_name='dials_ssft',
      task_feature_lengths=None,
      split='test',
      batch_size=8,
      shuffle=False,
      seed=0,
    ),
    restore_checkpoint_cfg=t5x_utils.RestoreCheckpointConfig(
      path=str(path), mode='specific'
    ),
    partitioner=partitioning.PjitPartitioner(
      num_partitions=1,
      logical_axis_rules=math_model.logical_axis_rules(
        model.step_config.model, 1
      ),
    ),
    output_dir=str(tmp_path),
    inference_evaluator_cls=functools.partial(
      seqio.Evaluator, logger_cls=[seqio.JSONLogger]
    ),
    summarize_config_fn=lambda **arguments: None,
  )
  (metrics,) = (tmp_path / 'inference_eval').glob('*metrics.jsonl')
  found = json.loads(metrics.read_text().splitlines()[-1])['accuracy']

  generator = mf.Model(
    str(DIALS), model.step_config.model, VOCABULARY, TEMPLATE
  )
  graded = mf.grade_candidates(
    generator.sample(problems, n=1, temperature=0, max_tokens=48)
  )
  correct = [each.candidates[0].is_correct for each in graded]
  assert 0 < np.mean(correct) < 1
  assert found == pytest.approx(np.mean(correct))


@pytest.mark.parametrize(
  'program, files',
  [
    (t5x_train, ['t5x/ssft.gin']),
    (t5x_train, ['t5x/scr_margin.gin', 't5x/from_scratch.gin']),
    (t5x_train, ['t5x/scr_xent.gin', 't5x/same_batches.gin']),
    (t5x_train, ['t5x/contrastive.gin']),
    (t5x_train, ['t5x/joint.gin', 't5x/same_batches.gin']),
    (t5x_eval, ['t5x/eval.gin']),
    (t5x_infer, ['t5x/infer.gin']),
  ],
  ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_gin_files_name_what_exists(program, files, monkeypatch):
  monkeypatch.setitem(sys.modules, '__main__', program)
  for folder in (REPOSITORY / 'gin_configs', t5x_folder()):
    gin.add_config_file_search_path(str(folder))
  try:
    for name in [*files, 'models/tiny.gin', 'data/math.gin']:
      gin.parse_config_file(name)
    model = gin.query_parameter('MathModel.model')
    assert 'MODEL' in str(model)
  finally:
    gin.clear_config()


def t5x_folder():
  return pathlib.Path(t5x_train.__file__).parents[1]


def test_stock_trainer_with_microbatches_is_refused():
  model = make_model()
  shape = {'decoder_input_tokens': (8, 4), 'decoder_segment_ids': (8, 4)}
  model.get_initial_variables(jax.random.PRNGKey(0), shape)
  half = {'decoder_input_tokens': np.zeros((4, 4), np.int32)}
  with pytest.raises(ValueError, match='4 of the 8 rows .*MathTrainer'):
    model.loss_fn({}, half, jax.random.PRNGKey(0))


def test_another_feature_converter_is_refused():
  with pytest.raises(ValueError, match='no decoder_segment_ids'):
    make_model().get_initial_variables(
      jax.random.PRNGKey(0), {'decoder_input_tokens': (8, 4)}
    )


def test_another_model_is_refused_by_trainer_and_batches():
  other = object.__new__(t5x_models.DecoderOnlyModel)
  with pytest.raises(ValueError, match='got a DecoderOnlyModel'):
    math_trainer.MathTrainer(other)
  with pytest.raises(ValueError, match='DecoderFeatureConverter'):
    train_batches.get_dataset(
      None, 0, 1, seqio.DecoderFeatureConverter, examples=None, data=None
    )


def test_packing_in_the_converter_is_refused():
  with pytest.raises(ValueError, match='same_batches.gin'):
    make_model().FEATURE_CONVERTER_CLS(pack=True)


def test_prompts_that_seqio_has_trimmed_are_refused(dials):
  with pytest.raises(Exception, match='seqio has trimmed it'):
    read_rows(dials[0], 'math_scr_xent', {'inputs': 20}, 'train')


def test_pairs_are_refused_where_t5x_wants_one_score(dials):
  model, params, _ = dials
  lengths = {'correct_inputs': 96, 'incorrect_inputs': 96}
  _, batch = read_rows(model, 'math_scr_margin', lengths, 'train')
  assert batch[feature_converter.PAIR_MEMBERS].tolist()[:4] == [0, 1, 0, 1]
  with pytest.raises(ValueError, match='pair'):
    model.score_batch(params, batch)
  with pytest.raises(ValueError, match='candidates are scored'):
    model.predict_batch(params, batch)


def test_a_loss_that_does_not_fit_the_task_is_refused(dials):
  _, batch = read_rows(dials[0], 'math_scr_xent', {'inputs': 96}, 'train')
  with pytest.raises(ValueError, match='also learn the incorrect'):
    make_model().loss_weight(batch)
  _, batch = read_rows(
    dials[0], 'dials_ssft', {'inputs': 40, 'targets': 50}, 'train'
  )
  with pytest.raises(ValueError, match='needs .*verdict_weights'):
    make_model(losses.VerifierXent()).loss_weight(batch)


def test_odd_batches_of_pairs_are_refused(dials):
  lengths = {'correct_inputs': 96, 'incorrect_inputs': 96}
  model = make_model(losses.VerifierMargin())
  _, batch = read_rows(model, 'math_scr_margin', lengths, 'train')
  odd = {name: array[:3] for name, array in batch.items()}
  with pytest.raises(ValueError, match='BATCH_SIZE is 3'):
    model.complete_batch(odd)
  even = model.complete_batch(batch)
  rows = even['decoder_input_tokens'].shape[0]
  with pytest.raises(ValueError, match='microbatches'):
    model.loss_weight(even, rows)


def test_rows_that_do_not_fit_have_no_weight_and_no_score(dials):
  model, params, _ = dials
  elements = seqio.get_mixture_or_task('math_scr_xent').get_dataset(
    None, 'train', shuffle=False
  )
  rows = model.FEATURE_CONVERTER_CLS()(elements, {'inputs': 70})
  batch = next(rows.batch(4).as_numpy_iterator())
  fits = np.array(
    [len(e['inputs']) <= 70 for e in elements.as_numpy_iterator()]
  )
  np.testing.assert_array_equal(batch['verdict_weights'], fits[:4])
  scores = jax.jit(model.score_batch)(params, batch)
  np.testing.assert_array_equal(np.isfinite(scores), fits[:4])


def test_adafactor_has_axes_of_its_parameters():
  """t5x's own rules refuse its state."""
  optimization = train_config.OptimizationConfig(
    loss=losses.Mle(), optimizer=optimizers.Adafactor()
  )
  model = make_model(optimization=optimization)
  initializer = t5x_utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def,
    init_fn=model.get_initial_variables,
    input_shapes={
      'decoder_input_tokens': (8, 4),
      'decoder_segment_ids': (8, 4),
    },
    partitioner=partitioning.PjitPartitioner(
      num_partitions=1,
      logical_axis_rules=math_model.logical_axis_rules(
        model.step_config.model, 1
      ),
    ),
  )
  assert initializer.from_scratch(jax.random.PRNGKey(0)).step == 0


def test_batches_are_continued_at_a_step(tmp_path):
  def batches_from(step):
    while True:
      yield {'x': np.arange(4) + 10 * step, 'label_words': np.zeros((2, 1))}
      step += 1

  batches = train_batches.BatchIterator(batches_from, slice(2, 4))
  assert set(batches.element_spec) == {'x'}
  next(batches)
  batches.save(tmp_path / 'step')
  second = next(batches)['x'].tolist()
  assert second == [12, 13]

  again = train_batches.BatchIterator(batches_from, slice(2, 4))
  again.restore(tmp_path / 'step')
  assert next(again)['x'].tolist() == second
  again.restore(5)
  assert next(again)['x'].tolist() == [52, 53]


def test_axis_rules_replicate_what_the_mesh_does_not_divide():
  config = model_config.TransformerConfig(
    vocab_size=64,
    embed_dim=64,
    num_layers=1,
    num_heads=8,
    num_kv_heads=1,
    mlp_dim=64,
  )
  rules = dict(math_model.logical_axis_rules(config, 1))
  assert rules['kv_heads'] is None
  assert rules['heads'] == 'model'


def test_bytes_are_another_vocabulary_than_the_models():
  with pytest.raises(ValueError, match='259 ids and the model 57'):
    make_model(vocabulary=vocabularies.ByteVocabulary())
