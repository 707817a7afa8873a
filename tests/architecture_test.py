"""Structure of the package: layers, imports of libraries, size and density of code."""

import ast
from collections.abc import Iterator
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'mathft_jax'
SOURCES = sorted(PACKAGE.rglob('*.py'))

# From the ground up. A package imports packages of lower layers, and those listed in SAME_LAYER.
# Programs (top-level modules) are above all packages; `recipe` and `api` are above programs.
LAYERS = (
  ('storage', 'distributed', 'monitoring', 'config'),
  ('models', 'data', 'checkpoints'),
  ('dials', 'training', 'inference', 'grading', 'evaluation'),
  ('aot', 'self_checks'),
  ('t5x_bridge',),
)
SAME_LAYER = {
  'monitoring': {'distributed', 'storage'},
  'distributed': {'storage'},
  'config': {'distributed', 'monitoring', 'storage'},
  'checkpoints': {'models'},
}

IMPORTED_BY = {  # library -> the only places that may import it
  'gin': ('config',),
  'seqio': ('data/seqio_', 'data/tfds', 'tasks', 't5x_bridge'),
  'tensorflow': ('data/seqio_', 'data/tfds', 't5x_bridge'),
  'tensorflow_datasets': ('data/seqio_', 'data/tfds'),
  'clu': ('monitoring', 't5x_bridge'),
  'flax': ('models', 't5x_bridge'),
  'optax': ('training',),
  'orbax': ('checkpoints',),
  'safetensors': (),
  'sympy': ('grading',),
  'scipy': ('evaluation',),
  'statsmodels': ('evaluation',),
  'matplotlib': ('evaluation',),
  'rich': ('evaluation',),
  'jinja2': ('data/chat_template',),
  'pyarrow': (
    'data/compressed_files',
    'data/record_files',
    'data/stored_problems',
    'data/candidate_export',
  ),
  'datasets': (),
  'gguf': ('checkpoints/gguf_files',),
  't5x': ('t5x_bridge',),
  'tensorstore': ('checkpoints',),
  'torch': (),
  'transformers': (),
}
WITHOUT_JAX = ('grading', 'evaluation', 'data', 'storage')
# Classes that gin files name and pass to programs; programs do not depend on them.
CHOSEN_BY_GIN = {
  'mathft_jax.training.losses',
  'mathft_jax.data.seqio_tasks',
  'mathft_jax.dials.dial_problems',
  'mathft_jax.evaluation.voting',
  'mathft_jax.inference.sampling',
}

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def module_name(path: pathlib.Path) -> str:
  return path.relative_to(PACKAGE).with_suffix('').as_posix()


def top_level_name(path: pathlib.Path) -> str:
  """The package or program that a file belongs to."""
  return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def parse(path: pathlib.Path) -> ast.Module:
  return ast.parse(path.read_text(encoding='utf-8'))


def imported_names(path: pathlib.Path) -> set[str]:
  """Dotted names that a file imports, at its top or inside functions."""
  names = set()
  for node in ast.walk(parse(path)):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def imported_libraries(path: pathlib.Path) -> set[str]:
  return {name.split('.')[0] for name in imported_names(path)}


def imported_parts(path: pathlib.Path) -> set[str]:
  """The packages and programs of mathft_jax that a file imports."""
  parts = set()
  for name in imported_names(path):
    if name.startswith('mathft_jax.') and name != 'mathft_jax.__version__':
      parts.add(name.split('.')[1])
  return parts


def layer(name: str) -> int:
  """Index of the layer of a package or program."""
  for index, packages in enumerate(LAYERS):
    if name in packages:
      return index
  if name in ('recipe', 'api'):
    return len(LAYERS) + 1
  return len(LAYERS)


def each_function(path: pathlib.Path) -> Iterator[ast.FunctionDef]:
  for node in ast.walk(parse(path)):
    if isinstance(node, ast.FunctionDef):
      yield node


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_packages_import_lower_layers_only(path):
  here = top_level_name(path)
  if here == '__init__':  # loads `api` on first use
    return
  for other in imported_parts(path) - {here} - SAME_LAYER.get(here, set()):
    if other == 'config' and layer(here) >= len(LAYERS):
      continue
    assert layer(other) < layer(here), f'{module_name(path)} imports {other}'


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_each_library_is_imported_in_one_place(path):
  for library in imported_libraries(path) & IMPORTED_BY.keys():
    allowed = IMPORTED_BY[library]
    assert module_name(path).startswith(allowed or '-'), (
      f'{module_name(path)} imports {library}; only {allowed} may'
    )


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_programs_do_not_import_what_gin_files_choose(path):
  here = top_level_name(path)
  if layer(here) >= len(LAYERS) and here not in ('api', 'tasks', '__init__'):
    assert not CHOSEN_BY_GIN & imported_names(path)


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_nothing_imports_the_bridge_to_t5x(path):
  if top_level_name(path) != 't5x_bridge':
    assert 't5x_bridge' not in imported_parts(path)


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_some_packages_do_not_import_jax(path):
  if top_level_name(path) in WITHOUT_JAX:
    assert not {'jax', 'jaxlib', 'flax'} & imported_libraries(path)


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_files_have_telling_names(path):
  assert path.stem not in ('utils', 'common', 'base', 'helpers', 'misc')


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_files_and_functions_are_short(path):
  lines = len(path.read_text(encoding='utf-8').splitlines())
  assert lines <= 400, f'{module_name(path)} has {lines} lines'
  for function in each_function(path):
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    assert lines <= 60, (
      f'{module_name(path)}:{function.lineno} {function.name} has {lines} lines'
    )


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_public_functions_have_docstrings_and_few_parameters(path):
  for node in parse(path).body:
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      continue
    where = f'{module_name(path)}:{node.lineno} {node.name}'
    if not node.name.startswith('_'):
      assert ast.get_docstring(node), f'{where} has no docstring'
    if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
      parameters = node.args.args + node.args.kwonlyargs
      assert len(parameters) <= 15, f'{where} has {len(parameters)} parameters'


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_no_comprehension_is_inside_another(path):
  for node in ast.walk(parse(path)):
    if isinstance(node, COMPREHENSIONS):
      for inner in ast.walk(node):
        assert inner is node or not isinstance(inner, COMPREHENSIONS), (
          f'{module_name(path)}:{node.lineno}: name the inner one, or use a loop'
        )


def test_code_is_not_dense():
  """At most 25 comprehensions and 5 uses of Any per 1,000 lines that are not blank."""
  lines = comprehensions = uses_of_any = 0
  for path in SOURCES:
    lines += sum(bool(line.strip()) for line in path.read_text().splitlines())
    for node in ast.walk(parse(path)):
      comprehensions += isinstance(node, COMPREHENSIONS)
      uses_of_any += isinstance(node, ast.Name) and node.id == 'Any'

  assert comprehensions * 1000 <= 25 * lines
  assert uses_of_any * 1000 <= 5 * lines


def test_everything_but_seqio_and_tfds_imports_without_tensorflow():
  modules = []
  for path in SOURCES:
    name = module_name(path)
    if not name.startswith(IMPORTED_BY['seqio']) and path.stem != '__init__':
      modules.append(f'mathft_jax.{name.replace("/", ".")}')
  program = f"""
import importlib, sys
for banned in ('tensorflow', 'seqio', 'tensorflow_datasets', 'torch', 't5x'):
  sys.modules[banned] = None
for name in {modules}:
  importlib.import_module(name)
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
