"""Mistakes in flags and gin files, told without a traceback."""

from collections.abc import Iterable
import difflib


class ConfigError(ValueError):
  """A mistake of the person at the keyboard; its text is all they need."""


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
  """' Did you mean x?' for known names that are at least so much like `name`, else ''."""
  lowered = {each.lower(): each for each in known}
  near = difflib.get_close_matches(name, lowered.values(), n=3, cutoff=likeness)
  if not near and name.lower() in lowered:
    near = [lowered[name.lower()]]
  return f' Did you mean {" or ".join(near)}?' if near else ''
