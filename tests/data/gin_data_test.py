"""The files of gin_configs/data bind problem and example sources."""

import pathlib

import gin
import pytest

from mathft_jax.data import examples, problem_sources, vocabularies

CONFIGS = pathlib.Path(__file__).parents[2] / 'gin_configs'
HEAD = """
from __gin__ import dynamic_registration
from mathft_jax.data import vocabularies
VOCABULARY = @vocabularies.ByteVocabulary()
"""


@pytest.fixture
def build():
  """Returns a function that parses a gin file and returns the object of a macro."""

  def built(name, bindings, macro):
    gin.clear_config()
    gin.add_config_file_search_path(str(CONFIGS))
    gin.parse_config([HEAD, f"include 'data/{name}.gin'", *bindings])
    return gin.query_parameter(f'%{macro}').scoped_configurable_fn()

  yield built
  gin.clear_config()


@pytest.mark.parametrize(
  'name, task, problem_set',
  [
    ('math', 'math_ssft', 'math'),
    ('prm800k', 'prm800k_ssft', 'math'),
    ('math_prm800k', 'math_prm800k_ssft', 'math'),
    ('gsm8k', 'gsm8k_ssft', 'gsm8k'),
  ],
)
def test_each_data_set_binds_its_examples_and_its_problems(
  build, name, task, problem_set
):
  tasks = pytest.importorskip('mathft_jax.data.tasks')
  bindings = [
    'from mathft_jax.data.datasets import trajectories',
    "MANUAL_DIR = '/data'",
    'PROBLEM_LIMIT = 3',
    'trajectories.Selection.phases = (2,)',
  ]
  made = build(name, bindings, 'EXAMPLES')
  assert (
    isinstance(made, tasks.TaskExamples) and made.mixture_or_task_name == task
  )
  assert made.vocabulary == vocabularies.ByteVocabulary()
  assert made.prm800k_selection.phases == (2,) and made.limit == 3
  problems = build(name, bindings, 'PROBLEMS')
  assert (problems.name, problems.manual_dir, problems.limit) == (
    problem_set,
    '/data',
    3,
  )


def test_user_jsonl_needs_only_a_path(build, tmp_path):
  path = tmp_path / 'mine.jsonl'
  path.write_text('{"problem": "1+1?", "solution": "2"}\n')
  bindings = [f"DATA_PATH = '{path}'"]
  assert build('jsonl', bindings, 'PROBLEMS') == problem_sources.JsonlProblems(
    str(path)
  )
  made = build('jsonl', bindings, 'EXAMPLES')
  assert isinstance(made, examples.SolutionExamples) and len(made('train')) == 1
