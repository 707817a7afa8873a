"""Parser for the text of an optimized HLO module, `compiled.as_text()`, of CPU, GPU or TPU.

  module = parse_hlo_module(compiled.as_text())
  for instruction in module.entry.instructions.values():
    instruction.opcode, instruction.operands, instruction.array_shapes

In: text. Out: frozen dataclasses. This module does not import jax. Shapes contain the tiles and the
memory space of their layout. Instructions refer to their operands, their computation and the
computations that they call; methods parse other attributes.
"""

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


def parse_integers(text: str) -> tuple[int, ...]:
  """Returns all non-negative integers in the text, `'{0,12}'` -> `(0, 12)`."""
  return tuple(map(int, re.findall(r'\d+', text)))


@dataclasses.dataclass(frozen=True)
class ArrayShape:
  """The shape of one array with its element size and layout.

  Attributes:
    bits: bits of one element.
    dims: sizes without padding.
    minor_to_major: dimensions from the fastest to the slowest; () for scalars.
    tile: the first tiling of the layout; () without one.
    memory_space: n of the layout's S(n); 0 without one.
  """

  bits: int
  dims: tuple[int, ...]
  minor_to_major: tuple[int, ...] = ()
  tile: tuple[int, ...] = ()
  memory_space: int = 0

  @property
  def num_elements(self) -> int:
    """Product of the dimensions."""
    return math.prod(self.dims)

  @property
  def logical_bytes(self) -> int:
    """Bytes without padding."""
    return -(-self.num_elements * self.bits // 8)

  @property
  def padded_bytes(self) -> int:
    """Bytes with the padding to whole tiles: what a TPU stores and moves."""
    sizes = [self.dims[i] for i in self.minor_to_major]
    if not sizes or len(self.tile) > len(sizes):
      return self.logical_bytes

    for i, tile in enumerate(reversed(self.tile)):
      sizes[i] = -(-sizes[i] // tile) * tile
    return -(-math.prod(sizes) * self.bits // 8)


@dataclasses.dataclass(frozen=True, eq=False)
class HloInstruction:
  """One line of a computation.

  Attributes:
    computation: the computation that contains it.
    shape: text of the result's shape; `array_shapes` parses it.
    arguments: text between the parentheses: operands, a parameter number or a constant.
    attributes: text after the parentheses.
  """

  computation: 'HloComputation'
  name: str
  shape: str
  opcode: str
  arguments: str
  attributes: str
  is_root: bool = False

  @functools.cached_property
  def operands(self) -> tuple['HloInstruction', ...]:
    if self.opcode in ('constant', 'parameter'):
      return ()
    names = re.findall(r'%([\w.\-]+)', self.arguments)
    return tuple(map(self.computation.instructions.__getitem__, names))

  @property
  def array_shapes(self) -> tuple[ArrayShape, ...]:
    """All arrays of the result, those of nested tuples included."""
    return parse_array_shapes(self.shape)

  @property
  def element_shapes(self) -> tuple[str, ...]:
    """Shapes of the result's tuple elements; of an array, its own shape."""
    return tuple_element_shapes(self.shape)

  @property
  def result_shape(self) -> str:
    """Shape of the result; of an asynchronous start, the shape that its -done returns."""
    if not self.opcode.endswith('-start') or self.opcode == 'all-reduce-start':
      return self.shape
    return self.element_shapes[0 if self.opcode == 'copy-start' else 1]

  @property
  def base_opcode(self) -> str:
    """The opcode without the suffix of an asynchronous start."""
    return self.opcode.removesuffix('-start')

  def called_computation(self, *attributes: str) -> 'HloComputation':
    """Returns the computation named by the first of some attributes that the instruction has.

    Args:
      *attributes: such as `calls`, `to_apply` or `body`.
    """
    names = '|'.join(attributes)
    found = re.search(rf'\b(?:{names})=%?([\w.\-]+)', self.attributes)
    assert found is not None, self
    return self.computation.module.computations[found.group(1)]

  def int_attribute(self, attribute: str) -> tuple[int, ...]:
    """Returns the integers of `attribute={1,2}` or `attribute=1`; () without the attribute."""
    found = re.search(rf'\b{attribute}=(\{{[\d,]*\}}|\d+)', self.attributes)
    return parse_integers(found.group(1)) if found else ()

  def string_attribute(self, attribute: str) -> str:
    """Returns the text in quotes of `attribute="..."`; '' without the attribute."""
    found = re.search(rf'\b{attribute}="([^"]*)"', self.attributes)
    return found.group(1) if found else ''


@dataclasses.dataclass(frozen=True, eq=False)
class HloComputation:
  """Instructions by name, in program order."""

  name: str
  module: 'HloModule'
  instructions: dict[str, HloInstruction] = dataclasses.field(
    default_factory=dict
  )

  @functools.cached_property
  def root(self) -> HloInstruction:
    """The instruction whose result the computation returns."""
    return next(each for each in self.instructions.values() if each.is_root)

  @functools.cached_property
  def parameters(self) -> list[HloInstruction]:
    """Parameter instructions by parameter number."""
    found = [
      each for each in self.instructions.values() if each.opcode == 'parameter'
    ]
    return sorted(found, key=lambda parameter: int(parameter.arguments))

  @functools.cached_property
  def users(self) -> dict[str, list[HloInstruction]]:
    """By name of an instruction, the instructions that have it as an operand."""
    users: dict[str, list[HloInstruction]] = {}
    for name in self.instructions:
      users[name] = []
    for instruction in self.instructions.values():
      for operand in dict.fromkeys(instruction.operands):
        users[operand.name].append(instruction)
    return users


@dataclasses.dataclass(frozen=True, eq=False)
class HloModule:
  """Computations by name.

  Attributes:
    entry_name: name of the computation that the program runs.
    num_devices: partitions times replicas.
    is_tpu: whether layouts have tiles, as only those of TPUs do.
  """

  entry_name: str
  num_devices: int = 1
  is_tpu: bool = False
  computations: dict[str, HloComputation] = dataclasses.field(
    default_factory=dict
  )

  @property
  def entry(self) -> HloComputation:
    return self.computations[self.entry_name]


def parse_hlo_module(text: str) -> HloModule:
  """Returns the module of `compiled.as_text()`.

  Raises:
    ValueError: the text is not optimized HLO, or it is truncated.
  """
  lines_by_name, entry = _split_computations(text.splitlines())
  if entry is None:
    raise ValueError(
      f'The text has no ENTRY computation: {len(text)} characters, starting with '
      f'{text[:60]!r}. Pass the text of compiled.as_text().'
    )

  header = re.search(r'^HloModule.*', text, re.MULTILINE)
  header = header.group() if header else ''
  partitions = _header_number(header, 'num_partitions')
  replicas = _header_number(header, 'replica_count')
  is_tpu = re.search(r'\{[\d,]*:T\(', text) is not None
  module = HloModule(entry, partitions * replicas, is_tpu)

  for name, lines in lines_by_name.items():
    computation = HloComputation(name, module)
    for line in lines:
      instruction = _parse_instruction(computation, line)
      computation.instructions[instruction.name] = instruction
    if not any(each.is_root for each in computation.instructions.values()):
      raise ValueError(
        f'HLO computation {name} has no ROOT among its {len(lines)} instructions. The text is '
        'truncated, or its format is not supported.'
      )
    module.computations[name] = computation
  return module


def _split_computations(
  lines: list[str],
) -> tuple[dict[str, list[str]], str | None]:
  """Returns the lines of each computation's instructions and the name of the entry.

  The attributes of custom kernels contain line breaks. A line that does not start an instruction
  is appended to the one before.
  """
  lines_by_name: dict[str, list[str]] = {}
  entry, current = None, None
  for line in lines:
    if current is None:
      header = None if line[:1].isspace() else _HEADER.match(line)
      if header:
        current = lines_by_name.setdefault(header.group(2), [])
        entry = header.group(2) if header.group(1) else entry
    elif _END.fullmatch(line):
      current = None
    elif _INSTRUCTION.match(line):
      current.append(line)
    elif current:
      current[-1] += line
  return lines_by_name, entry


@functools.lru_cache(maxsize=100_000)
def parse_array_shapes(shape: str) -> tuple[ArrayShape, ...]:
  """Returns all arrays of a shape's text, those of nested tuples included."""
  return tuple(
    _array_shape(*match.groups()) for match in _ARRAY.finditer(shape)
  )


@functools.lru_cache(maxsize=100_000)
def tuple_element_shapes(shape: str) -> tuple[str, ...]:
  """Returns the shapes of a tuple's elements, which may be tuples; of an array, its own shape."""
  if not shape.startswith('('):
    return (shape,)

  parts, depth, start = [], 0, 1
  for i, letter in enumerate(shape):
    depth += (letter in '([{') - (letter in ')]}')
    if (letter == ',' and depth == 1) or depth == 0:
      parts.append(shape[start:i].strip())
      start = i + 1
  return tuple(filter(None, parts))


def _parse_instruction(
  computation: HloComputation, line: str
) -> HloInstruction:
  line = _COMMENT.sub('', line)
  begin = _INSTRUCTION.match(line)
  assert begin is not None, line
  start = begin.end()
  end = (
    _after_closing_parenthesis(line, start)
    if line[start] == '('
    else line.index(' ', start)
  )
  opcode = _OPCODE.match(line, end)
  if opcode is None:
    raise ValueError(
      f'The HLO line {line[:200]!r} has no opcode after its shape.'
    )

  after = _after_closing_parenthesis(line, opcode.end() - 1)
  return HloInstruction(
    computation,
    name=begin.group(2),
    shape=line[start:end],
    opcode=opcode.group(1),
    arguments=line[opcode.end() : after - 1],
    attributes=line[after:].lstrip(', '),
    is_root=begin.group(1) is not None,
  )


def _after_closing_parenthesis(line: str, start: int) -> int:
  """Returns the position after the parenthesis that closes the one at `start`."""
  depth = 0
  for found in _BRACKETS.finditer(line, start):
    depth += 1 if found.group() == '(' else -1
    if depth == 0:
      return found.end()
  raise ValueError(
    f'The HLO line {line[:200]!r} has an unclosed parenthesis at column {start}.'
  )


def _array_shape(dtype: str, dims: str, layout: str | None) -> ArrayShape:
  order, _, rest = (layout or '').partition(':')
  tile = re.search(r'T\(([\d,]+)\)', rest)
  memory_space = re.search(r'S\((\d+)\)', rest)
  bits = re.search(r'E\((\d+)\)', rest)
  return ArrayShape(
    bits=int(bits.group(1)) if bits else _element_bits(dtype),
    dims=parse_integers(dims),
    minor_to_major=parse_integers(order),
    tile=parse_integers(tile.group(1)) if tile else (),
    memory_space=int(memory_space.group(1)) if memory_space else 0,
  )


def _element_bits(dtype: str) -> int:
  """Returns the bits of one element; 0 for tokens and opaque values."""
  if dtype == 'pred':
    return 8
  found = re.match(r'(?:bf|f|s|u|c)(\d+)', dtype)
  return int(found.group(1)) if found else 0


def _header_number(header: str, name: str) -> int:
  found = re.search(rf'\b{name}=(\d+)', header)
  return int(found.group(1)) if found else 1
