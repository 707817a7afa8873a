"""Long work over problems that a stop does not undo: finished problems lie in small whole files.

  job = Job(workdir / 'candidates.jsonl', settings)
  if not job.is_complete():
    for batch in batches_of(problems that job.done() lacks):
      job.add(sets made of it)
    job.finish(ids)

A job that was begun with other settings is refused: its file would hold a mixture.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
from typing import Any

from etils import epath

from mathft_jax import records


@dataclasses.dataclass(frozen=True)
class Job:
  """One output file of candidate sets, and all that decides what is in it.

  `<stem>.settings.json` lies beside the output from the first batch on, finished batches in
  `<stem>.parts/` until the output is whole.
  """

  output: epath.Path
  settings: Mapping[str, Any]

  def is_complete(self) -> bool:
    """Whether the output is there; ValueError when it was made, or begun, with other settings."""
    wanted = json.loads(json.dumps(self.settings))
    if self._settings_file.exists():
      found = json.loads(self._settings_file.read_text())
      differ = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
      if differ:
        raise ValueError(
            f'{self.output.parent} was made with other settings:\n'
            f'  there: {({name: found.get(name) for name in sorted(differ)})}\n'
            f'  now:   {({name: wanted.get(name) for name in sorted(differ)})}\n'
            'Give these settings another folder, or delete this one.')
    elif self.output.exists():
      raise ValueError(f'{self.output} is there without {self._settings_file.name}: another program '
                       'made it. Use another folder.')
    return self.output.exists()

  def done(self) -> dict[str, records.CandidateSet]:
    """Finished problems by id."""
    if not self._parts.is_dir():
      return {}
    sets = [each for path in sorted(self._parts.glob('*.jsonl'))
            for each in records.read_candidate_sets(path)]
    return {each.problem.id: each for each in sets}

  def add(self, sets: Iterable[records.CandidateSet]) -> None:
    """Keeps a batch of finished problems."""
    if not self._parts.is_dir():
      self._parts.mkdir(parents=True)
      self._settings_file.write_text(json.dumps(self.settings, indent=1) + '\n')
    number = len(list(self._parts.glob('*.jsonl')))
    records.write_rows(self._parts / f'{number:06d}.jsonl', sets)

  def finish(self, ids: Sequence[str]) -> epath.Path:
    """Writes all problems in the given order and deletes the parts."""
    done = self.done()
    missing = [each for each in ids if each not in done]
    if missing:
      raise RuntimeError(f'{self.output}: {len(missing)} problems are missing, {missing[:3]}, ...')
    records.write_rows(self.output, [done[each] for each in ids])
    self._parts.rmtree()
    return self.output

  @functools.cached_property
  def _parts(self) -> epath.Path:
    return self.output.parent / f'{self.output.stem}.parts'

  @functools.cached_property
  def _settings_file(self) -> epath.Path:
    return self.output.parent / f'{self.output.stem}.settings.json'


def digest(texts: Iterable[Any]) -> str:
  """A short fingerprint of what is read, in order."""
  hashed = hashlib.sha256()
  for text in texts:
    hashed.update(repr(text).encode('utf-8'))
  return hashed.hexdigest()[:16]


def relative(path: epath.PathLike, folder: epath.PathLike) -> str:
  """A local path as seen from a folder, so that both can be moved together."""
  if '://' in str(path) or '://' in str(folder):
    return str(path)
  return os.path.relpath(path, folder)


def bucket(length: int, smallest: int = 32) -> int:
  """The next power of two, `smallest` at least: few shapes, so few compilations."""
  return max(smallest, 1 << (length - 1).bit_length())
