"""Long work over problems that a stop does not undo: finished problems lie in small whole files.

  job = Job(workdir / 'candidates.jsonl', settings)
  if not job.is_complete():
    done = job.begin()
    for batch in batches_of(problems that `done` lacks):
      job.add(sets made of it)
    job.finish(ids)

A job that was begun with other settings is refused: its file would hold a mixture. Of several
processes all call all of it, but `add` only with what nobody else has made; the folder must be one
that all of them see.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
from typing import Any

from etils import epath

from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.storage import atomic_files


@dataclasses.dataclass(frozen=True)
class BatchJob:
  """One output file of candidate sets, and all that decides what is in it.

  `<stem>.settings.json` lies beside the output from the beginning on, finished batches in
  `<stem>.parts/` until the output is whole.
  """

  output: epath.Path
  settings: Mapping[str, Any]

  def is_complete(self) -> bool:
    """Whether the output is there; ValueError when it was made, or begun, with other settings.

    The first process looks, for the file may come while others look.
    """
    processes.run_on_primary(f'{self.output} checked', self._check)
    first = json.loads(
      processes.broadcast_from_primary(
        f'{self.output} complete',
        json.dumps(
          {
            'settings': self.settings,
            'complete': processes.is_primary() and self.output.exists(),
          }
        ),
      )
    )
    self._refuse_others(
      first['settings'],
      f'Process {processes.process_index()} was started with other settings than the first one:',
      'Start all with the same command.',
    )
    return first['complete']

  def begin(self) -> dict[str, schema.CandidateSet]:
    """Finished problems by id, the same in all processes."""
    processes.run_on_primary(f'{self.output} claimed', self._claim)
    wanted = processes.broadcast_from_primary(
      f'{self.output} parts', self._listing()
    )
    if not processes.wait_until_visible(
      lambda: self._settings_file.exists() and self._listing() == wanted
    ):
      raise ValueError(
        f'Process {processes.process_index()} does not see what the first one sees in '
        f'{self.output.parent}; wanted a folder that all hosts share.'
      )
    done = self._done()
    processes.wait_at_barrier(
      f'{self.output} begun'
    )  # before anybody adds to it
    return done

  def add(self, sets: Iterable[schema.CandidateSet]) -> None:
    """Keeps a batch of finished problems, under a name that no other process uses."""
    mine = f'{processes.process_index():04d}.jsonl'
    number = len(list(self._parts.glob(f'*.{mine}')))
    schema.write_jsonl(self._parts / f'{number:06d}.{mine}', sets)

  def finish(self, ids: Sequence[str]) -> epath.Path:
    """Writes all problems in the given order and deletes the parts, when all processes are here."""
    processes.wait_at_barrier(f'{self.output} made')
    processes.run_on_primary(f'{self.output} written', lambda: self._merge(ids))
    return self.output

  def _check(self) -> None:
    if self._settings_file.exists():
      self._refuse_others(
        json.loads(self._settings_file.read_text()),
        f'{self.output.parent} was made with other settings:',
        'Give these settings another folder, or delete this one.',
      )
    elif self.output.exists():
      raise ValueError(
        f'{self.output} is there without {self._settings_file.name}: another '
        'program made it. Use another folder.'
      )

  def _refuse_others(
    self, found: Mapping[str, Any], what: str, advice: str
  ) -> None:
    """ValueError unless these are the job's settings."""
    wanted = json.loads(json.dumps(self.settings))
    differ = [
      name
      for name in wanted.keys() | found.keys()
      if wanted.get(name) != found.get(name)
    ]
    if differ:
      raise ValueError(
        f'{what}\n'
        f'  there: { ({name: found.get(name) for name in sorted(differ)}) }\n'
        f'  now:   { ({name: wanted.get(name) for name in sorted(differ)}) }\n{advice}'
      )

  def _claim(self) -> None:
    """Makes the folder of parts, and says whose they are."""
    self._parts.mkdir(parents=True, exist_ok=True)
    if not self._settings_file.exists():
      atomic_files.write_text_atomically(
        self._settings_file, json.dumps(self.settings, indent=1) + '\n'
      )

  def _done(self) -> dict[str, schema.CandidateSet]:
    sets = [
      each
      for path in sorted(self._parts.glob('*.jsonl'))
      for each in schema.read_candidate_sets(path)
    ]
    return {each.problem.id: each for each in sets}

  def _listing(self) -> str:
    return content_digest(
      sorted(path.name for path in self._parts.glob('*.jsonl'))
    )

  def _merge(self, ids: Sequence[str]) -> None:
    done = self._done()
    if processes.process_count() > 1 and not set(ids) <= done.keys():
      processes.wait_until_visible(lambda: set(ids) <= self._done().keys())
      done = self._done()
    missing = [each for each in ids if each not in done]
    if missing:
      raise RuntimeError(
        f'{self.output}: {len(missing)} problems are missing, {missing[:3]}, ...'
      )
    schema.write_jsonl(self.output, [done[each] for each in ids])
    self._parts.rmtree(
      missing_ok=True
    )  # in a bucket no folder is there without a file

  @functools.cached_property
  def _parts(self) -> epath.Path:
    return self.output.parent / f'{self.output.stem}.parts'

  @functools.cached_property
  def _settings_file(self) -> epath.Path:
    return self.output.parent / f'{self.output.stem}.settings.json'


def content_digest(texts: Iterable[Any]) -> str:
  """A short fingerprint of what is read, in order."""
  hashed = hashlib.sha256()
  for text in texts:
    hashed.update(repr(text).encode('utf-8'))
  return hashed.hexdigest()[:16]


def round_up_to_power_of_two(length: int, smallest: int = 32) -> int:
  """The next power of two, `smallest` at least: few shapes, so few compilations."""
  return max(smallest, 1 << (length - 1).bit_length())
