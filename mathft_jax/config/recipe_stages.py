"""The programs of a recipe, and the models that it trains.

Gin files bind `recipe.Stages`; `mathft_jax.recipe` passes work directories, inputs and seeds.
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

from etils import epath

from mathft_jax.config.bound_program import BoundProgram


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShotStage:
  """Both uses of `sample` with demonstrations in the prompt, for the pre-trained model.

  Attributes:
    sample: for N candidates of each test problem.
    sample_greedy: for one greedy solution of each test problem (Pass@1).
  """

  sample: BoundProgram
  sample_greedy: BoundProgram


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
  """The programs of a recipe, which passes their work directory, inputs and seed.

  Without `ssft_again` the recipe stops after SCR, without `scr` after comparing solution styles.

  Attributes:
    ssft: `train`, for MLE on solutions.
    sample: `sample`, for N candidates of each training problem, to train evaluators on.
    grade: `grade`, for answers, correctness and clusters.
    sample_greedy: `sample`, for one greedy solution of each test problem (Pass@1).
    sample_test: `sample`, for N candidates of each test problem.
    evaluate: `evaluate`, for a report of one scored file.
    scr: by name, `train` for an evaluator; if empty, the recipe stops after SSFT. A name is a loss,
      perhaps with its variant after `_` ('xent_words'); it is part of folders and of table rows.
    ssft_again: `train`, the third stage, from an evaluator's weights; None: no MTSF.
    control: `train`, from the first stage's weights for the steps of scr + ssft_again; None: none.
    score: `score`, for S_cls of each candidate; None: generators are only measured by votes.
    score_by_likelihood: `score`, for log p(X|P) under the control; None omits that row.
    few_shot: by style of the demonstrations, how the pre-trained model is sampled; if empty, it is
      not measured.
  """

  ssft: BoundProgram
  sample: BoundProgram
  grade: BoundProgram
  sample_greedy: BoundProgram
  sample_test: BoundProgram
  evaluate: BoundProgram
  scr: Mapping[str, BoundProgram] = dataclasses.field(default_factory=dict)
  ssft_again: BoundProgram | None = None
  control: BoundProgram | None = None
  score: BoundProgram | None = None
  score_by_likelihood: BoundProgram | None = None
  few_shot: Mapping[str, FewShotStage] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.control and not (self.scr and self.ssft_again):
      raise ValueError(
        'Stages.control is set, but `scr` or `ssft_again` is not. The control takes their steps: '
        'set both, or set control to None.'
      )


class TrainedModel(NamedTuple):
  """A checkpoint, and the name of its training run's folder."""

  name: str
  checkpoint: epath.Path

  @property
  def train_steps(self) -> int:
    return int(self.checkpoint.name)  # checkpoints are named after their steps


@dataclasses.dataclass(frozen=True)
class TrainedModels:
  """The models of one run of the recipe.

  Attributes:
    generators: by solution style, the first stage.
    evaluators: by loss, the second stage.
    mtsf: by loss, the generator of the third stage.
    controls: by loss, a generator trained for as many steps without an evaluator stage.
  """

  generators: dict[str, TrainedModel]
  evaluators: dict[str, TrainedModel]
  mtsf: dict[str, TrainedModel]
  controls: dict[str, TrainedModel]

  def all_distinct(self) -> list[TrainedModel]:
    """Returns each model once, in the order of training; losses may share a control."""
    groups = self.generators, self.evaluators, self.mtsf, self.controls
    found: dict[str, TrainedModel] = {}
    for group in groups:
      for model in group.values():
        found[model.name] = model
    return list(found.values())
