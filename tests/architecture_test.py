"""Layers of the package: which package may import which, and which may import which library."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'mathft_jax'
# From the ground up: a package imports packages of lower layers, and those listed in SAME_LAYER.
LAYERS = (
  ('storage', 'distributed', 'monitoring', 'config'),
  ('models', 'data', 'checkpoints'),
  ('dials', 'training', 'inference', 'grading', 'evaluation'),
  ('aot',),
)
SAME_LAYER = {
  'monitoring': {'distributed', 'storage'},
  'config': {'distributed', 'storage'},
  'checkpoints': {'models'},
}
SOURCES = sorted(path for path in PACKAGE.rglob('*.py'))

DOORS = {  # library -> the places that may import it
  'gin': ('config',),
  'seqio': ('data/seqio_tasks', 'data/tfds'),
  'tensorflow': ('data/seqio_tasks', 'data/tfds'),
  'tensorflow_datasets': ('data/seqio_tasks', 'data/tfds'),
  'clu': ('monitoring',),
  'flax': ('models',),
  'optax': ('training',),
  'orbax': ('checkpoints',),
  'safetensors': (),
  'sympy': ('grading',),
  'matplotlib': ('evaluation',),
  'torch': (),
  'transformers': (),
}
WITHOUT_JAX = ('grading', 'evaluation', 'data')


def module_name(path: pathlib.Path) -> str:
  return str(path.relative_to(PACKAGE).with_suffix(''))


def imports(path: pathlib.Path) -> set[str]:
  """Dotted names that a file imports, at its top or inside functions."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def room(path: pathlib.Path) -> str:
  return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def layer(name: str) -> int:
  """Index of the layer of a package; programs are above all packages, `recipe` and `api` above programs."""
  for index, packages in enumerate(LAYERS):
    if name in packages:
      return index
  if name == '__init__':
    return 0
  return len(LAYERS) + (name in ('recipe', 'api'))


def inner_imports(path: pathlib.Path) -> set[str]:
  """The rooms of this package that a file imports."""
  return {
    name.split('.')[1]
    for name in imports(path)
    if name.startswith('mathft_jax.') and name != 'mathft_jax.__version__'
  }


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_packages_import_lower_layers_only(path):
  here = room(path)
  for other in inner_imports(path) - {here} - SAME_LAYER.get(here, set()):
    assert layer(other) < layer(here), f'{module_name(path)} imports {other}'


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_each_library_enters_by_its_own_door(path):
  for library in {name.split('.')[0] for name in imports(path)} & DOORS.keys():
    allowed = DOORS[library]
    assert module_name(path).startswith(allowed) if allowed else False, (
      f'{module_name(path)} imports {library}; its door is {allowed}'
    )


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_programs_do_not_import_the_things_that_gin_brings(path):
  if room(path) in sum(LAYERS, ()):
    return
  brought = {
    'mathft_jax.training.losses',
    'mathft_jax.data.seqio_tasks',
    'mathft_jax.dials.dial_problems',
    'mathft_jax.evaluation.voting',
    'mathft_jax.inference.sampling',
  }
  assert not brought & imports(path)


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_grading_evaluation_and_records_do_without_jax(path):
  if room(path) in WITHOUT_JAX:
    assert not {'jax', 'jaxlib', 'flax'} & {
      name.split('.')[0] for name in imports(path)
    }


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_no_file_has_a_name_that_says_nothing(path):
  assert path.stem not in ('utils', 'common', 'base', 'helpers', 'misc')


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_files_and_functions_can_be_read_in_one_breath(path):
  text = path.read_text(encoding='utf-8')
  assert text.count('\n') <= 400, (
    f'{module_name(path)} has {text.count(chr(10))} lines'
  )
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      lines = node.end_lineno - node.lineno + 1
      assert lines <= 60, (
        f'{module_name(path)}:{node.lineno} {node.name} has {lines} lines'
      )


def test_everything_but_the_seqio_and_tfds_rooms_imports_without_tensorflow():
  modules = [
    '.'.join(('mathft_jax', *path.relative_to(PACKAGE).with_suffix('').parts))
    for path in SOURCES
    if not module_name(path).startswith(DOORS['seqio'])
    and path.stem != '__init__'
  ]
  program = f"""
import importlib, sys
for banned in ('tensorflow', 'seqio', 'tensorflow_datasets', 'torch'):
  sys.modules[banned] = None
for name in {modules}:
  importlib.import_module(name)
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
