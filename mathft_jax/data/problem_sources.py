"""Sources of problems: the user's own jsonl files, and combinations of sources.

A problem source is called with the name of a split ('train', 'validation', 'test') and returns its
problems in a fixed order:

  problems = JsonlProblems('my_problems.jsonl')('train')
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import logging
from typing import Protocol

from etils import epath

from mathft_jax.data import (
  boxed_answers,
  record_fields,
  schema,
)
from mathft_jax.data.schema import Problem


class ProblemSource(Protocol):
  """Returns the problems of a split, in a fixed order."""

  def __call__(self, split: str) -> Sequence[Problem]: ...


@dataclasses.dataclass(frozen=True)
class JsonlProblems:
  """Problems of jsonl files: `{"problem": ..., "solution": ..., "answer": ...}` a line.

  Other accepted names: `question` for `problem`, `unique_id` for `id`, `type` for `subject`. Files
  of `schema.write_jsonl` are accepted, too. A record without `id` gets one from its file and line;
  a record without `answer` gets the last `\\boxed{}` of its solution.

  A solution that does not state its answer gets it as last line, in a box: the paper's X = S ++ A,
  as for GSM8K and PRM800K. A model trained without it would never answer. The log counts them.

  Attributes:
    path: a file, `.jsonl` or `.jsonl.gz`; `{split}` in it is replaced. In a file for all splits,
      each record has its own `split`; the default is 'train'.
    validation_fraction: fraction of the 'train' problems that becomes 'validation', chosen by a
      hash of the id; for data without a validation file.
    limit: maximum number of problems, chosen by a hash of the id; None means all.
    append_answer: False leaves solutions as they are.
  """

  path: str
  validation_fraction: float = 0.0
  limit: int | None = None
  append_answer: bool = True

  def __call__(self, split: str) -> list[Problem]:
    problems = [
      problem for problem in self._read(split) if problem.split == split
    ]
    if not problems:
      raise ValueError(
        f'{self.path}: no problem of split {split!r}. Put {{split}} into the path, a "split" '
        'into each record, or bind validation_fraction to cut validation from training problems.'
      )
    logging.info('%s: %d problems of split %s', self.path, len(problems), split)
    chosen = subsample_problems(problems, self.limit)
    if self.append_answer:
      return append_missing_answers(chosen, f'{self.path}, split {split}')
    return chosen

  def _read(self, split: str) -> list[Problem]:
    """Returns the problems of the file that has the split, each with its own split."""
    file_split = split
    if split == 'validation' and self.validation_fraction:
      file_split = 'train'
    path = epath.Path(self.path.replace('{split}', file_split))
    if not path.exists():
      raise ValueError(
        f'{path} does not exist; it should contain the problems of split {split!r}.'
      )

    default_split = file_split if '{split}' in self.path else 'train'
    problems = []
    first_line_of_id: dict[tuple[str, str], str] = {}
    for where, record in schema.read_jsonl(path):
      problem = problem_from_json(record, where, path.name, default_split)
      if (
        problem.split == 'train'
        and hash_to_unit_interval(problem.id) < self.validation_fraction
      ):
        problem = dataclasses.replace(problem, split='validation')
      earlier = first_line_of_id.setdefault((problem.split, problem.id), where)
      if earlier != where:
        raise record_fields.wrong_field(
          where, 'id', problem.id, f'another id: {earlier} has this one'
        )
      problems.append(problem)
    return problems


@dataclasses.dataclass(frozen=True)
class ConcatenatedProblems:
  """The problems of several sources, one source after the other."""

  sources: tuple[ProblemSource, ...]

  def __post_init__(self):
    object.__setattr__(self, 'sources', tuple(self.sources))

  def __call__(self, split: str) -> list[Problem]:
    problems = []
    for source in self.sources:
      problems.extend(source(split))
    return problems


def select_demonstrations(
  problems: ProblemSource, count: int = 4, split: str = 'train'
) -> tuple[tuple[str, str], ...]:
  """Returns demonstrations for `Template.shots`: pairs of (question, solution).

  They are chosen by a hash of the id. The style of the solutions (MATH, PRM800K) is that of the
  source.
  """
  solved = [problem for problem in problems(split) if problem.solution]
  if len(solved) < count:
    raise ValueError(
      f'split {split!r} has {len(solved)} problems with a solution; wanted at least {count} for '
      'the demonstrations.'
    )
  chosen = subsample_problems(solved, count)
  return tuple((problem.question, problem.solution) for problem in chosen)


def problem_from_json(
  record: Mapping[str, object], where: str, name: str, split: str
) -> Problem:
  """Returns a problem from a json object.

  Args:
    record: see `JsonlProblems` for its fields.
    where: `file:line`, for error messages and for a missing id.
    name: name of the file, for a missing id.
    split: split of a record without one.

  Raises:
    ValueError: the record has no question, or a field has a wrong type.
  """
  question = record.get('question', record.get('problem'))
  if not isinstance(question, str) or not question.strip():
    seen = record_fields.describe_value(question)
    raise ValueError(
      f'{where}: field "problem" (or "question") is {seen}; wanted text. The record has the fields '
      f'{sorted(record)}.'
    )
  record_fields.check_fields(
    record, record_fields.PUBLISHED_PROBLEM_FIELDS, where
  )
  solution = str(record.get('solution') or '')
  answer = record.get('answer')
  if answer in (None, ''):
    answer = boxed_answers.last_boxed_answer(solution)
  line = where.rpartition(':')[2]
  return Problem(
    id=str(record.get('id', record.get('unique_id')) or f'{name}:{line}'),
    question=question,
    solution=solution,
    answer=None if answer is None else str(answer),
    subject=str(record.get('subject') or record.get('type') or ''),
    level=str(record.get('level') or ''),
    split=str(record.get('split') or split),
  )


def append_missing_answers(
  problems: Sequence[Problem], where: str
) -> list[Problem]:
  """Returns the problems with solutions that end in the answer; counts the changes in the log.

  A solution without a known answer is left as it is, and counted in a warning.

  Args:
    problems: problems; those without a solution stay as they are.
    where: start of the log lines.
  """
  completed = []
  num_solved = num_appended = num_unanswered = 0
  for problem in problems:
    num_solved += bool(problem.solution)
    if problem.solution and problem.answer is None:
      num_unanswered += 1
    elif problem.solution and problem.answer is not None:
      solution = boxed_answers.append_answer(problem.solution, problem.answer)
      num_appended += solution != problem.solution
      problem = dataclasses.replace(problem, solution=solution)
    completed.append(problem)

  if num_appended:
    logging.info(
      '%s: %d of %d solutions did not state their answer; it was appended in a box',
      where,
      num_appended,
      num_solved,
    )
  if num_unanswered:
    logging.warning(
      '%s: %d of %d solutions have no answer: neither a field "answer" nor a \\boxed{}. A model '
      'trained on them does not learn to state one.',
      where,
      num_unanswered,
      num_solved,
    )
  return completed


def subsample_problems(
  problems: Sequence[Problem], limit: int | None
) -> list[Problem]:
  """Returns at most `limit` problems in their order, chosen by a hash of the id.

  Whether a problem is chosen before another depends on their ids only, not on other problems.
  """
  if limit is None or limit >= len(problems):
    return list(problems)

  def rank(index: int) -> tuple[float, int]:
    return hash_to_unit_interval(problems[index].id), index

  chosen = sorted(range(len(problems)), key=rank)[:limit]
  return [problems[index] for index in sorted(chosen)]


def hash_to_unit_interval(text: str) -> float:
  """Returns a number in [0, 1) that depends on the text alone: 8 bytes of its sha256."""
  digest = hashlib.sha256(text.encode('utf-8')).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64
