"""Static sizes of a compiled decoder. See `decoding`."""

import dataclasses

from jax.sharding import Mesh

from mathft_jax.distributed import partitioning
from mathft_jax.inference.sampling import SamplingMethod
from mathft_jax.models import transformer

MAX_ROWS_PER_GROUP = 32
MIN_PROMPT_SLOTS = 32


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """Static configuration of a compiled decoder; hashable.

  Attributes:
    method: chooses the next tokens.
    num_rows: candidates decoded at once, over all devices of the mesh.
    rows_per_group: neighbouring rows that share prompts; see `rows_per_group`.
    prompt_slots: cache slots of a prompt.
    max_decode_length: tokens of a candidate at most, end token included.
    end_ids: tokens that end a candidate.
    vocab_size: only ids below it are sampled; the embeddings of a model may have padding rows.
    mesh: rows are sharded over its `data` axis.
    stacked: whether the parameters have stacked layers (not `transformer.unstack_layers`).
    block_size: steps between refills.
    chunk_size: cache slots that are read or left out together; a multiple of `block_size`.
  """

  model: transformer.TransformerConfig
  method: SamplingMethod
  num_rows: int
  rows_per_group: int
  prompt_slots: int
  max_decode_length: int
  end_ids: tuple[int, ...]
  vocab_size: int
  mesh: Mesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES
  stacked: bool = True
  block_size: int = 16
  chunk_size: int = 128

  @property
  def num_groups(self) -> int:
    return self.num_rows // self.rows_per_group

  @property
  def places_per_group(self) -> int:
    """Prompts that the rows of a group share at once."""
    return 1 if self.rows_per_group == 1 else 2

  @property
  def chunk_slots(self) -> list[int]:
    """The slots of each chunk. The tokens of the last block are never read from a chunk."""
    num_blocks = -(-self.max_decode_length // self.block_size) - 1
    slots = num_blocks * self.block_size
    starts = range(0, slots, self.chunk_size)
    return [min(self.chunk_size, slots - start) for start in starts]

  @property
  def local_chunks(self) -> int | None:
    """The chunks of layers with a sliding window; None: as many as others.

    One more than hold a window, because the last one is not full.
    """
    window = self.model.sliding_window
    has_window = 'local' in self.model.layer_kinds
    if self.stacked or window is None or not has_window:
      return None
    chunks = -(-window // self.chunk_size) + 1
    return chunks if chunks < len(self.chunk_slots) else None


def rows_per_group(num_rows: int, num_candidates: int, mesh: Mesh) -> int:
  """The largest group that divides the rows of a device and has no more rows than candidates."""
  rows_per_device = num_rows // mesh.shape['data']
  largest = min(MAX_ROWS_PER_GROUP, num_candidates)
  sizes = range(1, largest + 1)
  return max(size for size in sizes if rows_per_device % size == 0)


def prefill_length(num_tokens: int, slots: int) -> int:
  """Returns the padded length of a prompt: 32, 128, 512, ... or all slots, for few compilations.

  Args:
    num_tokens: of the prompt.
    slots: cache slots of a prompt.
  """
  length = MIN_PROMPT_SLOTS
  while length < num_tokens:
    length *= 4
  return min(length, slots)


def prompt_slots(longest: int) -> int:
  """The cache slots for prompts of at most this length: a power of two, for few compilations."""
  return max(MIN_PROMPT_SLOTS, 1 << (longest - 1).bit_length())
