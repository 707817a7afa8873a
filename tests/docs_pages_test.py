"""The commands of docs/from_huggingface.md and docs/tpu_pod.md; trainings by dry run."""

import importlib
import importlib.util
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from mathft_jax import convert
from mathft_jax.config import entry_point
from mathft_jax.data import schema
from tests import docs_bring_your_own_test as own

REPOSITORY = pathlib.Path(__file__).parent.parent
DOCS = REPOSITORY / 'docs'
# Programs that are quick on small files; all others get --dry_run.
RUN = ('convert', 'export_candidates')
OPTIONS = {'convert': {'plain_flags': convert.CONVERT_FLAGS}}

pytestmark = pytest.mark.usefixtures('quick_compiles')


def commands(page):
  """The words of each command of a page."""
  found = []
  for block in re.findall(r'```\n(.*?)```', page.read_text(), re.DOTALL):
    for line in block.replace('\\\n', ' ').strip().splitlines():
      found.append(shlex.split(line))
  return found


def run_program(words, capsys):
  """Runs `python -m mathft_jax.<program> ...` in this process; returns the program."""
  assert words[:2] == ['python', '-m']
  program = words[2].removeprefix('mathft_jax.')
  arguments = [*words[3:], *([] if program in RUN else ['--dry_run'])]
  module = importlib.import_module(words[2])
  options = dict(OPTIONS.get(program, {}))
  if program == 'plan':
    options['stage_parameters'] = module.PARAMETERS_BY_PROGRAM
  status = entry_point.main(
    getattr(module, program), [program, *arguments], **options
  )
  assert status == 0, (words, capsys.readouterr().err)
  return program


def write_graded(path):
  candidates = []
  for number, is_correct in ((2, True), (3, False)):
    candidates.append(
      schema.Candidate(
        f'It is \\boxed{{{number}}}', log_prob=-1.5, is_correct=is_correct
      )
    )
  problem = schema.Problem('p', 'What is 1 + 1?', answer='2', split='train')
  path.parent.mkdir(parents=True)
  schema.write_jsonl(path, [schema.CandidateSet(problem, tuple(candidates))])


@pytest.fixture
def folder(tmp_path, monkeypatch, tokenizer_paths):
  """The files that the pages name, in the current folder."""
  pytest.importorskip('jinja2')
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet

  own.write_files(tmp_path, tokenizer_paths['qwen'])
  messages = [
    {'role': 'user', 'content': 'What is 1 + 1?'},
    {'role': 'assistant', 'content': 'It is \\boxed{2}.'},
  ]
  (tmp_path / 'data').mkdir()
  parquet.write_table(
    pyarrow.Table.from_pylist([{'messages': messages}]),
    tmp_path / 'data' / 'train-0.parquet',
  )
  (tmp_path / 'math').mkdir()
  for split in ('train', 'test'):
    (tmp_path / 'math' / f'{split}.jsonl').write_text('{"problem": "q"}\n')
  (tmp_path / 'tokenizer').mkdir()
  shutil.copy(tokenizer_paths['qwen'], tmp_path / 'tokenizer/tokenizer.json')
  write_graded(tmp_path / 'runs' / 'graded' / 'graded.jsonl')
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_the_commands_from_hugging_face_run(folder, capsys):
  programs = []
  for words in commands(DOCS / 'from_huggingface.md'):
    # The training before was a dry run: its checkpoint is the published model.
    if not (folder / 'runs' / 'sft').exists():
      source = f'--checkpoint={own.MODEL} --output=runs/sft'
      run_program(f'python -m mathft_jax.convert {source}'.split(), capsys)
    programs.append(run_program(words, capsys))
  assert programs == ['train'] * 3 + ['convert', 'export_candidates']
  assert (folder / 'sft_hf' / 'config.json').exists()
  assert (folder / 'sft_hf' / 'tokenizer.json').exists()
  assert (folder / 'pairs.parquet').exists()


def test_the_commands_for_a_pod_run(folder, capsys):
  programs = []
  for words in commands(DOCS / 'tpu_pod.md'):
    if words[0] == 'python':
      local = [word.replace('gs://mine', f'{folder}/bucket') for word in words]
      programs.append(run_program(local, capsys))
      continue
    launcher, verb, *flags = words
    command = flags[flags.index('--') :] if '--' in flags else []
    flags = flags[: len(flags) - len(command)]
    done = subprocess.run(
      ['bash', REPOSITORY / launcher, verb, *flags, '--dry_run', *command],
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, (words, done.stderr)
    assert 'gcloud' in done.stdout
    programs.append(verb)
    if command:
      local = [each.replace('gs://mine', str(folder)) for each in command[1:]]
      programs.append(run_program(local, capsys))
  assert programs == [
    *('plan', 'convert', 'keep', 'train', 'keep', 'measure'),
    *('status', 'logs', 'stop', 'delete'),
  ]


@pytest.mark.parametrize('page', ['from_huggingface.md', 'tpu_pod.md'])
def test_the_macros_of_the_page_exist(page):
  text = (DOCS / page).read_text()
  defined = set()
  for path in (REPOSITORY / 'gin_configs').rglob('*.gin'):
    defined |= set(re.findall(r'^([A-Z][A-Z0-9_]+) *=', path.read_text(), re.M))
    defined |= set(re.findall(r'%([A-Z][A-Z0-9_]+)', path.read_text()))
  named = set(
    re.findall(r'`([A-Z][A-Z0-9]*_[A-Z0-9_]+|BETA|FSDP|PACK)\b', text)
  )
  named |= set(re.findall(r'--gin\.([A-Z][A-Z0-9_]+)=', text)) - {'NAME'}
  assert len(named) > 5
  assert named <= defined


def test_the_names_of_transformers_exist():
  spec = importlib.util.find_spec('transformers')
  if spec is None:
    pytest.skip('transformers is not installed')
  source = pathlib.Path(spec.submodule_search_locations[0], 'training_args.py')
  fields = set(re.findall(r'^    (\w+):', source.read_text(), re.M))
  text = (DOCS / 'from_huggingface.md').read_text()
  table = text.partition('`TrainingArguments`')[2].partition('TRL and peft')[0]
  named = set()
  for row in re.findall(r'^\| (.*?) \|', table, re.M)[1:]:
    named |= set(re.findall(r'`(\w+)`', row))
  assert len(named) > 25
  assert named <= fields
