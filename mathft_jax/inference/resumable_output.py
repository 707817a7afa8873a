"""Resumable batch jobs: finished problems are written to atomic part files.

  job = BatchJob(workdir / 'candidates.jsonl', settings)
  if not job.is_complete():
    finished = job.begin()
    for batch in batches_of(problems that `finished` does not contain):
      job.add(candidate sets of the batch)
    job.finish(ids)

A job with other settings than those of existing files is an error, and so is an output that is not
the one that was written. Damaged part files are made again. In a run of several processes
all call all methods; `add` gets only results that no other process adds. The folder must be shared.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import itertools
import json

from absl import logging
from etils import epath

from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.storage import atomic_files, digests, run_config

Settings = Mapping[str, object]

# Key in the settings file: SHA-256 of the complete output.
OUTPUT_DIGEST = 'output_sha256'

# Compared only if both have it: a folder of an earlier version has no such setting, and the
# checkpoint of a finished output may be deleted.
OPTIONAL_SETTINGS = 'checkpoint_step', 'checkpoint_weights'


@dataclasses.dataclass(frozen=True)
class BatchJob:
  """One output file of candidate sets and the settings that determine its contents.

  `<stem>.settings.json` is written next to the output when the job begins. Finished batches are
  stored in `<stem>.parts/` until the output is complete.
  """

  output: epath.Path
  settings: Settings

  def is_complete(self) -> bool:
    """Whether the output exists. The primary process decides for all.

    Raises:
      ValueError: the output or its parts were created with other settings, or are damaged.
    """
    processes.run_on_primary(f'{self.output} checked', self._check_files)
    state = {
      'settings': self.settings,
      'complete': processes.is_primary() and self.output.exists(),
    }
    primary = json.loads(
      processes.broadcast_from_primary(
        f'{self.output} complete', json.dumps(state)
      )
    )
    self._compare_settings(
      primary['settings'],
      f'Process {processes.process_index()} was started with other settings than the primary '
      'process:',
      'Start all processes with the same command.',
    )
    if primary['complete']:
      run_config.keep_existing(self.output.parent)
    return primary['complete']

  def begin(self) -> dict[str, schema.CandidateSet]:
    """The finished problems by id, the same on all processes."""
    processes.run_on_primary(f'{self.output} claimed', self._create_parts)
    primary_digest = processes.broadcast_from_primary(
      f'{self.output} parts', self._digest_of_parts()
    )

    def is_visible() -> bool:
      has_settings = self._settings_file.exists()
      return has_settings and self._digest_of_parts() == primary_digest

    if not processes.wait_until_visible(is_visible):
      raise ValueError(
        f'Process {processes.process_index()} does not see the files that the primary process '
        f'sees in {self.output.parent}. It must be a folder that all hosts share.'
      )
    finished = self._read_parts()
    processes.wait_at_barrier(f'{self.output} begun')  # before any process adds
    return finished

  def add(self, sets: Iterable[schema.CandidateSet]) -> None:
    """Writes a batch of finished problems to a part file that no other process uses."""
    suffix = f'{processes.process_index():04d}.jsonl'
    names = sorted(path.name for path in self._parts.glob(f'*.{suffix}'))
    number = 1 + int(names[-1].partition('.')[0]) if names else 0
    schema.write_jsonl(self._parts / f'{number:06d}.{suffix}', sets)

  def finish(self, ids: Sequence[str]) -> epath.Path:
    """Writes the output in the order of `ids` and deletes the parts, after all processes."""
    processes.wait_at_barrier(f'{self.output} made')
    processes.run_on_primary(
      f'{self.output} written', lambda: self._merge_parts(ids)
    )
    return self.output

  def _check_files(self) -> None:
    if self._settings_file.exists():
      saved = self._read_settings()
      digest = saved.pop(OUTPUT_DIGEST, None)
      self._compare_settings(
        saved,
        f'{self.output.parent} was created with other settings:',
        'Use another folder for these settings, or delete this one.',
      )
      if self.output.exists() and not _is_intact(self.output, digest):
        raise ValueError(
          f'{self.output} is not the file that was written: it is cut or was changed. Delete it '
          f'and {self._settings_file}; the same command makes both again.'
        )
    elif self.output.exists():
      raise ValueError(
        f'{self.output} exists without {self._settings_file.name}, so another program wrote it. '
        'Use another folder.'
      )

  def _read_settings(self) -> dict[str, object]:
    saved = _parse_settings(self._settings_file)
    if saved is None:
      raise ValueError(
        f'{self._settings_file} is damaged: it is not a JSON object. Delete it, and with it '
        f'{self.output} and {self._parts} if they exist; the same command makes them again.'
      )
    return saved

  def _compare_settings(self, found: Settings, what: str, advice: str) -> None:
    """Raises ValueError unless `found` is equal to the settings of the job."""
    wanted = json.loads(json.dumps(self.settings))
    differing = _differing_names(wanted, found)
    if differing:
      there = {name: found.get(name) for name in differing}
      now = {name: wanted.get(name) for name in differing}
      raise ValueError(f'{what}\n  there: {there}\n  now:   {now}\n{advice}')

  def _create_parts(self) -> None:
    run_config.begin_output(self.output.parent)
    self._parts.mkdir(parents=True, exist_ok=True)
    for path in sorted(self._parts.glob('*.jsonl')):
      try:
        schema.read_candidate_sets(path, allow_empty=True)
      except ValueError as error:
        logging.warning('%s is damaged and is made again: %s', path, error)
        path.unlink()
    if not self._settings_file.exists():
      self._write_settings(self.settings)

  def _write_settings(self, settings: Settings) -> None:
    text = json.dumps(settings, indent=1) + '\n'
    atomic_files.write_text_atomically(self._settings_file, text)

  def _read_parts(self) -> dict[str, schema.CandidateSet]:
    sets = {}
    for path in sorted(self._parts.glob('*.jsonl')):
      for candidate_set in schema.read_candidate_sets(path, allow_empty=True):
        sets[candidate_set.problem.id] = candidate_set
    return sets

  def _digest_of_parts(self) -> str:
    names = [path.name for path in self._parts.glob('*.jsonl')]
    return digests.content_digest(sorted(names))

  def _merge_parts(self, ids: Sequence[str]) -> None:
    sets = self._read_parts()
    if processes.process_count() > 1 and not set(ids) <= sets.keys():
      processes.wait_until_visible(
        lambda: set(ids) <= self._read_parts().keys()
      )
      sets = self._read_parts()
    missing = [each for each in ids if each not in sets]
    if missing:
      raise RuntimeError(
        f'{self.output}: {len(missing)} problems are missing, {missing[:3]}, ...'
      )
    ordered = [sets[each] for each in ids]
    lines = hashlib.sha256()
    for each in ordered:
      lines.update(f'{schema.to_json_line(each)}\n'.encode())
    # Before the output: an output without its digest could be damaged.
    self._write_settings({**self.settings, OUTPUT_DIGEST: lines.hexdigest()})
    schema.write_jsonl(self.output, ordered)
    self._parts.rmtree(missing_ok=True)  # a bucket has no empty folders

  @functools.cached_property
  def _parts(self) -> epath.Path:
    return self.output.parent / f'{self.output.stem}.parts'

  @functools.cached_property
  def _settings_file(self) -> epath.Path:
    return _settings_file_of(self.output)


def is_output_of(
  output: epath.Path, settings: Settings, problems: Sequence[schema.Problem]
) -> bool:
  """Whether a complete output has these settings and problems. The primary process decides.

  Needs no prompts: `problems` in the saved settings, which is their digest, is ignored.
  """

  def is_equal() -> bool:
    settings_file = _settings_file_of(output)
    if not output.exists() or not settings_file.exists():
      return False
    saved = _parse_settings(settings_file)
    if saved is None or not _is_intact(output, saved.pop(OUTPUT_DIGEST, None)):
      return False
    saved.pop('problems', None)
    if _differing_names(saved, json.loads(json.dumps(settings))):
      return False

    with output.open('rb') as lines:
      for problem, line in itertools.zip_longest(problems, lines):
        if problem is None or line is None:
          return False
        start = f'{{"problem": {schema.to_json_line(problem)}'
        if not line.startswith(start.encode()):
          return False
    return True

  answer = str(processes.is_primary() and is_equal())
  answer = processes.broadcast_from_primary(f'{output} is complete', answer)
  if answer == 'True':
    run_config.keep_existing(output.parent)
  return answer == 'True'


def _differing_names(left: Settings, right: Settings) -> list[str]:
  """Returns the names of the settings that differ."""
  names = []
  for name in sorted(left.keys() | right.keys()):
    is_missing = name not in left or name not in right
    if name in OPTIONAL_SETTINGS and is_missing:
      continue
    if left.get(name) != right.get(name):
      names.append(name)
  return names


def _parse_settings(path: epath.Path) -> dict[str, object] | None:
  """Returns the settings in a file; None if it is damaged."""
  try:
    saved = json.loads(path.read_bytes())
  except (ValueError, RecursionError):
    return None
  return saved if isinstance(saved, dict) else None


def _is_intact(output: epath.Path, digest: object) -> bool:
  """Whether an output has this digest; without one, whether its last line is complete."""
  data = output.read_bytes()
  if digest is None:
    return not data or data.endswith(b'\n')
  return hashlib.sha256(data).hexdigest() == digest


def _settings_file_of(output: epath.Path) -> epath.Path:
  return output.parent / f'{output.stem}.settings.json'


def round_up_to_power_of_two(length: int, smallest: int = 32) -> int:
  """The next power of two, at least `smallest`; few shapes mean few compilations."""
  return max(smallest, 1 << (length - 1).bit_length())
