"""Decoder-only Transformer of any supported family, as pure functions of nested dicts of arrays.

  params = init_params(config, jax.random.key(0))
  hidden_BTD, _ = hidden_states(config, params, tokens_BT, positions_BT=positions_BT)
  logits_BTV = logits(config, params, hidden_BTD)

Parameters of the layers are stacked on a leading axis (`layer_stacks`), and the layers are scanned:
compile time does not grow with depth. Layers are Flax NNX modules; no other package and no file
contains them.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import attention as attention_lib
from mathft_jax.models import block as block_lib
from mathft_jax.models import dropout as dropout_lib
from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import (
  layer_loop,
  layer_stacks,
  mixture_of_experts,
  softmax_attention,
  splash_attention,
)
from mathft_jax.models.config import TransformerConfig
from mathft_jax.models.layer_inputs import LayerInputs
from mathft_jax.models.layer_sizes import (
  Experts,  # noqa: F401 (for gin files)
  GlobalAttention,  # noqa: F401 (for gin files)
  SharedKeys,  # noqa: F401 (for gin files)
)
from mathft_jax.models.norm import Norm
from mathft_jax.models.rope_scaling import (
  LinearRopeScaling,  # noqa: F401 (for gin files)
  Llama3RopeScaling,  # noqa: F401 (for gin files)
  ProportionalRopeScaling,  # noqa: F401 (for gin files)
  QueryScaleByPosition,  # noqa: F401 (for gin files)
  YarnRopeScaling,  # noqa: F401 (for gin files)
)

Params = dict[str, Any]  # nested dicts of arrays
Constrain = Callable[[jax.Array, tuple[str | None, ...]], jax.Array]
ACTIVATION_AXES = 'batch', 'length', None


class ModelOutputs(NamedTuple):
  """Results of one forward pass.

  Attributes:
    hidden_BTD: normalised final hidden states.
    cache: with the keys and values of the new tokens; None without a cache.
    router_statistics: sums over all layers; None without a mixture of experts.
  """

  hidden_BTD: jax.Array
  cache: cache_lib.KVCache | None
  router_statistics: mixture_of_experts.RouterStatistics | None


class Transformer(nnx.Module):
  """Token embedding, blocks, final norm, and the output head if it is not the embedding."""

  def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
    init = jax.nn.initializers.normal(config.embed_dim**-0.5)
    width, rows = config.embed_dim, config.embedding_rows

    self.embedding = nnx.Param(
      init(rngs.params(), (rows, width)), axes=('vocab', 'embed')
    )

    keys = jax.random.split(rngs.params(), config.num_layers)
    if config.has_one_stack:
      self.layers = _init_blocks(config, keys)
    else:
      stacks = {}
      for name, layers in layer_stacks.layers_by_stack(config).items():
        stack_config = layer_stacks.config_of_stack(config, name)
        stacks[name] = _init_blocks(stack_config, keys[jnp.array(layers)])
      self.layers = nnx.Dict(stacks)
    if config.layer_input_dim:
      self.layer_inputs = LayerInputs(config, rngs=rngs)
    self.final_norm = Norm(config, width, 'embed')
    if not config.tied_embeddings:
      self.head = nnx.Param(
        init(rngs.params(), (width, rows)), axes=('embed', 'vocab')
      )
    self.config = config

  def embed(
    self, tokens_BT: jax.Array, dropout: dropout_lib.Dropout | None = None
  ) -> jax.Array:
    """Returns the inputs [B, T, D] of the first layer."""
    x_BTD = self.embedding[...][tokens_BT].astype(self.config.dtype)
    if self.config.scaled_embeddings:
      x_BTD *= jnp.asarray(self.config.embed_dim**0.5, self.config.dtype)
    if self.config.embedding_multiplier != 1.0:
      x_BTD *= self.config.embedding_multiplier
    return x_BTD if dropout is None else dropout(x_BTD, place=0)

  def inputs_of_layers(
    self, tokens_BT: jax.Array, x_BTD: jax.Array
  ) -> jax.Array | None:
    """Returns the further inputs [L, B, T, P] of the layers; None without `layer_input_dim`."""
    if not self.config.layer_input_dim:
      return None
    return self.layer_inputs(tokens_BT, x_BTD)


def _init_blocks(config: TransformerConfig, keys: jax.Array) -> block_lib.Block:
  """Returns stacked blocks, one for each key."""

  def make_block(key: jax.Array) -> block_lib.Block:
    return block_lib.Block(config, rngs=nnx.Rngs(params=key))

  return jax.vmap(make_block)(keys)


def init_params(config: TransformerConfig, key: jax.Array) -> Params:
  """Returns new float32 parameters. Jit it with `out_shardings` to create them on a mesh."""
  model = Transformer(config, rngs=nnx.Rngs(params=key))
  return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def abstract_params(config: TransformerConfig) -> Params:
  """Returns the shapes and dtypes of `init_params` as jax.ShapeDtypeStruct."""
  _, shapes = _graph_and_shapes(config)
  return nnx.to_pure_dict(shapes)


def param_logical_axes(config: TransformerConfig) -> Params:
  """Returns the logical axis names of each parameter (t5x's names), 'layers' first if stacked."""
  _, shapes = _graph_and_shapes(config)
  tree: Params = {}
  for path, variable in nnx.to_flat_state(shapes):
    axes = variable.get_metadata('axes')
    if path[0] == 'layers':
      axes = 'layers', *axes

    *branches, name = map(str, path)
    node = tree
    for branch in branches:
      node = node.setdefault(branch, {})
    node[name] = axes
  return tree


def hidden_states(
  config: TransformerConfig,
  params: Params,
  tokens_BT: jax.Array,
  *,
  positions_BT: jax.Array,
  segment_ids_BT: jax.Array | None = None,
  branch_ids_BT: jax.Array | None = None,
  cache: cache_lib.KVCache | None = None,
  constrain: Constrain = lambda x, axes: x,
  kernel_sharding: splash_attention.KernelSharding | None = None,
  dropout: dropout_lib.Dropout | None = None,
) -> tuple[jax.Array, cache_lib.KVCache | None]:
  """Returns the normalised final hidden states [B, T, D] and the updated cache.

  A token attends to itself and to earlier tokens of its sequence that have its segment id and are
  on the trunk (branch 0) or on its own branch. With a cache it also attends to its prefixes and to
  the earlier tokens of its suffix; the new tokens are appended to the suffix.

  Args:
    tokens_BT, positions_BT: int32 token ids; positions for rotary embeddings and windows.
    segment_ids_BT: int32; 0 is padding. If the cache has a suffix, it only distinguishes tokens
      from padding.
    branch_ids_BT: int32; [B, T, Y] for branches of branches. Not with a cache that has a suffix.
    cache: of `kv_cache.allocate_cache` or `share_prefix`, with room for T more tokens.
    constrain: (array, logical axes) -> the array with a sharding constraint. Default: none.
    kernel_sharding: runs a kernel on each device's part of the arrays. None: a single device.
    dropout: for training. None: no dropout, whatever `config.dropout_rate` is.

  Raises:
    ValueError: the tokens do not fit in the cache, or branches are given with a suffix.
  """
  outputs = model_outputs(
    config,
    params,
    tokens_BT,
    positions_BT=positions_BT,
    segment_ids_BT=segment_ids_BT,
    branch_ids_BT=branch_ids_BT,
    cache=cache,
    constrain=constrain,
    kernel_sharding=kernel_sharding,
    dropout=dropout,
  )
  return outputs.hidden_BTD, outputs.cache


def model_outputs(
  config: TransformerConfig,
  params: Params,
  tokens_BT: jax.Array,
  *,
  positions_BT: jax.Array,
  segment_ids_BT: jax.Array | None = None,
  branch_ids_BT: jax.Array | None = None,
  cache: cache_lib.KVCache | None = None,
  constrain: Constrain = lambda x, axes: x,
  kernel_sharding: splash_attention.KernelSharding | None = None,
  dropout: dropout_lib.Dropout | None = None,
) -> ModelOutputs:
  """Returns all results of a forward pass; arguments as for `hidden_states`."""
  key_position_BS = cache_lib.append_positions(
    cache, positions_BT, segment_ids_BT, branch_ids_BT
  )
  inputs_by_kind = _attention_inputs_by_kind(
    config,
    positions_BT,
    segment_ids_BT,
    branch_ids_BT,
    cache,
    key_position_BS,
    kernel_sharding,
  )

  is_token_BT = None if segment_ids_BT is None else segment_ids_BT != 0
  moe_inputs = mixture_of_experts.MoeInputs(is_token_BT, kernel_sharding)

  def apply_block(block, kind, x_BTD, *arguments):
    inputs = inputs_by_kind[kind]
    outputs = block(x_BTD, inputs, *arguments, dropout, moe_inputs)
    return outputs._replace(x_BTD=constrain(outputs.x_BTD, ACTIVATION_AXES))

  model, blocks = _build_modules(config, params)
  x_BTD = constrain(model.embed(tokens_BT, dropout), ACTIVATION_AXES)
  inputs_LBTP = model.inputs_of_layers(tokens_BT, x_BTD)
  x_BTD, suffix, statistics = layer_loop.apply_layers(
    config, apply_block, blocks, x_BTD, cache, inputs_LBTP
  )

  num_tokens = positions_BT.shape[1]
  cache = cache_lib.replace_suffix(cache, suffix, key_position_BS, num_tokens)
  return ModelOutputs(model.final_norm(x_BTD), cache, statistics)


def logits(
  config: TransformerConfig, params: Params, hidden: jax.Array
) -> jax.Array:
  """Returns float32 logits [..., V] of final hidden states [..., D], soft cap included."""
  head, is_transposed = output_head(config, params)
  head_DV = head.T if is_transposed else head
  logits = jnp.matmul(
    hidden, head_DV.astype(hidden.dtype), preferred_element_type=jnp.float32
  )
  logits = logits[..., : config.vocab_size]
  if config.logits_divisor != 1.0:
    logits /= config.logits_divisor
  return softmax_attention.softcap(logits, config.final_softcap)


def output_head(
  config: TransformerConfig, params: Params
) -> tuple[jax.Array, bool]:
  """Returns the matrix of the logits, and whether it is an embedding [V, D] instead of [D, V]."""
  if config.tied_embeddings:
    return params['embedding'], True
  return params['head'], False


def unstack_layers(
  config: TransformerConfig, params: Params, *, donate: bool = False
) -> Params:
  """Returns the parameters with a tuple of layers instead of stacked layers.

  `hidden_states` then runs the layers one by one, with a cache of one array per layer
  (`stacked=False`): neither weights nor keys and values are copied out of a stack. A decode step is
  bound by this memory traffic; on CPU it takes at most half the time. Compile time grows with
  depth.

  Args:
    donate: frees each stack after it is copied; `params` cannot be used afterwards.
  """
  layers: list[Params] = [{}] * config.num_layers
  stacks = layer_stacks.split_stacks(config, params['layers'])
  for name, indices in layer_stacks.layers_by_stack(config).items():
    for index, layer in zip(indices, _unstack(stacks[name], donate)):
      layers[index] = layer
  return {**params, 'layers': tuple(layers)}


def _unstack(stack: Params, donate: bool) -> list[Params]:
  """Returns the parameters of each layer of a stack."""
  arrays, structure = jax.tree.flatten(stack)
  layers_of_arrays = []
  for array in arrays:
    layers = _split_layers(array)
    if donate:
      jax.block_until_ready(layers)
      array.delete()
    layers_of_arrays.append(layers)
  return [structure.unflatten(layer) for layer in zip(*layers_of_arrays)]


@jax.jit
def _split_layers(stack: jax.Array) -> list[jax.Array]:
  """Returns the layers of a stack; one program for all stacks of a shape."""
  return [stack[layer] for layer in range(stack.shape[0])]


def _attention_inputs_by_kind(
  config: TransformerConfig, *arguments: Any
) -> dict[str, attention_lib.AttentionInputs]:
  """Returns `make_attention_inputs` of each kind of layers; the arguments after `kind` are its."""
  inputs = {}
  for kind in sorted(set(config.attention_pattern)):
    sizes = config.layer_config(kind)
    inputs[kind] = attention_lib.make_attention_inputs(sizes, kind, *arguments)
  return inputs


@functools.lru_cache(maxsize=32)
def _graph_and_shapes(
  config: TransformerConfig,
) -> tuple[nnx.GraphDef, nnx.State]:
  """Returns the graph definition of the module and its state with shapes instead of arrays."""

  def make_model() -> Transformer:
    return Transformer(config, rngs=nnx.Rngs(params=jax.random.key(0)))

  return nnx.split(nnx.eval_shape(make_model))


def _build_modules(
  config: TransformerConfig, params: Params
) -> tuple[Transformer, layer_loop.Blocks]:
  """Returns the model and its blocks: stacks by name, or a tuple after `unstack_layers`."""
  graph, shapes = _graph_and_shapes(config)
  layers = params['layers']
  if not isinstance(layers, tuple):
    model = _fill(graph, shapes, params)
    return model, layer_stacks.split_stacks(config, model.layers)

  first_layers = {}
  for name, indices in layer_stacks.layers_by_stack(config).items():
    first_layers[name] = layers[indices[0]]
  first_layers = layer_stacks.join_stacks(first_layers)
  model = _fill(graph, shapes, {**params, 'layers': first_layers})

  stacks = layer_stacks.split_stacks(config, model.layers)
  blocks = []
  for index, layer in enumerate(layers):
    block = stacks[layer_stacks.stack_of_layer(config, index)]
    blocks.append(_fill(*nnx.split(block), layer))
  return model, tuple(blocks)


def _fill(graph: nnx.GraphDef, shapes: nnx.State, params: Params) -> Any:
  """Returns the module with these parameters."""
  state = jax.tree.map(lambda shape: shape, shapes)  # a copy
  nnx.replace_by_pure_dict(state, params)
  return nnx.merge(graph, state)
