"""Parameters in files: all shapes are known, arrays are read one at a time."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
from typing import Any

import jax
from jax.typing import DTypeLike
import numpy as np

from mathft_jax.models.config import Json
from mathft_jax.models.huggingface import tensor_names

ArrayTree = Any  # nested dict of arrays or of jax.ShapeDtypeStruct
# Flat name of a parameter -> its vocabulary axis.
VOCAB_AXIS = {'embedding': 0, 'layer_inputs/embedding': 0, 'head': 1}


@dataclasses.dataclass(frozen=True)
class LazyParams:
  """Parameters of a checkpoint under flat names (`layers/attention/query`).

  Attributes:
    shapes: of all parameters, with stacked layers.
    metadata: of the checkpoint.
    read_array: (name, layer) -> one layer of a stacked parameter, or with layer None a whole
      parameter. A view of a file if possible.
  """

  shapes: Mapping[str, jax.ShapeDtypeStruct]
  metadata: Json
  read_array: Callable[[str, int | None], np.ndarray]

  def iter_layers(self, name: str) -> Iterator[np.ndarray]:
    """Yields the layers of a stacked parameter, or another parameter as a whole."""
    if not name.startswith(tensor_names.LAYERS_PREFIX):
      yield self.read_array(name, None)
      return
    for layer in range(self.shapes[name].shape[0]):
      yield self.read_array(name, layer)


def resize_vocab(params: LazyParams, num_rows: int) -> LazyParams:
  """Returns the parameters with `num_rows` embedding rows: padded with zeros or truncated."""

  def read_resized(name: str, layer: int | None) -> np.ndarray:
    array = params.read_array(name, layer)
    if name not in VOCAB_AXIS:
      return array
    axis = VOCAB_AXIS[name]
    missing = num_rows - array.shape[axis]
    if missing <= 0:
      return array[:num_rows] if axis == 0 else array[:, :num_rows]
    padding = [(0, 0), (0, 0)]
    padding[axis] = 0, missing
    return np.pad(array, padding)

  shapes = dict(params.shapes)
  for name, axis in VOCAB_AXIS.items():
    if name in shapes:
      shape = list(shapes[name].shape)
      shape[axis] = num_rows
      shapes[name] = jax.ShapeDtypeStruct(tuple(shape), shapes[name].dtype)
  return LazyParams(shapes, params.metadata, read_resized)


def cast_shapes(
  shapes: Mapping[str, jax.ShapeDtypeStruct], dtype: DTypeLike | None
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes with another dtype; None keeps each dtype."""
  cast = {}
  for name, shape in shapes.items():
    cast[name] = jax.ShapeDtypeStruct(shape.shape, dtype or shape.dtype)
  return cast


def flatten_params(tree: ArrayTree, prefix: str = '') -> dict[str, Any]:
  """Returns {'layers/attention/query': leaf} of a nested dict."""
  if not isinstance(tree, Mapping):
    return {prefix: tree}
  flat = {}
  for name, branch in tree.items():
    path = f'{prefix}/{name}' if prefix else str(name)
    flat.update(flatten_params(branch, path))
  return flat


def unflatten_params(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the nested dict of flat names."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *branches, name = path.split('/')
    node = tree
    for branch in branches:
      node = node.setdefault(branch, {})
    node[name] = leaf
  return tree
