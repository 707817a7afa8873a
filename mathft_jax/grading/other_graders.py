"""Other graders for comparison: exact string match, and Math-Verify if it is installed."""

from collections.abc import Callable
import importlib
import importlib.metadata


def exact_match(pair: tuple[str, str]) -> bool:
  """Returns True if reference and answer are the same text, without outer spaces and `$`."""
  reference, answer = (text.strip().strip('$').strip() for text in pair)
  return bool(reference) and reference == answer


def math_verify_match(pair: tuple[str, str]) -> bool:
  """Returns the verdict of Math-Verify, called as documented but without its own time-out."""
  math_verify = importlib.import_module('math_verify')  # optional dependency

  reference, answer = (
    math_verify.parse(f'${text}$', parsing_timeout=None) for text in pair
  )
  return bool(math_verify.verify(reference, answer, timeout_seconds=None))


OTHER_GRADERS: dict[str, Callable[[tuple[str, str]], bool]] = {
  'exact': exact_match,
  'math-verify': math_verify_match,
}


def installed_version(name: str) -> str:
  """Returns the version of another grader, '' for 'exact'.

  Args:
    name: a key of OTHER_GRADERS.

  Raises:
    ValueError: the name is unknown or the grader is not installed.
  """
  if name not in OTHER_GRADERS:
    raise ValueError(
      f'Grader {name!r} does not exist; choose from {sorted(OTHER_GRADERS)}.'
    )
  if name == 'exact':
    return ''
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError as error:
    raise ValueError(
      f'Grader {name!r} is not installed; run `pip install {name}`.'
    ) from error
