"""Generated problems about dials that turn: the data of the embedded default.

  problems = DialProblems(style='fine', num_train=1000)('train')

A dial has the positions 0 to 15. A problem gives three dials, each with a start position and two
turns, and asks for the final positions, one of 4,096 codes:

  A 3 -6 and then +3 . next B 3 -3 and then +2 . next C 4 -8 and then -9 . code ?

A solution is fine-grained (one position after each turn) or terse (both turns in one step):

  A 3 -6 = 13 +3 = 0 B 3 -3 = 0 +2 = 2 C 4 -8 = 12 -9 = 3 \\boxed{( 0 , 2 , 3 )}
  A 3 -6 and then +3 = 0 B 3 -3 and then +2 = 2 C 4 -8 and then -9 = 3 \\boxed{( 0 , 2 , 3 )}

A dial has eight words in the problem and in either solution. Copying is therefore attention at one
distance, and both styles have the same number of tokens.

The base model (`pretraining_examples`) was trained on the results of turns of 1 to 5, and has only
copied larger ones; problems have turns of 1 to 10. Part of what it is fine-tuned on is therefore
known, as for a pre-trained model.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import pathlib

import numpy as np

from mathft_jax.data import problem_sources, schema, vocabularies

NUM_POSITIONS = 16
LARGEST_TURN = 10
DIAL_NAMES = ('A', 'B', 'C')
STYLES = ('fine', 'terse', 'mix')
TURNS = tuple(
  f'{sign}{size}' for sign in '+-' for size in range(1, LARGEST_TURN + 1)
)
SYMBOLS = '= and then . next code ? \\boxed{( , )}'.split()
PRETRAINING_WORDS = 'chain check verdict correct incorrect'.split()
WORDS = (
  *map(str, range(NUM_POSITIONS)),
  *TURNS,
  *DIAL_NAMES,
  *SYMBOLS,
  *PRETRAINING_WORDS,
)
# Problems sampled at once. The problems of a seed depend on it and on SPLIT_HASH_BUCKETS.
SAMPLING_BLOCK_SIZE = 1024
# Of the eight values of `hash_bucket`.
SPLIT_HASH_BUCKETS = {'train': range(6), 'validation': (6,), 'test': (7,)}


def dial_vocabulary() -> vocabularies.WordVocabulary:
  """Returns the words of problems, solutions, pre-training examples and verdicts."""
  return vocabularies.WordVocabulary(WORDS)


@dataclasses.dataclass(frozen=True)
class Dial:
  """One dial as a solution describes it; true if `middle` and `end` follow from the turns.

  Attributes:
    start: position at the start.
    turns: both turns, negative or positive.
    middle: stated position after the first turn.
    end: stated position after both turns.
  """

  start: int
  turns: tuple[int, int]
  middle: int
  end: int

  def question(self, name: str) -> str:
    """Returns the text of the dial in a problem."""
    first, second = self.turns
    return f'{name} {self.start} {first:+d} and then {second:+d} .'

  def solution(self, name: str, fine: bool) -> str:
    """Returns the text of the dial in a solution."""
    first, second = self.turns
    between = f'= {self.middle}' if fine else 'and then'
    return f'{name} {self.start} {first:+d} {between} {second:+d} = {self.end}'


Dials = tuple[Dial, ...]


def format_question(dials: Dials) -> str:
  """Returns the text of a problem."""
  questions = [dial.question(name) for name, dial in zip(DIAL_NAMES, dials)]
  return ' next '.join(questions) + ' code ?'


def format_steps(dials: Dials, fine: bool) -> str:
  """Returns the text of a solution before its box."""
  named = zip(DIAL_NAMES, dials)
  return ' '.join([dial.solution(name, fine) for name, dial in named])


def format_solution(dials: Dials, fine: bool) -> str:
  """Returns the text of a solution."""
  return f'{format_steps(dials, fine)} {format_boxed_answer(dials)}'


def format_boxed_answer(dials: Dials) -> str:
  """Returns the text of a boxed answer."""
  ends = ' , '.join([str(dial.end) for dial in dials])
  return f'\\boxed{{( {ends} )}}'


def sample_dials(
  rng: np.random.Generator,
  count: int,
  num_dials: int,
  turn_range: tuple[int, int],
  larger_turn_probability: float = 0.0,
) -> list[Dials]:
  """Returns `count` problems of `num_dials` true dials with uniform positions.

  See `sample_turns` for the turns.
  """
  shape = (count, num_dials)
  starts = rng.integers(0, NUM_POSITIONS, shape)
  turns = sample_turns(rng, (*shape, 2), turn_range, larger_turn_probability)
  middles = (starts + turns[..., 0]) % NUM_POSITIONS
  ends = (middles + turns[..., 1]) % NUM_POSITIONS

  columns = [starts, turns[..., 0], turns[..., 1], middles, ends]
  problems = []
  for table in np.stack(columns, axis=-1).tolist():
    dials = [
      Dial(start, (first, second), middle, end)
      for start, first, second, middle, end in table
    ]
    problems.append(tuple(dials))
  return problems


def sample_turns(
  rng: np.random.Generator,
  shape: Sequence[int],
  turn_range: tuple[int, int],
  larger_turn_probability: float = 0.0,
) -> np.ndarray:
  """Returns random turns, positive or negative with equal probability.

  Args:
    rng: random numbers.
    shape: shape of the result.
    turn_range: smallest and largest size.
    larger_turn_probability: probability of a size above the range, up to LARGEST_TURN.
  """
  smallest, largest = turn_range
  sizes = rng.integers(smallest, largest + 1, shape)
  if larger_turn_probability:
    is_larger = rng.random(shape) < larger_turn_probability
    larger_sizes = rng.integers(largest + 1, LARGEST_TURN + 1, shape)
    sizes = np.where(is_larger, larger_sizes, sizes)
  return sizes * rng.choice([-1, 1], shape)


@dataclasses.dataclass(frozen=True)
class DialProblems:
  """A source of problems with solutions, called with the name of a split.

  A hash of its numbers assigns a problem to a split, so splits share no problem, whatever their
  sizes and seeds. A larger split starts with the problems of a smaller one. `level` of a problem
  is the number of its six turns that are larger than those that the base model was trained on.

  Attributes:
    style: of the reference solutions: 'fine', 'terse', or 'mix' (every second problem of a split
      has a terse one).
    num_train, num_validation, num_test: problems of each split.
    turn_range: smallest and largest turn.
    largest_known_turn: largest turn that the base model was trained on; sets `level`.
    seed: seed of the problems.
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
    smallest, largest = self.turn_range
    if self.style not in STYLES or not 1 <= smallest <= largest <= LARGEST_TURN:
      raise ValueError(
        f'DialProblems: style {self.style!r}, turn_range {self.turn_range}; wanted one of '
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

    smallest, largest = self.turn_range
    num_turns = 2 * (largest - smallest + 1)
    num_existing = (NUM_POSITIONS * num_turns**2) ** len(DIAL_NAMES)
    if counts[split] > num_existing // 100:
      raise ValueError(
        f'DialProblems: {counts[split]} problems of split {split!r}, and turn_range '
        f'{self.turn_range} allows {num_existing} in all; wanted at most a hundredth of them.'
      )
    sampled = itertools.islice(self._sample_distinct(split), counts[split])
    return [
      self._make_problem(split, index, dials)
      for index, dials in enumerate(sampled)
    ]

  def _sample_distinct(self, split: str) -> Iterator[Dials]:
    """Yields the problems of a split, each once."""
    seen = set()
    for block in itertools.count():
      rng = np.random.default_rng([self.seed, *split.encode('utf-8'), block])
      for dials in sample_dials(
        rng, SAMPLING_BLOCK_SIZE, len(DIAL_NAMES), self.turn_range
      ):
        if dials in seen:
          continue
        if hash_bucket(dials) in SPLIT_HASH_BUCKETS[split]:
          seen.add(dials)
          yield dials

  def _make_problem(
    self, split: str, index: int, dials: Dials
  ) -> schema.Problem:
    fine = self.style == 'fine' or (self.style == 'mix' and index % 2 == 0)
    turns = itertools.chain.from_iterable(dial.turns for dial in dials)
    level = sum(abs(turn) > self.largest_known_turn for turn in turns)
    ends = ', '.join([str(dial.end) for dial in dials])
    return schema.Problem(
      id=f'dials/{split}/{index:05d}',
      question=format_question(dials),
      solution=format_solution(dials, fine),
      answer=f'({ends})',
      level=str(level),
      split=split,
    )


def hash_bucket(dials: Dials) -> int:
  """Returns 0 to 7, by a multiplicative hash of a problem's numbers."""
  key = 0
  for dial in dials:
    for number in (dial.start, *dial.turns):
      key = key * 37 + number + LARGEST_TURN
  return (key * 0x9E3779B97F4A7C15 % 2**64) >> 61


def select_demonstrations(
  problems: DialProblems, count: int = 4
) -> tuple[tuple[str, str], ...]:
  """Returns demonstrations for `Template.shots` from the training problems.

  A space starts each solution: the base's prompt is the question without one, and words are
  separated by spaces.
  """
  chosen = problem_sources.select_demonstrations(problems, count)
  return tuple((question, f' {solution}') for question, solution in chosen)


def base_weights_path() -> str:
  """Returns the path of the base model in the package; recipes/base.gin trains it."""
  return str(pathlib.Path(__file__).parent / 'base_weights.safetensors')


def small_base_weights_path() -> str:
  """Returns the path of a base model of half the width; models/dials_small.gin trains it."""
  return str(pathlib.Path(__file__).parent / 'small_base_weights.safetensors')
