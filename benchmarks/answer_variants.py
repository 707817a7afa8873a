"""Synthetic answers for benchmarks: other spellings of an answer, other answers, and candidates."""

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
_FILLER = 4 * (
  'We add the terms, collect what is equal, and divide both sides by the common factor. '
)
_DIGIT_CHANGE_RATE = 0.6  # share of wrong answers that differ by one digit


def keep(answer: str, rng: random.Random) -> str:
  """Returns the answer unchanged."""
  return answer


def change_format(answer: str, rng: random.Random) -> str:
  """Makes one change of the LaTeX source that does not change the answer."""
  return rng.choice(_FORMAT_CHANGES)(answer)


def change_format_thrice(answer: str, rng: random.Random) -> str:
  for _ in range(3):
    answer = change_format(answer, rng)
  return answer


def wrap(answer: str, rng: random.Random) -> str:
  """Adds math delimiters, a box, bold or a full stop."""
  return rng.choice(_WRAPPERS).format(answer)


VARIANTS: dict[str, Change] = {
  'self': keep,
  'format': change_format,
  'composite': change_format_thrice,
  'wrapped': wrap,
}


def _change_fraction_command(answer: str) -> str:
  if '\\dfrac' in answer or '\\tfrac' in answer:
    return answer.replace('\\dfrac', '\\frac').replace('\\tfrac', '\\frac')
  return answer.replace('\\frac', '\\dfrac')


def _shorten_fractions(answer: str) -> str:
  return re.sub(r'\\frac\{(\d)\}\{(\d)\}', r'\\frac\1\2', answer)


def _toggle_left_right(answer: str) -> str:
  if '\\left' in answer:
    return answer.replace('\\left', '').replace('\\right', '')
  return answer.replace('(', '\\left(').replace(')', '\\right)')


def _add_exponent_braces(answer: str) -> str:
  return re.sub(r'\^(\d)(?!\d)', r'^{\1}', answer)


def _add_spaces(answer: str) -> str:
  """Adds spaces around signs; only at the ends if the answer has words or thousands."""
  if re.search(r'\\!|\{,\}|\d,\d\d\d|\\text|\\mbox', answer):
    return f' {answer} '
  return re.sub(r'([+\-=,])', r' \1 ', answer)


_FORMAT_CHANGES = (
  _change_fraction_command,
  _shorten_fractions,
  _toggle_left_right,
  _add_exponent_braces,
  _add_spaces,
)


def sample_different_pairs(
  answers: Sequence[str], count: int, rng: random.Random
) -> list[tuple[str, str]]:
  """Returns pairs of different strings; half of them differ only in their digits."""
  unique = sorted(set(answers))
  by_shape: dict[str, list[str]] = {}
  for answer in unique:
    by_shape.setdefault(re.sub(r'\d+', '0', answer), []).append(answer)
  groups = [group for group in by_shape.values() if len(group) > 1]
  sizes = list(map(len, groups))

  pairs: set[tuple[str, str]] = set()
  while len(pairs) < count:
    pool = unique if len(pairs) % 2 else rng.choices(groups, sizes)[0]
    left, right = sorted(rng.sample(pool, 2))
    pairs.add((left, right))
  return sorted(pairs)


def sample_candidate_answers(
  answers: Sequence[str], size: int, rng: random.Random
) -> list[list[str]]:
  """Returns `size` candidate answers for each answer, right ones and wrong ones.

  A problem has 2 to 24 wrong answers: some differ by a digit, the others are answers of other
  problems. Their frequencies follow Zipf's law. The share of right candidates is uniform in [0, 1].
  Right and wrong candidates have different spellings.
  """
  sampled: list[list[str]] = []
  for answer in answers:
    wrong: list[str] = []
    for _ in range(rng.randint(2, 24)):
      has_digit_change = rng.random() < _DIGIT_CHANGE_RATE
      wrong.append(
        _change_digit(answer, rng) if has_digit_change else rng.choice(answers)
      )
    weights = [1 / rank for rank in range(1, len(wrong) + 1)]
    share = rng.random()

    candidates: list[str] = []
    for _ in range(size):
      change = rng.choice(
        (keep, keep, change_format, change_format_thrice, wrap)
      )
      is_right = rng.random() < share
      candidate = answer if is_right else rng.choices(wrong, weights)[0]
      candidates.append(change(candidate, rng))
    sampled.append(candidates)
  return sampled


def _change_digit(answer: str, rng: random.Random) -> str:
  matches = list(re.finditer(r'\d', answer))
  if not matches:
    return f'{answer}+{rng.randint(1, 9)}'
  match = rng.choice(matches)
  digit = (int(match[0]) + rng.randint(1, 9)) % 10
  return f'{answer[: match.start()]}{digit}{answer[match.end() :]}'


def make_solution(answer: str) -> str:
  """Returns a solution of usual length that ends with the boxed answer."""
  return f'{_FILLER}Therefore the answer is $\\boxed{{{answer}}}$.'
