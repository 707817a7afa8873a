"""Announcements of a final answer in a text: headings, `####`, `<answer>` and phrases.

  answer_after_phrase('The answer is 72 clips, altogether.')    # '72 clips'

Each search returns the answer as text, '' without one, and is linear in the text: quantifiers in
the patterns are bounded or cannot overlap, and only the last headings and phrases are read.
"""

import collections
from collections.abc import Callable, Iterator
import functools
import re

from mathft_jax.grading import statements

_HEADINGS = frozenset(
  (
    'answer',
    'the answer',
    'final answer',
    'the final answer',
    'my answer',
    'my final answer',
  )
)
_HASH = re.compile(r'####[ \t]*+(?:\n[ \t]*+)?(\S[^\n]*)')
# A search is fastest for a pattern that starts with a set of characters and then has a literal;
# therefore the conditions on what is before a cue follow its second letter.
_CUE = re.compile(
  r'[AaCc](?i:'
  r'n(?<=\ban)(?:(?<!/an)(?<!per an)(?<!express the an)(?<!express your an)swers?\b|s[.:])|'
  r'o(?<=\bco)rrect[ \t]{1,3}(?:option|choice)\b|'
  r':(?:(?<=^a:)|(?<=^[ \t]a:)|(?<=^[ \t]{2}a:)|(?<=^[ \t]{3}a:)))',
  re.MULTILINE,
)
_MAX_CUES = 1_000  # cues, or lines with "answer", that are looked at, from the end of the text
_MAX_HEADING = 80  # characters of the line of a heading
_MAX_BLOCKS = 50  # blocks of text that are read for an answer
# What may stand between "answer" and its verb: "to this problem", ", in dollars,", "we want".
_OF = re.compile(
  r'[*_]{0,2}[ \t]{0,3}(?:,[ \t]{0,3})?'
  r'(?=\(|(?:to|of|for|in|we|I|as|here|then|therefore|rounded)\b)'
)
_OF_WORD = re.compile(r"[ \t]{0,3}[\w'’.,$()-]{1,20}")
_MAX_OF_WORDS = 10
_LINK = re.compile(
  r'[*_\s]{0,6}(?:'
  r'[:=→]|[-–—](?=\s)|'
  r'(?:therefore|thus|then|simply|also|now|only|just)?[ \t]{0,2}'
  r'\b(?:is|are|was|were|equals|becomes|'
  r'(?:should|must|would|will|has to|can|could|might|may)\s(?:only\s)?be|'
  r'(?:comes?|came|turns?|turned|works?|worked)\s(?:out\s)?(?:to|at)(?:\sbe)?|remains)\b|'
  r'(?=\$|\\\[|\\\())'
  r'[*_\s:]{0,8}'
  r'(?:(?:therefore|thus|then|simply|equal to|given by|as follows)\b[,:\s]{0,3})?',
  re.IGNORECASE,
)
_JUDGEMENT = re.compile(  # "the answer is correct" does not state an answer
  r'(?:not|in)?correct\b|wrong\b|right\b|not(?!\b[^.\n]{1,60}\b(?:but|it is)\b)|the same\b|'
  r'that\b(?![^.\n]{0,80}\d)|clear\b|obvious\b|unique\b|expected\b|in the form\b|given in\b',
  re.IGNORECASE,
)
_TAG_START, _TAG_END = '<answer>', '</answer>'
_EMPTY_BOX = re.compile(r'\\boxed\s{0,4}\{\s{0,4}\}')
_TEXT_COMMAND = re.compile(
  r'\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|hbox)\s?\{([^{}]*)\}'
)
# `\text{The area is } 6\sqrt5`: the formula behind the text is the answer.
_FORMULA_AFTER_TEXT = re.compile(
  r'\\(?:text|mbox|mathrm)\s?\{[^{}]{1,200}(?:\b(?:is|are|was|were|equals|be)|[:=为是])\s{0,4}\}'
  r'\s*(?P<formula>[^\s.,;:][^\n]*)'
)
_CONDITION = re.compile(
  r',?\s(?:for\s(?:some|any|all|every|each)|where|with)\s(?=[^,;]{0,60}\b(?:integers?|numbers?|constants?|reals?)\b)|'
  r',?\s*\\?[a-z]\s*\\in\s*\\math(?:bb|bf)\s?\{?[ZNQR]',
)
_PROSE_WORD = re.compile(r'(?<![\\a-zA-Z])[a-zA-Z]{2,}')
_VERB = re.compile(
  r'\b(?:is|are|was|were|equals|has|have|will|needs?|costs?|takes?|gets?|makes?)\b'
)
_CONNECTIVE = re.compile(
  r'\s*(?:therefore|thus|hence|so|finally|then)\b', re.IGNORECASE
)


def answer_under_heading(text: str) -> str:
  """Returns the answer under the last heading `# Answer`, `**Final Answer:**` or the like."""
  num_blocks = 0
  for start, end in _last_lines_with_answer(text):
    if end - start >= _MAX_HEADING or not is_heading(text[start:end]):
      continue
    answer = answer_of_block(text[end : end + 2 * statements.MAX_STATEMENT])
    num_blocks += 1
    if answer or num_blocks == _MAX_BLOCKS:
      return answer
  return ''


def _last_lines_with_answer(text: str) -> Iterator[tuple[int, int]]:
  """Yields start and end of the last lines that contain "answer", from the end of the text."""
  # Lower case has the same length but for this letter.
  lowered = text.replace('\u0130', 'I').lower()
  position = len(text)
  for _ in range(_MAX_CUES):
    position = lowered.rfind('answer', 0, position)
    if position < 0:
      return
    end = text.find('\n', position)
    position = text.rfind('\n', 0, position) + 1
    yield position, end if end >= 0 else len(text)


def is_heading(line: str) -> bool:
  """Returns whether a line is a heading over an answer and nothing else."""
  return (
    line.strip()[:1] in ('#', '*', '_', 'F', 'f')
    and line.strip(' \t\r#*_:').lower() in _HEADINGS
  )


def answer_after_hash(text: str) -> str:
  """Returns the answer after the last `####`, on its line or the next."""
  position = text.rfind('####')
  if position < 0:
    return ''
  match = _HASH.match(text, len(text[: position + 4].rstrip('#')))
  if match is None:
    return ''
  line = match.group(1)
  return answer_after_phrase(line) or statements.answer_in_statement(line)


def answer_in_tag(text: str) -> str:
  """Returns the answer in the last closed `<answer>...</answer>`."""
  lowered = text.lower()
  end = lowered.rfind(_TAG_END)
  start = lowered.rfind(_TAG_START, 0, end) if end >= 0 else -1
  if start < 0 or len(lowered) != len(text):
    return ''
  return read_field(text[start + len(_TAG_START) : end])


def answer_after_phrase(text: str) -> str:
  """Returns the answer after the last phrase that states one."""
  num_blocks = 0
  for cue in reversed(collections.deque(_CUE.finditer(text), _MAX_CUES)):
    start = _statement_start(text, cue)
    if start < 0 or _JUDGEMENT.match(text, start):
      continue
    # A phrase inside the block comes later in the text: it has been tried.
    answer = _answer_stated(text[start : start + statements.MAX_STATEMENT])
    num_blocks += 1
    if answer or num_blocks == _MAX_BLOCKS:
      return answer
  return ''


def answer_of_block(text: str) -> str:
  """Returns the answer that the text under a heading or after a phrase states.

  It is that of the first statement. If the block is a calculation of several lines, it is the value
  of the last one. A phrase in the first statement ("The final answer is 20") states the answer.
  """
  return _answer_stated(text, _repeated)


def _no_phrase(statement: str) -> str:
  del statement
  return ''


def _answer_stated(
  text: str, find_phrase: Callable[[str], str] = _no_phrase
) -> str:
  text = text.lstrip(' \t}')
  block = text.strip()[: statements.MAX_STATEMENT]
  lines = [line for line in block.split('\n') if line.strip()]
  count = 0
  while count < len(lines) and '=' in lines[count] and '\\' not in lines[count]:
    count += 1
  if count > 1:
    return statements.value_of_sentence(lines[count - 1])
  statement = statements.first_statement(text[: statements.MAX_STATEMENT + 40])
  answer = find_phrase(statement) or statements.answer_in_statement(statement)
  # "The answer is to be written in \boxed{}" is about the form of answers.
  return '' if _EMPTY_BOX.search(answer) else answer


@functools.lru_cache(maxsize=1 << 14)
def read_field(content: str) -> str:
  """Returns the answer in a box, a tag or a reference, which may be a sentence."""
  content = content.strip()
  if len(content) > statements.MAX_STATEMENT:
    return content
  stripped = statements.strip_markup(content)
  announced = _repeated(stripped)
  if announced:
    return announced
  return _value_of_prose(stripped) or stripped


def _statement_start(text: str, cue: re.Match[str]) -> int:
  """Returns where the statement after a cue starts; -1 if the cue states nothing."""
  if cue.group()[-1] in '.:':
    return cue.end()
  link = _LINK.match(text, cue.end())
  if link is None:
    link = _link_after_words(text, cue.end())
  return link.end() if link else -1


def _link_after_words(text: str, position: int) -> re.Match[str] | None:
  """Returns the verb or colon after "answer" and some words: "to this problem is"."""
  of = _OF.match(text, position)
  if of is None:
    return None
  position = of.end()
  for _ in range(_MAX_OF_WORDS):
    word = _OF_WORD.match(text, position)
    if word is None:
      return None
    position = word.end()
    link = _LINK.match(text, position)
    if link is not None:
      return link
  return None


def _repeated(statement: str) -> str:
  """Returns the answer of a statement that announces again: "The final answer is 20"."""
  if 'answer' not in statement.lower():
    return ''
  return answer_after_phrase(statement)


def _value_of_prose(content: str) -> str:
  """Returns the value of a sentence such as "Therefore, 42" or "The area is 42"; else ''."""
  match = _FORMULA_AFTER_TEXT.match(content)
  if match and not _PROSE_WORD.search(match['formula']):
    return statements.strip_markup(match['formula'])
  plain = _TEXT_COMMAND.sub(r' \1 ', content)
  condition = _CONDITION.search(plain, 1)
  if condition and statements.find_values(plain[: condition.start()]):
    plain = plain[: condition.start()]
    content = plain.strip() if condition else content
  words = _PROSE_WORD.findall(plain)
  if len(words) < 2 and not _CONNECTIVE.match(plain):
    return content if condition else ''
  if not _VERB.search(plain) and not _CONNECTIVE.match(plain):
    return content if condition else ''
  return statements.answer_in_statement(plain)
