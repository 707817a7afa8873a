r"""Extraction of the final answer from the text of a solution.

  extract_answer('So the answer is $\\boxed{5}$.')    # '5'
  find_final_answer('#### 42')                        # FinalAnswer(text='42', method='hash')

The methods, in this order:

  box       the last closed, non-empty `\boxed{x}`
  heading   the text under the last `# Answer` heading
  hash      the last `#### x`
  tag       the last `<answer>x</answer>`
  phrase    the last phrase such as `Final Answer: x`, `the answer is x` or `A: x`

Text before `</think>` is ignored. The time is linear in the text, whatever it is: no search
backtracks over a run of characters, and no step is repeated for each of many matches.
"""

import collections
from collections.abc import Callable
import dataclasses
import re

from mathft_jax.data import boxed_answers

_THOUGHT_END = '</think>'
# Possessive quantifiers (`*+`, `++`) do not backtrack, so each search is linear in the text.
_BARE_BOX = re.compile(r'\\(?:boxed|fbox)(?:\s++(?=[^{$])|(?=\d))([^$\n]*+)')
_HEADING = re.compile(
  r'^[ \t]*+(?:#{1,6}+[ \t]*+|\*\*)(?:the[ \t]++)?(?:final[ \t]++)?answer'
  r'[ \t]*+:?(?:\*\*)?[ \t]*+:?[ \t]*+$',
  re.IGNORECASE | re.MULTILINE,
)
_HASH = re.compile(r'####[ \t]*+(\S[^\n]*+)')
_TAG = re.compile(r'<(/?)answer>', re.IGNORECASE)
_PHRASE = re.compile(
  r'\b(?:answers?|correct[ \t]++(?:option|choice))'
  r'(?:[ \t]++(?:to|of|for)(?:[ \t]++[\w\']++){1,8}?)?(?:\*\*|\s)*+'
  r'(?:(?::|=|\bis\b|\bare\b|\bwas\b|\bequals\b|\b(?:should|must|would|will)\s++be\b)'
  r'(?:\*\*|[\s:])*+'
  r'|(?=\$|\\\[|\\\())'
  r'|\bans[.:][ \t]*+|^[ \t]*+A:[ \t]*+',
  re.IGNORECASE | re.MULTILINE,
)
_JUDGEMENT = re.compile(  # "the answer is correct" does not state an answer
  r'(?:not|in)?correct\b|wrong\b|right\b|not\b|the same\b', re.IGNORECASE
)
_MATH_DELIMITERS = (('\\[', '\\]'), ('$$', '$$'), ('\\(', '\\)'))
_SENTENCE_END = re.compile(r'\.(?=\s)|\n')
_COPULA = re.compile(r'\b(?:is|are|equals|be)\b(?=[^a-zA-Z]|\s)')
_MATH = re.compile(r'\$([^$]+)\$|\*\*([^*]+)\*\*')
_NUMBER = re.compile(r'(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?')
_REASON = re.compile(
  r'(?:,|(?<!\s))\s++(?:since|because|which|as[ \t]++'
  r'(?:desired|required|claimed|expected|needed|wanted))\b'
)
_LEADING_MARKUP = re.compile(r'[ \t\n*:]*+')
_MAX_ANSWER_WORDS = 4  # a statement with more words is a sentence
_MAX_PHRASES = 100  # the last phrases of a solution; the others are not tried
_MAX_MARKUP_LAYERS = 16  # marks around an answer; more are not removed


@dataclasses.dataclass(frozen=True)
class FinalAnswer:
  """The final answer of a solution and the method that found it.

  Attributes:
    text: the answer, without math delimiters.
    method: 'box', 'heading', 'hash', 'tag' or 'phrase'.
  """

  text: str
  method: str


def extract_answer(solution: str) -> str | None:
  """Returns the final answer of a solution, or None if there is none."""
  answer = find_final_answer(solution)
  return answer.text if answer else None


def find_final_answer(solution: str) -> FinalAnswer | None:
  """Returns the final answer of a solution and the method that found it."""
  text = solution.rpartition(_THOUGHT_END)[2].replace('：', ':')
  # `\b` of a string literal that was not escaped is a backspace.
  text = text.replace('\x08oxed', '\\boxed')

  for method, search in _SEARCHES.items():
    answer = search(text)
    if answer:
      return FinalAnswer(answer, method)
  return None


def _answer_in_box(text: str) -> str:
  r"""Returns the content of the last non-empty box, with or without braces (`\boxed 5`)."""
  start, end = boxed_answers.last_box_span(text)
  bare = _last_match(_BARE_BOX, text)
  if bare and bare.start() > end:
    return _strip_markup(bare.group(1))
  return text[start:end].strip() if start >= 0 else ''


def _answer_under_heading(text: str) -> str:
  match = _last_match(_HEADING, text)
  if match is None:
    return ''
  return _strip_markup(_first_statement(text, match.end()))


def _answer_after_hash(text: str) -> str:
  match = _last_match(_HASH, text)
  if match is None:
    return ''
  line = match.group(1)
  return _answer_after_phrase(line) or _strip_markup(line)


def _answer_in_tag(text: str) -> str:
  start = end = opened = -1
  for match in _TAG.finditer(text):
    if not match[1]:
      opened = match.end()
    elif opened >= 0:
      start, end, opened = opened, match.start(), -1
  return _strip_markup(text[start:end]) if start >= 0 else ''


def _answer_after_phrase(text: str) -> str:
  """Returns the answer after the last phrase that states one."""
  last_ends: collections.deque[int] = collections.deque(maxlen=_MAX_PHRASES)
  for match in _PHRASE.finditer(text):
    if not _JUDGEMENT.match(text, match.end()):
      last_ends.append(match.end())
  for end in reversed(last_ends):
    statement = _first_statement(text, end)
    reason = _REASON.search(statement, 1)
    if reason:
      statement = statement[: reason.start()]
    answer = _strip_markup(_answer_in_sentence(statement))
    if answer:
      return answer
  return ''


def _first_statement(text: str, position: int) -> str:
  """Returns the text from a position to the end of the sentence, line or displayed formula."""
  markup = _LEADING_MARKUP.match(text, position)
  start = markup.end() if markup else position
  for opening, closing in _MATH_DELIMITERS:
    if text.startswith(opening, start):
      end = text.find(closing, start + len(opening))
      if end > 0:
        return text[start + len(opening) : end]
  end = _SENTENCE_END.search(text, start)
  return text[start : end.start() if end else None]


def _answer_in_sentence(statement: str) -> str:
  """Returns the answer in a sentence: what follows its last verb, or its only formula or number."""
  first_word = statement.split(' ', 1)[0]
  words = statement.split(None, _MAX_ANSWER_WORDS)
  if len(words) <= _MAX_ANSWER_WORDS or '\\' in first_word:
    return statement
  copula = _last_match(_COPULA, statement)
  if copula:
    return statement[copula.end() :]

  for pattern in (_MATH, _NUMBER):
    matches = list(pattern.finditer(statement))
    if len(matches) == 1:
      match = matches[0]
      return match[match.lastindex or 0]
  return statement


def _strip_markup(answer: str) -> str:
  """Removes the marks around an answer: bold, math delimiters, a final full stop."""
  for _ in range(_MAX_MARKUP_LAYERS):
    before = answer
    answer = answer.strip().rstrip('.').strip('*`').strip()
    for opening, closing in (*_MATH_DELIMITERS, ('$', '$')):
      inner = answer[len(opening) : -len(closing)]
      is_enclosed = answer.startswith(opening) and answer.endswith(closing)
      if is_enclosed and '$' not in inner:
        answer = inner
    if answer == before:
      break
  return answer


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
  match = None
  for match in pattern.finditer(text):
    pass
  return match


_SEARCHES: dict[str, Callable[[str], str]] = {
  'box': _answer_in_box,
  'heading': _answer_under_heading,
  'hash': _answer_after_hash,
  'tag': _answer_in_tag,
  'phrase': _answer_after_phrase,
}
