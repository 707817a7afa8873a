"""One grader for evaluation, for the evaluator's labels and for the clusters.

  extract_answer(solution)            the final answer of a solution, or None
  is_equivalent(reference, answer)    an equivalence relation on readable answers
  cluster(answers)                    labels in order of first appearance, None for no answer

Imports neither jax nor TensorFlow, keeps no state but caches, and runs no text: safe in threads and
worker processes.
"""
# ruff: noqa: F401

from mathft_jax.grading.equivalence import (
  cluster_answers,
  is_equivalent,
  answer_key,
  cluster_labels,
)
from mathft_jax.grading.extraction import (
  FinalAnswer,
  extract_answer,
  find_final_answer,
)

GRADER_NAME = 'mathft'
GRADER_VERSION = '1.1'  # counts up when answers are read differently; `grade` then grades again
