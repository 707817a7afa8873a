"""The error of macros that are used and not set, with the gin files that set them."""

from collections.abc import Callable, Mapping

from etils import epath

from mathft_jax.config import checkpoint_config, macro_kinds
from mathft_jax.storage import local_and_remote_paths

_FOLDER = 'a Hugging Face folder'
_TOKENIZER = (
  '--gin_file=templates/of_folder.gin --gin.TOKENIZER_PATH=FOLDER reads '
  f'VOCABULARY and TEMPLATE from {_FOLDER}'
)
_DATA = '--gin_file=data/jsonl.gin --gin.DATA_PATH=FILE; or name another file of data/'
HINTS = {
  'MODEL': (
    'MODEL: --gin_file=models/of_checkpoint.gin --gin.MODEL_FROM=FOLDER reads it from a checkpoint '
    f'or from {_FOLDER}; or name another file of models/.'
  ),
  'VOCABULARY': (f'VOCABULARY: {_TOKENIZER}; or name a file of vocabularies/.'),
  'TEMPLATE': (f'TEMPLATE: {_TOKENIZER}; or name another file of templates/.'),
  'PROBLEMS': f'PROBLEMS: {_DATA}.',
  'EXAMPLES': f'EXAMPLES: {_DATA}, or a file of stages/ after it.',
}


def describe(
  unset: Mapping[str, str],
  is_set: Callable[[str], bool],
  value_of: Callable[[str], object],
) -> str:
  """Returns the text of an error: the macros, and how they are set.

  Args:
    unset: names of macros -> the parameter that needs each.
    is_set: whether a macro has a value.
    value_of: value of a macro that is set.
  """
  missing = _missing_checkpoint(is_set, value_of)
  lines = []
  if missing and not set(unset).isdisjoint(checkpoint_config.MACROS):
    of_checkpoint = [name for name in checkpoint_config.MACROS if name in unset]
    lines.append(
      f'{missing} {", ".join(of_checkpoint)}: read from it if it is a checkpoint of train.'
    )
    unset = {name: unset[name] for name in unset if name not in of_checkpoint}
    if not unset:
      return lines[0]

  needed = []
  for name, needed_by in sorted(unset.items()):
    needed.append(f'{name} (for {needed_by})')
  lines.append(
    f'not set: {", ".join(needed)}. Set them with --gin.NAME=VALUE or in a gin file.'
  )

  for name, hint in HINTS.items():
    if name in unset and not (name == 'TEMPLATE' and 'VOCABULARY' in unset):
      lines.append(hint)
  lines += macro_kinds.explain_unset(unset, is_set)
  return '\n'.join(lines)


def _missing_checkpoint(
  is_set: Callable[[str], bool], value_of: Callable[[str], object]
) -> str:
  """Returns that the path of a checkpoint does not exist, with a similar one; '' if it exists."""
  for macro in checkpoint_config.CHECKPOINT_MACROS:
    path = value_of(macro) if is_set(macro) else None
    if not isinstance(path, str) or path == 'random':
      continue
    if local_and_remote_paths.is_remote(path) or epath.Path(path).exists():
      continue
    hint = local_and_remote_paths.missing_path_hint(path)
    return f'{macro} is {path}, which does not exist.{hint}'
  return ''
