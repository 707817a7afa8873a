"""Reads records from files of several formats, one dictionary per row.

  for where, record in read_records('numina/data/train-*.parquet'): ...

| name ends in               | format                                                         |
|----------------------------|----------------------------------------------------------------|
| `.jsonl`, any other name   | one JSON object per line                                       |
| `.json`                    | a JSON array of objects, or one object per line                |
| `.csv`, `.tsv`             | a header and one row per record; empty cells are absent fields |
| `.parquet`, `.arrow`       | columns; needs pyarrow, read in batches of rows                |
| a folder                   | written by `save_to_disk` of `datasets`; needs pyarrow         |

Text formats may be compressed: `.gz`, `.zst` (needs pyarrow). A name with `*`, `?` or `[` is a
glob; its files are read in the order of their names. `where` is `file:number`, the line of a text
file, else the row, from 1.
"""

from collections.abc import Iterator, Sequence
import csv
import glob
import io
import json
from typing import Any

from etils import epath

from mathft_jax.data import compressed_files, record_fields, schema
from mathft_jax.data.compressed_files import named_errors, require_pyarrow
from mathft_jax.data.schema import JsonObject
from mathft_jax.storage import json_files, local_and_remote_paths

Located = tuple[str, JsonObject]

_SUFFIXES = ('.jsonl', '.json', '.csv', '.tsv', '.parquet', '.arrow')
_ROWS_PER_BATCH = 256
_LONGEST_CELL = 2**27  # characters of a csv cell
_DATASET_STATE = 'state.json'  # in a folder of one split
_DATASET_SPLITS = 'dataset_dict.json'  # in a folder of several splits


def find_files(path: epath.PathLike) -> list[epath.Path]:
  """Returns the files of a path, glob or `datasets` folder, in the order of their names.

  Raises:
    ValueError: no file has that name, or a folder was not written by `datasets`.
  """
  path = epath.Path(path)
  if path.is_dir():
    return _dataset_files(path)
  if path.exists():
    return [path]
  if not glob.has_magic(str(path)):
    raise ValueError(
      f'{path} does not exist; wanted a file, a glob or a folder.'
      f'{local_and_remote_paths.similar_file_hint(path)}'
    )
  found = []
  for file in _glob(path):
    if file.is_dir():
      found += _dataset_files(file)
    else:
      found.append(file)
  if not found:
    raise ValueError(f'{path}: no file has a name like this.')
  return found


def read_records(
  path: epath.PathLike, columns: Sequence[str] | None = None
) -> Iterator[Located]:
  """Yields (`file:number`, record) of every row of every file.

  Args:
    path: a file, a glob or a folder, see the module.
    columns: the fields that are read from formats with columns; None reads all.

  Raises:
    ValueError: a file is damaged or a row is no record; names file and row.
  """
  for file in find_files(path):
    yield from read_file(file, columns)


def read_file(
  file: epath.Path, columns: Sequence[str] | None = None
) -> Iterator[Located]:
  """Yields (`file:number`, record) of every row of one file, as `read_records` does."""
  suffix = compressed_files.inner_suffix(file)
  if suffix == '.parquet':
    yield from _read_columns(file, _parquet_batches(file, columns))
  elif suffix == '.arrow':
    yield from _read_columns(file, _arrow_batches(file, columns))
  elif suffix in ('.csv', '.tsv'):
    yield from _read_csv(file, '\t' if suffix == '.tsv' else ',')
  elif suffix == '.json' and _first_character(file) == b'[':
    yield from _read_json_array(file)
  else:
    yield from schema.read_jsonl(file)


def _glob(path: epath.Path) -> list[epath.Path]:
  """Returns the paths that match, sorted; works in buckets, too."""
  fixed: list[str] = []
  parts = str(path).split('/')
  while not glob.has_magic(parts[0]):
    fixed.append(parts.pop(0))
  root = epath.Path('/'.join(fixed) or ('/' if fixed else '.'))
  return sorted(root.glob('/'.join(parts)), key=str)


def _dataset_files(folder: epath.Path) -> list[epath.Path]:
  """Returns the Arrow files of one split that `datasets` saved."""
  state_path = folder / _DATASET_STATE
  if (folder / _DATASET_SPLITS).exists():
    names = json_files.read_json_object(folder / _DATASET_SPLITS).get('splits')
    raise ValueError(
      f'{folder} has the splits {names}; name one: {folder}/{{split}}, or '
      f'{folder}/{(names or ["train"])[0]}.'
    )
  if not state_path.exists():
    raise ValueError(
      f'{folder} is a folder without {_DATASET_STATE}; wanted a file, a glob such as '
      f'{_example_glob(folder)}, or a folder of save_to_disk of `datasets`.'
    )
  try:
    state = json.loads(state_path.read_bytes())
    return [folder / each['filename'] for each in state['_data_files']]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{state_path} is damaged ({error}); wanted the file that `datasets` wrote.'
    ) from error


def _example_glob(folder: epath.Path) -> str:
  """Returns a glob of the data files in a folder, or in `data`, where the hub has them."""
  for place in (folder, folder / 'data'):
    for file in sorted(place.iterdir()) if place.is_dir() else ():
      if compressed_files.inner_suffix(file) in _SUFFIXES:
        return f'{place}/*{"".join(file.suffixes[-2:])}'
  return f'{folder}/*.jsonl'


def _first_character(file: epath.Path) -> bytes:
  """Returns the first character that is no white space; b'' without one."""
  with file.open('rb') as binary, named_errors(file):
    stream = compressed_files.decompress(binary, file)
    while True:
      block = stream.read(4096)
      text = block.removeprefix(b'\xef\xbb\xbf').lstrip()
      if text or not block:
        return text[:1]


def _read_json_array(file: epath.Path) -> Iterator[Located]:
  with file.open('rb') as binary, named_errors(file):
    data = compressed_files.decompress(binary, file).read()
  try:
    rows = schema.JSON_DECODER.decode(data.decode('utf-8-sig'))
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{file}: not a JSON array ({str(error) or type(error).__name__}); wanted [{{...}}, {{...}}] '
      'in UTF-8, or one object per line in a .jsonl file.'
    ) from error
  for number, row in enumerate(rows, start=1):
    where = f'{file}:{number}'
    if not isinstance(row, dict):
      raise ValueError(
        f'{where}: {record_fields.describe_value(row)}; wanted a JSON array of objects.'
      )
    schema.check_surrogates(row, where)
    yield where, row


def _read_csv(file: epath.Path, delimiter: str) -> Iterator[Located]:
  csv.field_size_limit(_LONGEST_CELL)
  with file.open('rb') as binary, named_errors(file):
    stream = compressed_files.decompress(binary, file)
    text = io.TextIOWrapper(stream, 'utf-8-sig', newline='')
    reader = csv.DictReader(text, delimiter=delimiter, strict=True)
    _check_header(reader.fieldnames or [], file)
    for row in reader:
      where = f'{file}:{reader.line_num}'
      names = reader.fieldnames or []
      if None in row or None in row.values():
        raise ValueError(
          f'{where}: the row has another number of cells than the header; wanted {len(names)}: '
          f'{list(names)}.'
        )
      yield where, {name: cell for name, cell in row.items() if cell != ''}


def _check_header(names: Sequence[str], file: epath.Path) -> None:
  """ValueError if two columns have one name: all cells but those of the last would be lost."""
  repeated = sorted({name for name in names if names.count(name) > 1})
  if repeated:
    raise ValueError(
      f'{file}:1: the columns {repeated} occur more than once; wanted a header with different '
      'names.'
    )


def _read_columns(
  file: epath.Path, batches: Iterator[Any]
) -> Iterator[Located]:
  number = 0
  with named_errors(file):
    for batch in batches:
      for record in batch.to_pylist():
        number += 1
        yield f'{file}:{number}', record


def _parquet_batches(
  file: epath.Path, columns: Sequence[str] | None
) -> Iterator[Any]:
  """Yields record batches of pyarrow."""
  require_pyarrow(file)
  from pyarrow import parquet

  with file.open('rb') as binary:
    compressed_files.check_no_lfs_pointer(binary, file)
    opened = parquet.ParquetFile(binary)
    names = _known(columns, opened.schema_arrow.names)
    yield from opened.iter_batches(_ROWS_PER_BATCH, columns=names)


def _arrow_batches(
  file: epath.Path, columns: Sequence[str] | None
) -> Iterator[Any]:
  """Yields record batches of an Arrow stream or file, memory-mapped if the file is local."""
  pyarrow = require_pyarrow(file)
  with file.open('rb') as binary:
    compressed_files.check_no_lfs_pointer(binary, file)
  source = pyarrow.PythonFile(file.open('rb'))
  if '://' not in str(file):
    source = pyarrow.memory_map(str(file))
  with source:
    for batch in _iter_arrow(pyarrow, source):
      names = _known(columns, batch.schema.names)
      yield batch if names is None else batch.select(names)


def _iter_arrow(pyarrow: Any, source: Any) -> Iterator[Any]:
  """Yields the batches of the file format, else of the stream format."""
  try:
    opened = pyarrow.ipc.open_file(source)
  except pyarrow.ArrowInvalid:
    source.seek(0)
    yield from pyarrow.ipc.open_stream(source)
    return
  for index in range(opened.num_record_batches):
    yield opened.get_batch(index)


def _known(
  columns: Sequence[str] | None, names: Sequence[str]
) -> list[str] | None:
  """Returns the columns that a file has; None, for all columns, if it has none of them."""
  if columns is None:
    return None
  return [name for name in names if name in columns] or None
