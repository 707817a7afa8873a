"""The paper's experiments with models of full size parse, build and fit, from shapes alone."""

import importlib
import pathlib
import re

import gin
import pytest

from mathft_jax.config import entry_point
from mathft_jax.training import device_memory

CONFIGS = pathlib.Path(__file__).parent.parent / 'gin_configs'
PAPER = 'recipes/paper'
RECIPES = sorted(
  path.stem
  for path in (CONFIGS / PAPER).glob('*.gin')
  if not path.stem.startswith(
    ('few_shot', 'evaluator_on', 'settings', 'mtsf_of_generator')
  )
)
MODELS = {  # model -> (vocabulary, kind of tokenizer, billions of parameters as published)
  'gemma2_2b': ('gemma', 'gemma', 2.61),
  'gemma2_9b': ('gemma', 'gemma', 9.24),
  'qwen2_5_1_5b': ('qwen', 'qwen', 1.54),
  'qwen2_5_7b': ('qwen', 'qwen', 7.62),
  'palm_8b': ('gemma', 'gemma', 8.63),
}
TRAININGS = {
  'ssft': 'ssft',
  'scr': 'ssft scr_margin scr_xent',
  'mtsf': 'ssft scr_margin scr_xent ssft_again',
  'control': 'ssft scr_margin scr_xent ssft_again control',
}
MESH = '--gin_bindings=partitioning.Partitioner.ici_mesh_shape = (16, 2)'
# `NAME = value` of a form; not what is to be set, nor what only wires objects together.
SETTING = re.compile(r'^([A-Z][A-Z_0-9]*) = (?!%gin\.REQUIRED|[@\[{])')
TRAINING = re.compile(
  r'# (?:(\w+)/)?train\.train: ([\d,]+) parameters; .* = ([\d,]+) tokens'
)
FORMS = ('programs', 'stages', PAPER)


def dry_run(program, files, bindings, capsys):
  module, name = program.split('.')
  function = getattr(importlib.import_module(f'mathft_jax.{module}'), name)
  argv = [
    module,
    *(f'--gin_file={file}.gin' for file in files),
    *bindings,
    '--dry_run',
  ]
  status = entry_point.main(function, argv)
  captured = capsys.readouterr()
  assert status == 0, captured.err
  return captured.out


def described(text):
  """{stage: (parameters, GiB of a device, tokens a step)} of a dry run."""
  lines, found = text.splitlines(), {}
  for number, line in enumerate(lines):
    if match := TRAINING.match(line):
      stage, count, tokens = match.groups()
      found[stage] = (
        int(count.replace(',', '')),
        float(lines[number + 2].split()[-1]),
        int(tokens.replace(',', '')),
      )
  return found


def trainings(recipe):
  """The scopes of the trainings that an experiment has."""
  kind = 'control' if recipe == 'mtsf_scr' else recipe.split('_')[0]
  loss = recipe.split('_')[-1]
  return {
    scope
    for scope in TRAININGS[kind].split()
    if loss not in ('margin', 'xent')
    or scope in ('ssft', 'ssft_again', f'scr_{loss}')
  }


@pytest.fixture
def vocabulary(request, tokenizer_paths):
  pytest.importorskip('seqio', reason='the extra [data] is not installed')
  yield lambda model: [
    f'--gin.TOKENIZER_PATH={tokenizer_paths[MODELS[model][1]]}'
  ]
  gin.clear_config()


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('recipe', RECIPES)
def test_an_experiment_assembles_and_its_trainings_fit(
  recipe, model, vocabulary, capsys
):
  files = [
    f'{PAPER}/{recipe}',
    f'models/{model}',
    f'vocabularies/{MODELS[model][0]}',
  ]
  text = dry_run(
    'recipe.recipe',
    files,
    [
      *vocabulary(model),
      '--gin.MODEL_DIR=runs/x',
      '--gin.INITIAL_CHECKPOINT_PATH=weights',
      MESH,
      '--gin.BATCH_SIZE=64',
    ],
    capsys,
  )
  found = described(text)
  assert set(found) == trainings(recipe)
  for count, gib, tokens in found.values():
    assert count / 1e9 == pytest.approx(MODELS[model][2], abs=0.006)
    # Float32: parameters, gradients, two of Adam's.
    spread = 16 * count / 32 / device_memory.GIB
    # Single key/value heads stay whole; and activations.
    assert spread < gib < 1.3 * spread + 2
    assert tokens == 64 * 1024


def test_a_slice_sets_batch_and_meshes_of_an_experiment(vocabulary, capsys):
  text = dry_run(
    'recipe.recipe',
    [
      f'{PAPER}/scr_margin',
      'models/gemma2_9b',
      'vocabularies/gemma',
      'slices/v5p_128_small',
    ],
    [
      *vocabulary('gemma2_9b'),
      '--gin.MODEL_DIR=runs/x',
      '--gin.INITIAL_CHECKPOINT_PATH=weights',
    ],
    capsys,
  )
  for _, _, tokens in described(text).values():
    assert tokens == 256 * 1024
  for line in (
    'NUM_PARTITIONS = 1',
    'INFERENCE_PARTITIONS = 4',
    'inference/partitioning.Partitioner.num_partitions = %INFERENCE_PARTITIONS',
    'inference/partitioning.Partitioner.fsdp = False',
    'ssft/partitioning.Partitioner.num_partitions = %NUM_PARTITIONS',
    'ssft/partitioning.Partitioner.fsdp = %FSDP',
    'scr_margin/partitioning.Partitioner.num_partitions = %NUM_PARTITIONS',
    "ATTENTION_KERNEL = 'splash'",
  ):
    assert f'\n{line}\n' in text, line


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(
  'program, recipe, more',
  [
    ('measure.measure', 'few_shot_math', []),
    ('measure.measure', 'few_shot_prm800k', []),
    (
      'rerank.rerank',
      'evaluator_on_others',
      ['--gin.TEST_CANDIDATES=other/graded.jsonl'],
    ),
  ],
)
def test_what_needs_no_training_assembles(
  program, recipe, more, model, vocabulary, capsys
):
  files = [
    f'{PAPER}/{recipe}',
    f'models/{model}',
    f'vocabularies/{MODELS[model][0]}',
  ]
  text = dry_run(
    program,
    files,
    [
      *vocabulary(model),
      *more,
      '--gin.EVAL_OUTPUT_DIR=runs/x',
      '--gin.CHECKPOINT_PATH=weights',
    ],
    capsys,
  )
  assert not described(text)
  assert ('num_decodes = %NUM_DECODES' in text) == recipe.startswith('few_shot')


@pytest.mark.parametrize(
  'stage', ['scr_margin', 'scr_xent', 'joint', 'contrastive']
)
def test_an_evaluator_is_trained_on_candidates_made_earlier(
  stage, vocabulary, capsys
):
  files = [
    f'stages/{stage}',
    'programs/rerank_trained',
    'models/qwen2_5_7b',
    'data/math',
    'vocabularies/qwen',
  ]
  text = dry_run(
    'rerank.rerank',
    files,
    [
      *vocabulary('qwen2_5_7b'),
      '--gin.CANDIDATES=a.jsonl',
      '--gin.TEST_CANDIDATES=b.jsonl',
      '--gin.EVAL_OUTPUT_DIR=runs/x',
      '--gin.CHECKPOINT_PATH=weights',
    ],
    capsys,
  )
  assert set(described(text)) == {'EVALUATOR_TRAINING'}


def test_the_later_stages_of_mtsf_start_from_a_given_generator(
  vocabulary, capsys
):
  text = dry_run(
    'experiments.experiments',
    [
      f'{PAPER}/mtsf_of_generator',
      'models/qwen2_5_7b',
      'vocabularies/qwen',
    ],
    [
      *vocabulary('qwen2_5_7b'),
      '--gin.MODEL_DIR=runs/x',
      '--gin.CHECKPOINT_PATH=weights',
      '--gin.CANDIDATES=a.jsonl',
      '--gin.TEST_CANDIDATES=b.jsonl',
    ],
    capsys,
  )
  found = described(text)
  assert set(found) == {'scr', 'ssft_again'}


def test_demonstrations_differ_in_style_alone_and_are_of_training_problems():
  splits = pytest.importorskip('mathft_jax.data.datasets.splits')
  terse, fine = (shots(style) for style in ('math', 'prm800k'))
  assert len(terse) == 4
  assert [question for question, _ in terse] == [
    question for question, _ in fine
  ]
  assert {splits.assign_math_split(question) for question, _ in terse} == {
    'train'
  }
  from mathft_jax import grading

  for (_, short), (_, long) in zip(terse, fine):
    assert (
      grading.extract_answer(short) == grading.extract_answer(long) is not None
    )
    assert long.count('\n') >= 3 > short.count('\n')


def shots(style):
  gin.clear_config()
  gin.parse_config((CONFIGS / 'demonstrations' / f'{style}.gin').read_text())
  found = gin.query_parameter(f'%{style.upper()}_DEMONSTRATIONS')
  gin.clear_config()
  return found


@pytest.mark.parametrize(
  'path',
  [
    path
    for folder in FORMS
    for path in sorted((CONFIGS / folder).glob('*.gin'))
  ]
  + [CONFIGS / 'recipes' / 'mtsf.gin'],
  ids=lambda path: f'{path.parent.name}/{path.stem}',
)
def test_a_form_says_whose_each_value_is(path):
  head, unmarked = '', []
  for line in path.read_text().splitlines():
    head = line if line.startswith('# --- ') else head
    if (
      SETTING.match(line)
      and '# paper' not in line
      and not re.search('ours|default', head + line)
    ):
      unmarked.append(line)
  assert not unmarked
