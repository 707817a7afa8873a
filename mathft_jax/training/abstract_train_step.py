"""Traces a train step from shapes alone, for ahead-of-time compilation and FLOP counts."""

import jax

from mathft_jax.distributed import partitioning
from mathft_jax.training import train_step as step_lib


def trace_train_step(
  config: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> jax.stages.Traced:
  """Returns the traced train step for batches of this size on the config's mesh."""
  learning_rate = jax.ShapeDtypeStruct(
    (), 'float32', sharding=partitioning.replicated_sharding(config.mesh)
  )
  batch = abstract_batch(config, batch_size=batch_size, max_length=max_length)
  return step_lib.make_train_step(config).trace(
    step_lib.abstract_train_state(config), batch, learning_rate
  )


def abstract_batch(
  config: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes, dtypes and shardings of a batch with every array that a loss may read.

  Arrays are those of `data.batching`; an array that the loss does not read costs nothing. Label
  words have one token, so sequences have no branches.
  """
  token_shape = (batch_size, max_length)
  shapes = {
    'decoder_input_tokens': ('int32', token_shape),
    'decoder_target_tokens': ('int32', token_shape),
    'decoder_loss_weights': ('float32', token_shape),
    'decoder_positions': ('int32', token_shape),
    'decoder_segment_ids': ('int32', token_shape),
    'is_correct': ('float32', (batch_size,)),
    'verdict_weights': ('float32', (batch_size,)),
    'reference_log_probs': ('float32', (batch_size,)),
    'word_positions': ('int32', (batch_size, 2, 1)),
    'label_words': ('int32', (2, 1)),
    'label_word_mask': ('bool', (2, 1)),
  }

  batch = {}
  for name, (dtype, shape) in shapes.items():
    sharding = partitioning.batch_sharding(config.mesh)
    if name in partitioning.REPLICATED_BATCH_ARRAYS:
      sharding = partitioning.replicated_sharding(config.mesh)
    batch[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  return batch
