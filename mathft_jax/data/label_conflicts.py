"""Clusters of equivalent answers that have two verdicts.

If another grader or a person labelled the candidates, two candidates of one cluster may be labelled
differently. One of the labels is wrong, or the cluster is.
"""

from collections.abc import Iterable, Sequence
import dataclasses

from mathft_jax.data import schema


@dataclasses.dataclass(frozen=True)
class LabelConflict:
  """A cluster with candidates that are labelled correct and others that are labelled wrong.

  Attributes:
    problem: id of the problem.
    cluster: index of the cluster.
    correct: answers of its candidates that are labelled correct, each once.
    wrong: answers of its candidates that are labelled wrong, each once.
  """

  problem: str
  cluster: int
  correct: tuple[str, ...]
  wrong: tuple[str, ...]


def labels_of(
  sets: Iterable[schema.CandidateSet],
) -> list[list[bool | None]]:
  """Returns `is_correct` of each candidate of each set."""
  labels = []
  for unit in sets:
    labels.append([candidate.is_correct for candidate in unit.candidates])
  return labels


def find_label_conflicts(
  sets: Iterable[schema.CandidateSet],
  labels: Iterable[Sequence[bool | None]] | None = None,
) -> list[LabelConflict]:
  """Returns the clusters with two verdicts.

  Args:
    sets: candidate sets with answers and clusters.
    labels: label of each candidate of each set; None takes `is_correct` of the candidates.
  """
  sets = list(sets)
  if labels is None:
    labels = labels_of(sets)
  conflicts = []
  for unit, unit_labels in zip(sets, labels, strict=True):
    conflicts += _conflicts_of(unit, unit_labels)
  return conflicts


def _conflicts_of(
  unit: schema.CandidateSet, labels: Sequence[bool | None]
) -> list[LabelConflict]:
  conflicts = []
  for members in unit.clusters():
    by_label: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for index in members:
      label = labels[index]
      if label is not None:
        by_label[label][unit.candidates[index].answer or ''] = None
    cluster = unit.candidates[members[0]].cluster
    if by_label[True] and by_label[False] and cluster is not None:
      conflicts.append(
        LabelConflict(
          unit.problem.id,
          cluster,
          tuple(by_label[True]),
          tuple(by_label[False]),
        )
      )
  return conflicts
