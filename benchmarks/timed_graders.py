"""Timed graders for worker processes: the verdict on a pair of answers, and its seconds."""

from collections.abc import Callable
import time

from mathft_jax.grading import equivalence, other_graders

Pair = tuple[str, str]


def grade_with_mathft(pair: Pair) -> tuple[bool, float]:
  equivalence.clear_cache()
  return _time_grader(lambda pair: equivalence.is_equivalent(*pair), pair)


def grade_with_math_verify(pair: Pair) -> tuple[bool, float]:
  return _time_grader(other_graders.math_verify_match, pair)


def _time_grader(
  grade: Callable[[Pair], bool], pair: Pair
) -> tuple[bool, float]:
  start = time.perf_counter()
  verdict = grade(pair)
  return verdict, time.perf_counter() - start
