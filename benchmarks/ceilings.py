"""Ceilings of the machine, measured between the rounds of a benchmark.

- Matrix products: those of one forward pass of the model over a number of rows, without attention
  and elementwise work. Each weight is an array of its own, so weights come from memory, as in the
  model. By XLA and by torch, because neither is the faster one at every size.
- Memory: adding 1 to 256 MB in place, bytes read and written.

Both are measured in the dtype of the model, on the device that JAX uses, CPU or GPU. Rates are
GFLOP/s and GB/s. 1 GB = 10^9 bytes.
"""

from collections.abc import Callable, Mapping
import time

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models import config as model_config

Timed = Callable[[], object]
INCREMENTED = 64_000_000  # float32 numbers


def layer_shapes(
  model: model_config.TransformerConfig,
) -> list[tuple[int, int]]:
  """(inputs, outputs) of the weights of a layer."""
  D, F = model.embed_dim, model.mlp_dim
  queries = model.num_heads * model.head_size
  keys = model.kv_heads * model.head_size
  return [
    (D, queries),
    (D, keys),
    (D, keys),
    (queries, D),
    (D, F),
    (D, F),
    (F, D),
  ]


def forward_flop(model: model_config.TransformerConfig, rows: int) -> int:
  """FLOP of the matrix products of a forward pass, attention left out."""
  layer = sum(inputs * outputs for inputs, outputs in layer_shapes(model))
  head = model.embed_dim * model.vocab_size
  return 2 * rows * (model.num_layers * layer + head)


def random_weights(
  model: model_config.TransformerConfig,
) -> list[list[np.ndarray]]:
  """The weights of each layer, then that of the head."""
  rng = np.random.default_rng(0)
  head = [(model.embed_dim, model.vocab_size)]
  weights = []
  for shapes in [layer_shapes(model)] * model.num_layers + [head]:
    weights.append([rng.standard_normal(shape, np.float32) for shape in shapes])
  return weights


def random_inputs(
  model: model_config.TransformerConfig, rows: int
) -> dict[int, np.ndarray]:
  """By the number of inputs of a weight."""
  rng = np.random.default_rng(1)
  sizes = {inputs for inputs, _ in layer_shapes(model)}
  return {size: rng.standard_normal((rows, size), np.float32) for size in sizes}


def torch_device() -> str:
  """The device of torch that is that of JAX."""
  return 'cuda' if jax.default_backend() == 'gpu' else 'cpu'


def xla_products(model: model_config.TransformerConfig, rows: int) -> Timed:
  """A function that computes all products of a forward pass with XLA."""

  def narrow(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, model.dtype)

  weights = jax.tree.map(narrow, random_weights(model))
  inputs = jax.tree.map(narrow, random_inputs(model, rows))

  @jax.jit
  def multiply(layer: list[jax.Array]) -> list[jax.Array]:
    return [inputs[weight.shape[0]] @ weight for weight in layer]

  def run() -> None:
    results: list[jax.Array] = []
    for layer in weights:
      previous, results = results, multiply(layer)
      jax.block_until_ready(previous)
    jax.block_until_ready(results)

  return run


def torch_products(model: model_config.TransformerConfig, rows: int) -> Timed:
  """The same with torch, whose number of threads the caller has set."""
  import torch

  def narrow(array: np.ndarray) -> torch.Tensor:
    dtype = getattr(torch, model.dtype)
    return torch.from_numpy(array).to(torch_device(), dtype)

  weights = jax.tree.map(narrow, random_weights(model))
  inputs = jax.tree.map(narrow, random_inputs(model, rows))

  def run() -> None:
    with torch.inference_mode():
      for layer in weights:
        for weight in layer:
          inputs[weight.shape[0]] @ weight
    if torch_device() == 'cuda':
      torch.cuda.synchronize()

  return run


def xla_increment() -> Timed:
  """A function that reads `INCREMENTED` numbers of 4 bytes and writes them to the same memory."""
  values = jnp.zeros(INCREMENTED, jnp.float32)
  increment = jax.jit(lambda values: values + 1, donate_argnums=0)

  def run() -> None:
    nonlocal values
    values = increment(values).block_until_ready()

  return run


def make_ceilings(
  model: model_config.TransformerConfig, rows: int
) -> dict[str, Timed]:
  """Functions to run between the rounds."""
  return {
    'matmul, XLA': xla_products(model, rows),
    'matmul, torch': torch_products(model, rows),
    'memory': xla_increment(),
  }


def alternate(runs: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
  """Runs all in turn, once to warm up and then `rounds` times; returns the seconds of each."""
  times: dict[str, list[float]] = {name: [] for name in runs}
  for number in range(rounds + 1):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      if number:
        times[name].append(round(time.perf_counter() - start, 4))
  return times


def report_ceilings(
  times: Mapping[str, list[float]],
  model: model_config.TransformerConfig,
  rows: int,
) -> dict[str, str]:
  """Rates of the medians, with the slowest and fastest round."""
  report = {}
  for name, each in times.items():
    if name == 'memory':
      work, unit = 2 * 4 * INCREMENTED, 'GB/s'
    elif name.startswith('matmul'):
      work, unit = forward_flop(model, rows), 'GFLOP/s'
    else:
      continue
    rates = work / np.array(each) / 1e9
    report[name] = (
      f'{np.median(rates):.0f} [{rates.min():.0f}, {rates.max():.0f}] {unit}'
    )
  return report
