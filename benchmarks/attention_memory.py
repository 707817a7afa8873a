"""Temporary memory of a train step on v5e, with attention by einsum and by the splash kernel.

  python -m benchmarks.attention_memory          # needs libtpu (extra [plan]), no TPU; minutes

The model is one layer of Llama 3.1 8B with a small vocabulary, compiled for v5e:2x2. Two sequences
of 4,096 tokens are sharded over two devices, heads over the other two.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.aot import compile_only_devices
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.training import losses, optimizers, train_step

INT32_ARRAYS = (
  'decoder_input_tokens',
  'decoder_target_tokens',
  'decoder_positions',
  'decoder_segment_ids',
)


def compile_train_step(
  mesh: jax.sharding.Mesh, length: int, remat: str, attention_kernel: str
) -> jax.stages.Compiled:
  """Returns the compiled train step of two sequences."""
  config = transformer.TransformerConfig(
    vocab_size=1024,
    embed_dim=4096,
    num_layers=1,
    num_heads=32,
    num_kv_heads=8,
    mlp_dim=14_336,
    tied_embeddings=False,
    dtype='bfloat16',
    remat=remat,
    attention_kernel=attention_kernel,
  )
  step_config = train_step.TrainStepConfig(
    model=config,
    loss=losses.Mle(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    mesh=mesh,
    rules=partitioning.Partitioner(fsdp=True).rules,
  )

  def make_array(dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
    sharding = partitioning.batch_sharding(mesh)
    return jax.ShapeDtypeStruct((2, length), dtype, sharding=sharding)

  batch = {name: make_array(jnp.int32) for name in INT32_ARRAYS}
  batch['decoder_loss_weights'] = make_array(jnp.float32)
  learning_rate = jax.ShapeDtypeStruct((), jnp.float32)
  state = train_step.abstract_train_state(step_config)
  step = train_step.make_train_step(step_config)
  return step.lower(state, batch, learning_rate).compile()


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument(
    '--length', type=int, default=4096, help='tokens per sequence'
  )
  parser.add_argument('--remat', nargs='+', default=['none', 'dots', 'full'])
  parser.add_argument('--kernel', nargs='+', default=['einsum', 'splash'])
  arguments = parser.parse_args()

  topology = compile_only_devices.parse_topology('v5e:2x2')
  devices = np.array(topology.compile_only_devices()).reshape(2, 2)
  mesh = jax.sharding.Mesh(devices, ('data', 'model'))
  print('| remat | attention | MiB of temporary memory per device |')
  print('|---|---|---:|')
  for remat in arguments.remat:
    for kernel in arguments.kernel:
      compiled = compile_train_step(mesh, arguments.length, remat, kernel)
      memory = compiled.memory_analysis()
      assert memory is not None
      mebibytes = memory.temp_size_in_bytes / 2**20
      print(f'| `{remat}` | `{kernel}` | {mebibytes:,.0f} |', flush=True)


if __name__ == '__main__':
  main()
