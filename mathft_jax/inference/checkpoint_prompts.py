"""Vocabulary and template of a checkpoint of `train`, from its metadata and its work directory.

vocabulary = load_vocabulary('runs/ssft')
template = load_template('runs/ssft')
"""

from etils import epath

from mathft_jax import checkpoints
from mathft_jax.data import prompt_templates, saved_prompts, tokenizer_files


def read_prompts(checkpoint: epath.PathLike) -> saved_prompts.Json | None:
  """Returns the saved vocabulary and template; None for a checkpoint without them."""
  metadata = checkpoints.read_metadata(checkpoint)
  return metadata.get(saved_prompts.METADATA_KEY)


def load_vocabulary(
  path: epath.PathLike, tokenizer_path: epath.PathLike | None = None
) -> prompt_templates.Vocabulary:
  """Returns the vocabulary of a checkpoint.

  Args:
    path: the checkpoint.
    tokenizer_path: file or folder of the tokenizer. None: `<workdir>/tokenizer`, or the path that
      the training run read.

  Raises:
    ValueError: the checkpoint has no vocabulary, its tokenizer is not found, or it is another one.
  """
  saved = _read_existing_prompts(path)['vocabulary']
  tokenizer = None
  if saved_prompts.needs_tokenizer(saved):
    tokenizer = str(tokenizer_path or find_tokenizer(path))
  vocabulary = saved_prompts.vocabulary_from_json(saved, tokenizer)

  fingerprint = checkpoints.read_metadata(path)['fingerprint']
  trained, found = fingerprint['vocabulary'], vocabulary.fingerprint()
  if found != trained:
    raise ValueError(
      f'{path} was trained with another tokenizer:\n'
      f'  checkpoint: {trained}\n  {tokenizer}: {found}\n'
      'Set TOKENIZER_PATH to the tokenizer of the training run.'
    )
  return vocabulary


def load_template(path: epath.PathLike) -> prompt_templates.Template:
  """Returns the prompts that a checkpoint was trained with; ValueError if it has none."""
  saved = _read_existing_prompts(path)['template']
  return saved_prompts.template_from_json(saved)


def find_tokenizer(path: epath.PathLike) -> epath.Path:
  """Returns the file or folder of a checkpoint's tokenizer.

  Raises:
    ValueError: it is neither in the work directory nor where the training run has read it.
  """
  copy = _workdir(path) / saved_prompts.TOKENIZER_FOLDER
  saved = _read_existing_prompts(path)['vocabulary']
  original = epath.Path(saved.get('path', copy))
  for folder in (copy, original):
    names = [folder / name for name in tokenizer_files.FILE_NAMES]
    if folder.is_file() or any(name.is_file() for name in names):
      return folder
  raise ValueError(
    f'{path} needs the files of its tokenizer, which are neither in {copy} nor in {original}. '
    f'Copy the folder {saved_prompts.TOKENIZER_FOLDER} of the training run to {copy}, or set '
    '--gin.TOKENIZER_PATH=FOLDER.'
  )


def _read_existing_prompts(path: epath.PathLike) -> saved_prompts.Json:
  prompts = read_prompts(path)
  if prompts is None:
    raise ValueError(
      f'{path} does not contain its vocabulary and template; set VOCABULARY and TEMPLATE '
      '(--gin_file=vocabularies/<one>.gin, --gin_file=templates/<one>.gin).'
    )
  return prompts


def _workdir(path: epath.PathLike) -> epath.Path:
  """Returns the work directory of a checkpoint, or the folder of a file or of a copied step."""
  folder = checkpoints.resolve_checkpoint(path).parent
  return folder.parent if folder.name == 'checkpoints' else folder
