"""The train step of a plan from shapes alone: to be compiled or counted, never run."""

from typing import Any

import jax

from mathft_jax.distributed import partitioning
from mathft_jax.training import train_step as step_lib


def trace_train_step(
  plan: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> Any:
  """The traced train step (jax.stages.Traced) of batches of this size, on the plan's mesh."""
  rate = jax.ShapeDtypeStruct(
    (), 'float32', sharding=partitioning.replicated_sharding(plan.mesh)
  )
  batch = abstract_batch(plan, batch_size=batch_size, max_length=max_length)
  return step_lib.make_train_step(plan).trace(
    step_lib.abstract_train_state(plan), batch, rate
  )


def abstract_batch(
  plan: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """A batch with all that a loss may ask for (`data.batches` names it); what it does not use costs
  nothing.

  The label words are of one token each, so rows have no branches.
  """

  def array(dtype, *shape, name=''):
    layout = (
      partitioning.replicated_sharding
      if name.startswith('label_')
      else partitioning.batch_sharding
    )
    return jax.ShapeDtypeStruct(shape, dtype, sharding=layout(plan.mesh))

  by_token = {
    'decoder_input_tokens': 'int32',
    'decoder_target_tokens': 'int32',
    'decoder_loss_weights': 'float32',
    'decoder_positions': 'int32',
    'decoder_segment_ids': 'int32',
  }
  return {
    **{
      name: array(dtype, batch_size, max_length)
      for name, dtype in by_token.items()
    },
    'is_correct': array('float32', batch_size),
    'verdict_weights': array('float32', batch_size),
    'word_positions': array('int32', batch_size, 2, 1),
    'label_words': array('int32', 2, 1, name='label_words'),
    'label_word_mask': array('bool', 2, 1, name='label_word_mask'),
  }
