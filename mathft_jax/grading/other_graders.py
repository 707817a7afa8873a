"""Other graders, to compare with: the exact string, and math-verify when it is installed."""

from collections.abc import Callable, Sequence
import importlib.metadata


def exact(pair: tuple[str, str]) -> bool:
  """True for equal strings, white space and dollar signs at the ends aside."""
  reference, answer = (text.strip().strip('$').strip() for text in pair)
  return bool(reference) and reference == answer


def math_verify(pair: tuple[str, str]) -> bool:
  """What math-verify says, called as its documentation says; it sets no alarm here."""
  import math_verify as library  # pylint: disable=import-outside-toplevel (an optional plug-in)

  reference, answer = (
    library.parse(f'${text}$', parsing_timeout=None) for text in pair
  )
  return bool(library.verify(reference, answer, timeout_seconds=None))


PEERS: dict[str, Callable[[tuple[str, str]], bool]] = {
  'exact': exact,
  'math-verify': math_verify,
}


def version(name: str) -> str:
  """The version of a peer, `''` for the exact string; ValueError for a peer that is not there."""
  if name not in PEERS:
    raise ValueError(
      f'no grader {name!r} to compare with; wanted one of {sorted(PEERS)}.'
    )
  if name == 'exact':
    return ''
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError as error:
    raise ValueError(
      f'{name} is not installed; `pip install {name}`.'
    ) from error


def names() -> Sequence[str]:
  return sorted(PEERS)
