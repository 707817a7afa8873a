"""With a vocabulary of 256k no objective holds logits of all positions, forward or backward."""

import math
import re

import jax
import numpy as np
import pytest

from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.training import losses, optimizers
from mathft_jax.training import train_step as step_lib

V, B, T = 256_000, 8, 8192
CONFIG = model_config.TransformerConfig(
  vocab_size=V, embed_dim=8, num_layers=1, num_heads=1, mlp_dim=8
)
OBJECTIVES = {
  'mle': losses.Mle(z_loss=1e-4, label_smoothing=0.1),
  'cls-margin': losses.VerifierMargin(),
  'cls-xent': losses.VerifierXent(over='vocabulary'),
  'contrast': losses.SequenceContrast(),
  'joint': losses.Joint(),
}


def shapes_of_a_batch():
  rows = {
    name: ((B, T), np.int32)
    for name in (
      'decoder_input_tokens',
      'decoder_target_tokens',
      'decoder_positions',
      'decoder_segment_ids',
    )
  }
  rows |= {
    'decoder_loss_weights': ((B, T), np.float32),
    'is_correct': ((B,), np.float32),
    'verdict_weights': ((B,), np.float32),
    'word_positions': ((B, 2, 1), np.int32),
    'label_words': ((2, 1), np.int32),
    'label_word_mask': ((2, 1), np.bool_),
  }
  return {name: jax.ShapeDtypeStruct(*spec) for name, spec in rows.items()}


def compiled_step(loss):
  plan = step_lib.TrainStepConfig(
    model=CONFIG,
    loss=loss,
    mesh=partitioning.Partitioner().mesh(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
  )
  layout = (
    partitioning.batch_sharding(plan.mesh),
    partitioning.replicated_sharding(plan.mesh),
  )
  batch = {
    name: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=layout[name.startswith('label_')]
    )
    for name, x in shapes_of_a_batch().items()
  }
  rate = jax.ShapeDtypeStruct((), np.float32)
  lowered = step_lib.make_train_step(plan).lower(
    step_lib.abstract_train_state(plan), batch, rate
  )
  # Same memory, faster to compile.
  return lowered.compile({'xla_backend_optimization_level': 0})


@pytest.mark.parametrize('name', OBJECTIVES)
def test_no_objective_holds_logits_of_all_positions(name):
  compiled = compiled_step(OBJECTIVES[name])
  of_one_device = B * T * V // jax.device_count()
  arrays = [
    math.prod(map(int, dims.split(',')))
    for dims in re.findall(
      r'\b(?:f32|bf16|f16|s32|pred)\[([\d,]+)\]', compiled.as_text()
    )
  ]
  # The pattern finds the embeddings, so it finds arrays.
  assert max(arrays) >= V * CONFIG.embed_dim
  assert max(arrays) < of_one_device / 8
  assert compiled.memory_analysis().temp_size_in_bytes < of_one_device * 4 / 4
