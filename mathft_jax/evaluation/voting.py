"""Voting and re-ranking rules of the paper's section 3: each chooses one candidate per problem.

  choice = Rerank(top_clusters=8)(candidate_set)    # a Candidate, or None if none has an answer

Candidates without an answer are in no cluster and are never chosen. K is `top_clusters`, n is
`top_candidates`.

| rule                          | name in the paper           | needs scores of        |
|-------------------------------|-----------------------------|------------------------|
| `Majority()`                  | Maj1                        | none                   |
| `Rerank()`                    | RR.All                      | all                    |
| `Rerank(top_clusters=K)`      | RR.Top-K, RR.MajK           | the K largest clusters |
| `WeightedVote()`              | W.RR                        | all                    |
| `WeightedVote(top_clusters=K)`| W.RR.MajK                   | the K largest clusters |
| `Majority(top_candidates=n)`  | Maj1.TopN                   | all                    |
| `Oracle()`                    | Pass@N, an upper bound      | none; reads the labels |
| `Oracle(top_clusters=K)`      | MajK@N, bound of RR.Top-K   | none; reads the labels |

Scores that are equal in the precision of a float are ordered by their log-odds, if the file has
them. All rules break ties in the same way: of equal scores the first sampled candidate wins; of
equal clusters the larger, then the first sampled. Therefore the identities of the paper hold
exactly: RR.Top-1 = Maj1, RR.Top-all = RR.All, W.RR.Top-1 = Maj1, Maj1.Top1 = RR.All, Maj1.Top-all =
Maj1; with a constant evaluator W.RR = Maj1, with a perfect evaluator RR.All = Pass@N.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import math
from typing import Protocol

from mathft_jax.data.schema import Candidate, CandidateSet, Cluster

RankingKey = tuple[float, float]  # score and log-odds


class VotingRule(Protocol):
  """Chooses a candidate of a problem; None if no candidate can be chosen.

  A rule may have an attribute `name`, which a report uses as the name of its row.
  """

  def __call__(self, candidate_set: CandidateSet, /) -> Candidate | None: ...


class MissingScoreError(ValueError):
  """A rule needs a value of a candidate that has none.

  Attributes:
    field: the field of `Candidate` that is missing, 'score' or 'log_prob'.
  """

  def __init__(self, message: str, field: str = 'score'):
    super().__init__(message)
    self.field = field


@dataclasses.dataclass(frozen=True)
class Majority:
  """Maj1: the first sampled member of the largest cluster.

  With `top_candidates=n`, Maj1.TopN: only the n answered candidates of highest score vote.
  """

  top_candidates: int | None = None

  def __post_init__(self):
    _check_positive('Majority.top_candidates', self.top_candidates)

  @property
  def name(self) -> str:
    if self.top_candidates is None:
      return 'Maj1@N'
    return f'Maj1.Top{self.top_candidates}'

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    if self.top_candidates is not None:
      candidate_set = self._keep_highest_scored(candidate_set)
    clusters = candidate_set.clusters()
    return candidate_set.candidates[clusters[0][0]] if clusters else None

  def _keep_highest_scored(self, candidate_set: CandidateSet) -> CandidateSet:
    """Returns the `top_candidates` candidates of highest score in sampling order."""
    answered = flatten_clusters(candidate_set.clusters())
    scores = _scores(candidate_set, answered, self.name)
    keys = _ranking_keys(candidate_set, scores)
    # A stable sort: of equals the first sampled stays first.
    best_first = sorted(answered, key=keys.__getitem__, reverse=True)
    kept = sorted(best_first[: self.top_candidates])
    candidates = map(candidate_set.candidates.__getitem__, kept)
    return dataclasses.replace(candidate_set, candidates=tuple(candidates))


@dataclasses.dataclass(frozen=True)
class Rerank:
  """RR.All: the candidate of highest score; RR.Top-K: within the K largest clusters."""

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('Rerank.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    if self.top_clusters is None:
      return 'RR.All'
    return f'RR.Top-{self.top_clusters}'

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    members = flatten_clusters(candidate_set.clusters()[: self.top_clusters])
    scores = _scores(candidate_set, members, self.name)
    if not members:
      return None
    keys = _ranking_keys(candidate_set, scores)
    # max() returns the first of equals, here the first sampled.
    return candidate_set.candidates[max(members, key=keys.__getitem__)]


@dataclasses.dataclass(frozen=True)
class WeightedVote:
  """W.RR: the best member of the cluster with the largest sum of scores; W.RR.MajK within K."""

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('WeightedVote.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    if self.top_clusters is None:
      return 'W.RR'
    return f'W.RR.Top-{self.top_clusters}'

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    clusters = candidate_set.clusters()[: self.top_clusters]
    scores = _scores(candidate_set, flatten_clusters(clusters), self.name)
    if not clusters:
      return None

    def weight(cluster: Cluster) -> float:
      # fsum: the sum, and so the winner of a tie, must not depend on the order of the members.
      return math.fsum(map(scores.__getitem__, cluster))

    heaviest = max(clusters, key=weight)
    keys = _ranking_keys(candidate_set, scores)
    return candidate_set.candidates[max(heaviest, key=keys.__getitem__)]


@dataclasses.dataclass(frozen=True)
class Oracle:
  """Pass@N: a correct candidate if there is one; MajK@N: if the K largest clusters have one.

  It reads the labels, so it is the upper bound of the other rules and not a method.
  """

  top_clusters: int | None = None

  def __post_init__(self):
    _check_positive('Oracle.top_clusters', self.top_clusters)

  @property
  def name(self) -> str:
    if self.top_clusters is None:
      return 'Pass@N'
    return f'MajK@N, K={self.top_clusters}'

  def __call__(self, candidate_set: CandidateSet) -> Candidate | None:
    indices: Iterable[int] = range(len(candidate_set.candidates))
    if self.top_clusters is not None:
      indices = flatten_clusters(candidate_set.clusters()[: self.top_clusters])
    for index in indices:
      if candidate_set.candidates[index].is_correct:
        return candidate_set.candidates[index]
    return None


def paper_rules(
  top_clusters: int = 8, top_candidates: int = 8
) -> tuple[VotingRule, ...]:
  """Returns every rule of the paper's section 3.

  Args:
    top_clusters: K; 8 is the paper's.
    top_candidates: n of Maj1.TopN; the paper chose its n on the test problems.
  """
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
  """Returns the rule's `name`, else its `__name__`, else str(rule)."""
  name = getattr(rule, 'name', None) or getattr(rule, '__name__', None)
  return name or str(rule)


def flatten_clusters(clusters: Sequence[Cluster]) -> list[int]:
  """Returns the indices of all members of the clusters in sampling order."""
  members = []
  for cluster in clusters:
    members.extend(cluster)
  return sorted(members)


def ranking_key(candidate: Candidate) -> RankingKey | None:
  """Returns what candidates are ordered by, larger is better: (score, log-odds).

  S_cls of a confident evaluator is exactly 1 from log-odds of 37 on (17 in float32), and then the
  log-odds decide. Equal scores without log-odds, as in older files, are equal. None without score.
  """
  if candidate.score is None:
    return None
  return candidate.score, candidate.log_odds or 0.0


def dense_ranks(keys: Sequence[RankingKey | float]) -> list[int]:
  """Returns the rank of each key among the distinct keys; 0 is the smallest."""
  rank_of_key = {key: rank for rank, key in enumerate(sorted(set(keys)))}
  return [rank_of_key[key] for key in keys]


def _ranking_keys(
  candidate_set: CandidateSet, indices: Iterable[int]
) -> dict[int, RankingKey]:
  """Returns the ranking keys of candidates that have scores, by index."""
  keys = {}
  for index in indices:
    key = ranking_key(candidate_set.candidates[index])
    assert key is not None  # `_scores` checks it
    keys[index] = key
  return keys


def _scores(
  candidate_set: CandidateSet, needed: Sequence[int], rule: str
) -> dict[int, float]:
  """Returns the scores of the needed candidates by index.

  Raises:
    MissingScoreError: a needed candidate has no score.
    ValueError: a score is not finite.
  """
  problem = f'problem {candidate_set.problem.id!r}'
  scores, missing = {}, []
  for index in needed:
    score = candidate_set.candidates[index].score
    if score is None:
      missing.append(index)
    else:
      scores[index] = score

  if missing:
    raise MissingScoreError(
      f'{problem}: {rule} needs the scores of {len(needed)} candidates, but {len(missing)} of '
      f'them have none (the first is candidate {min(missing)}). Run score with '
      'top_clusters=None, or use a rule over the clusters that have scores.'
    )
  for index, score in scores.items():
    if not math.isfinite(score):
      raise ValueError(
        f'{problem}: candidate {index} has the score {score}; wanted a finite number, S_cls in '
        '[0, 1].'
      )
  return scores


def _check_positive(field: str, value: int | None) -> None:
  if value is not None and value < 1:
    raise ValueError(
      f'{field} is {value}; wanted at least 1, or None for all of them.'
    )
