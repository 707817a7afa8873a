"""Copies the tokenizer of a training run to its work directory.

Programs that read a checkpoint of the run then need no tokenizer files (`checkpoint_prompts`).
"""

from absl import logging
from etils import epath

from mathft_jax.checkpoints import tokenizer_files
from mathft_jax.data import prompt_templates, saved_prompts, vocabularies
from mathft_jax.distributed import processes
from mathft_jax.storage import atomic_files


def copy_tokenizer(
  vocabulary: prompt_templates.Vocabulary, workdir: epath.PathLike
) -> None:
  """Copies the files of a tokenizer to `<workdir>/tokenizer`, on the primary process.

  Nothing is written for a vocabulary without files, or if the files are there already. All
  processes call this.
  """
  if not isinstance(vocabulary, vocabularies.TokenizerVocabulary):
    return
  source = epath.Path(vocabulary.path)
  target = epath.Path(workdir) / saved_prompts.TOKENIZER_FOLDER
  processes.run_on_primary(
    f'copy of the tokenizer {source}', lambda: _copy_files(source, target)
  )


def _copy_files(source: epath.Path, target: epath.Path) -> None:
  """Writes each file in one step, the vocabulary last: a folder with it is complete."""
  files = _find_files(source)
  last_names = tokenizer_files.VOCABULARY_FILES
  written = []
  for name in sorted(files, key=lambda name: (name in last_names, name)):
    content = files[name].read_bytes()
    path = target / name
    if path.is_file() and path.read_bytes() == content:
      continue
    with atomic_files.open_atomically(path) as stream:
      stream.write(content)
    written.append(name)

  for name in tokenizer_files.TOKENIZER_FILES:
    if name not in files:
      (target / name).unlink(missing_ok=True)
  if written:
    logging.info('Tokenizer files in %s: %s', target, ', '.join(written))


def _find_files(source: epath.Path) -> dict[str, epath.Path]:
  """Returns the files of a tokenizer by the name of their copy.

  Args:
    source: a folder, or a file of any name; the settings beside it belong to it.
  """
  folder = source if source.is_dir() else source.parent
  files = {}
  for name in tokenizer_files.TOKENIZER_FILES:
    if (folder / name).is_file():
      files[name] = folder / name
  if folder == source:
    return files

  for name in tokenizer_files.VOCABULARY_FILES:
    files.pop(name, None)
  is_json = source.suffix == '.json'
  files['tokenizer.json' if is_json else 'tokenizer.model'] = source
  return files
