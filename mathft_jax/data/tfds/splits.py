"""Which split a problem is in: decided here, once, by the text of the problem alone.

MATH's 12,500 problems are cut into 12,000 and 500 as in Lightman et al. (2305.20050); the 500, all
from MATH's own test set, are the test split. The 12,000 are cut into 11,000 and 1,000 as in
2310.10047, section 4; that cut is not public, so it is ours: problems whose hash, seeded, is below
a threshold that 1,000 of them are below. PRM800K's solutions follow their problem, so no validation
or test problem is ever trained on through the other data set.
"""

import functools
import hashlib
import json
import pathlib

from mathft_jax.data import problem_sources

SPLITS = ('train', 'validation', 'test')
VALIDATION_SEED = 0
MATH_VALIDATION_SHARE = (
  0.084  # of the 12,000 problems exactly 1,000 have a smaller hash
)
GSM8K_VALIDATION_SHARE = 0.0639  # of the 7,473 problems exactly 473


def assign_math_split(question: str) -> str:
  """'train', 'validation' or 'test' for the text of a MATH problem, white space aside."""
  if question_digest(question) in load_math500_digests():
    return 'test'
  return assign_train_or_validation(question, MATH_VALIDATION_SHARE)


def assign_train_or_validation(question: str, share: float) -> str:
  """'validation' for about `share` of all questions, else 'train'."""
  hashed = problem_sources.hash_to_unit_interval(
    f'{VALIDATION_SEED}:{normalize_whitespace(question)}'
  )
  return 'validation' if hashed < share else 'train'


def question_digest(question: str) -> str:
  """The first 16 hexadecimal digits of the question's sha256, white space aside."""
  return hashlib.sha256(
    normalize_whitespace(question).encode('utf-8')
  ).hexdigest()[:16]


def normalize_whitespace(question: str) -> str:
  """The question with every run of white space as one space: PRM800K changed only these."""
  return ' '.join(question.split())


@functools.cache
def load_math500_digests() -> dict[str, str]:
  """The 500 test problems: digest of the text -> MATH's id."""
  ids = json.loads(
    pathlib.Path(__file__).with_name('math500.json').read_text(encoding='utf-8')
  )
  return {text_digest: name for name, text_digest in ids.items()}
