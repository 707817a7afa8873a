"""Reads values of nested records by name: paths, joined fields, templates, alternatives.

| name                    | value                                                       |
|-------------------------|-------------------------------------------------------------|
| `answer`                | the field                                                   |
| `reward_model.truth`    | a field of an object                                        |
| `messages.1.content`    | a field of item 1 of a list, from 0; -1 is the last item    |
| `choices.*.text`        | a list: the field of every item                             |
| `small|large.text`      | a list: the field of several objects                        |
| `Body + Question`       | texts joined to sentences of one text                       |
| `{Body} Hence {Asked}`  | a template; each `{name}` is replaced by the text of a path |
| `('question', 'q')`     | the first of several names that has a value                 |

A field whose name contains a dot or braces is found under its own name first. An absent value is
None; so are null, the empty text, and a list of nothing else.
"""

from collections.abc import Mapping
import re

Name = str | tuple[str, ...]

_PART = re.compile(r'\{([^{}]+)\}')
_JOINT = ' + '


def read_value(record: Mapping[str, object], name: Name) -> object:
  """Returns the value of the first name that has one; None without one."""
  for each in alternatives(name):
    value = _read_one(record, each)
    if not _is_absent(value):
      return value
  return None


def _is_absent(value: object) -> bool:
  """Returns whether a value is null, the empty text, or a list of such values only."""
  if isinstance(value, list) and value:
    return all(map(_is_absent, value))
  return value is None or value == ''


def alternatives(name: Name) -> tuple[str, ...]:
  """Returns the names in the order in which they are tried."""
  return (name,) if isinstance(name, str) else tuple(name)


def columns_of(name: Name) -> set[str]:
  """Returns the fields at the top of a record that a name may read."""
  columns = set()
  for each in alternatives(name):
    columns.add(each)
    for path in _paths(each):
      columns.add(path)
      columns.update(path.partition('.')[0].split('|'))
  return columns


def is_list_path(name: Name) -> bool:
  """Returns whether a name reads the items of a list."""
  for each in alternatives(name):
    parts = each.split('.')
    if '*' in parts or '|' in each:
      return True
  return False


def _paths(name: str) -> list[str]:
  if _PART.search(name):
    return _PART.findall(name)
  return name.split(_JOINT)


def _read_one(record: Mapping[str, object], name: str) -> object:
  if name in record:
    return record[name]
  if _PART.search(name):
    return _fill_template(record, name)
  if _JOINT in name:
    return _join(record, name.split(_JOINT))
  return _follow(record, name.split('.'))


def _follow(value: object, parts: list[str]) -> object:
  """Returns the value at the end of a path; None if the path ends before."""
  for index, part in enumerate(parts):
    items = _items(value, part)
    if items is not None:
      return [_follow(item, parts[index + 1 :]) for item in items]
    if isinstance(value, Mapping):
      value = value.get(part)
    elif isinstance(value, list) and part.lstrip('-').isdigit():
      place = int(part)
      value = value[place] if -len(value) <= place < len(value) else None
    else:
      return None
  return value


def _items(value: object, part: str) -> list | None:
  """Returns the values of a part that means several; None for a part that means one."""
  if part == '*' and isinstance(value, list):
    return value
  if '|' in part and isinstance(value, Mapping) and part not in value:
    return [value.get(name) for name in part.split('|')]
  return None


def _fill_template(record: Mapping[str, object], template: str) -> str | None:
  """Returns the template with its parts; None if one is absent."""
  for path in _PART.findall(template):
    if to_text(_read_one(record, path)) is None:
      return None

  def text_of(match: re.Match[str]) -> str:
    return to_text(_read_one(record, match.group(1))) or ''

  return _PART.sub(text_of, template)


def _join(record: Mapping[str, object], paths: list[str]) -> str | None:
  """Returns the texts as sentences, 'a' and 'b?' as 'a. b?'; None if one is absent."""
  joined = ''
  for path in paths:
    text = to_text(_read_one(record, path))
    if text is None:
      return None
    text = text.strip()
    if joined and joined[-1].isalnum():
      joined += '.'
    joined = f'{joined} {text}'.strip()
  return joined


def to_text(value: object) -> str | None:
  """Returns a text or a number as text, 27.0 as '27'; None for anything else."""
  if isinstance(value, str):
    return value
  if type(value) is float and value.is_integer() and abs(value) < 1e15:
    return str(int(value))
  if type(value) in (int, float):
    return str(value)
  return None
