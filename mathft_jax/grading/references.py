"""Reference answers of problems, read by the same functions as the answers of candidates.

  find_reference(problem)    # FinalAnswer(text='72', method='hash') for "... = 72\\n#### 72"

A data set may have a whole solution where its answer should be. Then the answer is extracted from
it; the method says so, and `grade` counts the methods.
"""

import re

from mathft_jax.data import boxed_answers, schema
from mathft_jax.grading import announcements, extraction

GIVEN = 'given'  # method of a reference that is an answer as it is
_ANNOUNCED = extraction.AnswerSearch('announced')
_ANNOUNCEMENT = re.compile(
  r'\\(?:boxed|fbox|framebox)|####|<answer>|\banswers?\b',
  re.IGNORECASE,
)
_MAX_WORDS = 12  # a reference with more English words is a text
_WORD = re.compile(r'(?<![\\a-zA-Z])[a-zA-Z]{2,}')


def find_reference(
  problem: schema.Problem,
  search: extraction.AnswerSearch = extraction.DEFAULT_SEARCH,
) -> extraction.FinalAnswer | None:
  """Returns the reference answer of a problem, None without one.

  It is the `answer` of the problem if that is an answer; else the final answer of that text; else,
  without an `answer`, the final answer of the `solution`. If the solution states several values in
  joined boxes and `answer` is only the last of them, all of them are the reference; also boxes
  in different sentences, if the question asks for values "separated by commas".

  Args:
    problem: the problem.
    search: how final answers are found.
  """
  text = (problem.answer or '').strip()
  if not text:
    # An empty box in a reference means that its answer was lost.
    has_box = '\\boxed' in problem.solution
    return extraction.find_final_answer(
      problem.solution, _ANNOUNCED if has_box else search
    )
  if is_text(text):
    found = extraction.find_final_answer(text, _ANNOUNCED)
    if found is None:
      found = extraction.find_final_answer(text, search)
    return found or extraction.FinalAnswer(text, 'text')

  joined = _joined_boxes(problem, text)
  if joined:
    return extraction.FinalAnswer(joined, 'boxes')
  return extraction.FinalAnswer(announcements.read_field(text) or text, GIVEN)


def _joined_boxes(problem: schema.Problem, answer: str) -> str:
  """Returns the answer of several boxes of the solution of which `answer` is the last; else ''."""
  solution = problem.solution
  boxes = boxed_answers.answer_boxes(solution)
  if 'separated by commas' in problem.question:
    boxes = boxed_answers.find_boxes(solution)
  if (
    len(boxes) < 2
    or solution[boxes[-1].start : boxes[-1].end].strip() != answer
  ):
    return ''
  joined = boxed_answers.join_boxes(solution, boxes)
  return '' if joined == answer else joined


def is_text(answer: str) -> bool:
  """Returns whether a reference is a text that states an answer, not an answer itself."""
  if _ANNOUNCEMENT.search(answer):
    return True
  return len(_WORD.findall(answer[:2_000])) > _MAX_WORDS
