"""Files that programs must refuse, by kind: what the writer of the file got wrong."""

import gzip
import json

PROBLEM = {'id': 'a/1', 'question': 'What is $2+2$?', 'answer': '4'}
CANDIDATE = {'solution': 'so \\boxed{4}', 'log_prob': -1.5, 'cluster': 0}
RECORD = {'problem': PROBLEM, 'candidates': [CANDIDATE]}


def _with_problem(**fields):
  return {**RECORD, 'problem': {**PROBLEM, **fields}}


def _with_candidate(**fields):
  return {**RECORD, 'candidates': [{**CANDIDATE, **fields}]}


# (kind, the second record of a candidate file, words of the error)
BAD_RECORDS = [
  ('question is a list', _with_problem(question=['x']), 'field "question"'),
  ('question is a number', _with_problem(question=4), 'field "question" is 4'),
  ('question is null', _with_problem(question=None), '"question" is null'),
  ('question is empty', _with_problem(question=' '), 'field "question"'),
  ('id is null', _with_problem(id=None), 'field "id" is null'),
  ('id is a number', _with_problem(id=7), 'field "id" is 7'),
  ('answer is a list', _with_problem(answer=['4']), 'field "answer"'),
  ('answer is a number', _with_problem(answer=4), 'field "answer" is 4'),
  ('answer is an object', _with_problem(answer={}), 'field "answer"'),
  ('split is a boolean', _with_problem(split=True), 'field "split" is true'),
  ('problem is text', {**RECORD, 'problem': 'What?'}, 'wanted "problem"'),
  ('no problem', {'candidates': []}, 'wanted "problem"'),
  ('candidates is null', {**RECORD, 'candidates': None}, '"candidates"'),
  ('a candidate is text', {**RECORD, 'candidates': ['4']}, 'an object'),
  ('grader is a number', {**RECORD, 'grader': 2}, 'field "grader" is 2'),
  ('no solution', {**RECORD, 'candidates': [{}]}, 'field "solution"'),
  ('solution is a list', _with_candidate(solution=[]), 'field "solution"'),
  ('solution is a number', _with_candidate(solution=4.5), '"solution" is 4.5'),
  ('log_prob is positive', _with_candidate(log_prob=0.5), '"log_prob" is 0.5'),
  ('log_prob is NaN', _with_candidate(log_prob=float('nan')), 'NaN is no'),
  ('log_prob is text', _with_candidate(log_prob='-1'), 'field "log_prob"'),
  ('log_odds is text', _with_candidate(log_odds='2'), 'field "log_odds"'),
  ('log_prob is true', _with_candidate(log_prob=True), '"log_prob" is true'),
  ('score is text', _with_candidate(score='0.9'), 'field "score" is'),
  ('score is huge', _with_candidate(score=10**40), 'an integer of 133 bits'),
  ('is_correct is text', _with_candidate(is_correct='false'), "'false'"),
  ('is_correct is 1', _with_candidate(is_correct=1), '"is_correct" is 1'),
  ('finished is text', _with_candidate(finished='true'), 'field "finished"'),
  ('cluster is 0.5', _with_candidate(cluster=0.5), 'field "cluster" is 0.5'),
  ('cluster is -1', _with_candidate(cluster=-1), 'field "cluster" is -1'),
  ('cluster is true', _with_candidate(cluster=True), '"cluster" is true'),
  ('token_ids is text', _with_candidate(token_ids='12'), '"token_ids"'),
  ('token id is text', _with_candidate(token_ids=['1']), '"token_ids"'),
  ('token id is true', _with_candidate(token_ids=[1, True]), '"token_ids"'),
  ('token id is 1.5', _with_candidate(token_ids=[1, 1.5]), '"token_ids"'),
  ('token id is -1', _with_candidate(token_ids=[-1]), '"token_ids"'),
  ('token id is huge', _with_candidate(token_ids=[2**40]), '"token_ids"'),
  ('answer of a candidate', _with_candidate(answer=4), 'field "answer" is 4'),
]
# (kind, the second line of a file, words of the error)
BAD_LINES = [
  ('not json', b'nonsense', 'not json'),
  ('cut', b'{"problem": {"id": "a', 'not json'),
  ('a list', b'[1]', 'a list'),
  ('a number', b'5', 'one json object'),
  ('null', b'null', 'null'),
  ('NaN', b'{"problem": {"id": NaN}}', 'NaN is no json number'),
  ('Infinity', b'{"problem": {"id": -Infinity}}', '-Infinity is no json'),
  ('deep nesting', b'[' * 100_000, 'not json'),
  ('huge integer', b'{"a": ' + b'9' * 10_000 + b'}', 'not json'),
  ('latin-1', '{"problem": "ü"}'.encode('latin-1'), 'not json'),
  ('utf-16', '{"problem": "x"}'.encode('utf-16'), 'UTF-16'),
  (
    'lone surrogate',
    json.dumps(_with_problem(question='x\ud800')).encode(),
    'surrogate',
  ),
  ('control characters', b'{"problem": "\x1b[31m"}', 'not json'),
]


PROBLEM_FILE_RECORDS = [
  ('question is a list', {**PROBLEM, 'question': ['x']}, '"question"'),
  ('no question', {'id': 'a/1'}, 'no field'),
  ('question is a number', {**PROBLEM, 'question': 4}, 'is 4 (int)'),
  ('solution is a list', {**PROBLEM, 'solution': ['x']}, '"solution"'),
  ('solution is a number', {**PROBLEM, 'solution': 4}, '"solution" is 4'),
  ('answer is a list', {**PROBLEM, 'answer': ['4']}, 'field "answer"'),
  ('answer is a boolean', {**PROBLEM, 'answer': True}, '"answer" is true'),
  ('id is a list', {**PROBLEM, 'id': [1]}, 'field "id"'),
  ('level is an object', {**PROBLEM, 'level': {}}, 'field "level"'),
  ('split is a number', {**PROBLEM, 'split': 1}, 'field "split" is 1'),
]


# (name, content with THIS for its path, words of the error)
BAD_GIN_FILES = [
  ('latin.gin', b'A = "\xfc"\n', 'byte 5 is not UTF-8'),
  ('zipped.gin', gzip.compress(b'A = 1\n'), 'not UTF-8'),
  ('utf16.gin', 'A = 1'.encode('utf-16'), 'not UTF-8'),
  ('bom.gin', b'\xef\xbb\xbfA = 1\n', 'byte order mark'),
  ('binary.gin', b'\x00\x01', ':1: '),
  ('cut.gin', b'A = 1\nB = (1,\n', ':2: '),
  ('syntax.gin', b'A = 1\nB = = 2\n', ':2: '),
  ('deep.gin', b'A = ' + b'(' * 5000 + b')' * 5000, 'nested too deeply'),
  ('loop.gin', b"A = 1\ninclude 'THIS'\n", 'includes itself'),
  ('include.gin', b"A = 1\ninclude 'none.gin'\n", ":2: No gin file 'none.gin'"),
  ('import.gin', b'import nothing.here\n', ':1: import nothing.here'),
  ('name.gin', b'A = 1\nnothing.here = 3\n', ':2: '),
  ('number.gin', b'TOP_CLUSTERS = 0\n', ':1: TOP_CLUSTERS is 0'),
]
REPORT = {
  'schema': 'mathft_jax.report',
  'files': {
    'f': {
      'accuracies': [
        {
          'kind': 'rule',
          'name': 'Maj1',
          'mean': 0.5,
          'low': 0,
          'high': 1,
          'n': 2,
        }
      ]
    }
  },
}
# (kind, name of the file, its content, words of the error)
BAD_REPORTS = [
  ('not json', 'report.json', b'nonsense', 'report.json is damaged'),
  ('empty', 'report.json', b'', 'report.json is damaged'),
  ('cut', 'report.json', json.dumps(REPORT).encode()[:-9], 'is damaged'),
  ('a list', 'report.json', b'[]', 'is damaged'),
  ('null', 'report.json', b'null', 'is damaged'),
  ('latin-1', 'report.json', b'{"a": "\xfc"}', 'is damaged'),
  (
    'no files',
    'report.json',
    b'{"schema": "mathft_jax.report"}',
    "no field 'files'",
  ),
  (
    'a mean is text',
    'report.json',
    json.dumps(REPORT).replace('0.5', '"x"').encode(),
    'is damaged',
  ),
  ('outcomes are cut', 'outcomes.jsonl', b'{"file": "f"', ':1 is damaged'),
  ('no outcomes', 'outcomes.jsonl', b'{"file": "f"}\n', "no field 'correct'"),
  (
    'an outcome is text',
    'outcomes.jsonl',
    b'{"file": "f", "id": "1", "correct": {"Maj1": "x"}}\n',
    ':1 is damaged',
  ),
]


def write_bad_checkpoints(folder):
  """Yields (kind, path, words of the error) of files and folders that are no checkpoint."""
  header = json.dumps(
    {'w': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}}
  ).encode()
  size = len(header).to_bytes(8, 'little')
  files = [
    ('empty', b'', ''),
    ('text', b'{"a": 1}', ''),
    ('huge header', (1 << 60).to_bytes(8, 'little') + header, ''),
    ('cut header', size + header[:-5], ''),
    ('header is no json', size + b'x' * len(header), ''),
    ('header is a list', (2).to_bytes(8, 'little') + b'[]', ''),
    ('cut array', size + header + b'0000', ''),
    (
      'unknown dtype',
      size + header.replace(b'F32', b'X99') + b'0' * 8,
      '',
    ),
  ]
  for number, (kind, content, words) in enumerate(files):
    path = folder / f'bad_{number}.safetensors'
    path.write_bytes(content)
    yield kind, path, words
  yield 'missing', folder / 'missing.safetensors', ''
  yield 'missing folder', folder / 'missing', ''
  path = folder / 'folder.safetensors'
  path.mkdir()
  yield 'a folder named .safetensors', path, ''
  path = folder / 'text'
  path.write_text('x')
  yield 'a file without an ending', path, ''
  empty = folder / 'empty'
  empty.mkdir()
  yield 'an empty folder', empty, ''

  configs = [
    ('config.json is no json', '{"model_type": ', 'config.json'),
    ('config.json is a list', '[]', 'config.json'),
    ('no model_type', '{}', 'model_type'),
    ('unknown model_type', '{"model_type": "mamba"}', 'mamba'),
    ('no sizes', '{"model_type": "llama"}', 'config.json'),
    (
      'a size is text',
      '{"model_type": "llama", "hidden_size": "x"}',
      'config.json',
    ),
  ]
  for number, (kind, text, words) in enumerate(configs):
    path = folder / f'hf_{number}'
    path.mkdir()
    (path / 'config.json').write_text(text)
    (path / 'model.safetensors').write_bytes(size + header + b'0' * 8)
    yield kind, path, words
  path = folder / 'hf_without_weights'
  path.mkdir()
  (path / 'config.json').write_text('{"model_type": "llama"}')
  yield 'no weights', path, ''


def write_bad_candidate_files(folder):
  """Yields (kind, path, words of the error, the place that it names)."""
  good = json.dumps(_with_problem(id='a/0')).encode() + b'\n'
  yield from _write(folder, good, BAD_RECORDS)


def write_bad_problem_files(folder):
  """Yields (kind, path, words of the error, the place that it names)."""
  good = json.dumps({**PROBLEM, 'id': 'a/0'}).encode() + b'\n'
  yield from _write(folder, good, PROBLEM_FILE_RECORDS)


def _write(folder, good, bad_records):
  for number, (kind, record, words) in enumerate(bad_records):
    path = folder / f'record_{number}.jsonl'
    path.write_bytes(good + json.dumps(record).encode())
    yield kind, path, words, f'{path}:2'
  for number, (kind, line, words) in enumerate(BAD_LINES):
    path = folder / f'line_{number}.jsonl'
    path.write_bytes(good + line)
    yield kind, path, words, f'{path}:2'

  zipped = gzip.compress(good * 50)
  whole_files = [
    ('empty', 'empty.jsonl', b'', 'no ', ''),
    ('blank lines', 'blank.jsonl', b'\n \n', 'no ', ''),
    ('repeated ids', 'ids.jsonl', good * 2, 'another id', ':2'),
    ('gzip without .gz', 'zipped.jsonl', zipped, 'must end in .gz', ':1'),
    ('text named .gz', 'text.jsonl.gz', good, 'remove .gz', ':1'),
    (
      'truncated .gz',
      'cut.jsonl.gz',
      gzip.compress(good)[:-20],
      'damaged',
      ':',
    ),
    ('empty .gz', 'empty.jsonl.gz', b'', 'no ', ''),
  ]
  for kind, name, content, words, line in whole_files:
    path = folder / name
    path.write_bytes(content)
    yield kind, path, words, f'{path}{line}'
  path = folder / 'folder.jsonl'
  path.mkdir()
  yield 'a folder', path, 'is a folder', str(path)
  missing = folder / 'missing.jsonl'
  yield 'missing', missing, '', str(missing)
