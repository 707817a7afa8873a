"""`config.gin` in an output folder: the configuration of the run whose outputs are there.

  run_config.hold(workdir, text)      the entry point, before it calls the program
  run_config.begin_output(folder)     a program, when it has accepted the folder and starts to write
  run_config.keep_existing(folder)    a program whose output there is complete
  run_config.write()                  the entry point, after success

A run that is refused or fails before it writes anything leaves the file as it was. Only the primary
process calls `hold`; in other processes nothing is written.
"""

import dataclasses
import re

from absl import logging
from etils import epath

from mathft_jax.storage import atomic_files, local_and_remote_paths

NAME = 'config.gin'
NUM_SHOWN = 4  # differences in the log
VALUE_LENGTH = 60  # characters of a value in the log
BINDING = re.compile(r'^([\w./]+)\s*=\s*(.*)$')


@dataclasses.dataclass(frozen=True)
class _HeldConfig:
  workdir: epath.Path
  text: str


_held: _HeldConfig | None = None


def hold(workdir: epath.PathLike, text: str) -> None:
  """Keeps the text of a run's config.gin until the program accepts the folder."""
  global _held
  _held = _HeldConfig(local_and_remote_paths.absolute_path(workdir), text)


def begin_output(folder: epath.PathLike) -> None:
  """Writes the held text if a folder is the run's work directory or inside it."""
  if _held is None:
    return
  path = local_and_remote_paths.absolute_path(folder)
  if path == _held.workdir or _held.workdir in path.parents:
    write()


def keep_existing(folder: epath.PathLike) -> None:
  """Drops the held text if the output in the work directory is that of an earlier run."""
  if _held is None:
    return
  path = local_and_remote_paths.absolute_path(folder)
  if path == _held.workdir and (path / NAME).exists():
    discard()


def write() -> None:
  """Writes the held text, if there is one; another earlier file becomes config.<number>.gin."""
  if _held is None:
    return
  path, text = _held.workdir / NAME, _held.text
  discard()
  if path.exists() and (old := path.read_text()) != text:
    number = 1 + len(list(path.parent.glob('config.*.gin')))
    path.rename(path.parent / f'config.{number}.gin')
    logging.warning(
      '%s differs from that of the last run, which is now config.%d.gin: %s',
      path,
      number,
      describe_differences(old, text),
    )
  atomic_files.write_text_atomically(path, text)


def discard() -> None:
  """Forgets the held text."""
  global _held
  _held = None


def describe_differences(old: str, new: str) -> str:
  """Returns a few of the bindings that differ, macros first: 'TRAIN_STEPS: 10 -> 11'."""
  before, after = _bindings(old), _bindings(new)
  names = []
  for name in sorted(before | after, key=lambda name: ('.' in name, name)):
    if before.get(name) != after.get(name):
      names.append(name)
  if not names:
    return 'only comments and imports'

  shown = []
  for name in names[:NUM_SHOWN]:
    values = [_shorten(each.get(name, 'not set')) for each in (before, after)]
    shown.append(f'{name}: {" -> ".join(values)}')
  if len(names) > NUM_SHOWN:
    shown.append(f'and {len(names) - NUM_SHOWN} more')
  return '; '.join(shown)


def _bindings(text: str) -> dict[str, str]:
  """Returns the values in the text of a gin file by name; lines that do not bind continue one."""
  values: dict[str, str] = {}
  name = None
  for line in text.replace('\\\n', '').splitlines():
    match = BINDING.match(line)
    if match:
      name = match[1]
      values[name] = ' '.join(match[2].split())
    elif line.startswith(('#', 'import ', 'from ')) or not line.strip():
      name = None
    elif name is not None:
      values[name] += f' {" ".join(line.split())}'
  return values


def _shorten(value: str) -> str:
  if len(value) <= VALUE_LENGTH:
    return value
  return f'{value[:VALUE_LENGTH]}...'
