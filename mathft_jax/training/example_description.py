"""What the examples of a run are made from, as texts that are saved with each checkpoint.

  description = describe_examples(source)
  differences(saved, description)      'problems.path: a.jsonl -> b.jsonl'

An equal description means equal examples, so a finished run need not read them again. It contains
the fields of the example source and the sizes and times of the files that they name.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import os

from etils import epath

from mathft_jax.storage import digests

Description = Mapping[str, str]

FILES = 'files'  # digest of names, sizes and times
MAX_CHARACTERS = (
  4_000  # of a saved description; a longer one is saved as a digest
)
MAX_PATH_LENGTH = 300
NUM_SHOWN = 5


def describe_examples(source: object) -> dict[str, str]:
  """Returns the fields of an example source by name; {} if one of them has no stable text."""
  try:
    fields = dict(_describe(source, ''))
  except _NoStableTextError:
    return {}
  files = []
  for text in sorted(set(fields.values())):
    files += _stamps(text)
  if len(json.dumps(fields)) > MAX_CHARACTERS:
    fields = {'digest': digests.content_digest(sorted(fields.items()))}
  if files:
    fields[FILES] = digests.content_digest(files)
  return fields


def differences(saved: Description, now: Description) -> str:
  """Returns what differs, at most a few fields; '' if nothing is known."""
  names = []
  for name in sorted(saved.keys() | now.keys()):
    if name != FILES and saved.get(name) != now.get(name):
      names.append(name)
  if not saved or not now:
    return ''
  if not names:
    return 'the files have changed'

  shown = []
  for name in names[:NUM_SHOWN]:
    old, new = saved.get(name, 'not set'), now.get(name, 'not set')
    shown.append(f'{name.lstrip(".")}: {old} -> {new}')
  if len(names) > NUM_SHOWN:
    shown.append(f'and {len(names) - NUM_SHOWN} more')
  return '; '.join(shown)


class _NoStableTextError(Exception):
  """An object whose text may be the same for different contents, or differ for equal ones."""


def _describe(value: object, name: str) -> Iterator[tuple[str, str]]:
  """Yields (name, text) of a value and of all its parts."""
  fingerprint = getattr(value, 'fingerprint', None)
  if callable(fingerprint) and not isinstance(value, type):
    yield name, str(fingerprint())
  elif dataclasses.is_dataclass(value) and not isinstance(value, type):
    yield f'{name}.class', type(value).__name__
    for field in dataclasses.fields(value):
      yield from _describe(getattr(value, field.name), f'{name}.{field.name}')
  elif isinstance(value, Mapping):
    for key, item in value.items():
      yield from _describe(item, f'{name}.{key}')
  elif isinstance(value, (list, tuple)):
    yield f'{name}.length', str(len(value))
    for index, item in enumerate(value):
      yield from _describe(item, f'{name}.{index}')
  elif isinstance(value, os.PathLike):
    yield name, os.fspath(value)
  elif value is None or isinstance(value, (bool, int, float, str)):
    yield name, str(value)
  else:
    yield name, _name_of_function(value)


def _name_of_function(value: object) -> str:
  """Returns the name of a function or class of a module."""
  name = getattr(value, '__qualname__', '<')
  if '<' in name or getattr(value, '__self__', None) is not None:
    raise _NoStableTextError
  return f'{getattr(value, "__module__", "")}.{name}'


def _stamps(text: str) -> list[tuple[str, int, float]]:
  """Returns (path, bytes, time) of the file, or of the files in the folder, that a text names."""
  if not text or len(text) > MAX_PATH_LENGTH or '\n' in text:
    return []
  path = epath.Path(text.replace('{split}', 'train'))
  try:
    if '*' in path.name:
      paths = path.parent.glob(path.name)
    elif path.is_dir():
      paths = path.iterdir()
    elif path.exists():
      paths = [path]
    else:
      paths = []
    stamps = []
    for each in sorted(paths):
      stat = each.stat()
      stamps.append((str(each), stat.length, stat.mtime))
    return stamps
  except (OSError, ValueError, ImportError):
    return []  # no path; reading the examples reports a real problem
