"""Reads the text of an optimized HLO module (`compiled.as_text()`), of CPU, GPU or TPU.

Nothing of jax: text in, frozen dataclasses out. Arrays know their layout's tiles and memory space,
instructions their operands by name; other attributes stay text until somebody asks.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
import re

_ARRAY = re.compile(r'([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?')
_INSTRUCTION = re.compile(r'\s+(ROOT )?%?([\w.\-]+) = ')
_OPCODE = re.compile(r'\s*([a-z][\w\-]*)\(')
_END = re.compile(r'\}(, execution_thread="\w+")?')
_HEADER = re.compile(r'(ENTRY )?%?([\w.\-]+)(?: \(.*)? \{$')
_BRACKETS = re.compile(r'[()]')
_COMMENT = re.compile(r'/\*.*?\*/')


@dataclasses.dataclass(frozen=True)
class ArrayShape:
  """An array's type: dimensions, and how it lies in which memory.

  Attributes:
    bits: of one element.
    dims: logical sizes.
    minor_to_major: dimensions from the fastest to the slowest; () as the text has it for scalars.
    tile: of the layout's first tiling; () without one.
    space: the S(n) of its layout, 0 without one.
  """

  bits: int
  dims: tuple[int, ...]
  minor_to_major: tuple[int, ...] = ()
  tile: tuple[int, ...] = ()
  space: int = 0

  @property
  def elements(self) -> int:
    return math.prod(self.dims)

  @property
  def logical_bytes(self) -> int:
    """Bytes of the elements alone."""
    return -(-self.elements * self.bits // 8)

  @property
  def stored_bytes(self) -> int:
    """Bytes with the padding of the layout's tiles: what a TPU holds and moves."""
    sizes = [self.dims[i] for i in self.minor_to_major]
    if len(self.tile) > len(sizes):
      return self.logical_bytes
    for i, tile in enumerate(reversed(self.tile)):
      sizes[i] = -(-sizes[i] // tile) * tile
    return (
      -(-math.prod(sizes) * self.bits // 8) if sizes else self.logical_bytes
    )


@dataclasses.dataclass(frozen=True)
class HloInstruction:
  """One line of a computation.

  Attributes:
    shape: the text of its type; `arrays` reads it.
    arguments: the text between the parentheses: operands, a parameter's number, a constant.
    attributes: the text after them.
  """

  name: str
  shape: str
  opcode: str
  arguments: str
  attributes: str
  is_root: bool = False

  @functools.cached_property
  def operands(self) -> tuple[str, ...]:
    """Names of the operands."""
    if self.opcode in ('constant', 'parameter'):
      return ()
    return tuple(re.findall(r'%([\w.\-]+)', self.arguments))

  @property
  def arrays(self) -> tuple[ArrayShape, ...]:
    """Every array of the result, tuples taken apart."""
    return parse_array_shapes(self.shape)

  @property
  def elements(self) -> tuple[str, ...]:
    """The types of the result's tuple elements; of an array, itself."""
    return tuple_element_shapes(self.shape)

  @property
  def result(self) -> str:
    """The type of what it gives; where it starts something, of what the -done gives."""
    if not self.opcode.endswith('-start') or self.opcode == 'all-reduce-start':
      return self.shape
    return self.elements[0 if self.opcode == 'copy-start' else 1]

  def called(self, attribute: str) -> str | None:
    """The computation that an attribute such as `calls` or `body` names."""
    found = re.search(rf'\b{attribute}=%?([\w.\-]+)', self.attributes)
    return found and found.group(1)

  def numbers(self, attribute: str) -> tuple[int, ...]:
    """The whole numbers of `attribute={1,2}` or `attribute=1`; () without the attribute."""
    found = re.search(
      rf'\b{attribute}=(?:\{{([\d,]*)\}}|(\d+))', self.attributes
    )
    return (
      tuple(map(int, re.findall(r'\d+', found.group(0).split('=')[1])))
      if found
      else ()
    )

  def text(self, attribute: str) -> str | None:
    """What stands between the quotes of `attribute="..."`."""
    found = re.search(rf'\b{attribute}="([^"]*)"', self.attributes)
    return found and found.group(1)


@dataclasses.dataclass(frozen=True)
class HloComputation:
  """Instructions in order, by name."""

  name: str
  instructions: Mapping[str, HloInstruction]

  @functools.cached_property
  def root(self) -> HloInstruction:
    return next(
      (each for each in self.instructions.values() if each.is_root),
      list(self.instructions.values())[-1],
    )

  @functools.cached_property
  def parameters(self) -> tuple[HloInstruction, ...]:
    """Its parameters by number."""
    found = [
      each for each in self.instructions.values() if each.opcode == 'parameter'
    ]
    return tuple(sorted(found, key=lambda each: int(each.arguments)))

  @functools.cached_property
  def users(self) -> Mapping[str, tuple[HloInstruction, ...]]:
    """For every name the instructions that have it as an operand."""
    found: dict[str, list[HloInstruction]] = {
      name: [] for name in self.instructions
    }
    for each in self.instructions.values():
      for name in dict.fromkeys(each.operands):
        found[name].append(each)
    return {name: tuple(users) for name, users in found.items()}


@dataclasses.dataclass(frozen=True)
class HloModule:
  """Computations by name. `num_devices` is partitions times replicas."""

  computations: Mapping[str, HloComputation]
  entry: str
  num_devices: int
  is_tpu: bool

  def __getitem__(self, name: str) -> HloComputation:
    return self.computations[name]


def parse_hlo_module(text: str) -> HloModule:
  """The module of `compiled.as_text()`; ValueError where that is not what the text is."""
  bodies, entry = _bodies(text.splitlines())
  if entry is None:
    raise ValueError(
      f'No ENTRY computation in {len(text)} characters of HLO text that begin with '
      f'{text[:60]!r}; wanted: what compiled.as_text() gives.'
    )
  computations = {}
  for name, lines in bodies.items():
    read = [_instruction(line) for line in lines]
    if not any(each.is_root for each in read):
      raise ValueError(
        f'HLO computation {name}: no ROOT among its {len(read)} instructions; the '
        'text is cut short, or of a kind that this reader does not know.'
      )
    computations[name] = HloComputation(
      name, {each.name: each for each in read}
    )
  header = next(
    (line for line in text.splitlines() if line.startswith('HloModule')), ''
  )
  return HloModule(
    computations,
    entry,
    _count(header, 'num_partitions') * _count(header, 'replica_count'),
    is_tpu=re.search(r'\{[\d,]*:T\(', text) is not None,
  )


def _bodies(lines: list[str]) -> tuple[dict[str, list[str]], str | None]:
  """(lines of every computation's instructions, name of the entry).

  Attributes of kernels have line breaks in them: what does not begin an instruction goes on with
  the one before.
  """
  bodies: dict[str, list[str]] = {}
  entry, current = None, None
  for line in lines:
    if current is None:
      if not line[:1].isspace() and (found := _HEADER.match(line)):
        current = bodies.setdefault(found.group(2), [])
        entry = found.group(2) if found.group(1) else entry
    elif _END.fullmatch(line):
      current = None
    elif _INSTRUCTION.match(line):
      current.append(line)
    elif current:
      current[-1] += line
  return bodies, entry


@functools.lru_cache(maxsize=100_000)
def parse_array_shapes(shape: str) -> tuple[ArrayShape, ...]:
  """Every array of a type's text."""
  return tuple(_array(*found.groups()) for found in _ARRAY.finditer(shape))


@functools.lru_cache(maxsize=100_000)
def tuple_element_shapes(shape: str) -> tuple[str, ...]:
  """The types of a tuple's elements, tuples themselves perhaps; of an array, itself alone."""
  if not shape.startswith('('):
    return (shape,)
  parts, depth, start = [], 0, 1
  for i, letter in enumerate(shape):
    depth += (letter in '([{') - (letter in ')]}')
    if (letter == ',' and depth == 1) or depth == 0:
      parts.append(shape[start:i].strip())
      start = i + 1
  return tuple(part for part in parts if part)


def _instruction(line: str) -> HloInstruction:
  """The instruction of a line."""
  line = _COMMENT.sub('', line)
  begin = _INSTRUCTION.match(line)
  start = begin.end()
  end = _closing(line, start) if line[start] == '(' else line.index(' ', start)
  opcode = _OPCODE.match(line, end)
  if opcode is None:
    raise ValueError(
      f'Cannot read the HLO line {line[:200]!r}: no opcode after its type.'
    )
  after = _closing(line, opcode.end() - 1)
  return HloInstruction(
    begin.group(2),
    line[start:end],
    opcode.group(1),
    line[opcode.end() : after - 1],
    line[after:].lstrip(', '),
    is_root=begin.group(1) is not None,
  )


def _closing(line: str, start: int) -> int:
  """The position after the parenthesis that closes the one at `start`."""
  depth = 0
  for found in _BRACKETS.finditer(line, start):
    depth += 1 if found.group() == '(' else -1
    if depth == 0:
      return found.end()
  raise ValueError(
    f'Cannot read the HLO line {line[:200]!r}: a parenthesis is not closed.'
  )


def _array(dtype: str, dims: str, layout: str | None) -> ArrayShape:
  sizes = tuple(int(size.lstrip('<=')) for size in dims.split(',') if size)
  order, _, rest = (layout or '').partition(':')
  minor_to_major = tuple(map(int, re.findall(r'\d+', order)))
  tile = re.search(r'T\(([\d,]+)\)', rest)
  space, bits = re.search(r'S\((\d+)\)', rest), re.search(r'E\((\d+)\)', rest)
  return ArrayShape(
    int(bits.group(1)) if bits else _bits(dtype),
    sizes,
    minor_to_major,
    tuple(map(int, tile.group(1).split(','))) if tile else (),
    int(space.group(1)) if space else 0,
  )


def _bits(dtype: str) -> int:
  """Bits of one element; 0 for tokens and opaque values."""
  if dtype == 'pred':
    return 8
  found = re.match(r'(?:bf|f|s|u|c)(\d+)', dtype)
  return int(found.group(1)) if found else 0


def _count(header: str, name: str) -> int:
  found = re.search(rf'\b{name}=(\d+)', header)
  return int(found.group(1)) if found else 1
