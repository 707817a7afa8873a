"""Which answers are the same: an equivalence relation, because it compares keys of single answers.

`key(answer)` is a function of one string; two answers are equivalent when their keys are equal.
Reflexivity, symmetry and transitivity need no proof, and clusters are the groups of one dictionary.
"""

from collections.abc import Hashable, Sequence
import fractions


def key(answer: str | None) -> Hashable | None:
  """The key of an answer's value; None for answers that are absent or cannot be read."""
  if answer is None:
    return None
  text = ''.join(answer.replace('$', '').replace(',\\!', '').split()).rstrip('.')
  if not any(character.isalnum() for character in text):
    return None
  try:
    return fractions.Fraction(text)
  except (ValueError, ZeroDivisionError):
    return text


def is_equivalent(reference: str, answer: str) -> bool:
  """True when both answers can be read and have the same value."""
  reference_key = key(reference)
  return reference_key is not None and reference_key == key(answer)


def cluster(answers: Sequence[str | None]) -> list[int | None]:
  """One label per answer in order of first appearance; None where there is nothing to read."""
  labels: dict[Hashable, int] = {}
  keys = [key(answer) for answer in answers]
  return [None if k is None else labels.setdefault(k, len(labels)) for k in keys]
