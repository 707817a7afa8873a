"""Reads published json files; errors name the file and what to do."""

import json
from typing import Any

from etils import epath

LFS_POINTER = b'version https://git-lfs'


def read_json_object(path: epath.PathLike) -> dict[str, Any]:
  """Returns the object in a json file; a byte order mark is accepted.

  Raises:
    ValueError: the file is cut off, a git lfs pointer, no JSON or no object.
    FileNotFoundError: there is no such file.
  """
  path = epath.Path(path)
  return parse_json_object(path.read_bytes(), str(path))


def parse_json_object(content: bytes, path: str) -> dict[str, Any]:
  """Returns the object of the content of a json file; see `read_json_object`.

  Args:
    content: the bytes of the file.
    path: name of the file, for error messages.
  """
  if content.startswith(LFS_POINTER):
    raise ValueError(
      f'{path} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
    )
  try:
    value = json.loads(content.decode('utf-8-sig'))
  except (ValueError, RecursionError) as error:
    reason = str(error) or type(error).__name__
    raise ValueError(
      f'{path} is not valid JSON ({reason}); it may be cut off. Copy it again from where it was '
      'published.'
    ) from error
  if not isinstance(value, dict):
    raise ValueError(
      f'{path} has a {type(value).__name__}; it must be a JSON object. Copy it again from where it '
      'was published.'
    )
  return value
