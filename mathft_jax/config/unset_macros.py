"""The error of macros that are used and not set, with the gin files that set them."""

from collections.abc import Callable, Mapping

from mathft_jax.config import macro_kinds

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


def describe(unset: Mapping[str, str], is_set: Callable[[str], bool]) -> str:
  """Returns the text of an error: the macros, and how they are set.

  Args:
    unset: names of macros -> the parameter that needs each.
    is_set: whether a macro has a value.
  """
  needed = []
  for name, needed_by in sorted(unset.items()):
    needed.append(f'{name} (for {needed_by})')
  lines = [
    f'not set: {", ".join(needed)}. Set them with --gin.NAME=VALUE or in a gin file.'
  ]

  for name, hint in HINTS.items():
    if name in unset and not (name == 'TEMPLATE' and 'VOCABULARY' in unset):
      lines.append(hint)
  lines += macro_kinds.explain_unset(unset, is_set)
  return '\n'.join(lines)
