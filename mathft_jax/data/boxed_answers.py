r"""The boxed answer of a solution, as in `\boxed{5}`, `\fbox{5}` and `\boxed 5`.

last_boxed_answer(r'Hence $x = \boxed{\frac{1}{2}}$.')    # r'\frac{1}{2}'
"""

import re

# Possessive quantifiers (`++`, `*+`) do not backtrack, so the time is linear in the text.
_TOKEN = re.compile(
  r'(\\(?:boxed|fbox)\s*+\{)'
  r'|(?<!\\)\\(?:\\\\)*+[{}]'  # a brace after an odd number of backslashes is text
  r'|(?:\{[^{}\\]*+\}[^{}\\]*+)++'  # groups without braces or commands inside
  r'|\{++|\}++'
)


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
  depth = 0  # open braces
  open_boxes: list[tuple[int, int]] = []  # depth outside, start of content
  for match in _TOKEN.finditer(text, position):
    first, last = text[match.start()], text[match.end() - 1]
    if match[1]:
      open_boxes.append((depth, match.end()))
      depth += 1
    elif first == '}':
      depth_after = max(depth - (match.end() - match.start()), 0)
      while open_boxes and open_boxes[-1][0] >= depth_after:
        depth_outside, opened = open_boxes.pop()
        closed = match.start() + depth - depth_outside - 1
        if opened > start and (allow_empty or text[opened:closed].strip()):
          start, end = opened, closed
      depth = depth_after
    elif first == '{' and last == '{':
      depth += match.end() - match.start()
  return start, end
