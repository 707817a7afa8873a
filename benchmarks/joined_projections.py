"""Time of the matrix products of a decode step, with separate and with joined weights.

  python -m benchmarks.joined_projections

Joined: query, key and value are one matrix, gate and up are one matrix. The sizes are those of
SmolLM2-135M in float32. Attention and sampling are left out, so the ratio is larger than that of
whole steps. Rounds alternate; medians are printed, as JSON.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models import config as model_config

CONFIG = model_config.TransformerConfig(
  vocab_size=49_152,
  embed_dim=576,
  num_layers=30,
  num_heads=9,
  num_kv_heads=3,
  mlp_dim=1536,
)
Layer = dict[str, jax.Array]


def make_layers() -> list[Layer]:
  """Random weights of all layers, with separate matrices."""
  D, N, K, H, F = (
    CONFIG.embed_dim,
    CONFIG.num_heads,
    CONFIG.kv_heads,
    CONFIG.head_size,
    CONFIG.mlp_dim,
  )
  shapes = {
    'query': (D, N, H),
    'key': (D, K, H),
    'value': (D, K, H),
    'out': (N, H, D),
    'gate': (D, F),
    'up': (D, F),
    'down': (F, D),
  }
  layers = []
  for index in range(CONFIG.num_layers):
    key = jax.random.key(index)
    layer = {}
    for number, (name, shape) in enumerate(shapes.items()):
      values = jax.random.normal(jax.random.fold_in(key, number), shape)
      layer[name] = values / 100
    layers.append(layer)
  return layers


def join(layer: Layer) -> Layer:
  """The same weights, with joined matrices."""
  qkv = [layer[name] for name in ('query', 'key', 'value')]
  return {
    'qkv': jnp.concatenate(qkv, axis=1),
    'out': layer['out'],
    'gate_up': jnp.concatenate([layer['gate'], layer['up']], axis=1),
    'down': layer['down'],
  }


def apply_layer(layer: Layer, x_BD: jax.Array) -> jax.Array:
  """The projections of a layer. Sums stand for attention."""
  N, K, F = CONFIG.num_heads, CONFIG.kv_heads, CONFIG.mlp_dim
  if 'qkv' in layer:
    qkv = jnp.einsum('BD,DNH->BNH', x_BD, layer['qkv'])
    q_BNH, k_BKH, v_BKH = jnp.split(qkv, [N, N + K], axis=1)
  else:
    q_BNH = jnp.einsum('BD,DNH->BNH', x_BD, layer['query'])
    k_BKH = jnp.einsum('BD,DKH->BKH', x_BD, layer['key'])
    v_BKH = jnp.einsum('BD,DKH->BKH', x_BD, layer['value'])
  heads_BNH = q_BNH + jnp.repeat(k_BKH + v_BKH, N // K, axis=1)
  x_BD += jnp.einsum('BNH,NHD->BD', heads_BNH, layer['out'])

  if 'gate_up' in layer:
    gate_up_BF = x_BD @ layer['gate_up']
    gate_BF, up_BF = jnp.split(gate_up_BF, [F], axis=1)
  else:
    gate_BF, up_BF = x_BD @ layer['gate'], x_BD @ layer['up']
  return x_BD + (jax.nn.silu(gate_BF) * up_BF) @ layer['down']


@jax.jit
def apply_all(
  layers: list[Layer], head_DV: jax.Array, x_BD: jax.Array
) -> jax.Array:
  for layer in layers:
    x_BD = apply_layer(layer, x_BD)
  return x_BD @ head_DV


def measure(rows: int, rounds: int) -> dict[str, object]:
  """Medians of the times, and of the ratios of neighbouring rounds."""
  separate = make_layers()
  programs = {'separate': separate, 'joined': list(map(join, separate))}
  head_DV = jnp.ones((CONFIG.embed_dim, CONFIG.vocab_size)) / 100
  x_BD = jax.random.normal(jax.random.key(1), (rows, CONFIG.embed_dim))
  times: dict[str, list[float]] = {name: [] for name in programs}
  for number in range(rounds + 1):
    for name, layers in programs.items():
      start = time.perf_counter()
      apply_all(layers, head_DV, x_BD).block_until_ready()
      if number:  # the first round compiles
        times[name].append(1000 * (time.perf_counter() - start))
  ratios = np.divide(times['separate'], times['joined'])
  return {
    'rows': rows,
    'ms': {
      name: round(float(np.median(each)), 1) for name, each in times.items()
    },
    'separate / joined': round(float(np.median(ratios)), 3),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rows', type=int, nargs='+', default=[64, 256])
  parser.add_argument('--rounds', type=int, default=40)
  arguments = parser.parse_args()
  for rows in arguments.rows:
    print(json.dumps(measure(rows, arguments.rounds)), flush=True)


if __name__ == '__main__':
  main()
