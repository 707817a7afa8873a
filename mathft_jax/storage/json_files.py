"""Reads the json files of published models; errors name the file and what to do."""

import json
from typing import Any

from etils import epath

_LFS_POINTER = b'version https://git-lfs'


def read_json_object(path: epath.PathLike) -> dict[str, Any]:
  """Returns the object in a json file; a byte order mark is accepted.

  Raises:
    ValueError: the file is cut off, a git lfs pointer, no JSON or no object.
    FileNotFoundError: there is no such file.
  """
  path = epath.Path(path)
  content = path.read_bytes()
  if content.startswith(_LFS_POINTER):
    raise ValueError(
      f'{path} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
    )
  try:
    value = json.loads(content.decode('utf-8-sig'))
  except (ValueError, RecursionError) as error:
    reason = str(error) or type(error).__name__
    raise ValueError(
      f'{path} is not valid JSON ({reason}); it may be cut off. Copy it again from the published '
      'model.'
    ) from error
  if not isinstance(value, dict):
    raise ValueError(
      f'{path} has a {type(value).__name__}; it must be a JSON object. Copy it again from the '
      'published model.'
    )
  return value
