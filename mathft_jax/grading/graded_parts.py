"""Part files of the program `grade`: graded problems survive a stop.

  parts = GradedParts(folder, settings, num_processes)
  parts.begin()                               # on the primary process
  parts.grade(process, sets, grade_chunk)     # each process grades its sets, chunk by chunk
  parts.read(process, len(sets))              # the results of one process

A chunk is two files: its graded candidates, and counts. The second is written last. Damaged files
are made again.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
from typing import Any

from absl import logging
from etils import epath

from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.storage import atomic_files

CHUNK = 64  # problems
SETTINGS_FILE = 'settings.json'


@dataclasses.dataclass(frozen=True)
class Part:
  """Results of one process, or of one chunk.

  Attributes:
    graded: the graded candidate sets.
    counts: counts of the report.
    limits: (limit, task) of every exceeded limit.
    tables: rows and counts of the agreement table, by other grader.
    disagreements: records, by other grader.
    two_verdicts: clusters with two labels in the input.
  """

  graded: Sequence[schema.CandidateSet]
  counts: Mapping[str, int]
  limits: Sequence[Sequence[str]]
  tables: Mapping[str, Mapping[str, int]]
  disagreements: Mapping[str, Sequence[Mapping[str, Any]]]
  two_verdicts: Sequence[Mapping[str, Any]] = ()


GradeChunk = Callable[[Sequence[schema.CandidateSet]], Part]


@dataclasses.dataclass(frozen=True)
class GradedParts:
  """The part files of one output.

  Attributes:
    folder: contains the part files only.
    settings: of the output; parts of other settings are deleted.
    num_processes: the problems are distributed over this many processes.
  """

  folder: epath.Path
  settings: Mapping[str, Any]
  num_processes: int

  def begin(self) -> None:
    """Deletes the parts of other settings."""
    path = self.folder / SETTINGS_FILE
    text = json.dumps([self.settings, self.num_processes])
    if path.exists() and path.read_bytes() == text.encode():
      return
    self.delete()
    atomic_files.write_text_atomically(path, text)

  def grade(
    self,
    process: int,
    sets: Sequence[schema.CandidateSet],
    grade_chunk: GradeChunk,
  ) -> None:
    """Grades the chunks of a process that have no readable part files."""
    for number, start in enumerate(range(0, max(1, len(sets)), CHUNK)):
      if self._read_chunk(process, number) is None:
        chunk = grade_chunk(sets[start : start + CHUNK])
        self._write_chunk(process, number, chunk)

  def read(self, process: int, num_sets: int) -> Part:
    """Returns the results of a process, which has graded all its chunks."""
    chunks = []
    for number in range(max(1, -(-num_sets // CHUNK))):
      _, last_file = self._files(process, number)
      processes.wait_until_visible(last_file.exists)
      chunk = self._read_chunk(process, number)
      if chunk is None:
        raise ValueError(
          f'{last_file} is damaged. Run the same command again: it is made again.'
        )
      chunks.append(chunk)
    return merge_parts(chunks)

  def delete(self) -> None:
    """Deletes all parts."""
    if self.folder.exists():
      self.folder.rmtree()

  def _files(self, process: int, number: int) -> tuple[epath.Path, epath.Path]:
    stem = f'{process:04d}.{number:06d}'
    return self.folder / f'{stem}.jsonl', self.folder / f'{stem}.part.jsonl'

  def _read_chunk(self, process: int, number: int) -> Part | None:
    graded_file, rest_file = self._files(process, number)
    if not rest_file.exists():
      return None
    try:
      _, rest = next(schema.read_jsonl(rest_file))
      return Part(
        schema.read_candidate_sets(graded_file, allow_empty=True), **rest
      )
    except (ValueError, TypeError, StopIteration, FileNotFoundError) as error:
      logging.warning('%s is damaged and is made again: %s', rest_file, error)
      return None

  def _write_chunk(self, process: int, number: int, chunk: Part) -> None:
    graded_file, rest_file = self._files(process, number)
    rest = dict(vars(chunk))
    schema.write_jsonl(graded_file, rest.pop('graded'))
    schema.write_jsonl(rest_file, [rest])


def merge_parts(parts: Sequence[Part]) -> Part:
  """Returns one part with the problems of all, in their order."""
  graded: list[schema.CandidateSet] = []
  counts: collections.Counter[str] = collections.Counter()
  limits: list[Sequence[str]] = []
  tables: dict[str, collections.Counter[str]] = {}
  disagreements: dict[str, list[Mapping[str, Any]]] = {}
  two_verdicts: list[Mapping[str, Any]] = []
  for part in parts:
    graded.extend(part.graded)
    two_verdicts.extend(part.two_verdicts)
    counts.update(part.counts)
    limits.extend(part.limits)
    for name, table in part.tables.items():
      tables.setdefault(name, collections.Counter()).update(table)
      records = disagreements.setdefault(name, [])
      records.extend(part.disagreements[name])
  return Part(graded, counts, limits, tables, disagreements, two_verdicts)
