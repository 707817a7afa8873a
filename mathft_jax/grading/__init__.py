"""The grader: extracts final answers, compares them and clusters them.

  extract_answer(solution)          -> the final answer of a solution as text, or None
  is_equivalent(reference, answer)  -> True if both answers have the same value
  cluster_answers(answers)          -> one cluster label per answer, None for an unreadable answer

`answer_key` gives equal keys to answers of one value. `is_equivalent` also reads `(C) 28` and
`-7, 3` by what the reference is. The package imports neither JAX nor TensorFlow, evaluates no text
as code and is safe in threads and worker processes.
"""

from mathft_jax.grading.equivalence import (
  AnswerKeys,
  answer_key,
  answer_keys_of,
  cluster_answers,
  cluster_labels,
  is_equivalent,
  key_for_reference,
)
from mathft_jax.grading.extraction import (
  AnswerSearch,
  FinalAnswer,
  extract_answer,
  find_final_answer,
)

GRADER_NAME = 'mathft'
# Increase the version when any answer is graded differently: `grade` then grades old output again.
GRADER_VERSION = '2.1'

__all__ = [
  'AnswerKeys',
  'AnswerSearch',
  'FinalAnswer',
  'GRADER_NAME',
  'GRADER_VERSION',
  'answer_key',
  'answer_keys_of',
  'cluster_answers',
  'cluster_labels',
  'extract_answer',
  'find_final_answer',
  'is_equivalent',
  'key_for_reference',
]
