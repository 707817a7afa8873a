"""docs/paper.md covers the paper: its files exist, and tests assemble its gin files."""

import pathlib
import re

from tests import gin_configs_test, paper_configs_test, sweep_test

REPOSITORY = pathlib.Path(__file__).parent.parent
CONFIGS = REPOSITORY / 'gin_configs'
PAGE = (REPOSITORY / 'docs' / 'paper.md').read_text()
STATEMENT = re.compile(r'^\| (\d+) \|', re.MULTILINE)
NAMED_FILE = re.compile(r'`((?:[\w.]+/)+[\w.]*)`')


def named_files():
  """Paths of all tables, relative to the repository."""
  found = set()
  for line in PAGE.splitlines():
    if line.startswith('|'):
      found |= set(NAMED_FILE.findall(line))
  return found


def is_gin(name):
  return name.endswith('.gin') or name.startswith('sweeps/')


def assembled_files():
  """Gin files that other tests assemble, with what they include."""
  named = {file for _, files, _ in gin_configs_test.COMMANDS for file in files}
  for _, _, files in sweep_test.BASES:
    named |= set(files)
  # Assembled by paper_configs_test.py and data/templates_test.py.
  named |= {f'recipes/paper/{name}.gin' for name in paper_configs_test.RECIPES}
  for name in (
    'few_shot_math',
    'few_shot_prm800k',
    'evaluator_on_others',
    'mtsf_of_generator',
  ):
    named.add(f'recipes/paper/{name}.gin')
  named.add('templates/plain.gin')
  return set().union(*map(gin_configs_test.used, named))


def test_statements_are_numbered_without_a_gap():
  numbers = [int(number) for number in STATEMENT.findall(PAGE)]
  assert numbers == list(range(1, len(numbers) + 1))
  assert len(numbers) >= 63


def test_every_row_has_all_cells():
  for line in PAGE.splitlines():
    if STATEMENT.match(line):
      cells = [cell.strip() for cell in line.strip('|').split('|')]
      assert len(cells) == 6 and all(cells), line


def test_every_named_file_exists():
  missing = []
  for name in sorted(named_files()):
    path = (CONFIGS if is_gin(name) else REPOSITORY) / name
    if not path.exists():
      missing.append(name)
  assert not missing


def test_every_named_gin_file_is_assembled_by_a_test():
  sweeps = {f'sweeps/{question}/' for question, _, _ in sweep_test.BASES}
  gin_files = set(filter(is_gin, named_files()))
  assert gin_files - assembled_files() == gin_files & sweeps
  assert sweeps <= gin_files | {
    'sweeps/solution_style/',  # the table of the three is recipes/paper/ssft.gin
    'sweeps/granularity/',  # beyond the paper
  }
