"""The rules of the paper's section 3: which candidate of a problem to answer with.

A rule takes a problem with its candidates and returns the chosen candidate, or None where no
candidate has an answer. Candidates without an answer are in no cluster and are never chosen.

| rule                          | the paper's name            | needs scores of          |
|-------------------------------|-----------------------------|--------------------------|
| `Majority()`                  | Maj1                        | nobody                   |
| `Rerank()`                    | RR.All                      | all                      |
| `Rerank(top_clusters=K)`      | RR.Top-K, RR.MajK           | the K largest clusters   |
| `WeightedVote()`              | W.RR                        | all                      |
| `WeightedVote(top_clusters=K)`| W.RR.MajK                   | the K largest clusters   |
| `Majority(top_candidates=n)`  | Maj1.TopN                   | all                      |
| `Oracle()`                    | Pass@N, a ceiling           | nobody; reads the labels |
| `Oracle(top_clusters=K)`      | MajK@N, RR.Top-K's ceiling  | nobody; reads the labels |

One tie-break everywhere: of equal scores the first sampled wins, of equal clusters the larger and
then the first sampled. With it the identities of the paper hold exactly: RR.Top-1 = Maj1,
RR.Top-all = RR.All, W.RR.Top-1 = Maj1, Maj1.Top1 = RR.All, Maj1.Top-all = Maj1; a constant
evaluator makes W.RR = Maj1, a perfect one RR.All = Pass@N.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math

from mathft_jax.data.schema import Candidate, CandidateSet

VotingRule = Callable[[CandidateSet], Candidate | None]


class MissingScoreError(ValueError):
  """A rule needs the score of a candidate that has none."""


@dataclasses.dataclass(frozen=True)
class Majority:
  """Maj1: the first sampled member of the largest cluster.

  With `top_candidates=n`, Maj1.TopN: the vote is among the n answered candidates of highest score.
  """

  top_candidates: int | None = None

  def __post_init__(self):
    _check_positive('Majority.top_candidates', self.top_candidates)

  @property
  def name(self) -> str:
    return (
      'Maj1@N'
      if self.top_candidates is None
      else f'Maj1.Top{self.top_candidates}'
    )

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    if self.top_candidates is not None:
      candidate_set = self._highest_scored(candidate_set)
    clusters = candidate_set.clusters()
    return candidate_set.candidates[clusters[0][0]] if clusters else None

  def _highest_scored(self, candidate_set: CandidateSet) -> CandidateSet:
    """The `top_candidates` candidates of highest score, still in sampling order."""
    answered = sorted(
      index for cluster in candidate_set.clusters() for index in cluster
    )
    scores = _scores(candidate_set, answered, self.name)
    best = sorted(answered, key=lambda index: -scores[index])[
      : self.top_candidates
    ]
    kept = tuple(candidate_set.candidates[index] for index in sorted(best))
    return dataclasses.replace(candidate_set, candidates=kept)


@dataclasses.dataclass(frozen=True)
class Rerank:
  """RR.All: the candidate of the highest score; RR.Top-K: within the K largest clusters."""

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('Rerank.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    return (
      'RR.All' if self.top_clusters is None else f'RR.Top-{self.top_clusters}'
    )

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    clusters = candidate_set.clusters()[: self.top_clusters]
    # In sampling order, for max() keeps the first of equals.
    members = sorted(index for cluster in clusters for index in cluster)
    scores = _scores(candidate_set, members, self.name)
    if not members:
      return None
    return candidate_set.candidates[max(members, key=scores.__getitem__)]


@dataclasses.dataclass(frozen=True)
class WeightedVote:
  """W.RR: the best member of the cluster with the largest sum of scores; W.RR.MajK within K."""

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('WeightedVote.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    return (
      'W.RR' if self.top_clusters is None else f'W.RR.Top-{self.top_clusters}'
    )

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    clusters = candidate_set.clusters()[: self.top_clusters]
    members = [index for cluster in clusters for index in cluster]
    scores = _scores(candidate_set, members, self.name)
    if not clusters:
      return None
    # fsum: the sum, and so the winner of a tie, must not depend on the order of the members.
    heaviest = max(
      clusters,
      key=lambda cluster: math.fsum(scores[index] for index in cluster),
    )
    return candidate_set.candidates[max(heaviest, key=scores.__getitem__)]


@dataclasses.dataclass(frozen=True)
class Oracle:
  """Pass@N: a correct candidate if there is one; MajK@N: if the K largest clusters have one.

  No method may be compared with it: it reads the labels. It is the ceiling of the others.
  """

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('Oracle.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    return (
      'Pass@N'
      if self.top_clusters is None
      else f'MajK@N, K={self.top_clusters}'
    )

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    candidates = candidate_set.candidates
    if self.top_clusters is not None:
      clusters = candidate_set.clusters()[: self.top_clusters]
      candidates = [
        candidates[index] for cluster in clusters for index in cluster
      ]
    return next(
      (candidate for candidate in candidates if candidate.is_correct), None
    )


def paper_rules(
  top_clusters: int = 8, top_candidates: int = 8
) -> tuple[VotingRule, ...]:
  """Every rule of the paper's section 3; K = 8 is the paper's, n = 8 ours (it chose n by test)."""
  return (
    Majority(),
    Rerank(),
    Rerank(top_clusters),
    WeightedVote(),
    WeightedVote(top_clusters),
    Majority(top_candidates),
    Oracle(top_clusters),
    Oracle(),
  )


def rule_name(rule: VotingRule) -> str:
  """The rule's `name`, else how it prints: what the report calls it."""
  return (
    getattr(rule, 'name', None) or getattr(rule, '__name__', None) or str(rule)
  )


def _scores(
  candidate_set: CandidateSet, needed: Sequence[int], rule: str
) -> dict[int, float]:
  """Scores of the needed candidates by index; MissingScore when one has none."""
  scores = {index: candidate_set.candidates[index].score for index in needed}
  missing = [index for index, score in scores.items() if score is None]
  if missing:
    raise MissingScoreError(
      f'problem {candidate_set.problem.id!r}: {rule} needs the scores of {len(scores)} '
      f'candidates, but {len(missing)} of them have none (the first is candidate {missing[0]}). '
      'Run score with top_clusters=None, or use a rule over the clusters that were scored.'
    )
  broken = [
    index for index, score in scores.items() if not math.isfinite(score)
  ]
  if broken:
    raise ValueError(
      f'problem {candidate_set.problem.id!r}: candidate {broken[0]} has the score '
      f'{scores[broken[0]]}; wanted a finite number, S_cls in [0, 1].'
    )
  return scores


def _check_positive(field: str, value: int | None) -> None:
  if value is not None and value < 1:
    raise ValueError(
      f'{field} = {value}; wanted at least 1, or None for all of them.'
    )
