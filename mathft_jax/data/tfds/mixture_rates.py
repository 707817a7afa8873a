"""Oversamples finite lists of elements to the rates of a seqio mixture."""

from collections.abc import Sequence
import dataclasses
import itertools
import logging
from typing import TypeVar

import seqio

Element = TypeVar('Element')


@dataclasses.dataclass(frozen=True)
class _CountedTask:
  """A task for rate functions, with the number of elements that were read.

  A rate by number of examples then counts those after `limit`, and those of the split.
  """

  task: seqio.Task
  count: int
  cache_dir = 'counted'

  @property
  def name(self) -> str:
    return self.task.name

  def num_input_examples(self, split: str) -> int:
    del split
    return self.count

  def get_cached_stats(self, split: str = 'train') -> dict[str, object]:
    stats = self.task.get_cached_stats(split) if self.task.cache_dir else {}
    return {**stats, 'examples': self.count}


def _rate(mixture: seqio.Mixture, task: seqio.Task, count: int) -> float:
  """Returns the rate of a task of a mixture, or of a mixture inside it."""
  rate = mixture.rate_per_task_name.get(task.name)
  if callable(rate):
    counted = _CountedTask(task, count)
    return float(rate(counted))  # pyright: ignore[reportArgumentType]
  return mixture.get_rate(task)


def oversample_to_rates(
  mixture: seqio.Mixture, elements: Sequence[list[Element]]
) -> list[list[Element]]:
  """Returns the elements of each task, repeated so that their numbers have the mixture's rates.

  Args:
    mixture: gives the rates.
    elements: elements of each task, in the order of `mixture.tasks`.
  """
  rates: list[float] = []
  epochs = 0.0  # so many are needed to use every element once
  for task, part in zip(mixture.tasks, elements):
    rate = _rate(mixture, task, len(part))
    rates.append(rate)
    epochs = max(epochs, len(part) / rate)

  oversampled: list[list[Element]] = []
  summary: list[str] = []
  for task, part, rate in zip(mixture.tasks, elements, rates):
    count = max(len(part), round(rate * epochs))
    oversampled.append(list(itertools.islice(itertools.cycle(part), count)))
    summary.append(
      f'{task.name} {count} elements ({len(part)} distinct) at rate {rate:g}'
    )
  logging.info('mixture: %s', ', '.join(summary))
  return oversampled
