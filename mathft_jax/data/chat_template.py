"""Renders the chat template of a published model in a sandbox.

  text = render_chat_template(template, [{'role': 'user', 'content': '1 + 1?'}], bos_token='<s>')

A chat template is a jinja2 program in `chat_template.jinja` or `tokenizer_config.json`. Somebody
else wrote it: the sandbox gives it no access to Python objects, files or other templates.
"""

from collections.abc import Mapping, Sequence
import datetime
import importlib.util
import json

Messages = Sequence[Mapping[str, str]]


def is_available() -> bool:
  """Whether jinja2 is installed (extra [data])."""
  return importlib.util.find_spec('jinja2') is not None


def render_chat_template(
  template: str,
  messages: Messages,
  *,
  add_generation_prompt: bool = True,
  now: datetime.datetime | None = None,
  **variables: object,
) -> str:
  """Returns the prompt that a chat template makes of messages.

  Args:
    template: jinja2 source.
    messages: dicts with `role` and `content`.
    add_generation_prompt: end with the start of the model's turn.
    now: the date of templates that print it; None: the current date.
    **variables: further variables of the template: `bos_token`, `eos_token`, `enable_thinking`.

  Raises:
    ValueError: the template is not valid, raises an error or leaves the sandbox.
  """
  from jinja2 import exceptions, sandbox  # not at the top: an optional package

  def raise_exception(message: str) -> None:
    raise exceptions.TemplateError(message)

  def format_now(form: str) -> str:
    return (now or datetime.datetime.now()).strftime(form)

  environment = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=['jinja2.ext.loopcontrols'],
  )
  environment.filters['tojson'] = _to_json
  environment.globals['raise_exception'] = raise_exception
  environment.globals['strftime_now'] = format_now
  try:
    return environment.from_string(template).render(
      messages=messages,
      add_generation_prompt=add_generation_prompt,
      **variables,
    )
  except Exception as error:  # noqa: BLE001 (a template is a foreign program)
    raise ValueError(
      f'The chat template cannot be rendered: {type(error).__name__}: {error}'
    ) from error


def _to_json(value: object, indent: int | None = None) -> str:
  return json.dumps(value, ensure_ascii=False, indent=indent)
