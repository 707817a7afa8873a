r"""Extraction of the final answer from the text of a solution.

  extract_answer('So the answer is $\\boxed{5}$.')    # '5'
  find_final_answer('#### 42')                        # FinalAnswer(text='42', method='hash')

`AnswerSearch.find` names the rule:

  announced    the first of these that the text has:
    box          the last non-empty `\boxed{x}`, or the last joined boxes (`boxes`)
    heading      the text under the last `# Answer` heading
    hash         the last `#### x`
    tag          the last `<answer>x</answer>`
    phrase       the last phrase such as `Final Answer: x`, `the answer is x` or `A: x`
  last_number  the last number in the text
  last_line    the value of the last line
  auto         announced, else the value of the final sentence (`final_sentence`)

Thoughts and text after the end of the turn do not count (`data.thoughts`). docs/grading.md has the
complete rules.
"""

from collections.abc import Callable
import dataclasses
import re

from mathft_jax.data import boxed_answers, thoughts
from mathft_jax.grading import announcements, statements

FIND_RULES = ('auto', 'announced', 'last_number', 'last_line')
_STATES_NOTHING = re.compile(r'\s*#|.*\?\s*$')
_FINAL_TEXT = 4_000  # characters at the end of a text in which the final sentence is searched


@dataclasses.dataclass(frozen=True)
class FinalAnswer:
  """The final answer of a solution and the method that found it.

  Attributes:
    text: the answer, without math delimiters.
    method: 'box', 'boxes', 'heading', 'hash', 'tag', 'phrase', 'final_sentence', 'last_number' or
      'last_line'.
  """

  text: str
  method: str


@dataclasses.dataclass(frozen=True)
class AnswerSearch:
  """How final answers are found.

  Attributes:
    find: 'auto', 'announced', 'last_number' or 'last_line'; see the module.
    markers: which text counts: thoughts, ends of turns.
  """

  find: str = 'auto'
  markers: thoughts.TurnMarkers = thoughts.DEFAULT_MARKERS

  def __post_init__(self):
    if self.find not in FIND_RULES:
      raise ValueError(
        f'AnswerSearch.find is {self.find!r}; it must be one of {FIND_RULES}.'
      )


DEFAULT_SEARCH = AnswerSearch()


def extract_answer(
  solution: str, search: AnswerSearch = DEFAULT_SEARCH
) -> str | None:
  """Returns the final answer of a solution, or None if there is none."""
  answer = find_final_answer(solution, search)
  return answer.text if answer else None


def find_final_answer(
  solution: str, search: AnswerSearch = DEFAULT_SEARCH, is_cut: bool = False
) -> FinalAnswer | None:
  """Returns the final answer of a solution and the method that found it.

  Args:
    solution: the text.
    search: how the answer is found.
    is_cut: whether the solution was cut at the length limit. Then only an announced answer counts.
  """
  text = thoughts.text_that_counts(solution, search.markers)
  text = text.replace('：', ':').replace('\r\n', '\n')
  # `\b` of a string literal that was not escaped is a backspace.
  text = text.replace('\x08oxed', '\\boxed')

  if search.find in _INFERENCES:
    answer = '' if is_cut else _INFERENCES[search.find](text)
    return FinalAnswer(answer, search.find) if answer else None
  found = _answer_in_box(text) or _announced_answer(text)
  if found is None and search.find == 'auto' and not is_cut:
    value = _value_of_final_sentence(text)
    found = FinalAnswer(value, 'final_sentence') if value else None
  return found


def _answer_in_box(text: str) -> FinalAnswer | None:
  """Returns the answer of the last box, or of the last joined boxes."""
  boxes = boxed_answers.answer_boxes(text)
  if not boxes:
    return None
  answer = boxed_answers.join_boxes(text, boxes)
  if len(boxes) > 1:
    return FinalAnswer(answer, 'boxes')
  answer = announcements.read_field(answer)
  return FinalAnswer(answer, 'box') if answer else None


def _announced_answer(text: str) -> FinalAnswer | None:
  """Returns the answer of the first kind of announcement that the text has."""
  for method, find in _ANNOUNCEMENTS.items():
    answer = find(text)
    if answer:
      return FinalAnswer(answer, method)
  return None


def _value_of_last_line(text: str) -> str:
  lines = text[-_FINAL_TEXT:].strip().split('\n')
  line = lines[-1].strip()
  return statements.answer_in_statement(line) or statements.value_of_sentence(
    line
  )


def _value_of_final_sentence(text: str) -> str:
  """Returns the value of the last sentence that has one."""
  sentences = list(statements.split_sentences(text[-_FINAL_TEXT:]))
  for sentence in reversed(sentences):
    if _STATES_NOTHING.match(sentence) or 'boxed' in sentence:
      continue  # a heading, or a box that was cut
    value = statements.value_of_sentence(sentence)
    if value:
      return statements.strip_markup(value)
  return ''


_ANNOUNCEMENTS: dict[str, Callable[[str], str]] = {
  'heading': announcements.answer_under_heading,
  'hash': announcements.answer_after_hash,
  'tag': announcements.answer_in_tag,
  'phrase': announcements.answer_after_phrase,
}
_INFERENCES: dict[str, Callable[[str], str]] = {
  'last_number': statements.last_number,
  'last_line': _value_of_last_line,
}
