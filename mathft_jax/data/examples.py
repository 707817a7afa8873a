"""Sources of training examples: solutions, verdicts on candidates, pairs and mixtures of them.

An example source is called with the name of a split and returns a finite list of examples:

  source = VerdictExamples(candidates='graded.jsonl', template=template, vocabulary=vocabulary)
  examples = source('train')

`group_size` neighbours of the list belong together. A pair is two neighbours, the correct one
first. See `example_types` for the examples and `batching` for the arrays made from them.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import logging
from typing import Any, Protocol, TypeVar, overload

from etils import epath
import numpy as np

from mathft_jax.data import (
  candidate_selection,
  own_solutions,
  problem_sources,
  prompt_templates,
  stored_problems,
)
from mathft_jax.data.candidate_selection import CandidateSelection
from mathft_jax.data.example_types import (
  ContrastExample,
  Example,
  PreferenceExample,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.data.own_solutions import OwnSolutionSelection
from mathft_jax.data.prompt_templates import Template, Vocabulary
from mathft_jax.data.schema import Candidate, Problem
from mathft_jax.storage import digests

Encoded = TypeVar('Encoded')


class ExampleSource(Protocol):
  """Returns the examples of a split, in a fixed order."""

  @property
  def group_size(self) -> int:
    """Number of neighbouring examples that stay together in a batch."""
    ...

  def __call__(self, split: str) -> Sequence[Example]: ...


@dataclasses.dataclass(frozen=True)
class SolutionExamples:
  """SSFT: the prompt as inputs, the reference solution as targets."""

  problems: problem_sources.ProblemSource
  template: Template
  vocabulary: Vocabulary
  group_size = 1

  def __call__(self, split: str) -> Sequence[SolutionExample]:
    problems = self.problems(split)
    if isinstance(problems, stored_problems.StoredProblems):
      return stream_solutions(problems, self.template, self.vocabulary, split)
    solved = [problem for problem in problems if problem.solution]
    if not solved:
      raise _no_solutions(split, len(problems))
    logging.info(
      'split %s: %d problems, %d left out because they have no solution',
      split,
      len(problems),
      len(problems) - len(solved),
    )
    return [
      make_solution_example(self.template, self.vocabulary, problem)
      for problem in solved
    ]


class StreamedSolutions(Sequence[SolutionExample]):
  """Solutions of stored problems, tokenized at each access.

  Attributes:
    digest: of the problems, the template and the vocabulary.
  """

  def __init__(
    self,
    problems: stored_problems.StoredProblems,
    template: Template,
    vocabulary: Vocabulary,
  ):
    self._problems, self._template = problems, template
    self._vocabulary = vocabulary
    fingerprint = prompt_templates.template_fingerprint(template, vocabulary)
    self.digest = digests.content_digest(
      [problems.digest, sorted(fingerprint.items())]
    )

  def path_beside(self, *key: object, suffix: str) -> epath.Path:
    """Returns a path beside the stored problems that depends on these examples and on a key."""
    digest = digests.content_digest([self.digest, *key])
    return self._problems.path.with_suffix(f'.{digest}{suffix}')

  def __len__(self) -> int:
    return len(self._problems)

  @overload
  def __getitem__(self, index: int) -> SolutionExample: ...
  @overload
  def __getitem__(self, index: slice) -> list[SolutionExample]: ...
  def __getitem__(
    self, index: int | slice
  ) -> SolutionExample | list[SolutionExample]:
    if isinstance(index, slice):
      return [self[each] for each in range(*index.indices(len(self)))]
    return make_solution_example(
      self._template, self._vocabulary, self._problems[index]
    )


def stream_solutions(
  problems: stored_problems.StoredProblems,
  template: Template,
  vocabulary: Vocabulary,
  split: str,
) -> StreamedSolutions:
  """Returns the solutions of the problems that have one; none is tokenized before its use."""
  is_solved = problems.has_solution()
  if not is_solved.any():
    raise _no_solutions(split, len(problems))
  logging.info(
    'split %s: %d problems, %d left out because they have no solution',
    split,
    len(problems),
    int((~is_solved).sum()),
  )
  if not is_solved.all():
    problems = problems.select(np.flatnonzero(is_solved))
  return StreamedSolutions(problems, template, vocabulary)


def _no_solutions(split: str, num_problems: int) -> ValueError:
  return ValueError(
    f'split {split!r}: {num_problems} problems, none with a solution to learn; wanted problems '
    'with a `solution`.'
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerdictExamples(CandidateSelection):
  """Evaluator prompts with labels, from a jsonl file of graded candidates."""

  candidates: str
  template: Template
  vocabulary: Vocabulary

  @property
  def group_size(self) -> int:
    return 2 if self.paired else 1

  def __call__(self, split: str) -> list[VerdictExample]:
    encoded = _encode_selected(self, self.candidates, split, self._encode)
    return [VerdictExample(inputs, label) for inputs, label in encoded]

  def _encode(self, problem: Problem, candidate: Candidate) -> np.ndarray:
    prefix = prompt_templates.encode_evaluator_problem(
      self.template, self.vocabulary, problem
    )
    suffix = prompt_templates.encode_evaluator_solution(
      self.template, self.vocabulary, candidate.solution
    )
    return np.asarray(prefix + suffix, np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastExamples(CandidateSelection):
  """Pairs for L_seq: a generator prompt with a correct, then with an incorrect candidate."""

  candidates: str
  template: Template
  vocabulary: Vocabulary
  group_size = 2

  def __post_init__(self):
    super().__post_init__()
    if not self.paired:
      raise ValueError(
        'ContrastExamples has paired=False; it compares pairs: bind paired=True.'
      )

  def __call__(self, split: str) -> list[ContrastExample]:
    encoded = _encode_selected(self, self.candidates, split, self._encode)
    return [ContrastExample(*ids, label) for ids, label in encoded]

  def _encode(
    self, problem: Problem, candidate: Candidate
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns prompt and candidate; a candidate that was cut before its EOS gets no EOS."""
    inputs = prompt_templates.encode_prompt(
      self.template, self.vocabulary, problem
    )
    targets = prompt_templates.encode_solution(
      self.vocabulary, candidate.solution
    )
    if candidate.finished is False:
      targets = targets[:-1]
    return np.asarray(inputs, np.int32), np.asarray(targets, np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceExamples(ContrastExamples):
  """Pairs for DPO: as `ContrastExamples`, with log p of each candidate under the reference model.

  The reference is the model that the field `log_prob` of the candidates is of: the one that sampled
  them, or the checkpoint of a later `score` with quantity='log_prob'.
  """

  def __post_init__(self):
    super().__post_init__()
    if self.single_class_problems == 'reference':
      raise ValueError(
        "PreferenceExamples has single_class_problems='reference'; a reference solution has no "
        "log-probability. Bind 'skip'."
      )

  def __call__(self, split: str) -> list[ContrastExample]:
    def encode(problem: Problem, candidate: Candidate):
      if candidate.log_prob is None:
        raise ValueError(
          f'{self.candidates}, problem {problem.id!r}: a candidate has no log_prob, which '
          "PreferenceExamples needs. Run score with quantity='log_prob' under the reference "
          'checkpoint.'
        )
      return self._encode(problem, candidate), candidate.log_prob

    encoded = _encode_selected(self, self.candidates, split, encode)
    return [
      PreferenceExample(*ids, label, log_prob)
      for (ids, log_prob), label in encoded
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnSolutionExamples(OwnSolutionSelection):
  """Solutions that a model sampled itself, as solutions to learn.

  For rejection-sampling fine-tuning, and for the language-modelling term of an evaluator.
  """

  candidates: str
  template: Template
  vocabulary: Vocabulary
  group_size = 1

  def __call__(self, split: str) -> list[SolutionExample]:
    problems = own_solutions.select_own_solutions(self, self.candidates, split)
    return [
      make_solution_example(self.template, self.vocabulary, problem)
      for problem in problems
    ]


@dataclasses.dataclass(frozen=True)
class MixedExamples:
  """Examples of several sources in every batch, in fixed proportion, for joint training.

  A group has `rates[0]` examples of the first source, then `rates[1]` of the second, ... With
  pairs all rates are even, so that pairs stay at even rows. One epoch has each example of the
  source that takes longest at least once; the other sources repeat, each time in a new order.

  Attributes:
    examples: the sources.
    rates: examples per group of each source; multiples of the largest group size.
    seed: seed of the order.
  """

  examples: tuple[ExampleSource, ...]
  rates: tuple[int, ...]
  seed: int = 0

  def __post_init__(self):
    object.__setattr__(self, 'examples', tuple(self.examples))
    object.__setattr__(self, 'rates', tuple(self.rates))
    sizes = [source.group_size for source in self.examples]
    if len(sizes) != len(self.rates) or any(
      rate < 1 or rate % max(sizes) for rate in self.rates
    ):
      raise ValueError(
        f'rates are {self.rates} for sources with group sizes {sizes}; wanted one rate for each '
        f'source, all multiples of {max(sizes)} (RATES).'
      )

  @property
  def group_size(self) -> int:
    return sum(self.rates)

  def __call__(self, split: str) -> list[Example]:
    examples_by_source = [source(split) for source in self.examples]
    num_groups = 0
    for examples, rate in zip(examples_by_source, self.rates):
      num_groups = max(num_groups, -(-len(examples) // rate))

    streams = []
    for index, examples in enumerate(examples_by_source):
      streams.append(
        _repeat_shuffled(
          examples,
          self.examples[index].group_size,
          num_groups * self.rates[index],
          np.random.default_rng([self.seed, index]),
        )
      )

    mixed = []
    for group in range(num_groups):
      for stream, rate in zip(streams, self.rates):
        mixed.extend(stream[group * rate : (group + 1) * rate])
    logging.info(
      'split %s: %d groups of %s examples from %s examples',
      split,
      num_groups,
      self.rates,
      [len(examples) for examples in examples_by_source],
    )
    return mixed


def with_candidates(examples: Any, path: epath.PathLike) -> Any:
  """Returns an example source with its field `candidates` set, also in the parts of a mixture.

  A source without such a field is returned unchanged.
  """
  names = {field.name for field in dataclasses.fields(examples)}
  if 'candidates' in names:
    return dataclasses.replace(examples, candidates=str(path))
  if 'examples' in names:
    parts = []
    for part in examples.examples:
      parts.append(with_candidates(part, path))
    return dataclasses.replace(examples, examples=tuple(parts))
  return examples


def make_solution_example(
  template: Template,
  vocabulary: Vocabulary,
  problem: Problem,
) -> SolutionExample:
  """Returns prompt and reference solution of a problem as token ids."""
  inputs = prompt_templates.encode_prompt(template, vocabulary, problem)
  solution = prompt_templates.complete_thought(template, problem.solution)
  targets = prompt_templates.encode_solution(vocabulary, solution)
  return SolutionExample(
    np.asarray(inputs, np.int32), np.asarray(targets, np.int32)
  )


def _encode_selected(
  selection: CandidateSelection,
  path: str,
  split: str,
  encode: Callable[[Problem, Candidate], Encoded],
) -> list[tuple[Encoded, int]]:
  """Returns (encoded candidate, is_correct); each distinct candidate is encoded once.

  The file is read one problem at a time: only what is encoded is held.
  """
  encoded = []
  for chosen in candidate_selection.selected_by_problem(selection, path, split):
    encode_once = functools.cache(encode)
    for problem, candidate, is_correct in chosen:
      encoded.append((encode_once(problem, candidate), is_correct))
  return encoded


def _repeat_shuffled(
  examples: Sequence[Example],
  group_size: int,
  length: int,
  rng: np.random.Generator,
) -> list[Example]:
  """Returns `length` examples: all groups in random order, repeated in new orders."""
  num_groups = len(examples) // group_size
  stream = []
  while len(stream) < length:
    for group in rng.permutation(num_groups):
      stream.extend(examples[group * group_size : (group + 1) * group_size])
  return stream[:length]
