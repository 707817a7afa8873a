"""Digests of values, to compare the inputs of two runs."""

from collections.abc import Iterable
import hashlib


def content_digest(values: Iterable[object]) -> str:
  """A short digest (16 hex digits of SHA-256) of values and their order."""
  hashed = hashlib.sha256()
  for value in values:
    hashed.update(repr(value).encode('utf-8'))
  return hashed.hexdigest()[:16]


def hash_to_unit_interval(text: str) -> float:
  """Returns a number in [0, 1) that depends on the text alone: 8 bytes of its sha256."""
  digest = hashlib.sha256(text.encode('utf-8')).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64
