"""The commands of docs/bring_your_own.md run, on small files and a small model."""

import csv
import importlib
import json
import pathlib
import re
import shlex
import shutil

import pytest

from mathft_jax.config import entry_point
from mathft_jax.data import schema
from tests import published_models_test

REPOSITORY = pathlib.Path(__file__).parent.parent
PAGE = REPOSITORY / 'docs' / 'bring_your_own.md'
MODEL = 'Qwen3-1.7B'
# A training of one step; sampling and plots are left to `--dry_run`, and what needs samples.
SMALL = {
  'train': ['TRAIN_STEPS=1', 'WARMUP_STEPS=0', 'BATCH_SIZE=8', 'MAX_LENGTH=96']
  + ['SELF_CHECKS=off', 'TENSORBOARD=False'],
}
DRY = ('evaluate', 'measure', 'sample', 'score')
SAMPLES = re.compile(r'--gin.CANDIDATES=(runs/(?:train|test)_.*)')

pytestmark = pytest.mark.usefixtures('quick_compiles')


def commands():
  """(program, arguments) of each command of the page."""
  found = []
  for block in re.findall(r'```\n(.*?)```', PAGE.read_text(), re.DOTALL):
    for line in block.replace('\\\n', ' ').strip().splitlines():
      words = shlex.split(line)
      assert words[:2] == ['python', '-m']
      found.append((words[2].removeprefix('mathft_jax.'), words[3:]))
  return found


def write_files(folder, tokenizer):
  """The files that the page names."""
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet

  rows = []
  for n in range(20):
    rows.append(
      {
        'prompt': f'{n} + 1?',
        'messages': [
          {'role': 'user', 'content': f'{n} + 1?'},
          {'role': 'assistant', 'content': f'It is {n + 1}.'},
        ],
        'reward': {'truth': str(n + 1)},
        'valid': 'No' if n % 4 == 3 else 'Yes',
      }
    )
  (folder / 'mine').mkdir()
  parquet.write_table(
    pyarrow.Table.from_pylist(rows), folder / 'mine' / 'rows.parquet'
  )
  with (folder / 'problems.csv').open('w', newline='') as stream:
    writer = csv.writer(stream)
    writer.writerow(['id', 'problem', 'answer'])
    writer.writerow(['p1', 'What is 1 + 1?', '2'])
  (folder / 'vllm').mkdir()
  choices = []
  for index, number in enumerate((2, 3)):
    content = f'It is \\boxed{{{number}}}'
    choices.append(
      {
        'index': index,
        'message': {'role': 'assistant', 'content': content},
        'finish_reason': 'stop',
      }
    )
  (folder / 'vllm' / 'a.jsonl').write_text(
    json.dumps({'custom_id': 'p1', 'choices': choices}) + '\n'
  )
  (folder / 'benchmarks').mkdir()
  for name in ('math500', 'aime24'):
    (folder / 'benchmarks' / f'{name}.jsonl').write_text(
      '{"problem": "What is 1 + 1?", "answer": "2", "unique_id": "1"}\n'
    )
  keys = dict(model_type='qwen3', head_dim=8, rope_theta=1e6)
  published_models_test.make_folder(folder / MODEL, keys, vocab_size=608)
  shutil.copy(tokenizer, folder / MODEL / 'tokenizer.json')
  (folder / MODEL / 'tokenizer_config.json').write_text(
    json.dumps(
      {
        'eos_token': '<|im_end|>',
        'pad_token': '<|endoftext|>',
        'chat_template': "{% for m in messages %}{{ '<|im_start|>' + m.role + "
        "'\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      }
    )
  )


def test_the_commands_of_the_page_run(
  tmp_path, monkeypatch, tokenizer_paths, capsys, caplog
):
  pytest.importorskip('jinja2')
  write_files(tmp_path, tokenizer_paths['qwen'])
  monkeypatch.chdir(tmp_path)
  caplog.set_level('INFO')
  programs = []
  for program, arguments in commands():
    programs.append(program)
    arguments += [f'--gin.{each}' for each in SMALL.get(program, [])]
    needs_samples = any(map(SAMPLES.fullmatch, arguments))
    arguments += ['--dry_run'] * (program in DRY or needs_samples)
    if program == 'score':  # the evaluator's training was a dry run
      shutil.copytree('runs/mine', 'runs/evaluator')
    module = importlib.import_module(f'mathft_jax.{program}')
    status = entry_point.main(getattr(module, program), [program, *arguments])
    assert status == 0, (program, capsys.readouterr().err)

  assert set(programs) == {
    *('train', 'sample', 'import_candidates', 'grade', 'score', 'evaluate'),
    *('measure', 'export_candidates'),
  }
  assert '20 records, 5 left out by filters' in caplog.text
  assert (tmp_path / 'runs/mine/checkpoints/1').is_dir()
  assert [row for _, row in schema.read_jsonl('pairs.jsonl')] == [
    {
      'prompt': 'What is 1 + 1?',
      'chosen': 'It is \\boxed{2}',
      'rejected': 'It is \\boxed{3}',
    }
  ]
  assert (tmp_path / 'candidates.parquet').exists()
