"""Finds the final answer in the text of a solution.

In order: the last closed, non-empty `\\boxed{...}`; the text under the last `# Answer` heading; the
last `#### x`; the last `<answer>x</answer>`; the last phrase (`Final Answer: x`, `the answer is x`,
`A: x`). Only what follows `</think>` is read. Every search is one pass over the text.
"""

import dataclasses
import re

_THOUGHT = '</think>'
_BRACES = re.compile(r'\\+(?:boxed|fbox)\s*\{|\\.|[{}]', re.DOTALL)
_BARE_BOX = re.compile(r'\\(?:boxed|fbox)(?:\s+(?=[^\s{$])|(?=\d))([^$\n]*)')
_HEADING = re.compile(
  r'^[ \t]*(?:#{1,6}[ \t]*|\*\*)(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*:?(?:\*\*)?[ \t]*:?[ \t]*$',
  re.IGNORECASE | re.MULTILINE,
)
_HASH = re.compile(r'####[ \t]*(\S[^\n]*)')
_TAG = re.compile(
  r'<answer>((?:(?!<answer>).)*?)</answer>', re.IGNORECASE | re.DOTALL
)
_PHRASE = re.compile(
  r'\b(?:answers?|correct[ \t]+(?:option|choice))(?:[ \t]+(?:to|of|for)(?:[ \t]+[\w\']+){1,8}?)?(?:\*\*|\s)*'
  r'(?:(?::|=|\bis\b|\bare\b|\bwas\b|\bequals\b|\b(?:should|must|would|will)\s+be\b)(?:\*\*|[\s:])*'
  r'|(?=\$|\\\[|\\\())'
  r'|\bans[.:][ \t]*|^[ \t]*A:[ \t]*',
  re.IGNORECASE | re.MULTILINE,
)
_NO_ANSWER = re.compile(
  r'(?:not|in)?correct\b|wrong\b|right\b|not\b|the same\b', re.IGNORECASE
)
_SENTENCE_END = re.compile(r'\.(?=\s)|\n')
_DISPLAY = (('\\[', '\\]'), ('$$', '$$'), ('\\(', '\\)'))
_COPULA = re.compile(r'\b(?:is|are|equals|be)\b(?=[^a-zA-Z]|\s)')
_MATH = re.compile(r'\$([^$]+)\$|\*\*([^*]+)\*\*')
_NUMBER = re.compile(r'(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?')
_REASON = re.compile(
  r',?\s+(?:since|because|which|as[ \t]+(?:desired|required|claimed|expected|needed|wanted))\b'
)
_PROSE_WORDS = 4  # a phrase of more words is a sentence around the answer


@dataclasses.dataclass(frozen=True)
class FinalAnswer:
  """The text of a final answer and how it was found: box, heading, hash, tag or phrase."""

  text: str
  method: str


def extract_answer(solution: str) -> str | None:
  """The final answer of a solution, or None where its text holds none."""
  found = find_final_answer(solution)
  return found.text if found else None


def find_final_answer(solution: str) -> FinalAnswer | None:
  """The final answer and how it was found."""
  text = solution.rpartition(_THOUGHT)[2].replace('：', ':')
  text = text.replace('\x08oxed', '\\boxed')  # a box once unescaped
  searches = (
    ('box', _last_box),
    ('heading', _under_heading),
    ('hash', _after_hash),
    ('tag', _in_tag),
    ('phrase', _after_phrase),
  )
  for how, search in searches:
    answer = search(text)
    if answer:
      return FinalAnswer(answer, how)
  return None


def _last_box(text: str) -> str:
  """The content of the last closed, non-empty box; a box may also stand before a bare word."""
  bare = _last(_BARE_BOX, text)
  last = max(text.rfind('\\boxed{'), text.rfind('\\fbox{'))
  start, end = _boxes(text, last) if last >= 0 else (-1, -1)
  if start < 0 and ('\\boxed' in text or '\\fbox' in text):
    start, end = _boxes(text, 0)
  if bare and bare.start() > end:
    return _tidy(bare.group(1))
  return text[start:end].strip() if start >= 0 else ''


def _boxes(text: str, position: int) -> tuple[int, int]:
  """Where the content of the last closed, non-empty box from a position on starts and ends, or -1."""
  start, end = -1, -1
  stack: list[
    int
  ] = []  # where the group's content starts; negative when it is no box
  for match in _BRACES.finditer(text, position):
    brace = match.group()
    if brace == '}':
      opened = stack.pop() if stack else -1
      if opened > start and text[opened : match.start()].strip():
        start, end = opened, match.start()
    elif brace[-1] == '{' and brace != '\\{':
      stack.append(match.end() if len(brace) > 1 else -1)
  return start, end


def _under_heading(text: str) -> str:
  """The first lines under the last heading."""
  match = _last(_HEADING, text)
  return _tidy(_first_statement(text[match.end() :])) if match else ''


def _after_hash(text: str) -> str:
  match = _last(_HASH, text)
  return _after_phrase(match.group(1)) or _tidy(match.group(1)) if match else ''


def _in_tag(text: str) -> str:
  match = _last(_TAG, text)
  return _tidy(match.group(1)) if match else ''


def _after_phrase(text: str) -> str:
  """What the last phrase that announces an answer announces."""
  matches = [
    m for m in _PHRASE.finditer(text) if not _NO_ANSWER.match(text, m.end())
  ]
  for match in reversed(matches):
    statement = _first_statement(text[match.end() :])
    reason = _REASON.search(statement, 1)
    answer = _tidy(
      _only_the_answer(statement[: reason.start()] if reason else statement)
    )
    if answer:
      return answer
  return ''


def _first_statement(text: str) -> str:
  """Up to the end of the first sentence or line; displayed math counts as one line."""
  text = text.lstrip(' \t\n*:')
  for opening, closing in _DISPLAY:
    if text.startswith(opening):
      end = text.find(closing, len(opening))
      if end > 0:
        return text[len(opening) : end]
  end = _SENTENCE_END.search(text)
  return text[: end.start()] if end else text


def _only_the_answer(statement: str) -> str:
  """The part of a sentence that is the answer: behind its last copula, or its only math or number."""
  if (
    len(statement.split()) <= _PROSE_WORDS or '\\' in statement.split(' ', 1)[0]
  ):
    return statement
  copula = _last(_COPULA, statement)
  if copula:
    return statement[copula.end() :]
  for pattern in (_MATH, _NUMBER):
    found = pattern.findall(statement)
    if len(found) == 1:
      return found[0] if isinstance(found[0], str) else ''.join(found[0])
  return statement


def _tidy(answer: str) -> str:
  """Without the marks around an answer: bold, math delimiters, a full stop."""
  before = None
  while answer != before:
    before = answer
    answer = answer.strip().rstrip('.').strip('*`').strip()
    for opening, closing in (*_DISPLAY, ('$', '$')):
      inner = answer[len(opening) : -len(closing)]
      if (
        answer.startswith(opening)
        and answer.endswith(closing)
        and '$' not in inner
      ):
        answer = inner
  return answer


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
  match = None
  for match in pattern.finditer(text):
    pass
  return match
