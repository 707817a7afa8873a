r"""The boxed answer of a solution, as in `\boxed{5}`, `\fbox{5}` and `\boxed 5`.

  last_boxed_answer(r'Hence $x = \boxed{\frac{1}{2}}$.')             # r'\frac{1}{2}'
  last_boxed_answer(r'The roots are $\boxed{-2}$ and $\boxed{1}$.')  # '-2, 1'

Boxes that are joined state one answer together: only `and`, `or`, a comma, a semicolon or white
space is between them, or they are in one sentence with such a joint. A correction ("no, I mean
\boxed{7}"), a repetition ("that is, \boxed{7}"), arithmetic or the end of a sentence between two
boxes separates them; then the last one counts. Cases ("If r = 1, b = \boxed{2}. If r = -1, ...")
are joined, too. Each function is linear in the length of the text.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import re

_COMMANDS = r'\\?(?:boxed|fbox|framebox)'
_COMMAND = re.compile(_COMMANDS)
_OPENING = r'[ \t\n]{0,20}\{'
# A search is fastest if each alternative starts with a character; so the groups that name the
# alternatives are empty and at their ends.
_BRACES = re.compile(
  rf'\\(?:(?:boxed|fbox|framebox){_OPENING}(?P<box>)|.)|\{{(?P<brace>)|\}}(?P<closing>)|'
  rf'boxed{_OPENING}(?P<boxed>)|fbox{_OPENING}(?P<fbox>)|framebox{_OPENING}(?P<framebox>)',
  re.DOTALL,
)
_BARE_BOX = re.compile(  # `\boxed 5`, `\boxed\frac12`, but not "use \boxed to mark it"
  r'\\(?:boxed|fbox|framebox)(?![a-zA-Z])[ \t]{0,20}(?=[\d\\(\[|+-]|[a-zA-Z](?![a-zA-Z]))'
)
_BARE_END = re.compile(r'[$\n]|\\[)\]]|\\(?:boxed|fbox|framebox)')
_LAYOUT = re.compile(
  r'\\(?:text|mbox|textbf|mathbf|left|right|displaystyle|q?quad|[,;:! ()\[\]])|[{}$*_~&\s]'
)
_EMPTY = re.compile(
  r'(?:\\(?:[lcv]?dots[bcmio]?|q?quad|text|mbox|underline|_|[,;:! ])|'
  r'\\[hv]?(?:phantom|space)\{[^{}]{0,40}\}|[\s{}.…?_~$-])*'
)
_PLACEHOLDERS = frozenset(
  ('answer', 'your answer', 'the answer', 'final answer', 'your final answer')
)
_MAX_COMMANDS = (
  1_000  # commands of boxes that are read, from the end of the text
)
_MAX_EMPTY = 2_000  # characters of a box that are searched for content
_MAX_GAP = 200  # characters between two boxes of one sentence
_MAX_JOINED = 100  # boxes that state one answer together
_JOINT = re.compile(r'[,;]|\\\\|\b(?:and|or)\b', re.IGNORECASE)
_ONLY_JOINT = re.compile(
  r'(?:[,;，；、]|\\\\)? ?(?:and|or|或者?|和|и|или|et|ou|und|oder)?',
  re.IGNORECASE,
)
_SEPARATION = re.compile(
  r'[.!?](?:\s|$)|\n\s*\n|\n[ \t]*(?:[-*#]|\d{1,2}[.)])|'
  r'\b(?:no|not|wrong|incorrect|mistake|error|actually|wait|correct\w{0,8}|instead|rather|mean|'
  r'meant|sorry|oops|guess|hmm|but|however|recheck\w{0,4}|equivalent|equivalently|i\.e|that is|'
  r'which|in other words|equals|equal to|the same|simplif\w{1,8}|namely|so|hence|therefore|thus|'
  r'then|gives|yields|implies|means|because|since)\b',
  re.IGNORECASE,
)
_NEXT_CASE = re.compile(
  r'[^.]{0,40}\.[\s$\\\])]{0,8}(?:If|When|For|Otherwise|Similarly)\b'
)
_EITHER = re.compile(r'either[^.]{1,40}(?:accept|correct)', re.IGNORECASE)
_SUBSCRIPT = re.compile(r'_(?:\d|\{[^{}]{1,20}\})$')
_TIME = re.compile(r'\d\\?!?:\\?!?\d\d')
_APPROXIMATE = re.compile(
  r'\s*(?:\\approx|\\simeq|≈|\(?\s*(?:which is |or )?(?:approximately|about|roughly))'
)
_OPERATOR = re.compile(r'\s*(?:[-+*/=<>^|·×÷]|\\(?!\\)[a-zA-Z]|\()')
_NAME = re.compile(
  r'([a-zA-Z]|\\[a-zA-Z]{1,12})(_\{?\w{1,3}\}?)?\s{0,4}=[\s${]{0,6}$'
)
_BRACKETS = {'(': ')', '[': ']', '\\{': '\\}', '\\langle': '\\rangle'}


@dataclasses.dataclass(frozen=True)
class Box:
  """A box in a text.

  Attributes:
    command: index of its command.
    start: index of the first character of its content.
    end: index behind the content.
    after: index behind the box.
  """

  command: int
  start: int
  end: int
  after: int


_MAX_WORDS = 12
_WORD = re.compile(r'(?<![\\a-zA-Z])[a-zA-Z]{2,}')
_STATEMENT = re.compile(r'####|<answer>|\banswer\b|\banswers\b', re.IGNORECASE)


def append_answer(solution: str, answer: str) -> str:
  r"""Returns X = S ++ A: the solution with its final answer as last line, in a box.

  A solution that states its answer is returned unchanged: it has a box, or its last line contains
  the answer after "####", "<answer>" or the word "answer".
  """
  if states_answer(solution, answer):
    return solution
  return f'{solution.rstrip()}\n{answer_sentence(answer)}'


def states_answer(solution: str, answer: str) -> bool:
  """Returns whether a solution states its final answer so that a grader finds it."""
  if last_boxed_answer(solution):
    return True
  last_line = solution.rstrip().rpartition('\n')[2]
  marker = _STATEMENT.search(last_line)
  return marker is not None and answer.strip() in last_line[marker.end() :]


def is_text(answer: str) -> bool:
  """Returns whether an answer is a text that states an answer, or more than 12 English words."""
  if _STATEMENT.search(answer) or '\n\n' in answer.strip():
    return True
  return len(_WORD.findall(answer[:2_000])) > _MAX_WORDS


def answer_sentence(answer: str) -> str:
  r"""Returns the last line of a solution: 'The final answer is $\boxed{...}$.'."""
  content = last_boxed_answer(answer) or answer.strip()
  if len(content) > 2 and content[0] == content[-1] == '$':
    content = content[1:-1]
  return f'The final answer is $\\boxed{{{content}}}$.'


def last_boxed_answer(solution: str) -> str | None:
  r"""Returns the answer in the last box, or in the last joined boxes; None without a box.

  A box without braces (`\boxed 5`) ends at the next dollar sign. Boxes without content (empty,
  dots, a placeholder) do not count.
  """
  boxes = answer_boxes(solution)
  return join_boxes(solution, boxes) if boxes else None


def answer_boxes(text: str) -> list[Box]:
  """Returns the joined boxes that state the answer: the last box and those joined to it."""
  boxes = _boxes_with_content(text)
  group = list(itertools.islice(boxes, 1))
  if not group:
    return group
  for box in itertools.islice(boxes, _MAX_JOINED):
    gap = text[box.after : min(group[-1].command, box.after + _MAX_GAP + 1)]
    if len(group) == 1 and _APPROXIMATE.match(_strip_layout(gap)):
      group = [box]  # the exact value counts, not its decimal
    elif _is_joined(gap):
      group.append(box)
    else:
      break
  group.reverse()
  last = group[-1]
  if _EITHER.search(text, last.after, last.after + _MAX_GAP):
    return [last]  # one of several accepted answers
  return group


def _boxes_with_content(text: str) -> Iterator[Box]:
  """Yields the boxes with content, from the end of the text."""
  for box in reversed(find_boxes(text)):
    if _has_content(text, box):
      yield box


def join_boxes(text: str, boxes: Sequence[Box]) -> str:
  """Returns the answer of joined boxes: a list, a point or named values."""
  contents = [text[box.start : box.end].strip() for box in boxes]
  if len(boxes) == 1:
    return contents[0]
  names = []
  for box in boxes:
    name = _NAME.search(text[max(0, box.command - 40) : box.command])
    names.append(name and name.group().rstrip(' \n${'))
  has_names = all(names) and len(set(names)) == len(names)
  if has_names and '=' not in ''.join(contents):
    contents = [f'{name} {content}' for name, content in zip(names, contents)]
    return ', '.join(contents)

  distinct = list(dict.fromkeys(contents))
  if _are_spellings(distinct):
    return distinct[-1]
  joined = ', '.join(distinct)
  before = text[: boxes[0].command].rstrip(' \n$')[-8:]
  after = text[boxes[-1].after :][:20].lstrip(' \n$')
  for opening, closing in _BRACKETS.items():
    if before.endswith(opening) and after.startswith(closing):
      return f'{opening}{joined}{closing}'
  return joined


def find_boxes(text: str) -> list[Box]:
  """Returns the last closed boxes in their order, of nested boxes the innermost."""
  start = _start_of_last_commands(text)
  if start < 0:
    return []
  boxes = _boxes_with_braces(text, start)
  for match in _BARE_BOX.finditer(text, start):
    end = _BARE_END.search(text, match.end())
    stop = end.start() if end else len(text)
    boxes.append(Box(match.start(), match.end(), stop, stop))
  return boxes if len(boxes) < 2 else sorted(boxes, key=_command_of)


def _start_of_last_commands(text: str) -> int:
  """Returns an index before the last `_MAX_COMMANDS` commands of boxes; -1 without a command."""
  start = len(text)
  for _ in range(_MAX_COMMANDS):
    found = text.rfind('box', 0, start)
    if found < 0:
      break
    start = found
  return -1 if start == len(text) else max(start - len('\\frame'), 0)


def _command_of(box: Box) -> int:
  return box.command


def _boxes_with_braces(text: str, position: int) -> list[Box]:
  boxes: list[Box] = []
  # For each open brace: where the box command and its content start; None if it opens no box.
  open_braces: list[tuple[int, int] | None] = []
  first = _COMMAND.search(text, position)
  if first is None:
    return []
  for match in _BRACES.finditer(text, first.start()):
    token = match.lastgroup
    if token == 'closing':
      opened = open_braces.pop() if open_braces else None
      if opened is None:
        continue
      command, start = opened
      is_outer = bool(boxes) and boxes[-1].command > command
      if not is_outer:
        boxes.append(Box(command, start, match.start(), match.end()))
    elif token == 'brace':
      open_braces.append(None)
    elif token is not None:  # None is an escaped character
      open_braces.append((match.start(), match.end()))
  return boxes


def _has_content(text: str, box: Box) -> bool:
  """Returns False for an empty box, dots, a question mark or a placeholder such as "answer"."""
  content = text[box.start : box.end]
  if content.isalnum() and content.lower() not in _PLACEHOLDERS:
    return True
  stripped = content.strip()
  head = stripped[:_MAX_EMPTY]
  end = _EMPTY.match(head)
  longest_command = _MAX_GAP if len(stripped) > _MAX_EMPTY else 0
  if end is not None and end.end() >= len(head) - longest_command:
    return False
  if 'nswer' not in content or len(content) > _MAX_GAP:
    return True
  plain = _strip_layout(content)
  return ' '.join(plain.lower().strip('<>[] ').split()) not in _PLACEHOLDERS


def _is_joined(gap: str) -> bool:
  """Returns whether the text between two boxes joins them to one answer."""
  if len(gap) > _MAX_GAP:
    return False
  if _NEXT_CASE.match(gap):
    return True
  plain = ' '.join(_strip_layout(gap).split())
  if _ONLY_JOINT.fullmatch(plain):
    return bool(plain) or '\n' not in gap
  named = _NAME.sub('', gap)
  plain = _strip_layout(named)
  if _SEPARATION.search(named) or _OPERATOR.match(plain):
    return False
  return _JOINT.search(plain) is not None


def _are_spellings(contents: Sequence[str]) -> bool:
  """Returns whether boxes spell one value: with and without its base, 24 hours and p.m."""
  bare = {_SUBSCRIPT.sub('', content) for content in contents}
  if len(bare) == 1:
    return True
  return all(map(_TIME.search, contents)) and '.m.' in contents[-1]


def _strip_layout(text: str) -> str:
  return _LAYOUT.sub(' ', text)
