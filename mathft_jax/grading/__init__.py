"""The grader: extracts final answers, compares them and clusters them.

  extract_answer(solution)          -> the final answer of a solution as text, or None
  is_equivalent(reference, answer)  -> True if both answers have the same value
  cluster_answers(answers)          -> one cluster label per answer, None for an unreadable answer

`is_equivalent` is an equivalence relation on readable answers. The package imports neither JAX nor
TensorFlow, evaluates no text as code and is safe in threads and worker processes.
"""

from mathft_jax.grading.equivalence import (
  answer_key,
  cluster_answers,
  cluster_labels,
  is_equivalent,
)
from mathft_jax.grading.extraction import (
  FinalAnswer,
  extract_answer,
  find_final_answer,
)

GRADER_NAME = 'mathft'
# Increase the version when any answer is graded differently: `grade` then grades old output again.
GRADER_VERSION = '1.2'

__all__ = [
  'FinalAnswer',
  'GRADER_NAME',
  'GRADER_VERSION',
  'answer_key',
  'cluster_answers',
  'cluster_labels',
  'extract_answer',
  'find_final_answer',
  'is_equivalent',
]
