"""Problems in a memory-mapped Arrow file: millions of them take no memory until they are read.

  problems = store_problems(iterator, 'cache', ['mine.parquet', 'train'])
  problems[17]        # reads one row

The file is written once, in batches, and found again by later runs. It is an Arrow file of text
columns, readable by pyarrow and `datasets`. A json file beside it marks it as complete.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import hashlib
import json
import logging
import os
from typing import Any, overload

from etils import epath
import numpy as np

from mathft_jax.data.compressed_files import require_pyarrow
from mathft_jax.data.schema import Problem
from mathft_jax.storage import atomic_files, digests

_COLUMNS = ('id', 'question', 'solution', 'answer', 'subject', 'level', 'split')
_ROWS_PER_BATCH = (
  1_024  # of each record batch but the last; a row is found by it
)


class StoredProblems(Sequence[Problem]):
  """A sequence of the problems of an Arrow file; each access reads one row.

  Attributes:
    path: the Arrow file.
    digest: of the content of all problems of the file, and of the selection of them.
  """

  def __init__(
    self, path: epath.Path, digest: str, rows: np.ndarray | None = None
  ):
    self.path = path
    self.digest = digest
    pyarrow = require_pyarrow(path)
    self._file = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
    num_batches = self._file.num_record_batches
    self._num_stored = 0
    if num_batches:
      last = self._file.get_batch(num_batches - 1)
      self._num_stored = (num_batches - 1) * _ROWS_PER_BATCH + last.num_rows
    self._rows = rows

  def __len__(self) -> int:
    return self._num_stored if self._rows is None else len(self._rows)

  @overload
  def __getitem__(self, index: int) -> Problem: ...
  @overload
  def __getitem__(self, index: slice) -> list[Problem]: ...
  def __getitem__(self, index: int | slice) -> Problem | list[Problem]:
    if isinstance(index, slice):
      return [self[each] for each in range(*index.indices(len(self)))]
    if not -len(self) <= index < len(self):
      raise IndexError(f'{index} of {len(self)} problems')
    row = index % len(self)
    if self._rows is not None:
      row = int(self._rows[row])
    batch = self._file.get_batch(row // _ROWS_PER_BATCH)
    values = {}
    for name in _COLUMNS:
      values[name] = batch.column(name)[row % _ROWS_PER_BATCH].as_py()
    return Problem(**values)

  def has_solution(self) -> np.ndarray:
    """Returns whether each problem has a solution; reads the lengths only."""
    from pyarrow import compute

    def is_solved(batch: Any) -> np.ndarray:
      lengths = compute.binary_length(  # pyright: ignore[reportAttributeAccessIssue]
        batch.column('solution')
      )
      return np.asarray(lengths) > 0

    return self._of_each(is_solved, bool)

  def _of_each(
    self, function: Callable[[Any], np.ndarray], dtype: type
  ) -> np.ndarray:
    """Returns a value of each problem; `function` gives those of a record batch."""
    values = [np.empty(0, dtype)]
    for index in range(self._file.num_record_batches):
      values.append(function(self._file.get_batch(index)))
    found = np.concatenate(values)
    return found if self._rows is None else found[self._rows]

  def select(self, indices: np.ndarray) -> 'StoredProblems':
    """Returns the problems at these indices, without reading them."""
    rows = indices if self._rows is None else self._rows[indices]
    digest = digests.content_digest([self.digest, rows.tobytes()])
    return StoredProblems(self.path, digest, rows)

  def subsample(self, limit: int) -> 'StoredProblems':
    """Returns at most `limit` problems in their order, chosen by a hash of the id."""
    if limit >= len(self):
      return self

    def ranks_of(batch: Any) -> np.ndarray:
      return np.asarray(batch.column('rank'))

    ranks = self._of_each(ranks_of, float)
    chosen = np.argsort(ranks, kind='stable')[:limit]
    return self.select(np.sort(chosen))


def store_problems(
  problems: Iterable[Problem], folder: epath.PathLike, key: Sequence[str]
) -> StoredProblems:
  """Returns the problems, after writing them to a file of the folder unless it exists.

  Args:
    problems: is not iterated over if the file exists.
    folder: a local folder.
    key: what determines the problems; files in it also count by their size and time.
  """
  if '://' in str(folder):
    raise ValueError(
      f'STREAM_DIR is {folder}; it must be a local folder, because its files are memory-mapped.'
    )
  path = epath.Path(folder) / f'problems-{_key_digest(key)}.arrow'
  mark = path.with_suffix('.json')
  if not mark.exists():
    logging.info('%s: written once; later runs read it', path)
    digest, count = _write(problems, path)
    text = json.dumps({'problems': count, 'sha256': digest, 'key': list(key)})
    atomic_files.write_text_atomically(mark, f'{text}\n')
  contents = json.loads(mark.read_bytes())
  stored = StoredProblems(path, contents['sha256'])
  if len(stored) != contents['problems']:
    raise ValueError(
      f'{path} has {len(stored)} problems; {mark} says {contents["problems"]}. Delete both.'
    )
  return stored


def _key_digest(key: Sequence[str]) -> str:
  parts: list[object] = []
  for each in key:
    parts.append(each)
    if os.path.isfile(each):
      stat = os.stat(each)
      parts.append((stat.st_size, stat.st_mtime_ns))
  return digests.content_digest(parts)


def _write(problems: Iterable[Problem], path: epath.Path) -> tuple[str, int]:
  """Writes an Arrow file and returns the sha256 of its problems and their number."""
  pyarrow = require_pyarrow(path)
  fields = [(name, pyarrow.large_string()) for name in _COLUMNS]
  schema = pyarrow.schema([*fields, ('rank', pyarrow.float64())])
  hashed = hashlib.sha256()
  count = 0
  path.parent.mkdir(parents=True, exist_ok=True)
  # Several processes may write the same file; each has its own until it is complete.
  partial = path.with_suffix(f'.{os.getpid()}.partial')
  with pyarrow.OSFile(str(partial), 'wb') as sink:
    with pyarrow.ipc.new_file(sink, schema) as writer:
      for rows in _batches(problems):
        hashed.update(repr(rows).encode())
        writer.write(pyarrow.RecordBatch.from_pylist(rows, schema))
        count += len(rows)
  partial.replace(path)
  return hashed.hexdigest(), count


def _batches(problems: Iterable[Problem]) -> Iterator[list[dict[str, Any]]]:
  rows = []
  for problem in problems:
    row = dict(vars(problem))
    row['rank'] = digests.hash_to_unit_interval(problem.id)
    rows.append(row)
    if len(rows) == _ROWS_PER_BATCH:
      yield rows
      rows = []
  if rows:
    yield rows
