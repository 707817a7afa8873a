"""Limits of the grader that an answer exceeds, by kind."""

from mathft_jax.grading.parsing import answer_tokenizer, lexer

LENGTH = 'length'  # more characters than lexer.MAX_LENGTH
DEPTH = 'depth'  # more open brackets than lexer.MAX_DEPTH
_OPENING = '([{'


def exceeded_limit(answer: str) -> str | None:
  """Returns the limit that keeps an answer from being parsed, None if there is none.

  Such an answer is compared as text. Limits of time are counted by the worker pool.
  """
  text = ' '.join(answer.split())
  if len(text) > lexer.MAX_LENGTH:
    return LENGTH
  if sum(map(text.count, _OPENING)) <= lexer.MAX_DEPTH:
    return None
  try:
    answer_tokenizer.tokenize_answer(text)
  except lexer.AnswerTooLong:
    return DEPTH
  return None
