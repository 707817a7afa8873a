"""Errors of flags and gin files, and suggestions for misspelled names."""

from collections.abc import Iterable
import difflib

MAX_NAMES = 12  # in an error that has a hint


class ConfigError(ValueError):
  """User configuration error, printed without a traceback."""


def did_you_mean(
  name: str, known: Iterable[str], min_similarity: float = 0.6
) -> str:
  """Returns ' Did you mean x?' for known names that are similar to `name`, else ''.

  Args:
    name: the unknown name.
    known: accepted names.
    min_similarity: from 0 to 1, as in `difflib`.
  """
  by_lower = {each.lower(): each for each in known}
  similar = difflib.get_close_matches(
    name, by_lower.values(), n=3, cutoff=min_similarity
  )
  if not similar and name.lower() in by_lower:
    similar = [by_lower[name.lower()]]
  return f' Did you mean {" or ".join(similar)}?' if similar else ''


def names_after_hint(hint: str, label: str, known: Iterable[str]) -> str:
  """Returns ' label: a, b.'; '' if there is a hint and there are many names."""
  names = list(known)
  if hint and len(names) > MAX_NAMES:
    return ''
  return f' {label}: {", ".join(names) or "none"}.'
