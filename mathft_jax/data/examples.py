"""Training examples from problems and from graded candidates.

An example is `{'inputs': ids, 'targets': ids}`: context without loss, then trained tokens with EOS.
A verdict example has an evaluator's prompt as inputs, no targets, and `is_correct`; a contrast
example has a candidate as targets, and `is_correct`. `target_weights` (one a target token) is
optional. See `batches.py` for what becomes of them.

The classes below are the rules that make them: each is called with the name of a split and returns
a finite list, of which `group_size` neighbours belong together. A pair is two neighbours, the
correct one first.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import logging
from typing import Any

import numpy as np

from mathft_jax.data import (
  candidate_selection,
  problem_sources,
  prompt_templates,
  schema,
)

Example = Mapping[str, Any]
Examples = Callable[[str], Sequence[Example]]
Problems = problem_sources.ProblemSource


@dataclasses.dataclass(frozen=True)
class SolutionExamples:
  """SSFT: the prompt, then the reference solution as target."""

  problems: Problems
  template: prompt_templates.Template
  vocabulary: Any
  group_size = 1

  def __call__(self, split: str) -> list[Example]:
    problems = self.problems(split)
    solved = [problem for problem in problems if problem.solution]
    if not solved:
      raise ValueError(
        f'split {split!r}: {len(problems)} problems, none with a solution to learn; '
        'wanted problems with a `solution`.'
      )
    logging.info(
      'split %s: %d problems, %d left out as they have no solution',
      split,
      len(problems),
      len(problems) - len(solved),
    )
    return [
      make_solution_example(self.template, self.vocabulary, problem)
      for problem in solved
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerdictExamples(candidate_selection.CandidateSelection):
  """The evaluator's examples, from a file of graded candidates; which ones, `Draw` says."""

  candidates: str
  template: prompt_templates.Template
  vocabulary: Any

  @property
  def group_size(self) -> int:
    return 2 if self.paired else 1

  def __call__(self, split: str) -> list[Example]:
    return [
      {'inputs': inputs, 'targets': _ids(()), 'is_correct': is_correct}
      for inputs, is_correct in _labelled(self, split, self._prompt)
    ]

  def _prompt(
    self, problem: schema.Problem, candidate: schema.Candidate
  ) -> np.ndarray:
    return _ids(
      prompt_templates.encode_evaluator_problem(
        self.template, self.vocabulary, problem
      )
      + prompt_templates.encode_evaluator_solution(
        self.template, self.vocabulary, candidate.solution
      )
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastExamples(candidate_selection.CandidateSelection):
  """Pairs for L_seq: the generator's prompt, then a correct and an incorrect candidate."""

  candidates: str
  template: prompt_templates.Template
  vocabulary: Any
  group_size = 2

  def __post_init__(self):
    super().__post_init__()
    if not self.paired:
      raise ValueError('ContrastExamples compares pairs; wanted paired=True.')

  def __call__(self, split: str) -> list[Example]:
    examples = []
    for (problem, targets), is_correct in _labelled(self, split, self._encoded):
      examples.append(
        {'inputs': problem, 'targets': targets, 'is_correct': is_correct}
      )
    return examples

  def _encoded(
    self, problem: schema.Problem, candidate: schema.Candidate
  ) -> tuple[np.ndarray, np.ndarray]:
    """The prompt and the candidate; one that was cut before its EOS gets none."""
    targets = prompt_templates.encode_solution(
      self.vocabulary, candidate.solution
    )
    return (
      _ids(
        prompt_templates.encode_prompt(self.template, self.vocabulary, problem)
      ),
      _ids(targets[:-1] if candidate.finished is False else targets),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectCandidateExamples:
  """A language-modelling term for an evaluator: the correct candidates themselves, as solutions.

  Also what rejection-sampling fine-tuning trains on. See `sources.CorrectCandidates`.
  """

  candidates: str
  template: prompt_templates.Template
  vocabulary: Any
  max_per_problem: int = 4
  group_size = 1

  def __call__(self, split: str) -> list[Example]:
    problems = problem_sources.CorrectCandidateProblems(
      self.candidates, self.max_per_problem
    )
    return SolutionExamples(problems, self.template, self.vocabulary)(split)


@dataclasses.dataclass(frozen=True)
class MixedExamples:
  """Several kinds of examples in every batch, in fixed proportion, as joint training needs.

  A group is `rates[0]` examples of the first kind, then `rates[1]` of the second, ...; with pairs
  all rates are even, so that pairs stay at even rows. One epoch shows each example of the kind that
  takes longest at least once; the others begin again as often as needed, in a new order.
  """

  examples: tuple[Examples, ...]
  rates: tuple[int, ...]
  seed: int = 0

  def __post_init__(self):
    object.__setattr__(self, 'examples', tuple(self.examples))
    object.__setattr__(self, 'rates', tuple(self.rates))
    sizes = [examples.group_size for examples in self.examples]
    if len(sizes) != len(self.rates) or any(
      rate < 1 or rate % max(sizes) for rate in self.rates
    ):
      raise ValueError(
        f'rates are {self.rates} for kinds whose groups have {sizes} rows; wanted '
        f'one rate each, multiples of {max(sizes)}.'
      )

  @property
  def group_size(self) -> int:
    return sum(self.rates)

  def __call__(self, split: str) -> list[Example]:
    kinds = [examples(split) for examples in self.examples]
    num_groups = max(
      -(-len(kind) // rate) for kind, rate in zip(kinds, self.rates)
    )
    streams = [
      _repeated(
        kind, examples.group_size, num_groups * rate, [self.seed, index]
      )
      for index, (kind, examples, rate) in enumerate(
        zip(kinds, self.examples, self.rates)
      )
    ]
    logging.info(
      'split %s: %d groups of %s rows from %s examples',
      split,
      num_groups,
      self.rates,
      [len(kind) for kind in kinds],
    )
    return [
      example
      for group in range(num_groups)
      for stream, rate in zip(streams, self.rates)
      for example in stream[group * rate : (group + 1) * rate]
    ]


def make_solution_example(
  template: prompt_templates.Template, vocabulary, problem: schema.Problem
) -> Example:
  """Prompt and reference solution of a problem: what every SSFT task trains on."""
  return {
    'inputs': _ids(
      prompt_templates.encode_prompt(template, vocabulary, problem)
    ),
    'targets': _ids(
      prompt_templates.encode_solution(vocabulary, problem.solution)
    ),
  }


def _labelled(
  examples: Any, split: str, encode: Callable[..., Any]
) -> list[tuple[Any, int]]:
  """(encoded candidate, is_correct) of all drawn candidates; each is encoded once."""
  known: dict[tuple[str, schema.Candidate], Any] = {}
  labelled = []
  for problem, candidate, is_correct in candidate_selection.select_candidates(
    examples, examples.candidates, split
  ):
    key = (problem.id, candidate)
    if key not in known:
      known[key] = encode(problem, candidate)
    labelled.append((known[key], is_correct))
  return labelled


def _repeated(
  kind: Sequence[Example], group_size: int, length: int, seed: Sequence[int]
) -> list[Example]:
  """`length` examples: all groups in a random order, again and again."""
  random = np.random.default_rng(seed)
  num_groups, stream = len(kind) // group_size, []
  while len(stream) < length:
    for group in random.permutation(num_groups):
      stream.extend(kind[group * group_size : (group + 1) * group_size])
  return stream[:length]


def _ids(ids: Sequence[int]) -> np.ndarray:
  return np.asarray(ids, np.int32)
