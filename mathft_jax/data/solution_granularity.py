"""Solutions in another granularity: sentences joined, steps split, formatting stripped.

  problems = RewrittenProblems(problems=gsm8k, form='calculations')('train')

| form                | solution                                                             |
|---------------------|----------------------------------------------------------------------|
| `as_is`             | unchanged                                                            |
| `one_line`          | all steps on one line                                                |
| `sentence_per_line` | a line for each sentence                                             |
| `plain`             | without LaTeX delimiters, spacing, bold marks and calculator notes   |
| `without_notes`     | GSM8K: without its calculator notes `<<48/2=24>>`                    |
| `calculations`      | GSM8K: only the calculations of these notes, one a line              |

A line with the final answer (`#### 72`, `# Answer`) stays a line of its own. The numbers of a
solution do not change.
"""

from collections.abc import Callable, Mapping
import dataclasses
import logging
import re

from mathft_jax.data import problem_sources
from mathft_jax.data.schema import Problem

_NOTE = re.compile(r'<<([^<>]*)>>')
_SENTENCE_END = re.compile(r'(?<=[.!?])\s+(?=[A-Z$\\(])')
_ABBREVIATION = re.compile(r'(?:\b(?:Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e)|\b[A-Z])\.$')
_LATEX_COMMAND = re.compile(r'\\[a-zA-Z]')
_LATEX_SPACING = re.compile(r'\\(?:[,;:! ]|quad\b|qquad\b|left\b|right\b)')
_LATEX_DELIMITER = re.compile(r'(?<!\\)\$\$?|\\[\[\]()]')
_BOLD = re.compile(r'\*\*|__')


@dataclasses.dataclass(frozen=True)
class RewrittenProblems:
  """The problems of a source with their solutions in another form.

  A problem without a solution in this form is left out; the log counts them.

  Attributes:
    problems: the source.
    form: a row of the table above.
  """

  problems: problem_sources.ProblemSource
  form: str = 'as_is'

  def __post_init__(self):
    if self.form not in FORMS:
      raise ValueError(
        f'RewrittenProblems.form is {self.form!r}; it must be one of {tuple(FORMS)}.'
      )

  def __call__(self, split: str) -> list[Problem]:
    rewrite = FORMS[self.form]
    problems = self.problems(split)
    rewritten = []
    for problem in problems:
      solution = rewrite(problem.solution)
      if solution:
        rewritten.append(dataclasses.replace(problem, solution=solution))
    logging.info(
      'split %s: solutions of %d problems in the form %s; %d problems have none',
      split,
      len(rewritten),
      self.form,
      len(problems) - len(rewritten),
    )
    if not rewritten:
      raise ValueError(
        f'split {split!r}: none of {len(problems)} solutions has the form {self.form!r}.'
      )
    return rewritten


def join_steps(solution: str) -> str:
  """Returns the solution with all its steps on one line."""
  return _change_steps(solution, lambda steps: ' '.join(steps.split()))


def split_sentences(solution: str) -> str:
  """Returns the solution with a line for each sentence. Sentences in `$...$` are not split."""
  return _change_steps(solution, _one_sentence_a_line)


def strip_formatting(solution: str) -> str:
  """Returns the solution without delimiters and spacing of LaTeX, bold marks and notes.

  `$` is a delimiter only in a text with a LaTeX command; else it is a currency.
  """
  text = remove_calculator_notes(solution)
  if _LATEX_COMMAND.search(text):
    text = _LATEX_DELIMITER.sub('', text)
    text = _LATEX_SPACING.sub('', text)
  return _BOLD.sub('', text)


def remove_calculator_notes(solution: str) -> str:
  """Returns a solution of GSM8K without `<<48/2=24>>`."""
  return _NOTE.sub('', solution)


def keep_calculations(solution: str) -> str:
  """Returns the calculations of a solution of GSM8K and its answer; '' without calculations."""
  calculations = [note for note in _NOTE.findall(solution) if note.strip()]
  if not calculations:
    return ''
  answers = [line for line in solution.splitlines() if _is_answer_line(line)]
  return '\n'.join([*calculations, *answers])


def _change_steps(solution: str, change: Callable[[str], str]) -> str:
  """Returns the solution with its steps changed, and its lines with the answer as they are."""
  lines = solution.splitlines()
  end = len(lines)
  for index, line in enumerate(lines):
    if _is_answer_line(line):
      end = index
      break
  steps = change('\n'.join(lines[:end]))
  return '\n'.join([*filter(None, [steps]), *lines[end:]])


def _is_answer_line(line: str) -> bool:
  return line.startswith(('####', '# Answer'))


def _one_sentence_a_line(steps: str) -> str:
  is_latex = _LATEX_COMMAND.search(steps) is not None
  sentences = []
  for line in steps.splitlines():
    pending = ''
    for part in _SENTENCE_END.split(line.strip()):
      pending = f'{pending} {part}'.strip()
      in_formula = is_latex and pending.count('$') % 2 == 1
      if not in_formula and not _ABBREVIATION.search(pending):
        sentences.append(pending)
        pending = ''
    if pending:
      sentences.append(pending)
  return '\n'.join(filter(None, sentences))


def _unchanged(solution: str) -> str:
  return solution


FORMS: Mapping[str, Callable[[str], str]] = {
  'as_is': _unchanged,
  'one_line': join_steps,
  'sentence_per_line': split_sentences,
  'plain': strip_formatting,
  'without_notes': remove_calculator_notes,
  'calculations': keep_calculations,
}
