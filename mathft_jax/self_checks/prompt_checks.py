"""Checks of prompts: equal in all stages, equal to the published chat template, label words."""

import re

from mathft_jax.data import (
  chat_template,
  prompt_templates,
  published_templates,
)
from mathft_jax.data.example_types import VerdictExample
from mathft_jax.data.schema import Problem
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import (
  Finding,
  failure,
  ok,
  skipped,
  warning,
)
from mathft_jax.self_checks.published_files import PublishedFiles
from mathft_jax.self_checks.readable_ids import (
  first_difference,
  ids_to_text,
  quote,
)

MAX_PROMPTS = 32  # are tokenised again
MARK = 'QUESTION-3141592653'  # a text that no template contains


def check_same_prompts(run: CheckedRun) -> Finding:
  """The inputs of training examples are the prompts of sampling and scoring, token by token.

  The question is read from the tokens of an example; sampling's and scoring's own functions then
  encode it again.
  """
  check = 'training, sampling and scoring have the same prompts'
  compared = unread = 0
  for example in run.examples[:MAX_PROMPTS]:
    trained = [int(index) for index in example.inputs]
    is_verdict = isinstance(example, VerdictExample)
    encoded = _encode_again(run, trained, is_verdict)
    if encoded is None:
      unread += 1
      continue
    compared += 1
    if encoded != trained:
      stage = 'scoring' if is_verdict else 'sampling'
      difference = first_difference(run.vocabulary, trained, encoded)
      return failure(
        check,
        f'a prompt of training differs from that of {stage} at {difference}',
        'Create examples with prompt_templates.encode_prompt and the TEMPLATE of this run.',
      )
  if not compared:
    return warning(
      check,
      f'none of {unread} inputs has the text of the template',
      'Sampling and scoring will use TEMPLATE: give the examples the same one.',
    )
  rest = f'; {unread} have another text' if unread else ''
  return ok(check, f'{compared} prompts are equal{rest}')


def _encode_again(
  run: CheckedRun, ids: list[int], is_verdict: bool
) -> list[int] | None:
  """Returns the prompt that sampling or scoring makes of an example's question.

  None if the inputs do not have the text of the template, or tokens whose text cannot be read back
  (parts of characters, as models sample them).
  """
  template, vocabulary = run.template, run.vocabulary
  text = _prompt_text(run, ids)
  pattern = _pattern(template.solve, '{question}')
  if is_verdict:
    pattern = _pattern(template.verify_problem, '{question}')
    pattern += r'\s*' + _pattern(
      template.verify_solution.lstrip(), '{solution}'
    )
  else:
    pattern += re.escape(template.assistant_start)
    for question, solution in reversed(template.shots):
      shot = re.escape(template.solve.replace('{question}', question))
      shot += r'\s*' + re.escape(solution) + r'\s*'
      pattern = shot + re.escape(template.shot_separator.lstrip()) + pattern
  pattern = re.escape(template.system) + pattern
  match = re.fullmatch(pattern, text, re.DOTALL)
  if match is None or '\ufffd' in text:
    return None

  problem = Problem(id='', question=match[1])
  if is_verdict:
    encoded = prompt_templates.encode_evaluator_problem(
      template, vocabulary, problem
    ) + prompt_templates.encode_evaluator_solution(
      template, vocabulary, match[2]
    )
  else:
    encoded = prompt_templates.encode_prompt(template, vocabulary, problem)
  return encoded if _prompt_text(run, encoded) == text else None


def _prompt_text(run: CheckedRun, ids: list[int]) -> str:
  """Returns the text of a prompt without BOS."""
  vocabulary = run.vocabulary
  start = 0
  while start < len(ids) and ids[start] == vocabulary.bos_id:
    start += 1
  text = ids_to_text(vocabulary, ids[start:])
  return text.removeprefix(vocabulary.text_prefix)


def _pattern(text: str, slot: str) -> str:
  """Returns a regular expression for a template text; the slot is a group."""
  before, _, after = text.partition(slot)
  return f'{re.escape(before)}(.*?){re.escape(after)}'


def check_chat_template(run: CheckedRun) -> Finding:
  """The generator prompt is what the model's own chat template renders, token by token."""
  check = 'chat prompt equals the published chat template'
  published = run.published
  if not run.template.special_tokens:
    return skipped(check, 'TEMPLATE is a plain prompt')
  if published is None or published.chat_template is None:
    return skipped(check, 'the initial checkpoint has no chat template')
  if not chat_template.is_available():
    return skipped(
      check, "jinja2 is not installed: pip install 'mathft_jax[data]'"
    )
  try:
    chats = []
    for enable_thinking in (None, False):
      chats.append(_around_the_question(published, enable_thinking))
  except ValueError as error:
    return warning(
      check, f'{published.source}: {error}', 'Compare them by hand.'
    )
  return _compare_chat_prompts(check, run, chats, published.source)


def _around_the_question(
  published: PublishedFiles, enable_thinking: bool | None
) -> tuple[str, str]:
  """Returns the text before and after the user's message in the published prompt."""
  assert published.chat_template is not None
  variables = {}
  if enable_thinking is not None:
    variables['enable_thinking'] = enable_thinking
  text = chat_template.render_chat_template(
    published.chat_template,
    [{'role': 'user', 'content': MARK}],
    now=published_templates.DATE,
    bos_token=published.special_token('bos_token'),
    eos_token=published.special_token('eos_token'),
    **variables,
  )
  before, mark, after = text.partition(MARK)
  if not mark:
    raise ValueError('the chat template does not print the message')
  return before, after


def _compare_chat_prompts(
  check: str, run: CheckedRun, chats: list[tuple[str, str]], source: str
) -> Finding:
  """Compares the prompt with the published ones: thinking as by default, then without thinking."""
  vocabulary, template = run.vocabulary, run.template
  bos = ''
  if vocabulary.bos_id is not None:
    bos = ids_to_text(vocabulary, [vocabulary.bos_id])
  own_before, _, own_after = template.solve.partition('{question}')
  own_before = template.system + own_before
  own_after += template.assistant_start

  left_out = None
  for before, after in chats:
    before = before.removeprefix(bos)
    if not own_after.endswith(after):
      continue
    if own_before == before:
      return ok(check, f'equal to that of {source}')
    if before.endswith(own_before):
      left_out = before.removesuffix(own_before)
  if left_out is not None:
    return warning(
      check,
      f'TEMPLATE leaves out {quote(left_out, 160)}',
      'Training teaches the shorter prompt. Set SYSTEM_TURN (Template.system) to the text to start '
      'from the prompt that the model knows.',
    )
  before, after = chats[0]
  return failure(
    check,
    f'{source} has {quote(before, 160)} before and {quote(after, 160)} after the question; '
    f'TEMPLATE has {quote(own_before, 160)} and {quote(own_after, 160)}',
    "Use the template of the model's family (templates/*.gin), or templates/of_folder.gin.",
  )


def check_label_words(run: CheckedRun) -> Finding:
  """The label words differ, at the place where the evaluator reads them."""
  check = 'label words are distinguishable'
  template, vocabulary = run.template, run.vocabulary
  try:
    words = prompt_templates.make_label_words(template, vocabulary)
  except ValueError as error:
    return failure(check, str(error), 'Change Template.label_words.')
  correct, incorrect = words.token_ids
  shown = []
  for ids in (correct, incorrect):
    pieces = [ids_to_text(vocabulary, [index]) for index in ids]
    shown.append(quote('|'.join(pieces)))
  found = f'{shown[0]} and {shown[1]}'

  if correct[0] == incorrect[0]:
    return warning(
      check,
      f'{found} have the same first token, so S_cls depends on later tokens only',
      'Choose Template.label_words with different first tokens.',
    )
  joined = _joined_differently(run)
  if joined:
    return warning(
      check,
      f'{found}; as one text the tokenizer joins them with the prompt: {joined}',
      'Start the label words with a space, or end the prompt with a letter.',
    )
  return ok(check, found)


def _joined_differently(run: CheckedRun) -> str:
  """Returns how prompt and label word are tokenised as one text, '' if as separately."""
  vocabulary = run.vocabulary
  text = run.template.verify_solution.partition('{solution}')[2]
  for special in run.template.special_tokens:
    text = text.rpartition(special)[2]
  if not text:
    return ''
  for word in run.template.label_words:
    separate = vocabulary.encode(text) + vocabulary.encode(word)
    together = vocabulary.encode(text + word)
    if separate != together:
      return first_difference(vocabulary, separate, together)
  return ''
