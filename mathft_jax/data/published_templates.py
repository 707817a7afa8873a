"""Prompt template and vocabulary of a published chat model, from the files in its folder.

  vocabulary = load_vocabulary('Qwen3-1.7B')
  template = load_template('Qwen3-1.7B')

The chat template is rendered once, with marks instead of messages. The texts between the marks are
those of `prompt_templates.Template`, so that training, sampling and scoring need no jinja2.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import datetime
import re
from typing import Any

from etils import epath

from mathft_jax.data import chat_template, thoughts, tokenizer_files
from mathft_jax.data.prompt_templates import Template
from mathft_jax.data.vocabularies import TokenizerVocabulary
from mathft_jax.storage import json_files

INSTRUCTION = (
  'Please reason step by step, and put your final answer within \\boxed{}.'
)
EVALUATOR_PROBLEM = (
  'Here is a math problem: {question}. Here is a candidate solution:'
)
EVALUATOR_SOLUTION = (
  ' {solution}. Is the above candidate solution correct or incorrect?'
)
EVALUATOR_ANSWER = 'The above candidate solution is'
# Date of templates that print today's. It is fixed, so that a run has the same prompts every day;
# Llama 3.1 has it as default.
DATE = datetime.datetime(2024, 7, 26)
OTHER_THOUGHT_START = '<|channel>'
MARKS = 'QUESTION-3141592653', 'SOLUTION-2718281828', 'QUESTION-1618033988'
BOS_MARK = 'BOS-1414213562'
CONFIG_FILE, JINJA_FILE = 'tokenizer_config.json', 'chat_template.jinja'


@dataclasses.dataclass(frozen=True)
class PublishedChat:
  """A chat template and the special tokens of its folder.

  Attributes:
    folder: where it was read.
    source: jinja2 program; None if the folder has none.
    tokens: `bos_token`, `eos_token` and `pad_token` of tokenizer_config.json; absent if unset.
    tokenizer: that of the folder.
    adds_bos: `add_bos_token` of tokenizer_config.json; None if absent.
  """

  folder: epath.Path
  source: str | None
  tokens: Mapping[str, str]
  tokenizer: tokenizer_files.Tokenizer
  adds_bos: bool | None = None


@dataclasses.dataclass(frozen=True)
class ChatTexts:
  """Texts around the messages of a rendered chat.

  Attributes:
    system: before the header of the first user turn, without BOS.
    user: header of a user turn.
    turn_end: after a model's turn, before the next user's header.
    model: from the end of a user's message to the start of a model's turn.
    model_start: what the last model's turn starts with, if earlier ones do not.
    prints_bos: whether the template starts with BOS.
  """

  system: str
  user: str
  turn_end: str
  model: str
  model_start: str
  prints_bos: bool

  @property
  def turns(self) -> str:
    """All texts but the start of the last model's turn."""
    return self.system + self.user + self.turn_end + self.model


def load_template(
  folder: epath.PathLike,
  *,
  instruction: str = INSTRUCTION,
  with_system: bool = True,
  enable_thinking: bool = False,
  thoughts_count: bool = False,
  label_words: tuple[str, str] = (' correct', ' incorrect'),
) -> Template:
  """Returns the prompts of a published chat model.

  Args:
    folder: contains chat_template.jinja or tokenizer_config.json.
    instruction: text after the question, in the user's turn; may be ''.
    with_system: False leaves out the system turn that the chat template adds by default.
    enable_thinking: of models that can do both (Qwen3). Models that always think do so.
    thoughts_count: whether thoughts are part of the solution for the evaluator.
    label_words: continue the evaluator prompt.

  Raises:
    ValueError: there is no chat template, or it cannot be rendered.
  """
  chat = read_published_chat(folder)
  texts = render_chat_texts(chat, enable_thinking=enable_thinking)
  assert chat.source is not None
  markers = _turn_markers(chat.source, texts, enable_thinking, thoughts_count)
  question = f'{{question}}\n\n{instruction}' if instruction else '{question}'
  answer_start = texts.model_start
  if markers is not None:  # the evaluator answers without a thought
    answer_start = f'{markers.thought_start}\n\n{markers.thought_end}\n\n'

  names = [*chat.tokenizer.special_ids, *_added_turn_tokens(chat, texts)]
  every_text = texts.turns + texts.model_start
  return Template(
    system=texts.system if with_system else '',
    solve=f'{texts.user}{question}{texts.model}',
    assistant_start=texts.model_start,
    verify_problem=texts.user + EVALUATOR_PROBLEM,
    verify_solution=''.join(
      (EVALUATOR_SOLUTION, texts.model, answer_start, EVALUATOR_ANSWER)
    ),
    label_words=label_words,
    shot_separator=texts.turn_end,
    special_tokens=tuple(name for name in names if name in every_text),
    turn_markers=markers,
  )


def load_vocabulary(
  folder: epath.PathLike, *, chat: bool = True
) -> TokenizerVocabulary:
  """Returns the tokenizer of a folder, with the special tokens of its tokenizer_config.json.

  If the padding token is EOS, another special token that no text needs is used instead. Ids that
  the model of config.json lacks are left out.

  Args:
    folder: contains a tokenizer and tokenizer_config.json.
    chat: EOS is the token that ends a turn of the chat template, and BOS is used if the template
      prints it. False, or without a template: EOS is that of tokenizer_config.json, and BOS is used
      if the tokenizer adds it.

  Raises:
    ValueError: there is no tokenizer, or its tokens cannot be used.
  """
  published = read_published_chat(folder)
  eos = published.tokens.get('eos_token')
  bos = published.tokens.get('bos_token')
  added: list[str] = []
  if chat and published.source is not None:
    texts = render_chat_texts(published)
    has_bos = texts.prints_bos
    added = _added_turn_tokens(published, texts)
    if texts.turn_end.strip() in published.tokenizer.special_ids:
      eos = texts.turn_end.strip()
  else:
    has_bos = bos is not None and _adds_bos(published, bos)
  if eos is None:
    raise ValueError(
      f'{published.folder / CONFIG_FILE} has no eos_token, so the end of texts is not known; bind '
      'TokenizerVocabulary(path, eos=..., pad=...).'
    )
  if not has_bos:
    bos = None
  pad = published.tokens.get('pad_token')
  if pad in (None, eos, bos):  # with EOS, the model would not learn to stop
    pad = _unused_padding_token(published, (eos, bos))
  return TokenizerVocabulary(
    path=str(folder),
    eos=eos,
    pad=pad,
    bos=bos,
    additional_special_tokens=tuple(added),
    max_vocab_size=_model_vocab_size(published.folder),
  )


def read_published_chat(folder: epath.PathLike) -> PublishedChat:
  """Returns the chat template, the special tokens and the tokenizer of a folder.

  Raises:
    ValueError: tokenizer_config.json or the tokenizer does not exist or is not valid.
  """
  tokenizer = tokenizer_files.load_tokenizer(folder)
  folder = epath.Path(folder)
  if not folder.is_dir():
    folder = folder.parent
  file = folder / CONFIG_FILE
  if not file.is_file():
    raise ValueError(
      f'{file} does not exist; wanted the folder of a published tokenizer.'
    )
  config = json_files.read_json_object(file)
  tokens = {}
  for role in ('bos_token', 'eos_token', 'pad_token'):
    token = config.get(role)
    if isinstance(token, dict):
      token = token.get('content')
    if isinstance(token, str):
      tokens[role] = token

  source = _default_template(config.get('chat_template'))
  if (folder / JINJA_FILE).is_file():
    source = (folder / JINJA_FILE).read_text()
  adds_bos = config.get('add_bos_token')
  return PublishedChat(folder, source, tokens, tokenizer, adds_bos)


def render_chat_texts(
  chat: PublishedChat, *, enable_thinking: bool = False
) -> ChatTexts:
  """Returns the texts around messages; ValueError if the template does not print them in order."""
  if chat.source is None:
    raise ValueError(
      f'{chat.folder} has no chat template; use templates/plain.gin, or the folder of the '
      'Instruct model.'
    )
  roles = 'user', 'assistant', 'user'
  messages = []
  for role, content in zip(roles, MARKS):
    messages.append({'role': role, 'content': content})
  text = chat_template.render_chat_template(
    chat.source,
    messages,
    now=DATE,
    bos_token=BOS_MARK,
    eos_token=chat.tokens.get('eos_token', ''),
    enable_thinking=enable_thinking,
  )
  parts = re.split('|'.join(MARKS), text)
  if len(parts) != 4:
    raise ValueError(
      f'{chat.folder}: the chat template prints {text[:400]!r}; wanted each of three messages once.'
    )
  start, model, between, end = parts
  user = _after_turn_end(between, chat.tokenizer.special_ids)
  start = start.replace(BOS_MARK, '')
  if not start.endswith(user):  # the first user turn has another header
    user = ''
  if not end.startswith(model):  # the last turn starts in another way
    model = end
  return ChatTexts(
    system=start.removesuffix(user),
    user=user,
    turn_end=between.removesuffix(user),
    model=model,
    model_start=end.removeprefix(model),
    prints_bos=BOS_MARK in parts[0],
  )


def _after_turn_end(between: str, names: Iterable[str]) -> str:
  """Returns the header of a user turn: the text after the first special token and white space."""
  first = (len(between), '')
  for name in names:
    start = between.find(name)
    if start >= 0:
      first = min(first, (start, name))
  start, name = first
  return between[start + len(name) :].lstrip()


def _turn_markers(
  source: str, texts: ChatTexts, enable_thinking: bool, thoughts_count: bool
) -> thoughts.TurnMarkers | None:
  """Returns the marks of a model that thinks in this prompt; None if it does not."""
  default = thoughts.DEFAULT_MARKERS
  end = texts.model + texts.model_start
  starts_in_thought = end.rstrip().endswith(default.thought_start)
  can_think = default.thought_start in source
  if enable_thinking and not can_think and OTHER_THOUGHT_START in source:
    raise ValueError(
      f'ENABLE_THINKING is True, and the chat template marks thoughts with {OTHER_THOUGHT_START} '
      f'(Gemma 4); only {default.thought_start} is supported. Set it to False.'
    )
  if not starts_in_thought and not (enable_thinking and can_think):
    return None
  return thoughts.TurnMarkers(
    starts_in_thought=starts_in_thought, thoughts_count=thoughts_count
  )


def _default_template(value: Any) -> str | None:
  """Returns the chat template of tokenizer_config.json, the default one of several."""
  if isinstance(value, list):
    for named in value:
      if named.get('name') == 'default':
        return named.get('template')
    return None
  return value if isinstance(value, str) else None


def _added_turn_tokens(chat: PublishedChat, texts: ChatTexts) -> list[str]:
  """Returns the tokens of turns that the tokenizer does not mark as special (DeepSeek)."""
  special = chat.tokenizer.special_ids
  names = []
  for name in chat.tokenizer.added_ids:
    is_mark = name.startswith(('<', '[')) and 'think' not in name
    if is_mark and name in texts.turns and name not in special:
      names.append(name)
  return names


def _adds_bos(published: PublishedChat, bos: str) -> bool:
  """Whether the tokenizer starts texts with BOS; a SentencePiece model does not contain this."""
  tokenizer = published.tokenizer
  if tokenizer.added_ids:  # tokenizer.json
    return tokenizer.first_id == tokenizer.token_id(bos)
  return published.adds_bos is not False


def _model_vocab_size(folder: epath.Path) -> int | None:
  """Returns `vocab_size` of config.json; None without one."""
  file = folder / 'config.json'
  if not file.is_file():
    return None
  keys = json_files.read_json_object(file)
  language_model = keys.get('text_config') or keys
  return language_model.get('vocab_size')


def _unused_padding_token(
  chat: PublishedChat, used: tuple[str | None, ...]
) -> str:
  """Returns a special token that no text needs, such as `<|fim_pad|>`.

  Tokens with such a name come first, then the others that the chat template does not contain, then
  the end of documents.
  """
  for word in ('pad', 'reserved', 'unused'):
    for name in chat.tokenizer.special_ids:
      if word in name and name not in used:
        return name
  named = {*used, *chat.tokens.values()}
  for name in chat.tokenizer.added_ids:
    if name in chat.tokenizer.special_ids and name not in named:
      if name not in (chat.source or ''):
        return name
  end_of_text = chat.tokens.get('eos_token')
  if end_of_text not in (None, *used):  # the turn has another end
    return end_of_text
  raise ValueError(
    f'{chat.folder}: {CONFIG_FILE} has no padding token that differs from EOS and BOS {used}; bind '
    'TokenizerVocabulary(path, eos=..., pad=<another special token>).'
  )
