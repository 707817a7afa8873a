"""Writes tests/checkpoints/t5x_checkpoints.zip with t5x (docs/t5x.md has the installation).

python -m tests.checkpoints.make_t5x_fixture
"""

import pathlib
import shutil
import tempfile

import jax
import numpy as np
from t5x import checkpoints as t5x_checkpoints
from t5x import partitioning
from t5x import utils as t5x_utils

from mathft_jax.t5x_bridge import math_model
from mathft_jax.training import losses, optimizers, train_config
from tests.checkpoints import t5x_format_test as fixture


def main():
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=math_model.logical_axis_rules(fixture.MODEL, 1),
  )
  model = math_model.MathModel(
    model=fixture.MODEL,
    optimization=train_config.OptimizationConfig(
      loss=losses.Mle(), optimizer=optimizers.AdamW()
    ),
    vocabulary=fixture.VOCABULARY,
    template=fixture.TEMPLATE,
    partitioner=partitioner,
  )
  shape = {'decoder_input_tokens': (1, 4), 'decoder_segment_ids': (1, 4)}
  initializer = t5x_utils.TrainStateInitializer(
    optimizer_def=None,
    init_fn=model.get_initial_variables,
    input_shapes=shape,
    partitioner=partitioner,
  )
  state = initializer.from_scratch(jax.random.PRNGKey(0))
  params = jax.tree.map(jax.numpy.asarray, fixture.make_params())
  state = state.replace_params(params).replace_step(np.int32(7))

  with tempfile.TemporaryDirectory() as folder:
    write_checkpoints(pathlib.Path(folder), state, partitioner)
    archive = fixture.ARCHIVE.with_suffix('')
    shutil.make_archive(str(archive), 'zip', folder)


def write_checkpoints(folder, state, partitioner):
  for name in ('orbax', 'legacy'):
    (folder / name).mkdir()
  manager = t5x_checkpoints.OrbaxCheckpointManagerInterface(
    str(folder / 'orbax'), state, partitioner, period=1
  )
  manager.save(state)
  manager.close()
  t5x_checkpoints.Checkpointer(state, partitioner, str(folder / 'legacy')).save(
    state
  )
  for path in folder.rglob('commit_success.txt'):
    path.unlink()  # only buckets need it; it contains the path of this machine


if __name__ == '__main__':
  main()
