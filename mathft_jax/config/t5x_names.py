"""Names of t5x's gin files and what they are called here.

  explain_macro('USE_HARDWARE_RNG')
  explain_parameter('utils.SaveCheckpointConfig', 'period')

`t5x_names.json` has two tables, macros and parameters (`<class>.<parameter>`; `<class>.*` is for
all others). A value is [name here or null, note]. docs/t5x.md prints the tables.
"""

import functools
import json
import pathlib
from typing import NamedTuple


class NameHere(NamedTuple):
  """What a name of t5x is called here.

  Attributes:
    name: macro or parameter; None if there is no counterpart.
    note: what differs, or what to use instead; '' if nothing differs.
  """

  name: str | None
  note: str


def find_macro(name: str) -> NameHere | None:
  """Returns what a macro of t5x is called here; None if t5x's run files do not have it."""
  return tables()['macros'].get(name)


def find_parameter(selector: str, parameter: str) -> NameHere | None:
  """Returns what a parameter of t5x is called here; None if it is unknown.

  Args:
    selector: function or class as in a gin file, such as 'utils.SaveCheckpointConfig'.
    parameter: its parameter.
  """
  parameters = tables()['parameters']
  owner = selector.rpartition('.')[2]
  return parameters.get(f'{owner}.{parameter}') or parameters.get(f'{owner}.*')


def explain_macro(name: str) -> str:
  """Returns a sentence on a macro of t5x for an error message, else ''."""
  found = find_macro(name)
  return '' if found is None else _explain(name, found)


def explain_parameter(selector: str, parameter: str) -> str:
  """Returns a sentence on a parameter of t5x for an error message, else ''."""
  found = find_parameter(selector, parameter)
  return '' if found is None else _explain(f'{selector}.{parameter}', found)


def table_cells(here: NameHere) -> str:
  """Returns the last two cells of a row of the tables in docs/t5x.md."""
  return f'{f"`{here.name}`" if here.name else "-"} | {here.note}'


def _explain(name: str, found: NameHere) -> str:
  note = f' ({found.note})' if found.note else ''
  if found.name is None:
    return f" t5x's {name} has no counterpart here: {found.note}."
  if found.name == name:
    return f' It is used {found.note}.' if found.note.startswith('with') else ''
  return f" Did you mean {found.name}? It is t5x's {name} here{note}."


@functools.cache
def tables() -> dict[str, dict[str, NameHere]]:
  """Returns the tables 'macros' and 'parameters'."""
  path = pathlib.Path(__file__).with_suffix('.json')
  found: dict[str, dict[str, NameHere]] = {}
  for table, rows in json.loads(path.read_text()).items():
    found[table] = {name: NameHere(*row) for name, row in rows.items()}
  return found
