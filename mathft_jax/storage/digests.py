"""Digests of values, to compare the inputs of two runs."""

from collections.abc import Iterable
import hashlib


def content_digest(values: Iterable[object]) -> str:
  """A short digest (16 hex digits of SHA-256) of values and their order."""
  hashed = hashlib.sha256()
  for value in values:
    hashed.update(repr(value).encode('utf-8'))
  return hashed.hexdigest()[:16]
