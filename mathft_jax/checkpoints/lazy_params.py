"""Parameters that lie in files: their shapes at once, their numbers one tensor at a time."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from mathft_jax.models.huggingface import tensor_names

VOCAB_AXIS = {'embedding': 0, 'head': 1}


@dataclasses.dataclass(frozen=True)
class LazyParams:
  """Parameters under flat names (`layers/attention/query`).

  Attributes:
    shapes: of all parameters, layers stacked.
    metadata: what the files say about themselves.
    read: (name, layer) -> the numbers of one layer of a stacked parameter; of another parameter,
      with layer None, all of them. A view of a file where that is possible.
  """

  shapes: Mapping[str, jax.ShapeDtypeStruct]
  metadata: Mapping[str, Any]
  read: Callable[[str, int | None], np.ndarray]

  def parts(self, name: str) -> Iterator[np.ndarray]:
    """The layers of a stacked parameter one after the other; of another, the whole of it."""
    for layer in (
      range(self.shapes[name].shape[0])
      if name.startswith(tensor_names.LAYERS_PREFIX)
      else (None,)
    ):
      yield self.read(name, layer)


def resize_vocab(stored: LazyParams, rows: int) -> LazyParams:
  """The same with `rows` rows of embeddings: zeros after the vocabulary, or padding left out."""

  def resized(name: str, layer: int | None) -> np.ndarray:
    array = stored.read(name, layer)
    if name not in VOCAB_AXIS:
      return array
    axis = VOCAB_AXIS[name]
    widths = [
      (0, max(0, rows - array.shape[axis]) if i == axis else 0)
      for i in range(array.ndim)
    ]
    array = array[(slice(None),) * axis + (slice(rows),)]
    return np.pad(array, widths) if any(after for _, after in widths) else array

  shapes = dict(stored.shapes)
  for name, axis in VOCAB_AXIS.items():
    if name in shapes:
      shape = list(shapes[name].shape)
      shape[axis] = rows
      shapes[name] = jax.ShapeDtypeStruct(tuple(shape), shapes[name].dtype)
  return LazyParams(shapes, stored.metadata, resized)


def flatten_params(tree: Any, prefix: str = '') -> dict[str, Any]:
  """{'layers/attention/query': leaf} of a nested dict."""
  if not isinstance(tree, Mapping):
    return {prefix: tree}
  found = {}
  for name, branch in tree.items():
    found.update(
      flatten_params(branch, f'{prefix}/{name}' if prefix else str(name))
    )
  return found


def unflatten_params(found: Mapping[str, Any]) -> dict[str, Any]:
  """The nested dict of flat names."""
  tree: dict[str, Any] = {}
  for name, leaf in found.items():
    *branches, last = name.split('/')
    node = tree
    for branch in branches:
      node = node.setdefault(branch, {})
    node[last] = leaf
  return tree
