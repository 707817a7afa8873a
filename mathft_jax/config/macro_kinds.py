"""Macros with one role in several programs. The error for a wrong one names the right one."""

from collections.abc import Callable, Container, Iterator, Mapping
import dataclasses
from types import MappingProxyType

from mathft_jax.config import gin_files


@dataclasses.dataclass(frozen=True)
class MacroKind:
  """Macros of one kind; a program uses one of them.

  Attributes:
    verb: what a program does with the value.
    value: what the value is.
    macros: names that programs use.
    other_names: names that no program uses, which users try.
  """

  verb: str
  value: str
  macros: tuple[str, ...]
  other_names: tuple[str, ...] = ()

  def sentence(self, program: str, macro: str) -> str:
    """Returns which macro a program uses."""
    return (
      f'{program} {self.verb} {macro}: set --gin.{macro}={self.value} instead.'
    )


KINDS = (
  MacroKind(
    'writes to',
    'PATH',
    ('MODEL_DIR', 'INFER_OUTPUT_DIR', 'EVAL_OUTPUT_DIR', 'OUTPUT'),
    ('OUTPUT_DIR', 'OUTPUT_PATH', 'OUT_DIR', 'WORKDIR', 'WORK_DIR'),
  ),
  MacroKind(
    'reads',
    'FILE',
    ('CANDIDATES', 'TEST_CANDIDATES', 'REPORTS'),
    ('CANDIDATES_PATH', 'GRADED', 'SCORED', 'INPUT', 'INPUT_PATH'),
  ),
  MacroKind(
    'reads the checkpoint',
    'PATH',
    ('CHECKPOINT_PATH', 'INITIAL_CHECKPOINT_PATH'),
    ('CHECKPOINT', 'MODEL_PATH'),
  ),
)
_CHECKPOINT = 'CHECKPOINT_PATH'


def explain_unused(
  name: str,
  program: str,
  used: Container[str],
  values: Mapping[str, object] = MappingProxyType({}),
) -> str:
  """Returns ' sample writes to INFER_OUTPUT_DIR: ...' for a macro that nothing uses; else ''.

  Args:
    name: the macro.
    program: module of the program, such as 'sample'.
    used: macros that its gin files use.
    values: of macros that are set.
  """
  file = gin_files.package_gin_directory() / 'programs' / f'{program}.gin'
  own_text = file.read_text() if file.is_file() else ''
  for kind in KINDS:
    if name not in kind.macros + kind.other_names:
      continue
    own = [macro for macro in kind.macros if f' %{macro}\n' in own_text]
    if not own_text:
      own = [macro for macro in kind.macros if macro in used]
    if len(own) == 1 and own != [name]:
      if own[0] in values:
        return _explain_second(name, kind, own[0], program, own_text, values)
      return f' {kind.sentence(program, own[0])}'
  return ''


def _explain_second(
  name: str,
  kind: MacroKind,
  own: str,
  program: str,
  own_text: str,
  values: Mapping[str, object],
) -> str:
  """Returns the sentence for a macro whose counterpart in this program is set already.

  A folder of a training, MODEL_DIR, is then meant as the checkpoint if none is set.
  """
  is_read = f' %{_CHECKPOINT}\n' in own_text
  if name == 'MODEL_DIR' and is_read and _CHECKPOINT not in values:
    return (
      f' {program} {kind.verb} {own}, which is set. It reads the checkpoint {_CHECKPOINT}, which '
      f'is not set: set --gin.{_CHECKPOINT}={values.get(name, "PATH")} instead.'
    )
  return f' {program} {kind.verb} {own}, which is set: leave out {name}.'


def explain_unset(
  unset: Container[str], is_set: Callable[[str], bool]
) -> Iterator[str]:
  """Yields a sentence for each macro that is not set where another of its kind is set."""
  for kind in KINDS:
    given = [macro for macro in kind.macros if is_set(macro)]
    needed = [macro for macro in kind.macros if macro in unset]
    if len(needed) == 1 and given:
      sentence = kind.sentence('this program', needed[0])
      yield f'{given[0]} is set, but {sentence}'
