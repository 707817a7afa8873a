"""Other graders, to compare with: the exact string, and math-verify when it is installed."""

from collections.abc import Callable, Sequence
import importlib.metadata


def exact_match(pair: tuple[str, str]) -> bool:
  """True for equal strings, white space and dollar signs at the ends aside."""
  reference, answer = (text.strip().strip('$').strip() for text in pair)
  return bool(reference) and reference == answer


def math_verify_match(pair: tuple[str, str]) -> bool:
  """What math-verify says, called as its documentation says; it sets no alarm here."""
  import math_verify as library  # pylint: disable=import-outside-toplevel (an optional plug-in)

  reference, answer = (
    library.parse(f'${text}$', parsing_timeout=None) for text in pair
  )
  return bool(library.verify(reference, answer, timeout_seconds=None))


OTHER_GRADERS: dict[str, Callable[[tuple[str, str]], bool]] = {
  'exact': exact_match,
  'math-verify': math_verify_match,
}


def installed_version(name: str) -> str:
  """The version of a peer, `''` for the exact string; ValueError for a peer that is not there."""
  if name not in OTHER_GRADERS:
    raise ValueError(
      f'no grader {name!r} to compare with; wanted one of {sorted(OTHER_GRADERS)}.'
    )
  if name == 'exact':
    return ''
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError as error:
    raise ValueError(
      f'{name} is not installed; `pip install {name}`.'
    ) from error


def grader_names() -> Sequence[str]:
  return sorted(OTHER_GRADERS)
