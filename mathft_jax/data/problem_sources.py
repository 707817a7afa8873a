"""Sources of problems: the user's own files, and combinations of sources.

A problem source is called with the name of a split ('train', 'validation', 'test') and returns its
problems in a fixed order:

  problems = JsonlProblems('my_problems.jsonl')('train')
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import logging
from typing import Protocol

from etils import epath

from mathft_jax.data import (
  boxed_answers,
  problem_mapping,
  record_fields,
  record_files,
  stored_problems,
)
from mathft_jax.data.schema import Problem
from mathft_jax.storage.digests import hash_to_unit_interval


class ProblemSource(Protocol):
  """Returns the problems of a split, in a fixed order."""

  def __call__(self, split: str) -> Sequence[Problem]: ...


@dataclasses.dataclass(frozen=True)
class JsonlProblems:
  """Problems of files: jsonl, JSON arrays, csv, parquet and `datasets` folders (`record_files`).

  By default a record is `{"problem": ..., "solution": ..., "answer": ...}`, also with `question`
  for `problem`, `unique_id` for `id`, `type` for `subject`. A record without `id` gets one from its
  file and line; a record without `answer` gets the last `\\boxed{}` of its solution. `mapping`
  names other fields.

  A solution that does not state its answer gets it as last line, in a box: the paper's X = S ++ A,
  as for GSM8K and PRM800K. A model trained without it would never answer. The log counts them.

  Attributes:
    path: a file, a glob or a folder; `{split}` in it is replaced. In a file for all splits, each
      record has its own `split`; others are in `default_split`.
    validation_fraction: fraction of the 'train' problems that becomes 'validation', chosen by a
      hash of the id; for data without a validation file.
    limit: maximum number of problems, chosen by a hash of the id; None means all.
    append_answer: False leaves solutions as they are.
    mapping: names of the fields, filters, form of the answer.
    stream_dir: a folder for Arrow files. The problems are stored there and memory-mapped instead of
      held in memory; needs pyarrow. None holds them in memory.
    default_split: split of a record without one, if `path` has no `{split}`.
  """

  path: str
  validation_fraction: float = 0.0
  limit: int | None = None
  append_answer: bool = True
  mapping: problem_mapping.ProblemMapping = problem_mapping.DEFAULT_MAPPING
  stream_dir: str | None = None
  default_split: str = 'train'

  def __call__(self, split: str) -> Sequence[Problem]:
    files = self._find_files(split)
    counts = SolutionCounts()
    if self.stream_dir is None:
      problems = subsample_problems(list(self._read(files, split)), self.limit)
      completed = [self._complete(problem, counts) for problem in problems]
      self._check_found(len(completed), split)
      counts.log(f'{self._path_of(split)}, split {split}')
      return completed

    completed = (
      self._complete(problem, counts) for problem in self._read(files, split)
    )
    same_content = dataclasses.replace(self, stream_dir=None, limit=None)
    stored = stored_problems.store_problems(
      completed,
      self.stream_dir,
      [*map(str, files), split, repr(same_content)],
    )
    self._check_found(len(stored), split)
    counts.log(f'{self._path_of(split)}, split {split}')
    return stored if self.limit is None else stored.subsample(self.limit)

  def _complete(self, problem: Problem, counts: 'SolutionCounts') -> Problem:
    return complete_solution(problem, counts) if self.append_answer else problem

  def _check_found(self, count: int, split: str) -> None:
    path = self._path_of(split)
    logging.info('%s: %d problems of split %s', path, count, split)
    if not count:
      raise ValueError(
        f'{path}: no problem of split {split!r}.{self._split_advice(split)} Else put '
        '{split} into the path, or a "split" into each record.'
      )

  def _split_advice(self, split: str) -> str:
    """Returns the macros that give an empty split its problems."""
    if split == 'validation':
      return (
        ' To take validation from the training problems set --gin.VALIDATION_SHARE=0.05 '
        '(validation_fraction).'
      )
    if '{split}' in self.path or self.default_split == split:
      return ''
    return (
      f' Records without a split are of split {self.default_split!r}: to use them set '
      f'--gin.SPLIT={self.default_split}, or --gin.DEFAULT_SPLIT={split} if the file has only '
      f'{split} problems.'
    )

  def _file_split(self, split: str) -> str:
    """Returns the split whose file has the problems."""
    if split == 'validation' and self.validation_fraction:
      return 'train'
    return split

  def _path_of(self, split: str) -> str:
    """Returns the path with the name of the split in it."""
    return self.path.replace('{split}', self._file_split(split))

  def _find_files(self, split: str) -> list[epath.Path]:
    try:
      return record_files.find_files(self._path_of(split))
    except ValueError as error:
      raise ValueError(
        f'{error} It should contain the problems of split {split!r}.'
      ) from error

  def _read(self, files: Sequence[epath.Path], split: str) -> Iterator[Problem]:
    """Yields the problems of a split; ValueError for two records with one id."""
    file_split = self._file_split(split)
    default_split = self.default_split
    if '{split}' in self.path:
      default_split = file_split
    records = problem_mapping.MappedRecords(self.mapping)
    first_place_of_id = FirstPlaces(self.mapping.repeats)
    splits: collections.Counter[str] = collections.Counter()
    for file, name in zip(files, _short_names(files)):
      located = record_files.read_file(file, self.mapping.columns())
      for where, problem in records.problems(located, name, default_split):
        problem = self._cut_validation(problem)
        splits[problem.split] += 1
        if problem.split != split:
          continue
        own_id = f'{name}:{where.rpartition(":")[2]}'  # unique
        if problem.id == own_id or first_place_of_id.is_first(
          problem.id, where
        ):
          yield problem
    records.check_names(self._path_of(split))
    logging.info(
      '%s: %d records, %d left out by filters, %d repeated; problems by split: %s',
      self._path_of(split),
      records.counts['read'],
      records.counts['filtered'],
      first_place_of_id.num_repeated,
      dict(splits),
    )

  def _cut_validation(self, problem: Problem) -> Problem:
    """Returns the problem, in the split 'validation' if it is in the fraction of it."""
    if problem.split != 'train' or not self.validation_fraction:
      return problem
    if hash_to_unit_interval(problem.id) >= self.validation_fraction:
      return problem
    return dataclasses.replace(problem, split='validation')


class FirstPlaces:
  """The place of the first record with each id, by a hash of the id.

  Attributes:
    num_repeated: records that were skipped.
  """

  def __init__(self, repeats: str = 'refuse'):
    self.num_repeated = 0
    self._repeats = repeats
    self._places: dict[int, str] = {}

  def is_first(self, problem_id: str, where: str) -> bool:
    """Returns whether the id is new; ValueError if it is not and repeats are refused."""
    digest = hashlib.sha256(problem_id.encode('utf-8')).digest()
    earlier = self._places.setdefault(int.from_bytes(digest[:8], 'big'), where)
    if earlier == where:
      return True
    if self._repeats == 'refuse':
      raise record_fields.wrong_field(
        where, 'id', problem_id, f'another id: {earlier} has this one'
      )
    self.num_repeated += 1
    return False


def _short_names(files: Sequence[epath.Path]) -> list[str]:
  """Returns the names of files, with folders where two files have the same name."""
  names = [file.name for file in files]
  if len(set(names)) < len(names):
    names = [f'{file.parent.name}/{file.name}' for file in files]
  if len(set(names)) < len(names):
    names = list(map(str, files))
  return names


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
  """Returns a problem from a json object with the default names of fields.

  Args:
    record: see `JsonlProblems` for its fields.
    where: `file:line`, for error messages and for a missing id.
    name: name of the file, for a missing id.
    split: split of a record without one.

  Raises:
    ValueError: the record has no question, or a field has a wrong type.
  """
  return problem_mapping.to_problem(
    record, problem_mapping.DEFAULT_MAPPING, where, name, split
  )


@dataclasses.dataclass
class SolutionCounts:
  """Numbers of solutions, for the log.

  Attributes:
    solved: problems with a solution.
    appended: solutions that got their answer as last line.
    unanswered: solutions without a known answer.
    texts: solutions whose answer is a text, which goes into no box.
  """

  solved: int = 0
  appended: int = 0
  unanswered: int = 0
  texts: int = 0

  def log(self, where: str) -> None:
    """Logs what was appended, and warns of solutions without an answer."""
    if self.appended:
      logging.info(
        '%s: %d of %d solutions did not state their answer; it was appended in a box',
        where,
        self.appended,
        self.solved,
      )
    if self.unanswered:
      logging.warning(
        '%s: %d of %d solutions have no answer: neither a field "answer" nor a \\boxed{}. A model '
        'trained on them does not learn to state one.',
        where,
        self.unanswered,
        self.solved,
      )
    if self.texts:
      logging.warning(
        '%s: the answers of %d of %d solutions are texts, not final answers; they were not '
        'appended in a box. Set ANSWER_FORM or ANSWER_AFTER.',
        where,
        self.texts,
        self.solved,
      )


def complete_solution(problem: Problem, counts: SolutionCounts) -> Problem:
  """Returns the problem with a solution that ends in its answer, and counts the change.

  A solution without a known answer, or whose answer is a text of sentences, is left as it is.
  """
  counts.solved += bool(problem.solution)
  if not problem.solution:
    return problem
  if problem.answer is None:
    counts.unanswered += 1
    return problem
  if boxed_answers.states_answer(problem.solution, problem.answer):
    return problem
  if boxed_answers.is_text(problem.answer):
    counts.texts += 1
    return problem
  counts.appended += 1
  solution = boxed_answers.append_answer(problem.solution, problem.answer)
  return dataclasses.replace(problem, solution=solution)


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
