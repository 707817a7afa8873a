"""Layout of --help: one entry per flag or parameter, its text wrapped and indented below."""

import re
import textwrap

WIDTH = 88
_ARGUMENT = re.compile(r'  (\w+(?:, \w+)*): (.*)')


def entry(name: str, text: str) -> str:
  """Returns a name on its own line and its text below it."""
  wrapped = textwrap.fill(
    ' '.join(text.split()),
    WIDTH,
    initial_indent=' ' * 6,
    subsequent_indent=' ' * 6,
  )
  return f'  {name}\n{wrapped}'.rstrip()


def break_commands(text: str) -> str:
  """Returns a docstring with its commands broken before flags that are far to the right.

  A backslash at the end of a line of a docstring joins the next line with its indentation.
  """
  return re.sub(r'(?<=\S) {3,}(?=--)', ' \\\\\n      ', text)


def short_value(value: object) -> str:
  """Returns a default value; of an object only its class if its fields are many."""
  text = repr(value)
  if len(text) <= 40:
    return text
  return f'{type(value).__name__}(...)'


def argument_descriptions(docstring: str) -> dict[str, str]:
  """Returns the texts of the section `Args:` of a docstring by argument.

  Args:
    docstring: with its indentation removed, as `inspect.getdoc` returns it.
  """
  found: dict[str, str] = {}
  names: list[str] = []
  _, _, section = docstring.partition('\nArgs:\n')
  for line in section.split('\n'):
    if not line.strip():
      break
    match = _ARGUMENT.fullmatch(line)
    if match and not line.startswith('   '):
      names = match[1].split(', ')
      text = match[2]
    else:
      text = line.strip()
    for name in names:
      found[name] = f'{found.get(name, "")} {text}'.strip()
  return found
