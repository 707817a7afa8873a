"""The embedded default: generated problems about dials that turn.

A dial has the positions 0 to 15. A problem gives three dials, each with a position and two turns,
and asks for the positions at the end, one of 4,096 codes:

  A 3 -6 and then +3 . next B 3 -3 and then +2 . next C 4 -8 and then -9 . code ?

Its solution is fine-grained, with every position on the way, or terse: both turns in one step.

  A 3 -6 = 13 +3 = 0 B 3 -3 = 0 +2 = 2 C 4 -8 = 12 -9 = 3 \\boxed{( 0 , 2 , 3 )}
  A 3 -6 and then +3 = 0 B 3 -3 and then +2 = 2 C 4 -8 and then -9 = 3 \\boxed{( 0 , 2 , 3 )}

A dial takes eight words in the problem and in either solution, so that copying is attention at one
distance, and both styles cost the same number of tokens.

The base model (`lessons.py`) knows where turns of 1 to 5 lead, and has only copied larger ones;
problems have turns of 1 to 10. So what it is fine-tuned on is partly known, as it is for a
pre-trained model.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import pathlib

import numpy as np

from mathft_jax.data import schema, vocabularies

NUM_POSITIONS = 16
LARGEST_TURN = 10
DIAL_NAMES = ('A', 'B', 'C')
STYLES = ('fine', 'terse', 'mix')
WORDS = (
  *map(str, range(NUM_POSITIONS)),
  *(f'{sign}{size}' for sign in '+-' for size in range(1, LARGEST_TURN + 1)),
  *DIAL_NAMES,
  '=',
  'and',
  'then',
  '.',
  'next',
  'code',
  '?',
  '\\boxed{(',
  ',',
  ')}',
  'chain',
  'check',
  'verdict',
  'correct',
  'incorrect',
)
SAMPLING_BLOCK_SIZE = (
  1024  # problems drawn at once; like HASH_SHARES a part of what a seed means
)
SPLIT_HASH_BUCKETS = {
  'train': range(6),
  'validation': range(6, 7),
  'test': range(7, 8),
}  # eighths


def dial_vocabulary() -> vocabularies.WordVocabulary:
  """The words of problems, solutions, lessons and verdicts."""
  return vocabularies.WordVocabulary(WORDS)


@dataclasses.dataclass(frozen=True)
class Dial:
  """One dial as a solution tells it; true where middle and end follow from the turns."""

  start: int
  turns: tuple[int, int]
  middle: int
  end: int

  def question(self, name: str) -> str:
    first, second = self.turns
    return f'{name} {self.start} {first:+d} and then {second:+d} .'

  def solution(self, name: str, fine: bool) -> str:
    first, second = self.turns
    way = f'= {self.middle}' if fine else 'and then'
    return f'{name} {self.start} {first:+d} {way} {second:+d} = {self.end}'


def format_question(dials: Sequence[Dial]) -> str:
  """The text of a problem."""
  return (
    ' next '.join(dial.question(name) for name, dial in zip(DIAL_NAMES, dials))
    + ' code ?'
  )


def format_steps(dials: Sequence[Dial], fine: bool) -> str:
  """The text of a solution before its box."""
  return ' '.join(
    dial.solution(name, fine) for name, dial in zip(DIAL_NAMES, dials)
  )


def format_solution(dials: Sequence[Dial], fine: bool) -> str:
  """The text of a solution."""
  return f'{format_steps(dials, fine)} {format_boxed_answer(dials)}'


def format_boxed_answer(dials: Sequence[Dial]) -> str:
  """The text of an answer."""
  return f'\\boxed{{( {" , ".join(str(dial.end) for dial in dials)} )}}'


def sample_dials(
  random: np.random.Generator,
  count: int,
  dials: int,
  turns: tuple[int, int],
  larger: float = 0.0,
) -> list[tuple[Dial, ...]]:
  """`count` times `dials` true dials: uniform positions, turns of `turns[0]` to `turns[1]`.

  Either way round; a share `larger` of the turns is larger than `turns[1]`, up to LARGEST_TURN.
  """
  shape = (count, dials)
  start = random.integers(0, NUM_POSITIONS, shape)
  turn = sample_turns(random, (*shape, 2), turns, larger)
  middle = (start + turn[..., 0]) % NUM_POSITIONS
  end = (middle + turn[..., 1]) % NUM_POSITIONS
  table = np.concatenate(
    [start[..., None], turn, middle[..., None], end[..., None]], axis=-1
  )
  return [
    tuple(
      Dial(start, (first, second), middle, end)
      for start, first, second, middle, end in problem
    )
    for problem in table.tolist()
  ]


def sample_turns(
  random: np.random.Generator,
  shape: Sequence[int],
  turns: tuple[int, int],
  larger: float = 0.0,
) -> np.ndarray:
  """Turns, positive or negative, as `draw_dials` says."""
  size = random.integers(turns[0], turns[1] + 1, shape)
  if larger:
    size = np.where(
      random.random(shape) < larger,
      random.integers(turns[1] + 1, LARGEST_TURN + 1, shape),
      size,
    )
  return size * random.choice([-1, 1], shape)


@dataclasses.dataclass(frozen=True)
class DialProblems:
  """A source of problems with solutions: called with the name of a split.

  A problem belongs to a split by a hash of its numbers, so the splits share none, whatever their
  sizes and seeds; more problems of a split begin with the fewer ones. `level` is the number of
  turns, of six, that are larger than those the base has seen.

  Attributes:
    style: of the reference solutions: 'fine', 'terse', or 'mix', in which every second problem of a
      split has a terse one.
    turn_range: smallest and largest.
    largest_known_turn: the largest that the base has seen; for `level` only.
    seed: of the problems.
  """

  style: str = 'fine'
  num_train: int = 1000
  num_validation: int = 500
  num_test: int = 500
  turn_range: tuple[int, int] = (1, LARGEST_TURN)
  largest_known_turn: int = 5
  seed: int = 0

  def __post_init__(self):
    object.__setattr__(self, 'turn_range', tuple(self.turn_range))
    if (
      self.style not in STYLES
      or not 1 <= self.turn_range[0] <= self.turn_range[1] <= LARGEST_TURN
    ):
      raise ValueError(
        f'DialProblems: style {self.style!r}, turns {self.turn_range}; wanted one of '
        f'{STYLES} and turns within 1 to {LARGEST_TURN}.'
      )

  def __call__(self, split: str) -> list[schema.Problem]:
    counts = {
      'train': self.num_train,
      'validation': self.num_validation,
      'test': self.num_test,
    }
    if split not in counts:
      raise ValueError(f'split {split!r}; wanted one of {tuple(counts)}.')
    existing = (
      NUM_POSITIONS * (2 * (self.turn_range[1] - self.turn_range[0] + 1)) ** 2
    ) ** len(DIAL_NAMES)
    if counts[split] > existing // 100:
      raise ValueError(
        f'DialProblems: {counts[split]} problems of split {split!r}, and turns of '
        f'{self.turn_range} make {existing} in all; wanted a hundredth of them at most.'
      )
    found = itertools.islice(self._dials(split), counts[split])
    return [
      self._problem(split, index, dials) for index, dials in enumerate(found)
    ]

  def _dials(self, split: str) -> Iterator[tuple[Dial, ...]]:
    """The problems of a split, each once."""
    seen = set()
    for block in itertools.count():
      random = np.random.default_rng([self.seed, *split.encode('utf-8'), block])
      for dials in sample_dials(
        random, SAMPLING_BLOCK_SIZE, len(DIAL_NAMES), self.turn_range
      ):
        if (
          dials not in seen and hash_bucket(dials) in SPLIT_HASH_BUCKETS[split]
        ):
          seen.add(dials)
          yield dials

  def _problem(
    self, split: str, index: int, dials: tuple[Dial, ...]
  ) -> schema.Problem:
    fine = self.style == 'fine' or (self.style == 'mix' and index % 2 == 0)
    new = sum(
      abs(turn) > self.largest_known_turn
      for dial in dials
      for turn in dial.turns
    )
    ends = ', '.join(str(dial.end) for dial in dials)
    return schema.Problem(
      id=f'dials/{split}/{index:05d}',
      question=format_question(dials),
      solution=format_solution(dials, fine),
      answer=f'({ends})',
      level=str(new),
      split=split,
    )


def hash_bucket(dials: Sequence[Dial]) -> int:
  """0 to 7, by a multiplicative hash of a problem's numbers."""
  key = 0
  for dial in dials:
    for number in (dial.start, *dial.turns):
      key = key * 37 + number + LARGEST_TURN
  return (key * 0x9E3779B97F4A7C15 % 2**64) >> 61


def base_weights_path() -> str:
  """The path of the base model that is kept with the package; recipes/base.gin makes it."""
  return str(pathlib.Path(__file__).parent / 'base_weights.safetensors')
