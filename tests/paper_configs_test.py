"""The paper's experiments with models of full size parse, build and fit, from shapes alone."""

import importlib
import pathlib
import re

import gin
import pytest

from mathft_jax import gin_utils
from mathft_jax.models import transformer
from mathft_jax.training import footprint

CONFIGS = pathlib.Path(__file__).parent.parent / 'gin_configs'
PAPER = 'recipes/paper'
RECIPES = sorted(path.stem for path in (CONFIGS / PAPER).glob('*.gin')
                 if not path.stem.startswith(('few_shot', 'evaluator_on', 'settings')))
MODELS = {  # model -> (vocabulary, kind of tokenizer, billions of parameters as published)
    'gemma2_2b': ('gemma', 'gemma', 2.61), 'gemma2_9b': ('gemma', 'gemma', 9.24),
    'qwen2_5_1_5b': ('qwen', 'qwen', 1.54), 'qwen2_5_7b': ('qwen', 'qwen', 7.62),
    'palm_8b': ('gemma', 'gemma', 8.63),
}
PUBLISHED = {
    'gemma2_27b': 27.23, 'gemma3_1b': 1.00, 'gemma3_4b': 3.88, 'gemma3_12b': 11.77,
    'gemma3_27b': 27.01, 'llama3_1_8b': 8.03, 'llama3_2_1b': 1.24, 'llama3_2_3b': 3.21,
    'llama3_3_70b': 70.55, 'qwen2_5_0_5b': 0.49, 'qwen2_5_3b': 3.09, 'qwen2_5_14b': 14.77,
    'qwen2_5_32b': 32.76, 'qwen2_5_72b': 72.71, 'qwen3_0_6b': 0.60, 'qwen3_1_7b': 1.72,
    'qwen3_4b': 4.02, 'qwen3_8b': 8.19, 'qwen3_14b': 14.77, 'qwen3_32b': 32.76, 'palm_62b': 62.50,
    **{model: count for model, (_, _, count) in MODELS.items()},
}
TRAININGS = {'ssft': 'ssft', 'scr': 'ssft scr_margin scr_xent',
             'mtsf': 'ssft scr_margin scr_xent ssft_again',
             'control': 'ssft scr_margin scr_xent ssft_again control'}
MESH = '--gin_bindings=partitioning.Partitioner.ici_mesh_shape = (16, 2)'
# `NAME = value` of a form; not what is to be set, nor what only wires objects together.
SETTING = re.compile(r'^([A-Z][A-Z_0-9]*) = (?!%gin\.REQUIRED|[@\[{])')
TRAINING = re.compile(r'# (?:(\w+)/)?train\.train: ([\d,]+) parameters; .* = ([\d,]+) tokens')
FORMS = ('programs', 'stages', PAPER)


def dry_run(program, files, bindings, capsys):
  module, name = program.split('.')
  function = getattr(importlib.import_module(f'mathft_jax.{module}'), name)
  argv = [module, *(f'--gin_file={file}.gin' for file in files), *bindings, '--dry_run']
  status = gin_utils.main(function, argv)
  captured = capsys.readouterr()
  assert status == 0, captured.err
  return captured.out


def described(text):
  """{stage: (parameters, GiB of a device, tokens a step)} of a dry run."""
  lines, found = text.splitlines(), {}
  for number, line in enumerate(lines):
    if match := TRAINING.match(line):
      stage, count, tokens = match.groups()
      found[stage] = (int(count.replace(',', '')), float(lines[number + 2].split()[-1]),
                      int(tokens.replace(',', '')))
  return found


def trainings(recipe):
  """The scopes of the trainings that an experiment has."""
  kind = 'control' if recipe == 'mtsf_scr' else recipe.split('_')[0]
  loss = recipe.split('_')[-1]
  return {scope for scope in TRAININGS[kind].split()
          if loss not in ('margin', 'xent') or scope in ('ssft', 'ssft_again', f'scr_{loss}')}


@pytest.fixture
def vocabulary(request, tokenizer_paths):
  pytest.importorskip('seqio', reason='the extra [data] is not installed')
  yield lambda model: [f'--gin.TOKENIZER_PATH={tokenizer_paths[MODELS[model][1]]}']
  gin.clear_config()


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('recipe', RECIPES)
def test_an_experiment_assembles_and_its_trainings_fit(recipe, model, vocabulary, capsys):
  files = [f'{PAPER}/{recipe}', f'models/{model}', f'vocabularies/{MODELS[model][0]}']
  text = dry_run('recipe.recipe', files, [
      *vocabulary(model), '--gin.MODEL_DIR=runs/x', '--gin.INITIAL_CHECKPOINT_PATH=weights', MESH,
      '--gin.BATCH_SIZE=64'], capsys)
  found = described(text)
  assert set(found) == trainings(recipe)
  for count, gib, tokens in found.values():
    assert count / 1e9 == pytest.approx(MODELS[model][2], abs=0.006)
    spread = 16 * count / 32 / footprint.GIB  # float32: parameters, gradients, two of Adam's
    assert spread < gib < 1.3 * spread + 2  # single key/value heads stay whole; and activations
    assert tokens == 64 * 1024


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('program, recipe, more', [
    ('measure.measure', 'few_shot_math', []), ('measure.measure', 'few_shot_prm800k', []),
    ('rerank.rerank', 'evaluator_on_others', ['--gin.TEST_CANDIDATES=other/graded.jsonl'])])
def test_what_needs_no_training_assembles(program, recipe, more, model, vocabulary, capsys):
  files = [f'{PAPER}/{recipe}', f'models/{model}', f'vocabularies/{MODELS[model][0]}']
  text = dry_run(program, files, [*vocabulary(model), *more, '--gin.EVAL_OUTPUT_DIR=runs/x',
                                  '--gin.CHECKPOINT_PATH=weights'], capsys)
  assert not described(text)
  assert ('num_decodes = %NUM_DECODES' in text) == recipe.startswith('few_shot')


@pytest.mark.parametrize('stage', ['scr_margin', 'scr_xent', 'joint', 'contrastive'])
def test_an_evaluator_is_trained_on_candidates_made_earlier(stage, vocabulary, capsys):
  files = [f'stages/{stage}', 'programs/rerank_trained', 'models/qwen2_5_7b', 'data/math',
           'vocabularies/qwen']
  text = dry_run('rerank.rerank', files, [
      *vocabulary('qwen2_5_7b'), '--gin.CANDIDATES=a.jsonl', '--gin.TEST_CANDIDATES=b.jsonl',
      '--gin.EVAL_OUTPUT_DIR=runs/x', '--gin.CHECKPOINT_PATH=weights'], capsys)
  assert set(described(text)) == {'EVALUATOR_TRAINING'}


@pytest.mark.parametrize('model', PUBLISHED)
def test_sizes_have_the_published_number_of_parameters(model):
  assert parameters(model) / 1e9 == pytest.approx(PUBLISHED[model], abs=0.006)


def parameters(model):
  """The number of parameters of models/<model>.gin."""
  text = (CONFIGS / 'models' / f'{model}.gin').read_text()
  path = [str(CONFIGS)]
  gin.clear_config()
  gin.add_config_file_search_path(path[0])
  gin.parse_config(text + '\nfrom mathft_jax import train\n')
  config = gin.get_bindings(transformer.TransformerConfig)
  gin.clear_config()
  shapes = transformer.abstract_params(transformer.TransformerConfig(**config))
  return footprint.count(shapes)


def test_demonstrations_differ_in_style_alone_and_are_of_training_problems():
  splits = pytest.importorskip('mathft_jax.data.datasets.splits')
  terse, fine = (shots(style) for style in ('math', 'prm800k'))
  assert len(terse) == 4
  assert [question for question, _ in terse] == [question for question, _ in fine]
  assert {splits.math_split(question) for question, _ in terse} == {'train'}
  from mathft_jax import grading
  for (_, short), (_, long) in zip(terse, fine):
    assert grading.extract_answer(short) == grading.extract_answer(long) is not None
    assert long.count('\n') >= 3 > short.count('\n')


def shots(style):
  from mathft_jax.data import prompts
  gin.clear_config()
  gin.parse_config((CONFIGS / 'demonstrations' / f'{style}.gin').read_text())
  found = gin.get_bindings(prompts.Template)['shots']
  gin.clear_config()
  return found


@pytest.mark.parametrize('path', [path for folder in FORMS for path in sorted(
    (CONFIGS / folder).glob('*.gin'))] + [CONFIGS / 'recipes' / 'mtsf.gin'],
                         ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_a_form_says_whose_each_value_is(path):
  settings = [line for line in path.read_text().splitlines() if SETTING.match(line)]
  assert not [line for line in settings if '# paper' not in line and '# ours' not in line]
