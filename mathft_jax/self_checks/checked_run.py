"""What the self-checks look at: a configured training run, its examples and its first batch."""

from collections.abc import Sequence
import dataclasses
import functools

from etils import epath

from mathft_jax.data import prompt_templates
from mathft_jax.data.batch_arrays import Batch
from mathft_jax.data.example_types import (
  Example,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.models import transformer
from mathft_jax.self_checks import published_files
from mathft_jax.training import train_config
from mathft_jax.training import train_step as step_lib


@dataclasses.dataclass(frozen=True)
class CheckedRun:
  """A training run before its first step.

  Attributes:
    workdir: folder of the run.
    init_from: initial checkpoint, 'random', or None if it is not known yet.
    step_config: model, loss, mesh and gradient accumulation.
    data: how examples become batches.
    group_size: neighbouring examples that belong together.
    examples: all training examples.
    batch: the first batch.
    max_to_keep: checkpoints that are kept at once; None: all.
  """

  workdir: epath.PathLike
  init_from: epath.PathLike | None
  step_config: step_lib.TrainStepConfig
  data: train_config.DataConfig
  group_size: int
  examples: Sequence[Example]
  batch: Batch = dataclasses.field(default_factory=dict)
  max_to_keep: int | None = 1

  @property
  def model(self) -> transformer.TransformerConfig:
    return self.step_config.model

  @property
  def vocabulary(self) -> prompt_templates.Vocabulary:
    return self.data.vocabulary

  @property
  def template(self) -> prompt_templates.Template:
    return self.data.template

  @property
  def starts_random(self) -> bool:
    return self.init_from == 'random'

  @property
  def has_verdicts(self) -> bool:
    return any(isinstance(each, VerdictExample) for each in self.examples)

  @functools.cached_property
  def solutions(self) -> list[SolutionExample]:
    """The examples whose targets are solutions, with weights."""
    return [each for each in self.examples if isinstance(each, SolutionExample)]

  @functools.cached_property
  def published(self) -> published_files.PublishedFiles | None:
    """Files of the published model that the run starts from, if there is one."""
    return published_files.find_published_files(self.init_from, self.vocabulary)
