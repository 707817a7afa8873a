"""Compares the prompt of a training with that of the chat template in an exported folder."""

from etils import epath

from mathft_jax.data import prompt_templates, published_templates

QUESTION = '{question}'


def describe_difference(
  template: prompt_templates.Template, folder: epath.PathLike
) -> str:
  """Returns the two prompts if a server that renders the chat template sends another one.

  '' if they are equal, or if the folder has no chat template. Text that the training has after the
  question, such as an instruction, may be part of a user's message. A template of a model that can
  think is rendered with and without thinking; one of them must be equal.

  Args:
    template: of the training.
    folder: with tokenizer_config.json, perhaps chat_template.jinja.
  """
  before, _, after = template.solve.partition(QUESTION)
  before = template.system + before
  after += template.assistant_start
  served = []
  for enable_thinking in (False, True):
    try:
      chat = published_templates.read_published_chat(folder)
      texts = published_templates.render_chat_texts(
        chat, enable_thinking=enable_thinking
      )
    except (ValueError, ImportError):  # no chat template, or no jinja2
      return ''
    start, end = texts.system + texts.user, texts.model + texts.model_start
    if before == start and after.endswith(end):
      return ''
    served.append(f'{start}{QUESTION}{end}')

  return f'  trained: {before + QUESTION + after!r}\n  served:  {served[0]!r}'
