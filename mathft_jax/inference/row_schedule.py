"""Assigns candidates to decode rows: a row that has ended takes the next one at a block's border.

  schedule = RowSchedule(num_problems=P, num_candidates=C, num_groups=8, rows_per_group=32)
  while not schedule.is_done():
    prompts, candidates = schedule.fill()
    ...                                # prefill the prompts, start the candidates, decode a block
    schedule.end(row)                  # for each row that has ended

The rows of a group share the prompts in its places, two by default. A row takes the next candidate
of the oldest problem in its group. If that has none left, the next problem is opened in a free
place. When all problems are open, groups without work prefill the prompt of another group's problem
once more and take some of its candidates. This affects when a candidate is decoded, not its text.
"""

from collections.abc import Iterator
import dataclasses
from typing import NamedTuple


class PromptStart(NamedTuple):
  """A prompt that must be prefilled into a place of a group."""

  group: int
  place: int
  problem: int


class CandidateStart(NamedTuple):
  """A candidate that a row decodes from now on, after the prompt in a place of the row's group."""

  row: int
  place: int
  problem: int
  sample: int


@dataclasses.dataclass
class _OpenProblem:
  """A problem with at least one candidate that has begun."""

  problem: int
  num_candidates: int
  num_started: int = 0

  @property
  def num_left(self) -> int:
    return self.num_candidates - self.num_started


@dataclasses.dataclass
class _Place:
  """The place of a prompt in a group."""

  opened: _OpenProblem | None = None
  age: int = 0  # the smaller, the earlier it was opened
  num_running: int = 0

  @property
  def num_left(self) -> int:
    return 0 if self.opened is None else self.opened.num_left

  @property
  def is_free(self) -> bool:
    return self.num_running == 0 and self.num_left == 0


class RowSchedule:
  """Which candidate each row decodes.

  Args:
    num_problems, num_candidates: all candidates of all problems are decoded once.
    num_groups, rows_per_group: rows of a group are neighbours.
    places_per_group: prompts that a group has at once.
  """

  def __init__(
    self,
    *,
    num_problems: int,
    num_candidates: int,
    num_groups: int,
    rows_per_group: int,
    places_per_group: int = 2,
  ):
    self._num_candidates = num_candidates
    self._rows_per_group = rows_per_group
    self._unopened = iter(range(num_problems))
    self._num_unfinished = num_problems * num_candidates
    self._opened: list[_OpenProblem] = []
    self._num_openings = 0
    self._groups: list[list[_Place]] = []
    for _ in range(num_groups):
      self._groups.append([_Place() for _ in range(places_per_group)])
    self._places_of_rows: list[_Place | None] = [None] * (
      num_groups * rows_per_group
    )

  def is_done(self) -> bool:
    """Whether all candidates have ended."""
    return self._num_unfinished == 0

  def fill(self) -> tuple[list[PromptStart], list[CandidateStart]]:
    """Gives candidates to free rows; the prompts are those that this needs first."""
    prompts, candidates = [], []
    for group in range(len(self._groups)):
      for row in self._free_rows(group):
        index = self._place_with_candidates(group)
        if index is None:
          index = self._open_problem(group)
          if index is None:
            break
          opened = self._groups[group][index].opened
          assert opened is not None
          prompts.append(PromptStart(group, index, opened.problem))

        place = self._groups[group][index]
        assert place.opened is not None
        sample = place.opened.num_started
        candidates.append(
          CandidateStart(row, index, place.opened.problem, sample)
        )
        place.opened.num_started += 1
        place.num_running += 1
        self._places_of_rows[row] = place
    return prompts, candidates

  def end(self, row: int) -> None:
    """The candidate of a row has ended."""
    place = self._places_of_rows[row]
    assert place is not None
    place.num_running -= 1
    self._places_of_rows[row] = None
    self._num_unfinished -= 1

  def _free_rows(self, group: int) -> Iterator[int]:
    start = group * self._rows_per_group
    for row in range(start, start + self._rows_per_group):
      if self._places_of_rows[row] is None:
        yield row

  def _place_with_candidates(self, group: int) -> int | None:
    """The place whose problem was opened first of those that have candidates left."""
    places = self._groups[group]
    indices = [i for i, place in enumerate(places) if place.num_left]
    return min(indices, key=lambda i: places[i].age, default=None)

  def _open_problem(self, group: int) -> int | None:
    """The free place that has a problem now; None if there is no place or no problem."""
    places = self._groups[group]
    index = next((i for i, place in enumerate(places) if place.is_free), None)
    if index is None:
      return None
    opened = self._next_problem()
    if opened is None:
      return None
    self._num_openings += 1
    places[index] = _Place(opened, age=self._num_openings)
    return index

  def _next_problem(self) -> _OpenProblem | None:
    """A problem that is not open yet; else the open one with the most candidates left."""
    for problem in self._unopened:
      opened = _OpenProblem(problem, self._num_candidates)
      self._opened.append(opened)
      return opened
    self._opened = [each for each in self._opened if each.num_left]
    return max(self._opened, key=lambda each: each.num_left, default=None)
