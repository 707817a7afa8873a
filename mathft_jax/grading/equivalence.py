"""Which answers are the same: an equivalence relation, because it compares keys of single answers.

`key(answer)` is a function of one string; two answers are equivalent when their keys are equal.
Reflexivity, symmetry and transitivity need no further proof, and the clusters are the groups of one
dictionary. An answer is normalised and cut into tokens (tokens.py), parsed once (grammar.py) and its
tree is brought to a canonical form (canonical.py). What cannot be read as mathematics is compared as
text, never by fragments.
"""

from collections.abc import Hashable, Sequence
import functools
import hashlib

from mathft_jax.grading.canonical import answer_keys
from mathft_jax.grading.parsing import answer_parser
from mathft_jax.grading.parsing import answer_tokenizer as lexical

_CACHED = 1 << 18  # answers


def is_equivalent(reference: str, answer: str) -> bool:
  """True when both answers can be read and have the same value."""
  reference_key = answer_key(reference)
  return reference_key is not None and reference_key == answer_key(answer)


def cluster_answers(answers: Sequence[str | None]) -> list[int | None]:
  """One label per answer in order of first appearance; None where there is nothing to read."""
  return cluster_labels([answer_key(answer) for answer in answers])


def cluster_labels(keys: Sequence[Hashable | None]) -> list[int | None]:
  """The clusters of answers whose keys are known."""
  labels: dict[Hashable, int] = {}
  return [
    None if k is None else labels.setdefault(k, len(labels)) for k in keys
  ]


def answer_key(answer: str | None) -> Hashable | None:
  """The key of an answer's value; None for answers that are absent or cannot be read."""
  return None if answer is None else _key(answer)


def clear_cache() -> None:
  """Empties the memory of answers, for a fair measurement."""
  _key.cache_clear()


@functools.lru_cache(maxsize=_CACHED)
def _key(answer: str) -> Hashable | None:
  try:
    tokens = lexical.tokenize_answer(' '.join(answer.split()))
  except lexical.AnswerTooLong:
    return _long_key(answer)
  try:
    return answer_keys.tree_key(answer_parser.parse_answer(tokens))
  except (ValueError, ArithmeticError, RecursionError):
    return _text_key(tokens)


def _text_key(tokens: Sequence[lexical.Token]) -> Hashable | None:
  """What stands there, without case if it has words; None where no token says anything."""
  if not any(
    token.kind in ('number', 'name', 'word', 'function') for token in tokens
  ):
    return None
  text = ''.join(token.text for token in tokens)
  return (
    'text',
    text.lower() if any(token.kind == 'word' for token in tokens) else text,
  )


def _long_key(answer: str) -> Hashable | None:
  """What is too long or too deep for an answer equals itself."""
  text = ''.join(answer.split())
  if not any(map(str.isalnum, text)):
    return None
  return ('long', hashlib.blake2b(text.encode('utf-8', 'replace')).digest())
