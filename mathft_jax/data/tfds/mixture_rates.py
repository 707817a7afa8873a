"""Finite lists of elements, mixed at the rates of a seqio mixture."""

from collections.abc import Sequence
import dataclasses
import itertools
import logging
from typing import Any

import seqio


@dataclasses.dataclass(frozen=True)
class _Counted:
  """A task as rate functions see it: with the number of elements that were taken of it.

  So a rate by number follows `limit`, and a validation split its own numbers.
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

  def get_cached_stats(self, split: str = 'train') -> dict[str, Any]:
    stats = self.task.get_cached_stats(split) if self.task.cache_dir else {}
    return {**stats, 'examples': self.count}


def _rate(mixture: seqio.Mixture, task: seqio.Task, count: int) -> float:
  """The rate of a task of a mixture, or of a mixture inside it."""
  rate = mixture.rate_per_task_name.get(task.name)
  return (
    float(rate(_Counted(task, count)))
    if callable(rate)
    else mixture.get_rate(task)
  )


def oversample_to_rates(
  mixture: seqio.Mixture, elements: Sequence[list[Any]]
) -> list[list[Any]]:
  """The elements of each task of a mixture, those of the smaller ones repeated as the rates say."""
  rates = [
    _rate(mixture, task, len(part))
    for task, part in zip(mixture.tasks, elements)
  ]
  epochs = max(len(part) / rate for part, rate in zip(elements, rates))
  counts = [
    max(len(part), round(rate * epochs)) for part, rate in zip(elements, rates)
  ]
  logging.info(
    'mixture: %s',
    ', '.join(
      f'{task.name} {len(part)} elements at rate {rate:g}, taken {count} times'
      for task, part, rate, count in zip(mixture.tasks, elements, rates, counts)
    ),
  )
  return [
    list(itertools.islice(itertools.cycle(part), count))
    for part, count in zip(elements, counts)
  ]
