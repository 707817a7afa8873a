"""Graders with a clock, for workers of grading.pool: verdict and seconds of one fresh pair."""

from collections.abc import Callable
import time

from mathft_jax.grading import equivalence, other_graders

Pair = tuple[str, str]


def grade_with_mathft(pair: Pair) -> tuple[bool, float]:
  equivalence.clear_cache()
  return _timed(lambda: equivalence.is_equivalent(*pair))


def grade_with_math_verify(pair: Pair) -> tuple[bool, float]:
  return _timed(lambda: other_graders.math_verify_match(pair))


def _timed(grade: Callable[[], bool]) -> tuple[bool, float]:
  start = time.perf_counter()
  verdict = grade()
  return verdict, time.perf_counter() - start
