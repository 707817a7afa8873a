"""Settings of a training run: data, optimization, loop and checkpoints.

Gin files bind these classes; `train.train` takes one object of each:

  train_config.DataConfig.batch_size = 32
  train_config.LoopConfig.eval_period = 100
"""

from collections.abc import Mapping
import dataclasses
from typing import cast

from jax.sharding import AbstractMesh, Mesh

from mathft_jax.data import examples, prompt_templates, saved_prompts
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.monitoring import profiling
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import losses, optimizers, train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """How examples become batches.

  Attributes:
    vocabulary: tokenizer; it must be the model's.
    template: prompt templates; they are saved with the checkpoint.
    batch_size: sequences in a global batch.
    max_length: tokens in a sequence. A mapping {'inputs': n, 'targets': m}, as in t5x, means n + m.
    pack: put several examples into one sequence.
    shuffle: another order of the examples in each epoch; False: the order of the source.
    too_long: 'truncate' or 'drop' examples that do not fit; verdicts are always dropped.
    eval_examples: source of the 'validation' split; by default the source of the training examples.
  """

  vocabulary: prompt_templates.Vocabulary
  template: prompt_templates.Template
  batch_size: int
  max_length: int | Mapping[str, int]
  pack: bool = False
  shuffle: bool = True
  too_long: str = 'truncate'
  eval_examples: examples.ExampleSource | None = None

  def __post_init__(self):
    sequence_length(self.max_length)  # raises for a wrong mapping

  @property
  def sequence_length(self) -> int:
    """Tokens in a sequence."""
    return sequence_length(self.max_length)

  def fingerprint(self) -> dict[str, str]:
    """Returns texts that identify template and vocabulary in checkpoint metadata."""
    return prompt_templates.template_fingerprint(self.template, self.vocabulary)

  def prompts_metadata(self) -> dict[str, object]:
    """Returns template and vocabulary for checkpoint metadata; {} for classes of the user."""
    prompts = saved_prompts.prompts_to_json(self.vocabulary, self.template)
    return {saved_prompts.METADATA_KEY: prompts} if prompts else {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
  """The objective and how it is optimized.

  Attributes:
    loss: an objective of `training.losses`, or any `Loss`.
    optimizer: an optimizer of `training.optimizers`, with its learning rate.
    num_microbatches: gradient-accumulation steps; the gradient is that of the whole batch.
    max_grad_norm: global norm to which larger gradients are clipped; None: no clipping.
    lora: adapters to train instead of all parameters; the saved parameters are merged.
    head_gradient_dtype: 'float32' or 'bfloat16', in which the gradient of the output head is
      reduced over devices. bfloat16 sends half as many bytes.
  """

  loss: losses.Loss
  optimizer: optimizers.OptimizerConfig
  num_microbatches: int = 1
  max_grad_norm: float | None = 1.0
  lora: lora_lib.Lora | None = None
  head_gradient_dtype: str = 'float32'

  def __post_init__(self):
    if self.head_gradient_dtype not in ('float32', 'bfloat16'):
      raise ValueError(
        f'OptimizationConfig.head_gradient_dtype is {self.head_gradient_dtype!r}; it must be '
        "'float32' or 'bfloat16'."
      )

  def step_config(
    self,
    model: transformer.TransformerConfig,
    mesh: Mesh | AbstractMesh,
    rules: partitioning.AxisRules,
  ) -> train_step.TrainStepConfig:
    """Returns the configuration of the compiled train step."""
    return train_step.TrainStepConfig(
      model=model,
      loss=self.loss,
      optimizer=optimizers.without_learning_rate(self.optimizer),
      mesh=cast(Mesh, mesh),
      rules=rules,
      num_microbatches=self.num_microbatches,
      max_grad_norm=self.max_grad_norm,
      lora=self.lora,
      head_gradient_dtype=self.head_gradient_dtype,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
  """What the train loop does between steps.

  Periods are in steps; None means never. The last step is always logged and saved, and it is
  evaluated if `eval_period` is set.

  Attributes:
    log_period: between two lines of training metrics.
    eval_period: between two evaluations of the validation split.
    eval_steps: batches in one evaluation; None: all.
    checkpoint_period: between two checkpoints.
    tensorboard: also write TensorBoard events.
    wandb_project: also log to this project of Weights & Biases (extra [wandb]); None: do not.
    profile_steps: (first, last) step of a profile, written to <workdir>/profile; None: no profile.
  """

  log_period: int = 10
  eval_period: int | None = None
  eval_steps: int | None = None
  checkpoint_period: int | None = None
  tensorboard: bool = True
  wandb_project: str | None = None
  profile_steps: tuple[int, int] | None = None

  def __post_init__(self):
    if self.profile_steps is not None:  # gin gives lists
      object.__setattr__(self, 'profile_steps', tuple(self.profile_steps))
    profiling.check_profile_steps(self.profile_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
  """Which checkpoints are kept, and which one training returns.

  Attributes:
    max_to_keep: number of last checkpoints to keep, at least 1; None: all. With 2, a run resumes
      from the one before if the last is damaged. The best one is kept in addition if it is the
      output.
    output_checkpoint: 'last', or 'best' by `best_metric` on the validation split. With 'best' every
      evaluated step is saved.
    best_metric: a name from metrics.jsonl.
    higher_is_better: whether the best value of `best_metric` is the highest.
  """

  max_to_keep: int | None = 2
  output_checkpoint: str = 'last'
  best_metric: str = 'loss'
  higher_is_better: bool = False

  def __post_init__(self):
    if self.max_to_keep is not None and self.max_to_keep < 1:
      raise ValueError(
        f'CheckpointConfig.max_to_keep is {self.max_to_keep}; it must be at least 1, or None to '
        'keep all (KEEP_CHECKPOINTS).'
      )
    if self.output_checkpoint not in ('last', 'best'):
      raise ValueError(
        f'CheckpointConfig.output_checkpoint is {self.output_checkpoint!r}; it must be '
        "'last' or 'best' (HAND_OVER)."
      )

  @property
  def saves_best(self) -> bool:
    return self.output_checkpoint == 'best'


def sequence_length(max_length: int | Mapping[str, int]) -> int:
  """Returns the tokens in a sequence; see `DataConfig.max_length`."""
  if not isinstance(max_length, Mapping):
    return max_length
  values = list(max_length.values())
  is_integers = set(map(type, values)) == {int} and min(values) > 0
  if set(max_length) != {'inputs', 'targets'} or not is_integers:
    raise ValueError(
      f'max_length is {dict(max_length)}; it must be a number or '
      "{'inputs': n, 'targets': m} with integers from 1 (TASK_FEATURE_LENGTHS)."
    )
  return sum(values)
