"""Tokenizer files of a Hugging Face folder, which an export copies."""

from etils import epath

# A tokenizer has at least one of these.
VOCABULARY_FILES = ('tokenizer.json', 'tokenizer.model', 'vocab.json')
TOKENIZER_FILES = (
  *VOCABULARY_FILES,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
)


def find_tokenizer_files(folder: epath.PathLike) -> list[str]:
  """Returns the names of the tokenizer files in a folder.

  Raises:
    ValueError: there is no tokenizer.
  """
  folder = epath.Path(folder)
  accepted = ', '.join(VOCABULARY_FILES)
  if not folder.is_dir():
    raise ValueError(
      f'tokenizer {folder} is not a folder; it must be a folder with one of {accepted}, '
      'such as that of a published model.'
    )
  names = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
  if not set(names) & set(VOCABULARY_FILES):
    raise ValueError(
      f'tokenizer {folder} contains none of {accepted}; it must be a folder with a '
      'tokenizer, such as that of a published model.'
    )
  return names


def copy_tokenizer_files(
  source: epath.PathLike, target: epath.PathLike
) -> list[str]:
  """Copies the tokenizer files of a folder to another and returns their names."""
  names = find_tokenizer_files(source)
  for name in names:
    (epath.Path(source) / name).copy(epath.Path(target) / name)
  return names
