"""Other spellings of an answer, other answers, and whole files of candidates made of them."""

from collections.abc import Callable, Sequence
import random
import re

Change = Callable[[str, random.Random], str]

_WRAPPERS = (
  '${}$',
  '${}$.',
  '{}.',
  '\\({}\\)',
  '\\[{}\\]',
  '$${}$$',
  '\\boxed{{{}}}',
  '$\\boxed{{{}}}$',
  '**{}**',
  ' {} ',
  '${}.$',
  '{}\\\\',
)
_FILLER = (
  'We add the terms, collect what is equal, and divide both sides by the common factor. '
  * 4
)


def same(answer: str, rng: random.Random) -> str:
  return answer


def formatted(answer: str, rng: random.Random) -> str:
  """One change of LaTeX that a reader does not see."""
  return rng.choice(_FORMATS)(answer)


def composite(answer: str, rng: random.Random) -> str:
  """Three of them, one after the other."""
  for _ in range(3):
    answer = formatted(answer, rng)
  return answer


def wrapped(answer: str, rng: random.Random) -> str:
  """Math delimiters, a box, bold, a full stop."""
  return rng.choice(_WRAPPERS).format(answer)


VARIANTS: dict[str, Change] = {
  'self': same,
  'format': formatted,
  'composite': composite,
  'wrapped': wrapped,
}


def _other_fraction(answer: str) -> str:
  if '\\dfrac' in answer or '\\tfrac' in answer:
    return answer.replace('\\dfrac', '\\frac').replace('\\tfrac', '\\frac')
  return answer.replace('\\frac', '\\dfrac')


def _short_fraction(answer: str) -> str:
  return re.sub(r'\\frac\{(\d)\}\{(\d)\}', r'\\frac\1\2', answer)


def _stretched_brackets(answer: str) -> str:
  if '\\left' in answer:
    return answer.replace('\\left', '').replace('\\right', '')
  return answer.replace('(', '\\left(').replace(')', '\\right)')


def _braced_exponent(answer: str) -> str:
  return re.sub(r'\^(\d)(?!\d)', r'^{\1}', answer)


def _spaced(answer: str) -> str:
  """Spaces around signs; where words or thousands are, only at the ends."""
  if re.search(r'\\!|\{,\}|\d,\d\d\d|\\text|\\mbox', answer):
    return f' {answer} '
  return re.sub(r'([+\-=,])', r' \1 ', answer)


_FORMATS = (
  _other_fraction,
  _short_fraction,
  _stretched_brackets,
  _braced_exponent,
  _spaced,
)


def different_pairs(
  answers: Sequence[str], count: int, rng: random.Random
) -> list[tuple[str, str]]:
  """Pairs of unlike strings, half of them alike but for their digits."""
  unique = sorted(set(answers))
  alike: dict[str, list[str]] = {}
  for answer in unique:
    alike.setdefault(re.sub(r'\d+', '0', answer), []).append(answer)
  groups = [group for group in alike.values() if len(group) > 1]
  pairs: set[tuple[str, str]] = set()
  while len(pairs) < count:
    pool = (
      unique
      if len(pairs) % 2
      else rng.choices(groups, list(map(len, groups)))[0]
    )
    pairs.add(tuple(sorted(rng.sample(pool, 2))))
  return sorted(pairs)


def candidate_answers(
  golds: Sequence[str], size: int, rng: random.Random
) -> list[list[str]]:
  """For each gold, `size` sampled answers: right ones in many spellings, and wrong ones.

  A problem has 2 to 24 wrong answers, some with a changed digit and some of other problems, drawn
  with Zipf's frequencies; a share of 0 to 1 of the samples is right.
  """
  sampled = []
  for gold in golds:
    wrong = [
      _changed_digit(gold, rng) if rng.random() < 0.6 else rng.choice(golds)
      for _ in range(rng.randint(2, 24))
    ]
    weights = [1 / rank for rank in range(1, len(wrong) + 1)]
    share = rng.random()
    sampled.append(
      [
        rng.choice((same, same, formatted, composite, wrapped))(
          gold if rng.random() < share else rng.choices(wrong, weights)[0], rng
        )
        for _ in range(size)
      ]
    )
  return sampled


def _changed_digit(answer: str, rng: random.Random) -> str:
  places = [match.start() for match in re.finditer(r'\d', answer)]
  if not places:
    return f'{answer}+{rng.randint(1, 9)}'
  place = rng.choice(places)
  return f'{answer[:place]}{(int(answer[place]) + rng.randint(1, 9)) % 10}{answer[place + 1 :]}'


def solution_with(answer: str) -> str:
  """A solution of usual length that ends in the answer."""
  return f'{_FILLER}Therefore the answer is $\\boxed{{{answer}}}$.'
