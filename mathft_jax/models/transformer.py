"""A decoder-only language model of any family, as pure functions of plain trees of arrays.

Parameters are nested dicts; those of the layers are stacked on a leading axis and the layers are
scanned, so that compile time does not grow with depth. Inside, the layers are Flax NNX modules;
outside of this folder and on disk there are none.
"""

from collections.abc import Callable
import functools
import itertools
import types
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import layers as layers_lib
from mathft_jax.models import splash_attention
from mathft_jax.models.attention import LookBack
from mathft_jax.models.config import (
  LinearRopeScaling,  # noqa: F401 (for gin files)
  Llama3RopeScaling,  # noqa: F401 (for gin files)
  TransformerConfig,
)

Params = dict[str, Any]
Constrain = Callable[[jax.Array, tuple[str | None, ...]], jax.Array]

REMAT_POLICIES = {
  'full': jax.checkpoint_policies.nothing_saveable,
  'dots': jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    jax.checkpoint_policies.save_only_these_names(
      splash_attention.RESIDUALS_NAME
    ),
  ),
}


class Transformer(nnx.Module):
  """Embeddings, a stack of blocks, a last norm, and logits by the embeddings or a head."""

  def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
    draw = jax.nn.initializers.normal(config.embed_dim**-0.5)
    rows = config.embedding_rows
    self.embedding = nnx.Param(
      draw(rngs.params(), (rows, config.embed_dim)), axes=('vocab', 'embed')
    )
    layer = lambda key: layers_lib.Block(config, rngs=nnx.Rngs(params=key))
    self.layers = jax.vmap(layer)(
      jax.random.split(rngs.params(), config.num_layers)
    )
    self.final_norm = layers_lib.Norm(config, config.embed_dim, 'embed')
    if not config.tied_embeddings:
      self.head = nnx.Param(
        draw(rngs.params(), (config.embed_dim, rows)), axes=('embed', 'vocab')
      )
    self.config = config

  def embed(self, tokens_BT):
    """The vectors that enter the first layer."""
    x_BTD = self.embedding[...][tokens_BT].astype(self.config.dtype)
    if self.config.scaled_embeddings:
      x_BTD *= jnp.asarray(self.config.embed_dim**0.5, self.config.dtype)
    return x_BTD

  def logits(self, hidden):
    """Float32 logits [..., V] of last hidden states [..., D]."""
    head = (
      self.embedding[...].T if self.config.tied_embeddings else self.head[...]
    )
    logits = jnp.matmul(
      hidden, head.astype(hidden.dtype), preferred_element_type=jnp.float32
    )
    logits = logits[..., : self.config.vocab_size]
    return layers_lib.softcap(logits, self.config.final_softcap)


def init_params(config: TransformerConfig, key: jax.Array) -> Params:
  """Fresh float32 parameters; jit it with `out_shardings` to make them where they shall live."""
  return nnx.to_pure_dict(
    nnx.state(Transformer(config, rngs=nnx.Rngs(params=key)), nnx.Param)
  )


def abstract_params(config: TransformerConfig) -> Params:
  """The shapes and dtypes of `init_params`, as jax.ShapeDtypeStruct."""
  return nnx.to_pure_dict(_skeleton(config)[1])


def param_logical_axes(config: TransformerConfig) -> Params:
  """For every parameter a tuple of t5x's names of its axes, `layers` first where stacked."""

  def name(path, variable):
    stacked = ('layers',) if path[0] == 'layers' else ()
    return stacked + variable.get_metadata('axes')

  state = _skeleton(config)[1]
  named = [
    (path, name(path, variable)) for path, variable in nnx.to_flat_state(state)
  ]
  return _nested(named)


def hidden_states(
  config: TransformerConfig,
  params: Params,
  tokens_BT,
  *,
  positions_BT,
  segment_ids_BT=None,
  branch_ids_BT=None,
  cache: cache_lib.KVCache | None = None,
  constrain: Constrain = lambda x, axes: x,
  kernel_sharding: splash_attention.KernelSharding | None = None,
):
  """(hidden_BTD, cache): last hidden states, normalised, and the cache with these tokens in it.

  A token sees itself and earlier tokens of its row that have its segment id and lie on the trunk
  (branch 0) or on its own branch. With a cache it also sees the cache: the whole prefix, and the
  own slots, into which these tokens are written.

  Args:
    tokens_BT: int32 token ids.
    positions_BT: int32, what the rotations turn by and what sliding windows measure.
    segment_ids_BT: int32, 0 is padding; with own slots only padding or not is read from it.
    branch_ids_BT: int32; not with own slots.
    cache: of `cache.new_cache` or `cache.shared`, with room for T more tokens.
    constrain: gives activations the sharding of their logical axes; nothing by default.
    kernel_sharding: runs a kernel on each device with its part of the arrays; None: there is one device.
  """
  model = _module(config, params)
  look_back = LookBack(
    config, positions_BT, segment_ids_BT, branch_ids_BT, cache, kernel_sharding
  )
  x_BTD = constrain(model.embed(tokens_BT), ('batch', 'length', None))

  def run(x_BTD, slots, block, prefix, layer, kind):
    store = functools.partial(look_back.parts, kind, prefix, slots, layer)
    x_BTD, slots = block(x_BTD, look_back.rotations[kind], store)
    return constrain(x_BTD, ('batch', 'length', None)), slots

  go = _one_by_one if isinstance(params['layers'], tuple) else _scan_periods
  x_BTD, slots = go(
    config, run, model, x_BTD, look_back.slots, look_back.prefix
  )
  return model.final_norm(x_BTD), look_back.cache(slots)


def logits(config: TransformerConfig, params: Params, hidden):
  """Float32 logits [..., V] of last hidden states [..., D], soft cap included."""
  return _module(config, params).logits(hidden)


def unstack_layers(params: Params, *, donate: bool = False) -> Params:
  """The same parameters with a tuple of layers in place of stacked ones.

  `hidden_states` then runs the layers one after the other, and its cache (`stacked=False`) has an
  array per layer too: no layer's weights or slots are copied out of a stack. Decoding is bound by
  just that traffic; it takes half the time or less on CPU. Compile time grows with depth.

  With `donate` each stack is freed once it is taken apart, and `params` cannot be used any more.
  """
  stacks, structure = jax.tree.flatten(params['layers'])
  parts = []
  for stack in stacks:
    parts.append([stack[i] for i in range(stack.shape[0])])
    if donate:
      jax.block_until_ready(parts[-1])
      stack.delete()
  return {
    **params,
    'layers': tuple(structure.unflatten(layer) for layer in zip(*parts)),
  }


def _one_by_one(config: TransformerConfig, run, model, x_BTD, slots, prefix):
  """(x_BTD, own slots) after the layers, each with arrays of its own."""
  kinds = itertools.cycle(config.attention_pattern)
  after = []
  for i, (block, kind) in enumerate(zip(model.layers, kinds)):
    own, shared = (
      None if part is None else tuple(stack[i] for stack in part)
      for part in (slots, prefix)
    )
    x_BTD, own = run(x_BTD, own, block, shared, None, kind)
    after.append(own)
  return x_BTD, None if slots is None else tuple(zip(*after))


def _scan_periods(config: TransformerConfig, run, model, x_BTD, slots, prefix):
  """(x_BTD, own slots) after the layers: whole pattern periods in one scan, the rest after it."""
  size = len(config.attention_pattern)
  count = config.num_layers // size
  scanned = model.layers, prefix, jnp.arange(config.num_layers)

  def period(carry, scanned):
    for i, kind in enumerate(config.attention_pattern[: scanned[-1].shape[0]]):
      carry = run(*carry, *jax.tree.map(lambda a: a[i], scanned), kind)  # noqa: B023
    return carry, None

  if config.remat != 'none':
    period = jax.checkpoint(
      period, policy=REMAT_POLICIES[config.remat], prevent_cse=False
    )
  carry = x_BTD, slots
  if count:
    whole = jax.tree.map(
      lambda a: a[: count * size].reshape(count, size, *a.shape[1:]), scanned
    )
    carry, _ = jax.lax.scan(
      period, carry, whole, unroll=min(config.scan_unroll, count)
    )
  if config.num_layers % size:
    carry, _ = period(carry, jax.tree.map(lambda a: a[count * size :], scanned))
  return carry


@functools.lru_cache(maxsize=32)
def _skeleton(config: TransformerConfig):
  """The module's graph definition, and its state with shapes for arrays."""
  make = lambda: Transformer(config, rngs=nnx.Rngs(params=jax.random.key(0)))
  return nnx.split(nnx.eval_shape(make))


def _module(config: TransformerConfig, params: Params) -> Transformer:
  """The module that these parameters make; its layers are a tuple where the parameters' are."""
  definition, shapes = _skeleton(config)
  layers = params['layers']
  if isinstance(layers, tuple):
    model = _filled(definition, shapes, {**params, 'layers': layers[0]})
    block = nnx.split(model.layers)
    blocks = tuple(_filled(*block, layer) for layer in layers)
    return types.SimpleNamespace(
      embed=model.embed,
      final_norm=model.final_norm,
      logits=model.logits,
      layers=blocks,
    )
  return _filled(definition, shapes, params)


def _filled(definition, shapes, params: Params) -> nnx.Module:
  state = jax.tree.map(
    lambda shape: shape, shapes
  )  # a copy: replacing is in place
  nnx.replace_by_pure_dict(state, params)
  return nnx.merge(definition, state)


def _nested(named: list[tuple[tuple[str, ...], Any]]) -> Params:
  """Nested dicts from (path, value) pairs."""
  tree: Params = {}
  for path, value in named:
    branch = functools.reduce(
      lambda node, name: node.setdefault(name, {}), path[:-1], tree
    )
    branch[path[-1]] = value
  return tree
