"""Every gin file of the package is a part of a configuration that assembles."""

import importlib
import pathlib

import pytest

from mathft_jax.config import entry_point

CONFIGS = pathlib.Path(__file__).parent.parent / 'gin_configs'
PROBLEMS = (
  CONFIGS.parent / 'tests' / 'goldens' / 'before_renaming' / 'problems.jsonl'
)
JSONL = ['models/tiny.gin', 'data/jsonl.gin']
MODEL_DIR, PATHS = (
  ['MODEL_DIR=runs/x'],
  [f'DATA_PATH={PROBLEMS}', 'CANDIDATES=graded.jsonl'],
)
TRAIN = [*MODEL_DIR, *PATHS, 'INITIAL_CHECKPOINT_PATH=random']
INFER = ['INFER_OUTPUT_DIR=runs/y', *PATHS, 'CHECKPOINT_PATH=runs/x']

COMMANDS = [
  ('train.train', [*JSONL, 'stages/ssft.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/scr_margin.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/scr_xent.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/contrastive.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/contrastive_reference.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/joint.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/dpo.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/scr_logistic.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/own_solutions.gin'], TRAIN),
  ('train.train', [*JSONL, 'stages/ssft.gin', 'stages/lora.gin'], TRAIN),
  (
    'train.train',
    ['models/dials.gin', 'data/generated.gin', 'stages/ssft.gin'],
    TRAIN,
  ),
  ('sample.sample', [*JSONL, 'programs/sample.gin'], INFER),
  (
    'sample_until_decided.sample_until_decided',
    [*JSONL, 'programs/sample_until_decided.gin'],
    INFER,
  ),
  ('score.score', ['models/tiny.gin', 'programs/score.gin'], INFER),
  ('grade.grade', ['programs/grade.gin'], INFER[:3]),
  (
    'evaluate.evaluate',
    ['programs/evaluate.gin'],
    ['CANDIDATES=scored.jsonl', 'EVAL_OUTPUT_DIR=runs/z'],
  ),
  (
    'compare.compare',
    ['programs/compare.gin'],
    ["REPORTS={'a': 'runs/a', 'b': 'runs/b'}", 'EVAL_OUTPUT_DIR=runs/z'],
  ),
  (
    'measure.measure',
    [*JSONL, 'programs/measure.gin'],
    [*INFER, 'EVAL_OUTPUT_DIR=runs/z'],
  ),
  (
    'measure.measure',
    ['models/tiny.gin', 'data/benchmarks.gin', 'programs/measure.gin'],
    [
      *INFER,
      'EVAL_OUTPUT_DIR=runs/z',
      f'BENCHMARK_DIR={PROBLEMS.parent.parent}/benchmarks',
      "BENCHMARKS=('aime24',)",
    ],
  ),
  (
    'train.train',
    ['models/tiny.gin', 'data/published.gin', 'stages/ssft.gin'],
    [*TRAIN, f'DATA_PATH={PROBLEMS}', 'DATA_SET=deep_scaler'],
  ),
  (
    'import_candidates.import_candidates',
    ['programs/import_candidates.gin'],
    [*INFER[:3], 'CANDIDATE_FORMAT=openai'],
  ),
  (
    'import_candidates.import_candidates',
    ['programs/import_mapped.gin'],
    [*INFER[:3], 'SOLUTIONS_FIELD=samples.*.text'],
  ),
  (
    'export_candidates.export_candidates',
    ['programs/export_candidates.gin'],
    ['CANDIDATES=graded.jsonl', 'OUTPUT=pairs.jsonl'],
  ),
  (
    'rerank.rerank',
    ['stages/scr_margin.gin', 'programs/rerank_trained.gin', *JSONL],
    [*INFER, 'TEST_CANDIDATES=test.jsonl', 'EVAL_OUTPUT_DIR=runs/z'],
  ),
  (
    'convert.convert',
    ['programs/convert.gin', 'models/tiny.gin'],
    ['convert.convert.checkpoint=runs/x', 'convert.convert.output=runs/y'],
  ),
  ('curriculum.curriculum', ['recipes/base.gin'], MODEL_DIR),
  ('recipe.recipe', ['recipes/tiny_cpu.gin'], MODEL_DIR),
  ('recipe.recipe', ['recipes/math_smoke.gin'], MODEL_DIR),
  (
    'experiments.experiments',
    ['recipes/tiny_cpu_experiments.gin'],
    MODEL_DIR,
  ),
  (
    'experiments.experiments',
    ['recipes/tiny_cpu_stage_settings.gin'],
    MODEL_DIR,
  ),
  (
    'experiments.experiments',
    ['recipes/tiny_cpu_rounds.gin'],
    MODEL_DIR,
  ),
  (
    'experiments.experiments',
    ['recipes/ssft_of_solutions.gin', *JSONL],
    TRAIN,
  ),
  *(
    (
      'train.train',
      ['models/tiny.gin', f'data/{name}.gin', 'stages/ssft.gin'],
      TRAIN,
    )
    for name in ('math', 'prm800k', 'math_prm800k', 'gsm8k')
  ),
  *(
    ('train.train', [*JSONL, 'stages/ssft.gin', f'slices/{path.name}'], TRAIN)
    for path in sorted((CONFIGS / 'slices').glob('*.gin'))
  ),
  (
    'measure.measure',
    [*JSONL, 'programs/measure.gin', 'slices/v5p_128_small.gin'],
    [*INFER, 'EVAL_OUTPUT_DIR=runs/z'],
  ),
  # Sizes of published models: tiny.gin lends them its vocabulary.
  *(
    ('train.train', [*JSONL, 'stages/ssft.gin', f'models/{path.name}'], TRAIN)
    for path in sorted((CONFIGS / 'models').glob('*.gin'))
    if path.stem != 'of_checkpoint' and 'VOCABULARY' not in path.read_text()
  ),
  (
    'train.train',
    [*JSONL, 'stages/ssft.gin', 'models/of_checkpoint.gin'],
    [
      *TRAIN,
      f'MODEL_FROM={CONFIGS.parent / "tests" / "goldens" / "before_renaming" / "workdir"}',
    ],
  ),
]


def used(name):
  """A gin file and those it includes."""
  lines = (CONFIGS / name).read_text().splitlines()
  inner = [line.split("'")[1] for line in lines if line.startswith('include ')]
  return {name}.union(*map(used, inner))


@pytest.mark.parametrize(
  'program, files, macros',
  COMMANDS,
  ids=[f'{program}-{files[-1]}' for program, files, _ in COMMANDS],
)
def test_the_command_assembles(program, files, macros, capsys):
  if {'data/tfds.gin', 'recipes/math_smoke.gin'} & set().union(
    *map(used, files)
  ):
    pytest.importorskip('seqio', reason='the extra [data] is not installed')
  module, name = program.split('.')
  function = getattr(importlib.import_module(f'mathft_jax.{module}'), name)
  values = [
    f'--gin.{macro}'
    for macro in macros
    if not macro.startswith(('DATA_PATH', 'CANDIDATES'))
    or any(macro.split('=')[0] in (CONFIGS / f).read_text() for f in files)
  ]
  argv = [module, *(f'--gin_file={f}' for f in files), *values, '--dry_run']
  status = entry_point.main(function, argv)
  assert status == 0, capsys.readouterr().err


def test_no_gin_file_is_left_out_above():
  named = {
    file for _, files, _ in COMMANDS for name in files for file in used(name)
  }
  # data/templates_test.py has what needs a tokenizer, paper_configs_test.py the paper's
  # experiments, sweep_test.py the overlays, plan_test.py and doctor_test.py their own forms,
  # t5x/t5x_bridge_test.py the files for the programs of t5x, smollm2_recipes_test.py its recipes.
  elsewhere = {
    'templates',
    'vocabularies',
    'demonstrations',
    'paper',
    'sweeps',
    'plan.gin',
    'doctor.gin',
    't5x',
    'smollm2_cpu.gin',
    'smollm2_cpu_methods.gin',
    'smollm2_gpu.gin',
    'word_problems.gin',
  }
  assert named == {
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.gin')
    if not elsewhere & set(path.relative_to(CONFIGS).parts)
  }
