"""Tasks for t5x and seqio: prepared data, registration from gin files, accuracy by the grader."""

import dataclasses
import json

import gin
import numpy as np
import pytest

seqio = pytest.importorskip('seqio')

from mathft_jax import grade, prepare_data, tasks  # noqa: E402
from mathft_jax.data import schema, seqio_tasks, vocabularies  # noqa: E402
from mathft_jax.data.tfds import prepared_datasets, seqio_vocabulary  # noqa: E402
from mathft_jax.evaluation import rule_results  # noqa: E402

BYTES = vocabularies.ByteVocabulary()
# Of the problems 1 to 6: a box, other notation, wrong, a sentence, the same but cut, no answer.
SOLUTIONS = (
  ('So \\boxed{1}', True),
  ('\\boxed{\\frac{4}{2}}', True),
  ('The answer is 7.', True),
  ('It follows that x = 4', True),
  ('It follows, after all of this long text, that x = 5', False),
  ('I do not know.', True),
)


@pytest.fixture(autouse=True)
def registered_as_at_import():
  yield
  tasks.register_all_tasks()


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A manual folder with six problems of MATH, and an empty TFDS folder."""
  manual = tmp_path_factory.mktemp('manual')
  (manual / 'math').mkdir()
  rows = []
  for n in range(1, 7):
    rows.append(
      {
        'problem': f'What is {n}?',
        'solution': f'It is $\\boxed{{{n}}}$.',
        'unique_id': f'train/algebra/{n}.json',
      }
    )
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (manual / 'math/train.jsonl').write_text(text)
  (manual / 'math/test.jsonl').write_text('')
  return {
    'tfds_data_dir': str(tmp_path_factory.mktemp('tfds')),
    'manual_dir': str(manual),
  }


@pytest.fixture(scope='module')
def prepared(folders):
  """The same folders after MATH has been prepared."""
  config = prepared_datasets.TfdsConfig(**folders)
  prepared_datasets.prepare_dataset('math', config)
  return config


def test_data_that_is_not_prepared_is_an_error_with_the_command(tmp_path):
  config = seqio_tasks.TaskConfig(tfds_data_dir=str(tmp_path))
  tasks.register_all_tasks(config)
  task = seqio.get_mixture_or_task('math_ssft')
  for read in (
    lambda: task.get_dataset(None, 'train', shuffle=False),
    lambda: task.num_input_examples('train'),
    lambda: task.source.list_shards('train'),
  ):
    with pytest.raises(
      ValueError,
      match=f'prepare_data --datasets=math --tfds_data_dir={tmp_path}',
    ):
      read()


def test_the_program_prepares_data_sets(folders, tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  line = prepare_data.prepare_data(
    datasets='math', manual_dir=folders['manual_dir']
  )
  assert line.startswith('math: ') and str(tmp_path) in line
  tasks.register_all_tasks(seqio_tasks.TaskConfig(tfds_data_dir=str(tmp_path)))
  assert seqio.get_mixture_or_task('math_ssft').num_input_examples('train') > 0


@pytest.mark.parametrize(
  'datasets, message', [('maths', 'gsm8k, math, prm800k'), ('', 'no name')]
)
def test_an_unknown_data_set_is_an_error(datasets, message):
  with pytest.raises(ValueError, match=message):
    prepare_data.prepare_data(datasets=datasets)


def test_a_missing_manual_folder_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  with pytest.raises(ValueError, match='--manual_dir'):
    prepare_data.prepare_data(manual_dir=tmp_path / 'nothing')


def test_a_gin_file_registers_tasks_and_names_one():
  """As in t5x: gin builds the name with the arguments of the program."""

  def train(mixture_or_task_name):
    return seqio.get_mixture_or_task(mixture_or_task_name)

  program = gin.external_configurable(train, module='stock')
  gin.parse_config("""
    from __gin__ import dynamic_registration
    from mathft_jax import tasks
    from mathft_jax.data import seqio_tasks
    from mathft_jax.data import vocabularies

    tasks.registered_task:
      name = 'math_scr_xent'
      config = @seqio_tasks.TaskConfig()
    seqio_tasks.TaskConfig:
      vocabulary = @vocabularies.WordVocabulary()
      candidates = 'graded.jsonl'
    vocabularies.WordVocabulary.words = ('yes', 'no')
    MIXTURE_OR_TASK_NAME = @tasks.registered_task()
  """)
  gin.bind_parameter(
    'stock.train.mixture_or_task_name',
    gin.query_parameter('MIXTURE_OR_TASK_NAME/gin.macro.value'),
  )
  try:
    task = program()
  finally:
    gin.clear_config()
  assert task.name == 'math_scr_xent'
  assert task.output_features['inputs'].vocabulary.encode('no yes') == [4, 3]


def test_a_name_that_is_not_registered_is_an_error():
  with pytest.raises(ValueError, match='no task or mixture .*math_ssft'):
    tasks.registered_task('math_sft')


def test_examples_of_a_task_that_a_named_module_registers(
  prepared, tmp_path, monkeypatch
):
  (tmp_path / 'my_tasks.py').write_text(
    'from mathft_jax.data import problem_sources, seqio_tasks\n'
    f'problems = problem_sources.JsonlProblems({str(tmp_path / "a.jsonl")!r})\n'
    "seqio_tasks.add_jsonl_task('mine_ssft', problems)\n"
  )
  (tmp_path / 'a.jsonl').write_text('{"problem": "1+1?", "solution": "2"}\n')
  monkeypatch.syspath_prepend(str(tmp_path))
  source = seqio_tasks.TaskExamples(
    mixture_or_task_name='mine_ssft', module='my_tasks'
  )
  assert len(source('train')) == 1
  with pytest.raises(ValueError, match='MIXTURE_OR_TASK_MODULE is .my_taks'):
    dataclasses.replace(source, module='my_taks')('train')
  with pytest.raises(ValueError, match='MIXTURE_OR_TASK_NAME.*math_ssft'):
    dataclasses.replace(source, mixture_or_task_name='my_ssft')('train')


def predicted_tokens(task):
  """Pairs (index, tokens) of `SOLUTIONS`, in the order of the elements."""
  rows = []
  for element in task.get_dataset(None, 'train', shuffle=False):
    text, finished = SOLUTIONS[int(element['answer'].numpy()) - 1]
    rows.append(BYTES.encode(text) + [BYTES.eos_id] * finished)
  length = max(map(len, rows))
  for row in rows:
    row += [BYTES.pad_id] * (length - len(row))
  return list(enumerate(rows))


def test_the_evaluator_of_seqio_gives_the_accuracy_of_grade_and_evaluate(
  prepared, tmp_path
):
  config = seqio_tasks.TaskConfig(tfds_data_dir=prepared.tfds_data_dir)
  tasks.register_all_tasks(config)
  task = seqio.get_mixture_or_task('math_ssft')
  tokens = predicted_tokens(task)
  (tmp_path / 'log').mkdir()
  evaluator = seqio.Evaluator(
    'math_ssft',
    seqio.EncDecFeatureConverter(pack=False),
    eval_split='train',
    logger_cls=[seqio.JSONLogger],
    log_dir=str(tmp_path / 'log'),
  )
  metrics, _ = evaluator.evaluate(
    compute_metrics=True, predict_fn=lambda dataset: tokens
  )
  found = metrics.result()['math_ssft']

  sets = []
  problems = prepared_datasets.TfdsProblems(**vars(prepared), name='math')
  for problem in problems('train'):
    text, finished = SOLUTIONS[int(problem.answer) - 1]
    candidate = schema.Candidate(text, finished=finished)
    sets.append(schema.CandidateSet(problem, (candidate,)))
  path = schema.write_jsonl(tmp_path / 'candidates.jsonl', sets)
  graded = schema.read_candidate_sets(
    grade.grade(tmp_path / 'graded', candidates=path)
  )
  expected = rule_results.greedy_correctness(graded, graded)
  assert 0 < expected.mean() < 1
  assert found['accuracy'] == expected.mean()
  assert found['without_answer'] > 0
  assert found['cut_at_limit'] == 1 / len(expected)
  assert list((tmp_path / 'log').rglob('*.jsonl*'))


def test_several_predictions_of_an_element_count_as_their_mean():
  right = BYTES.encode('\\boxed{3}') + [BYTES.eos_id]
  wrong = BYTES.encode('\\boxed{4}') + [BYTES.eos_id]
  features = {'targets': seqio.Feature(seqio_vocabulary.SeqioVocabulary(BYTES))}
  metric = tasks.Accuracy.from_model_output(
    [{'targets': np.array(BYTES.encode('It is $\\boxed{3}$.'))}],
    np.array([[right, wrong]]),
    features,
  )
  assert metric.compute()['accuracy'] == 0.5
