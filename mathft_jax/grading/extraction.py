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

  for method, find in _searches(search.find, is_cut).items():
    answer = find(text)
    if answer:
      is_list = method == 'box' and len(boxed_answers.answer_boxes(text)) > 1
      return FinalAnswer(answer, 'boxes' if is_list else method)
  return None


def _searches(find: str, is_cut: bool) -> dict[str, Callable[[str], str]]:
  """Returns the searches of a rule by method, in their order."""
  if find in ('last_number', 'last_line'):
    return {} if is_cut else {find: _INFERENCES[find]}
  if find == 'auto' and not is_cut:
    return _ANNOUNCEMENTS | {'final_sentence': _value_of_final_sentence}
  return _ANNOUNCEMENTS


def _answer_in_box(text: str) -> str:
  boxes = boxed_answers.answer_boxes(text)
  if not boxes:
    return ''
  answer = boxed_answers.join_boxes(text, boxes)
  return announcements.read_field(answer) if len(boxes) == 1 else answer


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
  'box': _answer_in_box,
  'heading': announcements.answer_under_heading,
  'hash': announcements.answer_after_hash,
  'tag': announcements.answer_in_tag,
  'phrase': announcements.answer_after_phrase,
}
_INFERENCES: dict[str, Callable[[str], str]] = {
  'last_number': statements.last_number,
  'last_line': _value_of_last_line,
}
