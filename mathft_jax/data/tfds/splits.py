"""Assigns problems to splits by their text alone.

MATH has 12,500 problems. As in Lightman et al. (2305.20050) they are split into 12,000 and 500; the
500, all from the test set of MATH, are the test split. The 12,000 are split into 11,000 and 1,000
as in 2310.10047, section 4. That split is not published, so this one is a default: a problem is in
the validation split if its seeded hash is below a threshold, which 1,000 problems are. Solutions of
PRM800K have the split of their problem, so no validation or test problem of one data set is in the
training split of the other.
"""

import functools
import hashlib
import json
import pathlib

from mathft_jax.storage import digests

SPLITS = ('train', 'validation', 'test')
VALIDATION_SEED = 0
# Exactly 1,000 of the 12,000 problems have a smaller hash.
MATH_VALIDATION_SHARE = 0.084
# Exactly 473 of the 7,473 problems have a smaller hash.
GSM8K_VALIDATION_SHARE = 0.0639


def assign_math_split(question: str) -> str:
  """Returns 'train', 'validation' or 'test' for a MATH problem; white space does not matter."""
  if question_digest(question) in load_math500_digests():
    return 'test'
  return assign_train_or_validation(question, MATH_VALIDATION_SHARE)


def assign_train_or_validation(question: str, share: float) -> str:
  """Returns 'validation' for about `share` of all questions, else 'train'."""
  text = f'{VALIDATION_SEED}:{normalize_whitespace(question)}'
  hashed = digests.hash_to_unit_interval(text)
  return 'validation' if hashed < share else 'train'


def question_digest(question: str) -> str:
  """Returns the first 16 hexadecimal digits of the sha256 of a question, white space normalized."""
  text = normalize_whitespace(question).encode('utf-8')
  return hashlib.sha256(text).hexdigest()[:16]


def normalize_whitespace(question: str) -> str:
  """Returns the question with one space for each run of white space.

  PRM800K changed nothing but the white space of its questions.
  """
  return ' '.join(question.split())


@functools.cache
def load_math500_digests() -> dict[str, str]:
  """Returns the 500 test problems: digest of the text to id in MATH."""
  path = pathlib.Path(__file__).with_name('math500.json')
  digest_by_id = json.loads(path.read_text(encoding='utf-8'))
  return {digest: math_id for math_id, digest in digest_by_id.items()}
