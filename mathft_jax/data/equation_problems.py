"""Word problems with an equation instead of a solution, and solutions made from it by rule.

  problems = EquationProblems(files=('asdiv_a_fold0_train.csv.gz',), style='steps')('train')

The files are those that the authors of SVAMP (Patel et al., 2021) made of ASDiv-A and MAWPS. A row
has a question with placeholders, their values, and the equation in prefix notation:

  Question: Mary has number0 apples and buys number1 .
  Numbers: 8 2
  Equation: + number0 number1

A solution is the bare equation, or one sentence for each operation. The last line is `#### 10`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from fractions import Fraction
import logging
import math
import operator
import re
from typing import Literal, get_args

from etils import epath

from mathft_jax.data import problem_sources, record_fields, record_files
from mathft_jax.data.schema import Problem
from mathft_jax.storage.digests import hash_to_unit_interval

Style = Literal['equation', 'steps']

_OPERATORS: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
  '+': operator.add,
  '-': operator.sub,
  '*': operator.mul,
  '/': operator.truediv,
}
_SENTENCES = {
  '+': 'Add {a} and {b}',
  '-': 'Subtract {b} from {a}',
  '*': 'Multiply {a} by {b}',
  '/': 'Divide {a} by {b}',
}
_COLUMNS = ('Question', 'Numbers', 'Equation', 'Answer')
_MOST_DECIMALS = 4
_PLACEHOLDER = re.compile(r'\bnumber\d+')


@dataclasses.dataclass(frozen=True)
class EquationProblems:
  """Problems of the files, each with a solution that is made from its equation.

  A row is left out if its equation does not give its answer, or if a number of it has more than
  four decimals. The log counts them.

  Attributes:
    files: names of csv files, also compressed ones and globs.
    folder: of the files.
    style: 'equation': `(8 - 2) * 3 = 18`; 'steps': `Subtract 2 from 8: 8 - 2 = 6.` and a line for
      each further operation.
    validation_fraction: fraction of the problems that is the split 'validation', chosen by a hash
      of the id.
    limit: maximum number of problems of a split, chosen by a hash of the id; None means all.
  """

  files: tuple[str, ...]
  folder: str = ''
  style: Style = 'equation'
  validation_fraction: float = 0.0
  limit: int | None = None

  def __post_init__(self):
    files = (self.files,) if isinstance(self.files, str) else self.files
    object.__setattr__(self, 'files', tuple(files))
    if self.style not in get_args(Style):
      raise ValueError(
        f'EquationProblems.style is {self.style!r}; it must be one of {get_args(Style)}.'
      )

  def __call__(self, split: str) -> list[Problem]:
    problems = []
    num_rows = 0
    for pattern in self.files:
      for file in record_files.find_files(epath.Path(self.folder) / pattern):
        for where, row in record_files.read_file(file, _COLUMNS):
          num_rows += 1
          problem = self._make_problem(row, where, file.name.partition('.')[0])
          if problem is not None:
            problems.append(problem)
    found = [problem for problem in problems if problem.split == split]
    logging.info(
      '%s, split %s: %d problems; %d rows, %d left out: the equation does not give the answer',
      ', '.join(self.files),
      split,
      len(found),
      num_rows,
      num_rows - len(problems),
    )
    if not found:
      raise ValueError(
        f'{self.files}: no problem of split {split!r}; the files have the splits train and, with a '
        f'validation_fraction (it is {self.validation_fraction}), validation.'
      )
    return problem_sources.subsample_problems(found, self.limit)

  def _make_problem(
    self, row: Mapping[str, object], where: str, name: str
  ) -> Problem | None:
    """Returns the problem of a row; None if its equation does not give its answer."""
    texts = []
    for column in _COLUMNS:
      value = row.get(column)
      if not isinstance(value, str):
        raise record_fields.wrong_field(where, column, value, 'a text')
      texts.append(value)
    question, numbers, equation, answer = texts

    values = _read_values(numbers, where)
    try:
      expression = read_prefix_equation(equation.split(), values)
    except ValueError as error:
      raise ValueError(f'{where}: {error}') from error
    if expression is None or not expression.is_operation:
      return None
    if not _is_close(expression.value, Fraction(answer)):
      return None
    question = _fill_in(question, values)
    if _PLACEHOLDER.search(question):
      return None
    result = format_number(expression.value)
    lines = [f'{expression.text} = {result}']
    if self.style == 'steps':
      lines = list(expression.sentences)
    id_ = f'{name}:{where.rpartition(":")[2]}'
    in_validation = hash_to_unit_interval(id_) < self.validation_fraction
    return Problem(
      id=id_,
      question=untokenize(question),
      solution='\n'.join([*lines, f'#### {result}']),
      answer=result,
      split='validation' if in_validation else 'train',
    )


@dataclasses.dataclass(frozen=True)
class Expression:
  """A part of an equation.

  Attributes:
    text: in infix notation.
    value: exact.
    sentences: one for each operation, in the order of the calculation.
    is_operation: False for a single number.
  """

  text: str
  value: Fraction
  sentences: tuple[str, ...] = ()
  is_operation: bool = False


def read_prefix_equation(
  tokens: Sequence[str], values: Mapping[str, Fraction]
) -> Expression | None:
  """Returns the expression of an equation in prefix notation.

  Args:
    tokens: operators, names of values, and constants.
    values: by name.

  Returns:
    None if it divides by zero or a number has more than four decimals.

  Raises:
    ValueError: the tokens are not one expression.
  """
  remaining = iter(tokens)
  expression = _read_expression(remaining, values)
  rest = list(remaining)
  if rest:
    raise ValueError(
      f'equation {" ".join(tokens)!r}: {rest} follows the expression.'
    )
  return expression


def _read_expression(
  tokens: Iterator[str], values: Mapping[str, Fraction]
) -> Expression | None:
  token = next(tokens, None)
  if token is None:
    raise ValueError('the equation ends before its last number.')
  if token not in _OPERATORS:
    value = values.get(token)
    value = _read_number(token) if value is None else value
    text = format_number(value)
    return None if text is None else Expression(text, value)

  left = _read_expression(tokens, values)
  right = _read_expression(tokens, values)
  if left is None or right is None or (token == '/' and not right.value):
    return None
  value = _OPERATORS[token](left.value, right.value)
  result = format_number(value)
  if result is None:
    return None
  a, b = format_number(left.value), format_number(right.value)
  name = _SENTENCES[token].format(a=a, b=b)
  return Expression(
    f'{_in_brackets(left)} {token} {_in_brackets(right)}',
    value,
    (
      *left.sentences,
      *right.sentences,
      f'{name}: {a} {token} {b} = {result}.',
    ),
    is_operation=True,
  )


def _in_brackets(expression: Expression) -> str:
  return f'({expression.text})' if expression.is_operation else expression.text


def format_number(value: Fraction) -> str | None:
  """Returns the exact decimal, `18` or `0.25`; None if it has more than four decimals."""
  scaled = value * 10**_MOST_DECIMALS
  if scaled.denominator != 1:
    return None
  if value.denominator == 1:
    return str(value.numerator)
  return f'{float(value):.{_MOST_DECIMALS}f}'.rstrip('0')


def untokenize(text: str) -> str:
  """Returns separate tokens as ordinary text: `apples . how many ?` as `apples. How many?`"""
  text = re.sub(r"\s+(n['’]t|['’]\w+|[.,?!;:%])", r'\1', text.strip())
  text = re.sub(r'\$\s+(?=\d)', '$', text)
  text = re.sub(r'\s+', ' ', text)

  def upper(match: re.Match[str]) -> str:
    return match[1] + match[2].upper()

  return re.sub(r'(^|[.?!] )([a-z])', upper, text)


def _read_values(numbers: str, where: str) -> dict[str, Fraction]:
  values = {}
  for index, text in enumerate(numbers.split()):
    try:
      values[f'number{index}'] = _read_number(text)
    except ValueError as error:
      raise record_fields.wrong_field(
        where, 'Numbers', numbers, 'numbers with spaces between them'
      ) from error
  return values


def _read_number(text: str) -> Fraction:
  try:
    return Fraction(text)
  except ValueError as error:
    raise ValueError(
      f'{text!r} in an equation is no number, operator or name of a number.'
    ) from error


def _fill_in(question: str, values: Mapping[str, Fraction]) -> str:
  """Returns the question with its values; a placeholder stays if its value has no short decimal."""

  def text_of(match: re.Match[str]) -> str:
    value = values.get(match[0])
    return match[0] if value is None else format_number(value) or match[0]

  return _PLACEHOLDER.sub(text_of, question)


def _is_close(a: Fraction, b: Fraction) -> bool:
  return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4)
