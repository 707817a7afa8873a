"""The whole recipe on two processes."""

import re

import pytest

pytestmark = pytest.mark.slow

# Seconds instead of minutes: easy problems, few steps, one loss, no third stage.
QUICK = """
from __gin__ import dynamic_registration
from mathft_jax import recipe
from mathft_jax import train
from mathft_jax.data import examples
from mathft_jax.dials import dial_problems
from mathft_jax.training import optimizers
from mathft_jax.training import train_config

dial_problems.DialProblems:
  num_train = 16
  num_validation = 8
  num_test = 13
  turn_range = (1, 6)  # the base solves turns up to 5
SOLUTIONS = {'fine': @fine/examples.SolutionExamples()}
recipe.Stages:
  scr = {'margin': @scr_margin/train.train}
  ssft_again = None
  control = None
  score_by_likelihood = None
VERDICTS = {'margin': @margin/examples.VerdictExamples()}
FEW_SHOT = {}
CURVE_PROBLEMS = 2
train_config.LoopConfig.tensorboard = False
scr_margin/train_config.LoopConfig.eval_period = None  # too few problems for validation verdicts
optimizers.Cosine.warmup_steps = 1
ssft/train.train.train_steps = 2
scr_margin/train.train.train_steps = 2
BATCH_SIZE = 8
DECODE_BATCH_SIZE = 8
SCORE_BATCH_SIZE = 8
NUM_DECODES = 4
NUM_TRAIN_DECODES = 4
EXAMPLES_PER_PROBLEM = 2
examples.VerdictExamples.single_class_problems = 'reference'  # four samples are of one kind
"""
# The table of a report, from its title to the end of its note.
MEASURED_SECONDS = re.compile(
  r'### Accuracy against measured seconds\n.*?Measured: [^\n]*\n', re.DOTALL
)
FILES = [
  'candidates/candidates.jsonl',
  'graded/graded.jsonl',
  'test/ssft_fine/graded/graded.jsonl',
  'test/ssft_fine/scored_margin/scored.jsonl',
  'test/ssft_fine/report_margin/report.md',
  'tables.md',
]


@pytest.fixture(scope='module', name='made')
def _made(run_processes, tmp_path_factory):
  """{count: (folder, how the processes ended)}: the recipe of one process and of two."""
  quick = tmp_path_factory.mktemp('quick') / 'quick.gin'
  quick.write_text(QUICK)
  folders = {
    count: tmp_path_factory.mktemp(f'recipe_{count}') for count in (1, 2)
  }
  return {
    count: (
      folder,
      run_processes(
        count,
        2 // count,
        [
          '-m',
          'mathft_jax.recipe',
          '--gin_file=recipes/tiny_cpu.gin',
          f'--gin_file={quick}',
          f'--gin.MODEL_DIR={folder}',
        ],
        seconds=500,
      ),
    )
    for count, folder in folders.items()
  }


def test_two_processes_go_through_the_recipe_and_print_its_tables_once(made):
  folder, ended = made[2]
  assert [each.status for each in ended] == [0, 0], (
    ended[0].output + ended[1].output
  )
  shown = f'All tables: {folder / "tables.md"}'
  assert ended[0].output.count('What shows and what does not: SCR\n') == 1
  assert shown in ended[0].output and shown not in ended[1].output
  assert 'What shows' not in ended[1].output
  assert not list(folder.rglob('*.parts')) and not list(
    folder.rglob('*.partial')
  )


@pytest.mark.parametrize('name', FILES)
def test_every_file_is_that_of_one_process(made, name):
  texts = []
  for count in (1, 2):
    folder = made[count][0]
    text = (folder / name).read_text()
    text = MEASURED_SECONDS.sub('', text)
    texts.append(text.replace(folder.name, 'folder'))  # titles name it
  assert texts[0] == texts[1]
