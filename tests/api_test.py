"""The Python API: the README's snippet runs, and importing the package stays cheap."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import mathft_jax as mf
from mathft_jax import checkpoints
from mathft_jax.data import tokenizer_files
from mathft_jax.dials import dial_problems
from tests import published_models_test

REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
  """A folder with test.jsonl and two checkpoints, as the README's snippet expects it."""
  monkeypatch.chdir(tmp_path)
  base = dial_problems.base_weights_path()
  source = checkpoints.open_lazy_params(base)
  for name in ('ssft', 'scr'):
    folder = tmp_path / 'runs' / name
    folder.mkdir(parents=True)
    (folder / 'params.safetensors').write_bytes(pathlib.Path(base).read_bytes())
  assert source.shapes
  problems = dial_problems.DialProblems(style='fine', num_test=4)('test')
  lines = [
    json.dumps({'id': p.id, 'problem': p.question, 'answer': p.answer})
    for p in problems
  ]
  (tmp_path / 'test.jsonl').write_text('\n'.join(lines))
  return tmp_path


def test_the_snippet_of_the_readme_runs(work_folder, capsys):
  text = (REPOSITORY / 'README.md').read_text(encoding='utf-8')
  snippet = re.search(
    r'```python\n(import mathft_jax as mf\n.*?)```', text, re.S
  )
  assert snippet is not None
  code = snippet[1]
  for name in ('ssft', 'scr'):
    code = code.replace(f"'runs/{name}'", f"'runs/{name}/params.safetensors'")
  names: dict = {}

  exec(compile(code, 'README.md', 'exec'), names)

  scored, answers = names['scored'], names['answers']
  assert len(scored) == len(answers) == 4
  assert all(len(each.candidates) == 16 for each in scored)
  assert all(
    candidate.score is not None
    for each in scored
    for candidate in each.candidates
    if candidate.answer is not None
  )
  printed = capsys.readouterr().out
  for rule in ('Maj1@16', 'W.RR', 'Pass@16'):
    assert rule in printed
  assert 'no answer found' in printed and 'AUC' not in printed
  assert 'AUC' in mf.report(scored).markdown


def test_greedy_candidates_are_equal_and_a_workdir_is_resumed(work_folder):
  model = mf.load('runs/ssft/params.safetensors')
  problems = mf.read_problems('test.jsonl')

  first = model.sample(
    problems, n=2, temperature=0, max_tokens=32, workdir='samples'
  )
  again = model.sample(
    problems, n=2, temperature=0, max_tokens=32, workdir='samples'
  )

  assert again == first
  for each in first:
    assert each.candidates[0].solution == each.candidates[1].solution


def test_a_checkpoint_without_its_tokenizer_asks_for_one(work_folder):
  path = work_folder / 'other.safetensors'
  source = checkpoints.open_lazy_params('runs/ssft/params.safetensors')
  metadata = dict(source.metadata)
  metadata['fingerprint'] = {'vocabulary': 'tokenizer, sha256 0'}
  params = {name: source.read_array(name, None) for name in source.shapes}
  checkpoints.save_safetensors(path, params, metadata)

  with pytest.raises(
    ValueError, match='pass vocabulary=mf.TokenizerVocabulary'
  ):
    mf.load(path)


def test_a_hugging_face_folder_is_opened_with_its_tokenizer(
  tmp_path, tokenizer_paths
):
  path = tokenizer_paths['qwen']
  keys, _ = published_models_test.KINDS['qwen']
  size = tokenizer_files.load_tokenizer(str(path)).size
  folder = published_models_test.make_folder(tmp_path / 'qwen', keys, size)
  shutil.copy(path, folder / 'tokenizer.json')
  tokens = {'eos_token': {'content': '<|endoftext|>'}, 'add_bos_token': False}
  config = {**tokens, 'pad_token': '<|endoftext|>', 'bos_token': None}
  (folder / 'tokenizer_config.json').write_text(json.dumps(config))

  model = mf.load(folder)
  [samples] = model.sample(
    [mf.Problem(id='a', question='What is 1 + 1?')], n=2, max_tokens=8
  )

  assert model.vocabulary.pad == '<|fim_pad|>'  # EOS cannot be padding
  assert model.template == mf.Template()
  assert len(samples.candidates) == 2
  assert all(len(each.token_ids) <= 8 for each in samples.candidates)


def test_every_public_name_is_documented_and_importable():
  for name in mf.__all__:
    assert getattr(mf, name).__doc__, name
  with pytest.raises(AttributeError, match='no attribute'):
    mf.missing  # noqa: B018


def test_importing_the_package_or_the_grader_imports_neither_jax_nor_tensorflow():
  program = (
    'import sys, mathft_jax, mathft_jax.grading\n'
    'loaded = {"jax", "tensorflow", "flax", "matplotlib"} & sys.modules.keys()\n'
    'print(sorted(loaded))'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True
  )
  assert done.stdout.strip() == '[]', done.stderr
