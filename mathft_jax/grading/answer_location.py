r"""Where in a solution its final answer was found, to show it to people.

  locate_answer('So the answer is 5. Done.', '5', 'phrase')     # [(17, 18)]

The method that found the answer is known, so only its announcement is searched: the last place from
which the rest of the text gives the same answer by the same method.
"""

from collections.abc import Callable, Iterator
import itertools
import re

from mathft_jax.data import boxed_answers, thoughts
from mathft_jax.grading import announcements, statements

Span = tuple[int, int]  # start and end in characters

MAX_STARTS = 50  # announcements that are tried, from the end of the text
_FINAL_TEXT = (
  4_000  # characters at the end in which a final sentence is searched
)
_MAX_AROUND = 160  # characters of a statement whose value is written otherwise
_ANNOUNCEMENTS: dict[str, tuple[re.Pattern[str], Callable[[str], str]]] = {
  'heading': (
    re.compile(r'^.{0,80}answer.{0,80}$', re.IGNORECASE | re.MULTILINE),
    announcements.answer_under_heading,
  ),
  'hash': (re.compile(r'####'), announcements.answer_after_hash),
  'tag': (re.compile(r'<answer>', re.IGNORECASE), announcements.answer_in_tag),
  'phrase': (
    re.compile(
      r'answers?|correct (?:option|choice)|ans[.:]|^[ \t]*a:',
      re.IGNORECASE | re.MULTILINE,
    ),
    announcements.answer_after_phrase,
  ),
}


def locate_answer(
  solution: str,
  answer: str,
  how: str,
  markers: thoughts.TurnMarkers = thoughts.DEFAULT_MARKERS,
) -> list[Span]:
  """Returns the spans of the text that state the answer; [] if they are not found.

  Several joined boxes have a span each. If the answer is not written in the text as the grader
  returned it, the span is the statement that contains it.

  Args:
    solution: the text, with line feeds as line ends.
    answer: its final answer, as `grade` wrote it.
    how: the method that found it, as `grade` wrote it.
    markers: which text counts.
  """
  counted = thoughts.text_that_counts(solution, markers)
  offset = solution.find(counted)
  text = counted.replace('：', ':')  # same length, so positions are equal
  if offset < 0 or not answer:
    return []
  spans = []
  for start, end in _locate(text, answer, how):
    spans.append((start + offset, end + offset))
  return spans


def _locate(text: str, answer: str, how: str) -> list[Span]:
  if how in ('box', 'boxes'):
    boxes = boxed_answers.answer_boxes(text)
    return [(box.start, box.end) for box in boxes]
  if how in _ANNOUNCEMENTS:
    pattern, find = _ANNOUNCEMENTS[how]
    for match in _last_matches(pattern, text):
      if find(text[match.start() :]) == answer:
        return _span_in(text, answer, match.end(), len(text))
    return []
  if how == 'final_sentence':
    return _locate_in_sentences(text, answer)
  if how in ('last_number', 'last_line'):
    start = text.rfind(answer)
    return [(start, start + len(answer))] if start >= 0 else []
  return []


def _last_matches(
  pattern: re.Pattern[str], text: str
) -> Iterator[re.Match[str]]:
  found = [*pattern.finditer(text)]
  return itertools.islice(reversed(found), MAX_STARTS)


def _locate_in_sentences(text: str, answer: str) -> list[Span]:
  """Returns the span of the value of the last sentence that has this value."""
  sentences = [*statements.split_sentences(text[-_FINAL_TEXT:])]
  end = len(text)
  for sentence in reversed(sentences[-MAX_STARTS:]):
    start = text.rfind(sentence.rstrip('"”’)]*_'), 0, end)
    if start < 0:
      continue
    value = statements.value_of_sentence(sentence)
    if value and statements.strip_markup(value) == answer:
      return _span_in(text, answer, start, end, is_last=True)
    end = start
  return []


def _span_in(
  text: str, answer: str, start: int, end: int, is_last: bool = False
) -> list[Span]:
  """Returns the span of the answer between two positions, else of the statement there."""
  search = text.rfind if is_last else text.find
  found = search(answer, start, end)
  if found >= 0:
    return [(found, found + len(answer))]
  while start < end and text[start] in ' \t\n:*#':
    start += 1
  line_end = text.find('\n', start, end)
  stop = min(end if line_end < 0 else line_end, start + _MAX_AROUND)
  return [(start, stop)] if start < stop else []
