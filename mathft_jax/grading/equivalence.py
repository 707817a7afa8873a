"""Equivalence and clusters of answers, by canonical keys.

  answer_key('\\frac{1}{2}') == answer_key('0.5')

The key is a function of one answer. Two answers have the same value if their keys are equal, so
this is an equivalence relation by construction, and a cluster is the set of answers with one key.
The steps are: text -> tokens (`parsing.answer_tokenizer`) -> expression tree
(`parsing.answer_parser`) -> key (`canonical.answer_keys`). An answer that is not mathematics is
compared as text.

Two kinds of answers are read by what the reference is: `(C) 28` is C if the reference is a letter,
28 if it is another value, and the pair if it is a pair; `-7, 3` is the point (-7, 3) if the
reference is a point; of `M = 13, m = -3` the names count if the reference has the same names. So
each reference has its own keys (`key_for_reference`), and for each reference equal keys are an
equivalence relation.
"""

from collections.abc import Hashable, Sequence
import functools
import hashlib
from typing import NamedTuple, TypeGuard
import unicodedata

from mathft_jax.grading.canonical import answer_keys, sympy_closed_forms
from mathft_jax.grading.parsing import answer_parser, answer_tokenizer, lexer

_CACHE_SIZE = 1 << 18  # answers
_CONTENT_TOKENS = ('number', 'name', 'word', 'function', 'unknown')
# Tokens of the lexer that are written in ASCII, such as `...`.
_TOKEN_SIGNS = frozenset('…±∓°∘≤≥≠≈⟨⟩⌊⌋⌈⌉‖')
# Signs that may be a whole answer, as in "which sign belongs between them?".
_CONTENT_SIGNS = frozenset('<>≤≥=≠≈+-*/±?!#@&∈∉⊂⊆⊃⊇≪≫→∪∩')


class AnswerKeys(NamedTuple):
  """The keys of an answer.

  Attributes:
    key: the key of the answer alone; None for an unreadable answer.
    point: the key of a list without brackets, such as `-7, 3`, read as a point; else None.
    named: the keys of the values of `M = 13, m = -3` by name; else None.
  """

  key: Hashable | None
  point: Hashable | None = None
  named: dict[str, Hashable] | None = None


def is_equivalent(reference: str, answer: str) -> bool:
  """Returns True if the answer, read by the reference, has the value of the reference."""
  reference_keys = answer_keys_of(reference)
  keys = reference_keys if answer == reference else answer_keys_of(answer)
  key = key_for_reference(keys, reference_keys)
  return key is not None and key == reference_keys.key


def key_for_reference(
  keys: AnswerKeys, reference: AnswerKeys | None
) -> Hashable | None:
  """Returns the key of an answer, read by the reference.

  Args:
    keys: the keys of the answer.
    reference: the keys of the reference; None if there is none.
  """
  key = keys.key
  target = reference.key if reference else None
  if target is None:
    return key
  if _has_tag(key, 'choice') and not _has_tag(target, 'choice'):
    _, letter, value = key
    return letter if target in _letter_keys() else value
  named, target_named = keys.named, reference.named if reference else None
  if named and target_named and named.keys() == target_named.keys():
    is_same = named == target_named
    return target if is_same else ('named', frozenset(named.items()))
  point = keys.point
  if isinstance(point, tuple) and isinstance(target, tuple):
    is_point = target[:1] == ('tuple',) and len(target) == len(point)
    return point if is_point else key
  return key


def _has_tag(key: Hashable | None, tag: str) -> TypeGuard[tuple[Hashable, ...]]:
  return isinstance(key, tuple) and bool(key) and key[0] == tag


@functools.cache
def _letter_keys() -> frozenset[Hashable | None]:
  return frozenset(map(answer_key, 'ABCDEFGHIJ'))


def cluster_answers(answers: Sequence[str | None]) -> list[int | None]:
  """Returns one cluster label per answer, in order of first appearance.

  Args:
    answers: final answers as text; None for a solution without an answer.

  Returns:
    Labels from 0. Equivalent answers have the same label; an unreadable answer has None.
  """
  return cluster_labels([answer_key(answer) for answer in answers])


def cluster_labels(keys: Sequence[Hashable | None]) -> list[int | None]:
  """Returns the cluster labels of answers with these keys; see `cluster_answers`."""
  label_of_key = {}
  labels = []
  for key in keys:
    if key is None:
      labels.append(None)
    else:
      labels.append(label_of_key.setdefault(key, len(label_of_key)))
  return labels


def answer_key(answer: str | None) -> Hashable | None:
  """Returns the canonical key of an answer; None if it is None or unreadable."""
  return answer_keys_of(answer).key


def answer_keys_of(answer: str | None) -> AnswerKeys:
  """Returns the keys of an answer; see `key_for_reference`.

  If a worker process is killed, the answer is compared as text; the next call tries again.
  """
  if answer is None:
    return AnswerKeys(None)
  try:
    return _cached_keys(answer)
  except sympy_closed_forms.UncertainError:
    return AnswerKeys(_text_key(_tokenize(answer)))


def clear_cache() -> None:
  """Clears the cache of answer keys, for timing."""
  _cached_keys.cache_clear()


@functools.lru_cache(maxsize=_CACHE_SIZE)
def _cached_keys(answer: str) -> AnswerKeys:
  try:
    tokens = _tokenize(answer)
  except lexer.AnswerTooLong:
    return AnswerKeys(_long_text_key(answer))
  point, named = None, None
  try:
    tree = answer_parser.parse_answer(tokens)
    key = answer_keys.tree_key(tree)
    point = answer_keys.point_key(tree)
    named = answer_keys.named_keys(tree)
  except (ValueError, ArithmeticError, RecursionError):
    key = _text_key(tokens)
  key = _decoration_key(answer) if key is None else key
  return AnswerKeys(key, point, named)


def _tokenize(answer: str) -> list[lexer.Token]:
  return answer_tokenizer.tokenize_answer(' '.join(answer.split()))


def _text_key(tokens: Sequence[lexer.Token]) -> Hashable | None:
  """Returns the text as a key, in lower case if it has words; None without any content."""
  kinds = {token.kind for token in tokens}
  text = ''.join(token.text for token in tokens)
  if kinds.isdisjoint(_CONTENT_TOKENS) and not _is_sign_or_picture(text):
    return None
  return ('text', text.lower() if 'word' in kinds else text)


def _decoration_key(answer: str) -> Hashable | None:
  """Returns the key of signs that are left out as decoration, such as ✓; None without any."""
  signs = [
    c for c in answer if unicodedata.category(c) in ('So', 'Sc') and c != '$'
  ]
  return ('text', ''.join(signs)) if signs else None


def _is_sign_or_picture(text: str) -> bool:
  """Returns True for one sign, such as `>`, and for characters of no alphabet, such as ★."""
  if text in _CONTENT_SIGNS:
    return True
  return any(not c.isascii() and c not in _TOKEN_SIGNS for c in text)


def _long_text_key(answer: str) -> Hashable | None:
  """Returns the key of an answer that is too long to parse: a hash of its text."""
  text = ''.join(answer.split())
  if not any(map(str.isalnum, text)):
    return None
  return ('long', hashlib.blake2b(text.encode('utf-8', 'replace')).digest())
