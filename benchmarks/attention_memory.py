"""Scratch memory of a train step on v5e with attention by einsum and by the splash kernel.

  python -m benchmarks.attention_memory          # libtpu of the extra [plan], no TPU; minutes

The model is one layer of the sizes of Llama 3.1 8B with a small vocabulary, compiled for v5e:2x2:
rows over two devices, heads over the other two, one row of 4,096 tokens for each pair.
"""

import argparse

import jax
import numpy as np

from mathft_jax.aot import topologies
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.training import losses, optimizers, train_step

LAYER = dict(
  vocab_size=1024,
  embed_dim=4096,
  num_layers=1,
  num_heads=32,
  num_kv_heads=8,
  mlp_dim=14_336,
  tied_embeddings=False,
  dtype='bfloat16',
)
ROWS = ('input_tokens', 'target_tokens', 'positions', 'segment_ids')


def compiled_step(mesh: jax.sharding.Mesh, length: int, **how_to_compute):
  """The train step of two rows."""
  plan = train_step.TrainStepConfig(
    model=transformer.TransformerConfig(**LAYER, **how_to_compute),
    loss=losses.Mle(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    mesh=mesh,
    rules=partitioning.Partitioner(fsdp=True).rules,
  )
  array = lambda dtype: jax.ShapeDtypeStruct(
    (2, length), dtype, sharding=partitioning.batch_sharding(mesh)
  )
  batch = {f'decoder_{name}': array('int32') for name in ROWS}
  batch['decoder_loss_weights'] = array('float32')
  rate = jax.ShapeDtypeStruct((), 'float32')
  return (
    train_step.make_train_step(plan)
    .lower(train_step.abstract_train_state(plan), batch, rate)
    .compile()
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    '--length', type=int, default=4096, help='tokens of a row'
  )
  parser.add_argument('--remat', nargs='+', default=['none', 'dots', 'full'])
  parser.add_argument('--kernel', nargs='+', default=['einsum', 'splash'])
  arguments = parser.parse_args()
  devices = np.array(
    topologies.parse_topology('v5e:2x2').compile_only_devices()
  ).reshape(2, 2)
  mesh = jax.sharding.Mesh(devices, ('data', 'model'))
  print('| remat | attention | MiB of scratch a device |\n|---|---|---:|')
  for remat in arguments.remat:
    for kernel in arguments.kernel:
      compiled = compiled_step(
        mesh, arguments.length, remat=remat, attention_kernel=kernel
      )
      scratch = compiled.memory_analysis().temp_size_in_bytes / 2**20
      print(f'| `{remat}` | `{kernel}` | {scratch:,.0f} |', flush=True)


if __name__ == '__main__':
  main()
