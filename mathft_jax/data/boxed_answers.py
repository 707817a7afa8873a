r"""The boxed answer of a solution, as in `\boxed{5}`, `\fbox{5}` and `\boxed 5`.

last_boxed_answer(r'Hence $x = \boxed{\frac{1}{2}}$.')    # r'\frac{1}{2}'
"""

import re

_BRACES = re.compile(r'\\+(?:boxed|fbox)\s*\{|\\.|[{}]', re.DOTALL)


def last_boxed_answer(solution: str) -> str | None:
  r"""Returns the content of the last box, or None if there is no box that is closed.

  A box without braces (`\boxed 5`) ends at the next dollar sign.
  """
  start, end = last_box_span(solution, allow_empty=True)
  command = max(solution.rfind('\\boxed'), solution.rfind('\\fbox'))
  if command > end:
    content = solution[command:].partition('box')[2].removeprefix('ed')
    if not content.lstrip().startswith('{'):
      return content.split('$')[0].strip() or None
  return solution[start:end] if start >= 0 else None


def last_box_span(text: str, allow_empty: bool = False) -> tuple[int, int]:
  r"""Returns start and end of the content of the last closed `\boxed{...}`; (-1, -1) without one.

  A box that contains only white space counts if `allow_empty`. The time is linear in len(text).
  """
  span = (-1, -1)
  last = max(text.rfind('\\boxed{'), text.rfind('\\fbox{'))
  if last >= 0:
    span = _scan_boxes(text, last, allow_empty)
  if span[0] < 0 and ('\\boxed' in text or '\\fbox' in text):
    span = _scan_boxes(text, 0, allow_empty)
  return span


def _scan_boxes(text: str, position: int, allow_empty: bool) -> tuple[int, int]:
  """Returns the span of the content of the last box that starts at `position` or later."""
  start, end = -1, -1
  # Where the content of each open brace starts; -1 if the brace does not open a box.
  open_braces: list[int] = []
  for match in _BRACES.finditer(text, position):
    brace = match.group()
    if brace == '}':
      opened = open_braces.pop() if open_braces else -1
      if opened > start and (
        allow_empty or text[opened : match.start()].strip()
      ):
        start, end = opened, match.start()
    elif brace[-1] == '{' and brace != '\\{':
      open_braces.append(match.end() if len(brace) > 1 else -1)
  return start, end
