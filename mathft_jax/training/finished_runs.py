"""Whether a finished run, or one that resumes, is the run that is asked for.

A run that resumes may have another learning rate. A finished one is of the learning rate, model,
template and examples that it was trained with: with others it is not done.
"""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from etils import epath

from mathft_jax import checkpoints
from mathft_jax.data import examples as examples_lib
from mathft_jax.distributed import processes
from mathft_jax.models import transformer
from mathft_jax.training import (
  example_description,
  run_settings,
  train_config,
  train_inputs,
)


@dataclasses.dataclass(frozen=True)
class WantedRun:
  """The parts of a run that a finished one must have too, beside its settings.

  Attributes:
    model: sizes of the model.
    data: has template and vocabulary.
    optimization: has the optimizer with its learning rate.
    examples: source of the split 'train'.
  """

  model: transformer.TransformerConfig
  data: train_config.DataConfig
  optimization: train_config.OptimizationConfig
  examples: examples_lib.ExampleSource

  def check_finished(self, checkpoint: epath.PathLike) -> None:
    """Checks that the last checkpoint of a finished run is of this run.

    The examples are read only if their source or its files have changed since the run.

    Raises:
      ValueError: lists what differs.
    """
    checkpoints.check_metadata(
      checkpoint, model=self.model, fingerprint=self.data.fingerprint()
    )
    metadata = checkpoints.read_metadata(checkpoint)
    run_settings.check_learning_rate(
      metadata.get('optimizer'), self.optimization.optimizer, str(checkpoint)
    )
    description = describe_examples(self.examples)
    settings = metadata.get('settings', {})
    if settings.get('examples') is None:
      return  # of a version that did not save it
    if description and settings.get('source') == description:
      return
    digest = train_inputs.TrainInputs(self.examples, self.data).digest()
    check_examples(settings, digest, description, str(checkpoint))


def check_examples(
  settings: Mapping[str, Any],
  digest: str,
  description: Mapping[str, str],
  where: str,
) -> None:
  """Checks that saved settings are of the same examples.

  Args:
    settings: in the metadata of a checkpoint.
    digest: of the training examples of this run.
    description: of their source.
    where: start of the error message.

  Raises:
    ValueError: the digests differ; the message has the differences of the source.
  """
  saved = settings.get('examples')
  if saved in (None, digest):
    return
  changed = example_description.differences(
    settings.get('source', {}), description
  )
  raise ValueError(
    f'{where} was created with other examples (digest {saved}, now {digest})'
    f'{": " if changed else ""}{changed}. Use the same examples, use another MODEL_DIR, or delete '
    'this one.'
  )


def describe_examples(examples: examples_lib.ExampleSource) -> dict[str, str]:
  """Returns the description of an example source, the same on all processes."""
  description = example_description.describe_examples(examples)
  text = processes.broadcast_from_primary(
    'train: examples', json.dumps(description)
  )
  return json.loads(text)
