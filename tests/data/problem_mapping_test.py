"""Names of fields, filters, forms of answers; files of all formats; what is refused."""

import csv
import gzip
import json

import pytest

import mathft_jax as mf
from mathft_jax.data import (
  field_paths,
  problem_mapping,
  problem_sources,
  record_files,
)

ProblemMapping = problem_mapping.ProblemMapping
ROWS = [{'q': f'{n} + 1?', 'a': n + 1} for n in range(3)]
PROBLEMS = [('0 + 1?', '1'), ('1 + 1?', '2'), ('2 + 1?', '3')]
NAMED = ProblemMapping(question='q', answer='a')
RECORD = {
  'Body': 'He has 3 ',
  'Asked': 'How many?',
  'a.b': 1,
  'list': [{'x': 'one'}, {'x': 'two'}],
  'small': {'text': 's'},
  'large': {'text': 'l'},
  'none': None,
  'empty': '',
  'float': 27.0,
}


def write_jsonl(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def read(path, mapping=NAMED, **fields):
  source = problem_sources.JsonlProblems(str(path), mapping=mapping, **fields)
  return [(problem.question, problem.answer) for problem in source('train')]


@pytest.mark.parametrize(
  'name, wanted',
  [
    ('Asked', 'How many?'),
    ('a.b', 1),
    ('list.1.x', 'two'),
    ('list.-1.x', 'two'),
    ('list.5.x', None),
    ('list.*.x', ['one', 'two']),
    ('small|large.text', ['s', 'l']),
    ('Body + Asked', 'He has 3. How many?'),
    ('{Asked} {float}!', 'How many? 27!'),
    ('\\boxed{{float}}', '\\boxed{27}'),
    ('{Asked} {missing}', None),
    (('none', 'empty', 'Asked'), 'How many?'),
    ('Asked.x.y', None),
  ],
)
def test_names_read_values(name, wanted):
  assert field_paths.read_value(RECORD, name) == wanted


@pytest.mark.parametrize(
  'field, value, wanted',
  [
    ({}, '72', '72'),
    ({}, 72.0, '72'),
    ({}, 7.25, '7.25'),
    ({}, 'First 70.\n#### 72', '72'),
    ({'answer_form': 'as_is'}, 'x #### 72', 'x #### 72'),
    ({'answer_form': 'boxed'}, 'So $\\boxed{72}$.', '72'),
    ({'answer_form': 'boxed'}, 'So 72.', None),
    ({'answer_form': 'number'}, '1,250 (apples)', '1,250'),
    ({'answer_form': 'number'}, 'none', None),
    ({'answer_after': 'answer is:'}, 'The answer is: 72', '72'),
    ({'answer_after': 'answer is:'}, 'It is 72', None),
  ],
)
def test_answers_have_forms(field, value, wanted):
  mapping = ProblemMapping(**field)
  record = {'problem': 'q', 'answer': value}
  found = problem_mapping.to_problem(record, mapping, 'f:1', 'f', 'train')
  assert found.answer == wanted


def test_an_answer_that_is_a_gsm8k_solution_is_both(tmp_path):
  path = write_jsonl(
    tmp_path / 'p.jsonl', [{'question': 'q', 'answer': 'Add.\n#### 72'}]
  )
  [problem] = problem_sources.JsonlProblems(str(path))('train')
  assert (problem.solution, problem.answer) == ('Add.\n#### 72', '72')


def test_an_answer_that_is_a_whole_text_goes_into_no_box(tmp_path, caplog):
  text = (
    'We add two and two and so we get four, which is the final answer here.'
  )
  path = write_jsonl(
    tmp_path / 'p.jsonl', [{'problem': 'q', 'solution': 's', 'answer': text}]
  )
  [problem] = problem_sources.JsonlProblems(str(path))('train')
  assert problem.solution == 's'
  assert '1 of 1 solutions are texts, not final answers' in caplog.text


@pytest.mark.parametrize(
  'record, words',
  [
    ({'answer': ['4']}, r"\"answer\" is \['4'\].*ANSWER_FIELD = 'answer.0'"),
    ({'answer': float('nan')}, '"answer" is nan'),
    ({'answer': True}, '"answer" is true'),
    ({'answer': ' NaN'}, '"answer" is .*DROP_ROWS'),
    ({'solution': ['s']}, r"\"solution\" is \['s'\].*'solution.\*' for all"),
    ({'id': [1]}, r"\"id\" is \[1\].*ID_FIELD = 'id.0'"),
  ],
)
def test_wrong_types_are_refused_with_what_to_do(record, words):
  with pytest.raises(ValueError, match=f'f.jsonl:7: field {words}'):
    problem_mapping.to_problem(
      {'problem': 'q', **record},
      problem_mapping.DEFAULT_MAPPING,
      'f.jsonl:7',
      'f.jsonl',
      'train',
    )


def test_id_0_is_an_id(tmp_path):
  path = write_jsonl(tmp_path / 'p.jsonl', [{'id': 0, 'problem': 'q'}])
  assert problem_sources.JsonlProblems(str(path))('train')[0].id == '0'


def test_filters_keep_and_drop_rows(tmp_path, caplog):
  caplog.set_level('INFO')
  rows = [
    {'q': str(n), 'a': n, 'valid': valid, 'kind': kind}
    for n, (valid, kind) in enumerate(
      [('Yes', 'x'), ('No', 'x'), ('Yes', 'y'), ('Maybe', 'z')]
    )
  ]
  path = write_jsonl(tmp_path / 'p.jsonl', rows)
  mapping = ProblemMapping(
    question='q',
    answer='a',
    keep={'valid': ('Yes', 'Maybe')},
    drop={'kind': 'y'},
  )
  assert read(path, mapping) == [('0', '0'), ('3', '3')]
  assert '4 records, 2 left out by filters' in caplog.text

  none = ProblemMapping(question='q', keep={'valid': 'yes'}, answer='a')
  with pytest.raises(ValueError, match='none of 4 records is left.*KEEP_ROWS'):
    read(path, none)


@pytest.mark.parametrize(
  'mapping, words',
  [
    (ProblemMapping(question='quest'), 'no field "quest"'),
    (
      ProblemMapping(question='q', answer='ans'),
      r"no record has 'ans' \(ANSWER_FIELD\)",
    ),
    (
      ProblemMapping(question='q', drop={'valid': 'x'}),
      r"no record has 'valid' \(DROP_ROWS: valid\)",
    ),
  ],
)
def test_names_that_no_record_has_are_refused(tmp_path, mapping, words):
  path = write_jsonl(tmp_path / 'p.jsonl', ROWS)
  with pytest.raises(ValueError, match=f"{words}.*fields \\['a', 'q'\\]"):
    read(path, mapping)


def test_repeated_ids_are_refused_or_skipped(tmp_path):
  path = write_jsonl(
    tmp_path / 'p.jsonl', [{'q': text, 'id': 1} for text in 'xy']
  )
  mapping = ProblemMapping(question='q')
  with pytest.raises(ValueError, match='p.jsonl:2.*another id:.*p.jsonl:1'):
    read(path, mapping)
  skipping = ProblemMapping(question='q', repeats='skip')
  assert read(path, skipping) == [('x', None)]


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'answer_form': 'box'}, 'ANSWER_FORM'),
    ({'repeats': 'keep'}, 'REPEATS'),
    ({'keep': 'Yes'}, 'KEEP_ROWS'),
  ],
)
def test_wrong_mappings_are_refused(fields, words):
  with pytest.raises(ValueError, match=words):
    ProblemMapping(**fields)


def write_format(path, rows=ROWS):
  """Writes rows in the format that the name says."""
  name = path.name
  if '.parquet' in name or '.arrow' in name or '.zst' in name:
    pyarrow = pytest.importorskip('pyarrow')
    table = pyarrow.Table.from_pylist(rows)
  if name.endswith('.parquet'):
    from pyarrow import parquet

    parquet.write_table(table, path)
  elif name.endswith('.arrow'):
    with pyarrow.ipc.new_file(path, table.schema) as writer:
      writer.write_table(table)
  elif '.csv' in name:
    with path.open('w', newline='') as stream:
      writer = csv.DictWriter(stream, ['q', 'a'])
      writer.writeheader()
      writer.writerows(rows)
  else:
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    text = json.dumps(rows, indent=1) if '.json.' in f'{name}.' else lines
    data = text.encode()
    if name.endswith('.gz'):
      data = gzip.compress(data)
    if name.endswith('.zst'):
      data = bytes(pyarrow.compress(data, 'zstd', asbytes=True))
    path.write_bytes(data)
  return path


FORMATS = ('p.jsonl', 'p.jsonl.gz', 'p.jsonl.zst', 'p.json', 'p.json.gz')
FORMATS += ('p.csv', 'p.parquet', 'p.arrow')


@pytest.mark.parametrize('name', FORMATS)
def test_all_formats_are_read(name, tmp_path):
  assert read(write_format(tmp_path / name)) == PROBLEMS


@pytest.mark.parametrize('name', FORMATS)
def test_damaged_files_are_named(name, tmp_path):
  path = write_format(tmp_path / name, ROWS * 100)
  path.write_bytes(path.read_bytes()[:-19])
  with pytest.raises(ValueError, match=name) as found:
    read(path)
  assert '\n' not in str(found.value)


@pytest.mark.parametrize('name', FORMATS)
def test_git_lfs_pointers_are_named(name, tmp_path):
  path = tmp_path / name
  path.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:0')
  with pytest.raises(ValueError, match='git lfs pull'):
    read(path)


def test_globs_and_folders_are_read_in_order_of_names(tmp_path):
  for number, row in enumerate(ROWS):
    (tmp_path / f'{number}').mkdir()
    write_jsonl(tmp_path / f'{number}' / 'part.jsonl', [row])
  pattern = str(tmp_path / '*' / 'part.jsonl')
  assert read(pattern) == PROBLEMS
  ids = [
    p.id for p in problem_sources.JsonlProblems(pattern, mapping=NAMED)('train')
  ]
  assert ids == ['0/part.jsonl:1', '1/part.jsonl:1', '2/part.jsonl:1']
  with pytest.raises(ValueError, match='no file has a name like this'):
    read(str(tmp_path / '*.csv'))
  with pytest.raises(
    ValueError, match=r'is a folder without state.json.*\*.jsonl'
  ):
    read(tmp_path)
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data' / 'train.csv.gz').touch()
  with pytest.raises(ValueError, match=r'data/\*.csv.gz'):
    read(tmp_path)


def test_folders_of_datasets_are_read(tmp_path):
  datasets = pytest.importorskip('datasets')
  saved = datasets.Dataset.from_list(ROWS)
  saved.save_to_disk(tmp_path / 'one', num_shards=2)
  assert read(tmp_path / 'one') == PROBLEMS
  datasets.DatasetDict({'train': saved}).save_to_disk(tmp_path / 'several')
  assert read(f'{tmp_path}/several/{{split}}') == PROBLEMS
  with pytest.raises(ValueError, match=r"has the splits \['train'\]"):
    read(tmp_path / 'several')


def test_folders_in_the_format_of_datasets_are_read(tmp_path):
  """The files that `save_to_disk` writes, made by pyarrow: Arrow streams and their list."""
  pyarrow = pytest.importorskip('pyarrow')
  table = pyarrow.Table.from_pylist(ROWS)
  name = 'data-00000-of-00001.arrow'
  with pyarrow.ipc.new_stream(tmp_path / name, table.schema) as writer:
    writer.write_table(table)
  state = {'_data_files': [{'filename': name}], '_split': 'train'}
  (tmp_path / 'state.json').write_text(json.dumps(state))
  assert read(tmp_path) == PROBLEMS


def test_rows_of_csv_with_other_cells_are_refused(tmp_path):
  path = tmp_path / 'p.csv'
  for line in ('x', 'x,1,2'):
    path.write_text(f'q,a\nok,1\n{line}\n')
    with pytest.raises(ValueError, match='p.csv:3: .*another number of cells'):
      read(path)


def test_columns_of_csv_with_one_name_and_other_encodings_are_refused(tmp_path):
  path = tmp_path / 'p.csv'
  path.write_text('q,a,a\nx,1,2\n')
  with pytest.raises(ValueError, match=r"p.csv:1: the columns \['a'\]"):
    read(path)
  path.write_bytes('q,a\n\xfc,1\n'.encode('latin-1'))
  with pytest.raises(ValueError, match='p.csv: the text is not UTF-8'):
    read(path)


@pytest.mark.parametrize(
  'text, words',
  [
    ('[{"q": "x"}, {"q": "\\ud800"}]', 'p.json:2: .*half of a surrogate pair'),
    ('[{"q": NaN}]', 'NaN is no json number'),
    ('[1]', 'p.json:1: 1 .*wanted a JSON array of objects'),
    ('[]', 'no problem of split'),
  ],
)
def test_wrong_json_arrays_are_refused(tmp_path, text, words):
  path = tmp_path / 'p.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=words):
    read(path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
  path = tmp_path / 'p.parquet'
  path.write_bytes(b'PAR1')
  monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
  with pytest.raises(ValueError, match=r'pip install .mathft_jax\[arrow\]'):
    read(path)


def test_only_named_columns_are_read(tmp_path):
  pytest.importorskip('pyarrow')
  rows = [{**row, 'other': 'x'} for row in ROWS]
  path = write_format(tmp_path / 'p.parquet', rows)
  records = record_files.read_records(path, NAMED.columns())
  assert set(next(records)[1]) == {'q', 'a'}


def test_a_question_of_another_name_is_answered_for_gin_and_python(tmp_path):
  path = write_jsonl(tmp_path / 'p.jsonl', ROWS)
  with pytest.raises(ValueError, match='QUESTION_FIELD') as caught:
    mf.read_problems(path)
  assert "mapping=mf.ProblemMapping(question='NAME')" in str(caught.value)
  mapping = mf.ProblemMapping(question='q', answer='a')
  assert [
    each.question for each in mf.read_problems(path, mapping=mapping)
  ] == [row['q'] for row in ROWS]
