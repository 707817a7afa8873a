"""What the tiny base model of the embedded default is pre-trained on, written by a generator.

A lesson is a text in pieces, each with the weight of its tokens in the loss. In the order of need:

  chain     chain 3 +5 = 8 -2 = 6 ...                        facts, eighteen in a row
  jump      A 3 +5 and then -2 = 6                           two turns in one step
  check     check 4 +5 = 9 correct 3 -2 = 8 incorrect ...    a verdict on each fact, at once
  trail     check 3 +5 = 8 -2 = 6 verdict correct            a verdict on several facts, at the end
  part      A 3 +5 = 8 -2 = 6 verdict correct                a verdict on all steps, at the end
  solve     a problem and its solution, fine-grained or terse
  review    a problem, a fine-grained solution, and the verdict: the evaluator's own prompt

Trails have any number of facts, parts and reviews one, two or three dials; half of them have one
wrong result, drawn uniformly, from which later steps follow. Short checks come before long ones: a
model that starts with reviews stays at chance for thousands of steps (docs/embedded_default.md).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from mathft_jax.data import examples as examples_lib
from mathft_jax.data import prompt_templates
from mathft_jax.dials import dial_problems

Piece = tuple[str, float]  # text, weight of each of its tokens in the loss
POSITIONS, NAMES = dial_problems.NUM_POSITIONS, dial_problems.DIAL_NAMES
CHAIN_LENGTH = 18  # with these two, a chain and a row of checks are as long as a problem solved
CHECKS_PER_EXAMPLE = 11
MIDDLE, END = 4, 7  # the places of results among the eight words of a dial


@dataclasses.dataclass(frozen=True)
class DialPretrainingExamples:
  """Examples for the base model, `counts[kind]` of each kind.

  Attributes:
    counts: by kind; 'trail' is followed by a number of facts ('trail 6'), 'part' and 'review' by a
      number of dials ('review 3'), 'solve' by a style ('solve fine').
    turns: smallest and largest in the lessons.
    copied: share of larger turns, up to those of the problems, in the lesson `solve`. Their results
      weigh nothing: a solution's larger turns can be copied from its problem, where they lead is
      never told.
    verdict_weight: of a verdict at the end of a trail, part or review; every other target weighs 1.
    validation_fraction: the validation split has this share of the counts.
  """

  counts: Mapping[str, int]
  template: prompt_templates.Template
  vocabulary: Any
  turn_range: tuple[int, int] = (1, 5)
  larger_turn_probability: float = 0.3
  verdict_weight: float = 3.0
  validation_fraction: float = 0.01
  seed: int = 0
  group_size = 1

  def __call__(self, split: str) -> list[examples_lib.Example]:
    share = 1.0 if split == 'train' else self.validation_fraction
    lessons = []
    for kind, count in sorted(self.counts.items()):
      random = np.random.default_rng(
        [self.seed, *f'{split} {kind}'.encode('utf-8')]
      )
      lessons.extend(self._make(kind)(self, random, max(1, int(count * share))))
    return [self._example(pieces) for pieces in lessons]

  def _make(self, kind: str):
    name, _, option = kind.partition(' ')
    if name not in EXAMPLE_MAKERS:
      raise ValueError(
        f'DialLessons: lesson {kind!r}; wanted one of {tuple(EXAMPLE_MAKERS)}.'
      )
    return (
      functools.partial(EXAMPLE_MAKERS[name], option=option)
      if option
      else EXAMPLE_MAKERS[name]
    )

  def _example(self, pieces: Sequence[Piece]) -> examples_lib.Example:
    """The text as targets; its first token is context."""
    tokens, weights = [], []
    for text, weight in pieces:
      new = self.vocabulary.encode(text) if text else [self.vocabulary.eos_id]
      tokens.extend(new)
      weights.extend([weight] * len(new))
    bos = [] if self.vocabulary.bos_id is None else [self.vocabulary.bos_id]
    context = bos or tokens[:1]
    start = 0 if bos else 1
    return {
      'inputs': np.asarray(context, np.int32),
      'targets': np.asarray(tokens[start:], np.int32),
      'target_weights': np.asarray(weights[start:], np.float32),
    }


def make_fact_chains(
  lessons: DialPretrainingExamples, random: np.random.Generator, count: int
) -> list[list[Piece]]:
  """True facts, one after the other."""
  start = random.integers(0, POSITIONS, count)
  turns = dial_problems.sample_turns(
    random, (count, CHAIN_LENGTH), lessons.turn_range
  )
  ends = (start[:, None] + np.cumsum(turns, axis=1)) % POSITIONS
  return [
    [(f'chain {first}', 0.0), *_facts(row, results, 1.0)]
    for first, row, results in zip(start, turns, ends)
  ]


def make_two_turn_steps(
  lessons: DialPretrainingExamples, random: np.random.Generator, count: int
) -> list[list[Piece]]:
  """One dial of a terse solution."""
  names = random.integers(0, len(NAMES), count)
  made = []
  for (dial,), name in zip(_dials(lessons, random, count, 1), names):
    *before, end = dial.solution(NAMES[name], fine=False).split(' ')
    made.append([(' '.join(before), 0.0), (end, 1.0)])
  return made


def make_fact_checks(
  lessons: DialPretrainingExamples, random: np.random.Generator, count: int
) -> list[list[Piece]]:
  """Facts, half of them wrong, each with its verdict."""
  shape = (count, CHECKS_PER_EXAMPLE)
  start = random.integers(0, POSITIONS, shape)
  turns = dial_problems.sample_turns(random, shape, lessons.turn_range)
  wrong = random.random(shape) < 0.5
  ends = (
    start + turns + wrong * random.integers(1, POSITIONS, shape)
  ) % POSITIONS
  words = lessons.template.label_words
  return [
    [('check', 0.0)]
    + [
      piece
      for first, turn, end, bad in zip(*row)
      for piece in (
        (f'{first} {turn:+d} =', 0.0),
        (str(end), 0.0 if bad else 0.5),
        (words[int(bad)], 1.0),
      )
    ]
    for row in zip(start, turns, ends, wrong)
  ]


def make_chained_checks(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  option: str = '1',
) -> list[list[Piece]]:
  """Facts that go on from each other, and a verdict on all of them; half of them have one slip."""
  length = int(option)
  start = random.integers(0, POSITIONS, count)
  turns = dial_problems.sample_turns(
    random, (count, length), lessons.turn_range
  )
  bad = random.random(count) < 0.5
  slips = bad[:, None] & (
    np.arange(length) == random.integers(0, length, count)[:, None]
  )
  shifts = slips * random.integers(1, POSITIONS, count)[:, None]
  ends = (start[:, None] + np.cumsum(turns + shifts, axis=1)) % POSITIONS
  return [
    [
      (f'check {first}', 0.0),
      *_facts(row, results, 0.0 if is_bad else 1.0),
      ('verdict', 0.0),
      *_verdict(lessons, is_bad),
    ]
    for first, row, results, is_bad in zip(start, turns, ends, bad)
  ]


def make_solution_verdicts(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  option: str = '3',
) -> list[list[Piece]]:
  """The steps of a fine-grained solution and a verdict on them."""
  made = []
  for dials, bad in _reviewed(lessons, random, count, int(option)):
    text = lessons.template.verify_solution.replace(
      '{solution}', dial_problems.format_steps(dials, fine=True)
    )
    made.append([(text, 0.0), *_verdict(lessons, bad)])
  return made


def make_solved_problems(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  option: str = 'fine',
) -> list[list[Piece]]:
  """A problem and its solution, as in SSFT."""
  made = []
  random.random(
    (count, len(NAMES), 2)
  )  # not used; the base that is kept was made after this draw
  for dials in dial_problems.sample_dials(
    random,
    count,
    len(NAMES),
    lessons.turn_range,
    lessons.larger_turn_probability,
  ):
    prompt = lessons.template.solve.replace(
      '{question}', dial_problems.format_question(dials)
    )
    steps = [
      step
      for name, dial in zip(NAMES, dials)
      for step in _steps(lessons, name, dial, option == 'fine')
    ]
    made.append(
      [
        (prompt, 0.0),
        *steps,
        (dial_problems.format_boxed_answer(dials), 1.0),
        ('', 1.0),
      ]
    )
  return made


def make_evaluator_prompts(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  option: str = '3',
) -> list[list[Piece]]:
  """A problem, a solution and a verdict, as the evaluator is asked; right solutions count too."""
  template, made = lessons.template, []
  for dials, bad in _reviewed(lessons, random, count, int(option)):
    before, after = template.verify_solution.split('{solution}')
    made.append(
      [
        (
          template.verify_problem.replace(
            '{question}', dial_problems.format_question(dials)
          )
          + before,
          0.0,
        ),
        (dial_problems.format_solution(dials, fine=True), 0.0 if bad else 1.0),
        (after, 0.0),
        *_verdict(lessons, bad),
      ]
    )
  return made


EXAMPLE_MAKERS = {
  'chain': make_fact_chains,
  'jump': make_two_turn_steps,
  'check': make_fact_checks,
  'trail': make_chained_checks,
  'part': make_solution_verdicts,
  'solve': make_solved_problems,
  'review': make_evaluator_prompts,
}


def _facts(
  turns: Sequence[int], ends: Sequence[int], weight: float
) -> list[Piece]:
  """`+5 = 8 -2 = 6`, each result of this weight."""
  return [
    piece
    for turn, end in zip(turns, ends)
    for piece in ((f'{turn:+d} =', 0.0), (str(end), weight))
  ]


def _steps(
  lessons: DialPretrainingExamples,
  name: str,
  dial: dial_problems.Dial,
  fine: bool,
) -> list[Piece]:
  """The words of one dial in a solution; results of larger turns weigh nothing."""
  first, second = (
    float(abs(turn) <= lessons.turn_range[1]) for turn in dial.turns
  )
  words = dial.solution(name, fine).split(' ')
  weights = [1.0] * len(words)
  if fine:
    weights[MIDDLE] = first
  weights[END] = second if fine else first * second
  return list(zip(words, weights))


def _dials(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  dials: int,
) -> list[tuple[dial_problems.Dial, ...]]:
  return dial_problems.sample_dials(random, count, dials, lessons.turn_range)


def _reviewed(
  lessons: DialPretrainingExamples,
  random: np.random.Generator,
  count: int,
  dials: int,
) -> list[tuple[tuple[dial_problems.Dial, ...], bool]]:
  """(dials, is wrong): in half of them one result is wrong."""
  made = []
  true = _dials(lessons, random, count, dials)
  bad = random.random(count) < 0.5
  where = random.integers(0, 2 * dials, count)
  shifts = random.integers(1, POSITIONS, count)
  for problem, is_bad, place, shift in zip(
    true, bad.tolist(), where.tolist(), shifts.tolist()
  ):
    if is_bad:
      dial, at_end = divmod(place, 2)
      problem = (
        *problem[:dial],
        insert_error(problem[dial], shift, bool(at_end)),
        *problem[dial + 1 :],
      )
    made.append((problem, is_bad))
  return made


def insert_error(
  dial: dial_problems.Dial, shift: int, at_end: bool
) -> dial_problems.Dial:
  """The dial with one result wrong by `shift`, in the middle (the end follows from it) or there."""
  middle = dial.middle if at_end else (dial.middle + shift) % POSITIONS
  return dataclasses.replace(
    dial, middle=middle, end=(dial.end + shift) % POSITIONS
  )


def _verdict(lessons: DialPretrainingExamples, bad: bool) -> list[Piece]:
  return [(lessons.template.label_words[int(bad)], lessons.verdict_weight)]
