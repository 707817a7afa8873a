"""Validation loss and greedy accuracy by training step, and the step that was handed over.

  curve = TrainingCurve('ssft_fine', handed_over=80, losses=read_validation_losses(workdir), ...)
  table = make_curves_table([curve])

The paper says of its third stage that it is at its best within about 200 steps, and of joint
training that MLE overfits soon. A curve shows both for each stage.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json

from etils import epath
import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables

TITLE = 'Curves: each stage by training step'


@dataclasses.dataclass(frozen=True)
class TrainingCurve:
  """The evaluations of one training run.

  Attributes:
    name: of the run.
    handed_over: the step whose checkpoint the next stages use.
    losses: by step, the stage's own loss on the validation split.
    greedy: by step, values_P of one greedy solution of each validation problem.
  """

  name: str
  handed_over: int
  losses: Mapping[int, float]
  greedy: Mapping[int, np.ndarray]


def read_validation_losses(workdir: epath.PathLike) -> dict[int, float]:
  """Returns the validation loss by step from a training run's metrics.jsonl; may be empty."""
  path = epath.Path(workdir) / 'metrics.jsonl'
  losses = {}
  if not path.exists():
    return losses
  for line in path.read_text().splitlines():
    record = json.loads(line)
    if record['split'] == 'validation':
      losses[record['step']] = record['loss']
  return losses


def make_curves_table(curves: Sequence[TrainingCurve]) -> tables.Table:
  """Returns a row per stage and evaluated step; the step handed over is marked."""
  body = []
  for curve in curves:
    for step in sorted({*curve.losses, *curve.greedy}):
      loss, accuracy, problems = '-', '-', '-'
      if step in curve.losses:
        loss = f'{curve.losses[step]:.4f}'
      if step in curve.greedy:
        values_P = curve.greedy[step]
        accuracy = tables.format_percent(
          statistics.mean_with_interval(values_P)
        )
        problems = str(len(values_P))
      mark = 'handed over' if step == curve.handed_over else ''
      body.append((curve.name, str(step), loss, accuracy, problems, mark))
  return tables.Table(
    TITLE,
    ('stage', 'step', 'validation loss', 'greedy accuracy, %', 'n', ''),
    tuple(body),
    'On the validation split. The loss is that of the stage: losses of different stages have no '
    'common scale. The accuracy is of the weights as a generator, with its 95% Wilson interval.',
  )
