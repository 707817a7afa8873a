"""Synthetic pre-training examples for the base model of the embedded default.

An example is a text in pieces, each with the loss weight of its tokens. The kinds, in the order
in which the model needs them:

  chain     chain 3 +5 = 8 -2 = 6 ...                        eighteen facts in a row
  jump      A 3 +5 and then -2 = 6                           two turns in one step
  check     check 4 +5 = 9 correct 3 -2 = 8 incorrect ...    a verdict after each fact
  trail     check 3 +5 = 8 -2 = 6 verdict correct            a verdict after several chained facts
  part      A 3 +5 = 8 -2 = 6 verdict correct                a verdict after all steps of a solution
  solve     a problem and its solution, fine-grained or terse
  review    a problem, a fine-grained solution and a verdict: the evaluator prompt

A trail has any number of facts, a part or review has one, two or three dials. Half of them have
one wrong result, drawn uniformly, and the later steps follow from it. Short checks come before long
ones: a model that starts with reviews stays at chance for thousands of steps
(docs/embedded_default.md).
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import numpy as np
from numpy.random import Generator

from mathft_jax.data.example_types import SolutionExample
from mathft_jax.data.prompt_templates import Template, Vocabulary
from mathft_jax.dials.dial_problems import (
  DIAL_NAMES,
  NUM_POSITIONS,
  Dial,
  Dials,
  format_boxed_answer,
  format_question,
  format_solution,
  format_steps,
  sample_dials,
  sample_turns,
)

Piece = tuple[str, float]  # text, loss weight of each of its tokens; '' is EOS
Pieces = list[Piece]
# With these two a chain and a row of checks are as long as a solved problem.
CHAIN_LENGTH = 18
CHECKS_PER_EXAMPLE = 11
# Index of the results among the eight words of a dial.
MIDDLE, END = 4, 7


@dataclasses.dataclass(frozen=True)
class DialPretrainingExamples:
  """Pre-training examples, `counts[kind]` of each kind.

  Attributes:
    counts: number of training examples by kind. 'trail' is followed by a number of facts
      ('trail 6'), 'part' and 'review' by a number of dials ('review 3'), 'solve' by a style
      ('solve fine').
    template: texts of the kinds 'part', 'solve' and 'review'.
    vocabulary: encodes all texts.
    turn_range: smallest and largest turn.
    larger_turn_probability: probability of a larger turn, up to those of the problems, in the kind
      'solve'. The results of larger turns have weight 0: the turns can be copied from the problem,
      and the model never learns their results.
    verdict_weight: loss weight of the verdict in a trail, part or review; all other targets have 1.
    validation_fraction: size of the validation split relative to `counts`.
    seed: seed of the examples.
  """

  counts: Mapping[str, int]
  template: Template
  vocabulary: Vocabulary
  turn_range: tuple[int, int] = (1, 5)
  larger_turn_probability: float = 0.3
  verdict_weight: float = 3.0
  validation_fraction: float = 0.01
  seed: int = 0
  group_size = 1

  def __call__(self, split: str) -> list[SolutionExample]:
    fraction = 1.0 if split == 'train' else self.validation_fraction
    texts = []
    for kind, count in sorted(self.counts.items()):
      name, *option = kind.split(' ')
      if name not in EXAMPLE_MAKERS:
        raise ValueError(
          f'DialPretrainingExamples: kind {kind!r}; wanted one of {tuple(EXAMPLE_MAKERS)}.'
        )
      seed = [self.seed, *f'{split} {kind}'.encode('utf-8')]
      rng = np.random.default_rng(seed)
      num_examples = max(1, int(count * fraction))
      texts.extend(EXAMPLE_MAKERS[name](self, rng, num_examples, *option))
    return list(map(self._encode, texts))

  def verdict(self, is_wrong: bool) -> Piece:
    """Returns the label word of a solution, with its loss weight."""
    return self.template.label_words[int(is_wrong)], self.verdict_weight

  def _encode(self, pieces: Sequence[Piece]) -> SolutionExample:
    """Returns the text as targets; its first token is context."""
    tokens, weights = [], []
    if self.vocabulary.bos_id is not None:
      tokens, weights = [self.vocabulary.bos_id], [0.0]
    for text, weight in pieces:
      ids = self.vocabulary.encode(text) if text else [self.vocabulary.eos_id]
      tokens.extend(ids)
      weights.extend([weight] * len(ids))
    return SolutionExample(
      np.asarray(tokens[:1], np.int32),
      np.asarray(tokens[1:], np.int32),
      np.asarray(weights[1:], np.float32),
    )


def make_fact_chain_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
) -> list[Pieces]:
  """Returns chains of true facts."""
  starts = rng.integers(0, NUM_POSITIONS, count)
  turns = sample_turns(rng, (count, CHAIN_LENGTH), config.turn_range)
  ends = (starts[:, None] + np.cumsum(turns, axis=1)) % NUM_POSITIONS

  texts = []
  for index, start in enumerate(starts):
    facts = _format_facts(turns[index], ends[index], 1.0)
    texts.append([(f'chain {start}', 0.0), *facts])
  return texts


def make_two_turn_step_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
) -> list[Pieces]:
  """Returns single dials of terse solutions."""
  names = rng.integers(0, len(DIAL_NAMES), count)
  problems = sample_dials(rng, count, 1, config.turn_range)

  texts = []
  for name, (dial,) in zip(names, problems):
    text = dial.solution(DIAL_NAMES[name], fine=False)
    before, _, end = text.rpartition(' ')
    texts.append([(before, 0.0), (end, 1.0)])
  return texts


def make_fact_check_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
) -> list[Pieces]:
  """Returns rows of unrelated facts, half of them wrong, each with its verdict."""
  shape = (count, CHECKS_PER_EXAMPLE)
  starts = rng.integers(0, NUM_POSITIONS, shape)
  turns = sample_turns(rng, shape, config.turn_range)
  is_wrong = rng.random(shape) < 0.5
  errors = is_wrong * rng.integers(1, NUM_POSITIONS, shape)
  ends = (starts + turns + errors) % NUM_POSITIONS

  texts = []
  for index in range(count):
    pieces = [('check', 0.0)]
    for fact in range(CHECKS_PER_EXAMPLE):
      wrong = bool(is_wrong[index, fact])
      start, turn = starts[index, fact], turns[index, fact]
      pieces.append((f'{start} {turn:+d} =', 0.0))
      pieces.append((str(ends[index, fact]), 0.0 if wrong else 0.5))
      pieces.append((config.template.label_words[int(wrong)], 1.0))
    texts.append(pieces)
  return texts


def make_chained_check_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
  option: str = '1',
) -> list[Pieces]:
  """Returns chains of facts with one verdict at the end; half of them have one error.

  `option` is the number of facts.
  """
  num_facts = int(option)
  starts = rng.integers(0, NUM_POSITIONS, count)
  turns = sample_turns(rng, (count, num_facts), config.turn_range)
  is_wrong = rng.random(count) < 0.5
  error_places = rng.integers(0, num_facts, count)
  error_sizes = rng.integers(1, NUM_POSITIONS, count)

  errors = np.zeros_like(turns)
  errors[np.arange(count), error_places] = is_wrong * error_sizes
  ends = (starts[:, None] + np.cumsum(turns + errors, axis=1)) % NUM_POSITIONS

  texts = []
  for index, start in enumerate(starts):
    wrong = bool(is_wrong[index])
    facts = _format_facts(turns[index], ends[index], 0.0 if wrong else 1.0)
    texts.append(
      [
        (f'check {start}', 0.0),
        *facts,
        ('verdict', 0.0),
        config.verdict(wrong),
      ]
    )
  return texts


def make_solution_verdict_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
  option: str = '3',
) -> list[Pieces]:
  """Returns the steps of fine-grained solutions with a verdict.

  `option` is the number of dials.
  """
  suffix = config.template.verify_solution
  texts = []
  for dials, wrong in _sample_judged(config, rng, count, int(option)):
    steps = format_steps(dials, fine=True)
    text = suffix.replace('{solution}', steps)
    texts.append([(text, 0.0), config.verdict(wrong)])
  return texts


def make_solved_problem_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
  option: str = 'fine',
) -> list[Pieces]:
  """Returns problems with solutions, as in SSFT.

  `option` is the style, 'fine' or 'terse'.
  """
  # Unused numbers: the base model in the package was trained on what follows them.
  rng.random((count, len(DIAL_NAMES), 2))
  problems = sample_dials(
    rng,
    count,
    len(DIAL_NAMES),
    config.turn_range,
    config.larger_turn_probability,
  )
  texts = []
  for dials in problems:
    question = format_question(dials)
    prompt = config.template.solve.replace('{question}', question)
    pieces = [(prompt, 0.0)]
    for name, dial in zip(DIAL_NAMES, dials):
      pieces.extend(_weigh_words(config, name, dial, option == 'fine'))
    pieces.append((format_boxed_answer(dials), 1.0))
    pieces.append(('', 1.0))
    texts.append(pieces)
  return texts


def make_evaluator_prompt_examples(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
  option: str = '3',
) -> list[Pieces]:
  """Returns evaluator prompts with verdicts; correct solutions are targets, too.

  `option` is the number of dials.
  """
  before, after = config.template.verify_solution.split('{solution}')
  texts = []
  for dials, wrong in _sample_judged(config, rng, count, int(option)):
    question = format_question(dials)
    prompt = config.template.verify_problem.replace('{question}', question)
    solution = format_solution(dials, fine=True)
    texts.append(
      [
        (prompt + before, 0.0),
        (solution, 0.0 if wrong else 1.0),
        (after, 0.0),
        config.verdict(wrong),
      ]
    )
  return texts


EXAMPLE_MAKERS: Mapping[str, Callable[..., list[Pieces]]] = {
  'chain': make_fact_chain_examples,
  'jump': make_two_turn_step_examples,
  'check': make_fact_check_examples,
  'trail': make_chained_check_examples,
  'part': make_solution_verdict_examples,
  'solve': make_solved_problem_examples,
  'review': make_evaluator_prompt_examples,
}


def _format_facts(turns: np.ndarray, ends: np.ndarray, weight: float) -> Pieces:
  """Returns `+5 = 8 -2 = 6`, each result with the given weight."""
  pieces = []
  for turn, end in zip(turns, ends):
    pieces.append((f'{turn:+d} =', 0.0))
    pieces.append((str(end), weight))
  return pieces


def _weigh_words(
  config: DialPretrainingExamples, name: str, dial: Dial, fine: bool
) -> Pieces:
  """Returns the words of one dial in a solution; results of larger turns have weight 0."""
  words = dial.solution(name, fine).split(' ')
  weights = [1.0] * len(words)
  is_known = [abs(turn) <= config.turn_range[1] for turn in dial.turns]
  if fine:
    weights[MIDDLE] = float(is_known[0])
    weights[END] = float(is_known[1])
  else:
    weights[END] = float(all(is_known))
  return list(zip(words, weights))


def _sample_judged(
  config: DialPretrainingExamples,
  rng: Generator,
  count: int,
  num_dials: int,
) -> list[tuple[Dials, bool]]:
  """Returns (dials, is wrong) pairs; in half of them one result is wrong."""
  problems = sample_dials(rng, count, num_dials, config.turn_range)
  is_wrong = rng.random(count) < 0.5
  error_places = rng.integers(0, 2 * num_dials, count)
  error_sizes = rng.integers(1, NUM_POSITIONS, count)

  judged = []
  for index, dials in enumerate(problems):
    wrong = bool(is_wrong[index])
    if wrong:
      place, at_end = divmod(int(error_places[index]), 2)
      changed = list(dials)
      changed[place] = insert_error(
        dials[place], int(error_sizes[index]), bool(at_end)
      )
      dials = tuple(changed)
    judged.append((dials, wrong))
  return judged


def insert_error(dial: Dial, error: int, at_end: bool) -> Dial:
  """Returns the dial with one result wrong by `error`.

  The wrong result is the middle position, from which the end follows, or only the end.
  """
  middle = dial.middle
  if not at_end:
    middle = (middle + error) % NUM_POSITIONS
  end = (dial.end + error) % NUM_POSITIONS
  return dataclasses.replace(dial, middle=middle, end=end)
