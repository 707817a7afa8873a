"""Special tokens and chat template that the files of a published model name.

published = find_published_files(init_from, vocabulary)
published.end_token_ids      ids with which the model ends a text
"""

from collections.abc import Mapping
import dataclasses

from etils import epath

from mathft_jax import checkpoints
from mathft_jax.data.prompt_templates import Vocabulary
from mathft_jax.storage import json_files

JsonObject = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class PublishedFiles:
  """Contents of the small files in a Hugging Face folder; {} for a file that does not exist.

  Attributes:
    source: the folder or the checkpoint that was read.
    config: config.json; for a checkpoint of this package, the one that its first stage started
      with.
    generation: generation_config.json.
    tokenizer: tokenizer_config.json.
    chat_template: jinja source; None if there is none.
  """

  source: str
  config: JsonObject
  generation: JsonObject
  tokenizer: JsonObject
  chat_template: str | None

  @property
  def end_token_ids(self) -> list[int]:
    """Ids that end a text: those of generation_config.json, else those of config.json."""
    value = self.generation.get('eos_token_id')
    if value is None:
      value = self.config.get('eos_token_id')
    if isinstance(value, int):
      return [value]
    if isinstance(value, list):
      return [index for index in value if isinstance(index, int)]
    return []

  def special_token(self, role: str) -> str:
    """Returns the text of `bos_token`, `eos_token`, ... in tokenizer_config.json; '' if unset."""
    token = self.tokenizer.get(role)
    if isinstance(token, Mapping):
      token = token.get('content')
    return token if isinstance(token, str) else ''

  @property
  def adds_bos(self) -> bool | None:
    """Whether the published tokenizer starts texts with BOS; None if the file does not say."""
    added = self.tokenizer.get('add_bos_token')
    return added if isinstance(added, bool) else None


def find_published_files(
  init_from: epath.PathLike | None, vocabulary: Vocabulary
) -> PublishedFiles | None:
  """Returns the files of the initial checkpoint, else those beside the tokenizer.

  None if neither is a published model.
  """
  tokenizer_folder = _tokenizer_folder(vocabulary)
  if init_from and init_from != 'random':
    path = epath.Path(init_from)
    if (path / 'config.json').exists():
      return _read_folder(path)
    if path.exists():
      published = checkpoints.read_metadata(path).get('published') or {}
      if published:
        beside = _read_folder(tokenizer_folder) if tokenizer_folder else None
        return PublishedFiles(
          source=str(path),
          config=published,
          generation=beside.generation if beside else {},
          tokenizer=beside.tokenizer if beside else {},
          chat_template=beside.chat_template if beside else None,
        )
  return _read_folder(tokenizer_folder) if tokenizer_folder else None


def _tokenizer_folder(vocabulary: Vocabulary) -> epath.Path | None:
  """Returns the folder of the vocabulary's tokenizer file, if it has tokenizer_config.json."""
  path = getattr(vocabulary, 'path', None)
  if path is None:
    return None
  folder = epath.Path(path)
  if not folder.is_dir():
    folder = folder.parent
  return folder if (folder / 'tokenizer_config.json').exists() else None


def _read_folder(folder: epath.Path) -> PublishedFiles:
  tokenizer = _read_json(folder / 'tokenizer_config.json')
  template = tokenizer.get('chat_template')
  if isinstance(template, list):  # several named templates
    named = {each['name']: each['template'] for each in template}
    template = named.get('default')
  file = folder / 'chat_template.jinja'
  if file.exists():
    template = file.read_text()
  return PublishedFiles(
    source=str(folder),
    config=_read_json(folder / 'config.json'),
    generation=_read_json(folder / 'generation_config.json'),
    tokenizer=tokenizer,
    chat_template=template if isinstance(template, str) else None,
  )


def _read_json(path: epath.Path) -> JsonObject:
  """Returns the object in a file; {} if there is no file. ValueError if it cannot be read."""
  if not path.exists():
    return {}
  return json_files.read_json_object(path)
