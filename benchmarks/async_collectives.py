"""Whether libtpu accepts the flags of asynchronous collectives, and what they change.

  python -m benchmarks.async_collectives                    # needs pip install -e '.[plan]', no TPU

Compiles the gradient of eight layers, whose weights are sharded over eight v5p chips as with FSDP,
without and with the flags of docs/launch.md, and counts the fused asynchronous collectives in the
text of the programs. An unknown flag is an error of the compiler. Takes about a minute.
"""

import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mathft_jax.aot import compile_only_devices

FLAGS = (
  'xla_enable_async_all_gather',
  'xla_tpu_enable_async_collective_fusion',
  'xla_tpu_enable_async_collective_fusion_fuse_all_gather',
  'xla_tpu_enable_async_collective_fusion_multiple_steps',
  'xla_tpu_overlap_compute_collective_tc',
)
LAYERS, WIDTH, ROWS = 8, 4096, 4096


def lower_gradient() -> jax.stages.Lowered:
  """Returns the gradient of eight layers for eight chips, before compilation."""
  topology = compile_only_devices.parse_topology('v5p:2x2x2')
  mesh = Mesh(np.array(topology.compile_only_devices()), ('data',))

  def shape(spec: PartitionSpec, *sizes: int) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(sizes, jnp.bfloat16, sharding=sharding)

  inputs = shape(PartitionSpec('data'), ROWS, WIDTH)
  weights = shape(PartitionSpec(None, 'data'), LAYERS, WIDTH, WIDTH)

  def loss(weights_LDF: jax.Array, x_BD: jax.Array) -> jax.Array:
    def apply_layer(x_BD: jax.Array, weights_DF: jax.Array):
      return jax.nn.relu(x_BD @ weights_DF), None

    out_BD, _ = jax.lax.scan(apply_layer, x_BD, weights_LDF)
    return jnp.mean(jnp.square(out_BD.astype(jnp.float32)))

  gradient = jax.jit(jax.grad(loss), out_shardings=weights.sharding)
  return gradient.trace(weights, inputs).lower()


def main() -> None:
  lowered = lower_gradient()
  for name, flags in (('without', ()), ('with', FLAGS)):
    options: dict[str, str | bool] = {flag: 'true' for flag in flags}
    text = lowered.compile(compiler_options=options).as_text() or ''
    fused = len(set(re.findall(r'%(async_collective_fusion[\w.]*)', text)))
    print(f'{name} flags: {fused} asynchronous collective fusions')


if __name__ == '__main__':
  main()
