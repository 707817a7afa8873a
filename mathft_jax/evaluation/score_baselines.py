"""Baseline scores for the same candidates: the generator's log-probability, and chance.

An evaluator must beat these rows. A vote weighted by any evaluator, even a constant one, is as good
as the majority vote (W.RR = Maj1), and a generator's own log-probability often separates its
correct samples from its incorrect ones.
"""

from collections.abc import Iterable
import dataclasses
import math

import numpy as np

from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import voting


def with_relative_probability_scores(
  candidate_set: CandidateSet,
) -> CandidateSet:
  """Returns the set with each candidate's score replaced by its probability under the generator.

  The score is exp(log_prob - largest log_prob of the problem). The factor is the same for all
  candidates of a problem, so it changes no choice of RR or W.RR (whose weights are then a softmax
  over the candidates); it prevents underflow for long solutions.

  Raises:
    MissingScoreError: a candidate has no log_prob.
  """
  candidates = candidate_set.candidates
  log_probs = [
    each.log_prob for each in candidates if each.log_prob is not None
  ]
  missing = len(candidates) - len(log_probs)
  if missing:
    raise voting.MissingScoreError(
      f'problem {candidate_set.problem.id!r}: {missing} of {len(candidates)} candidates have no '
      'log_prob. sample writes it; add "log_prob" to candidates from other programs.',
      field='log_prob',
    )
  largest = max(log_probs, default=0.0)
  scored = []
  for candidate, log_prob in zip(candidates, log_probs):
    score = math.exp(log_prob - largest)
    scored.append(dataclasses.replace(candidate, score=score, log_odds=None))
  return dataclasses.replace(candidate_set, candidates=tuple(scored))


def expected_random_accuracy(
  candidate_set: CandidateSet, top_clusters: int | None = None
) -> float:
  """Returns the expected accuracy of RR (RR.Top-K) with random scores.

  It is the share of correct candidates among those that the rule chooses from.
  """
  members = voting.flatten_clusters(candidate_set.clusters()[:top_clusters])
  return _share_correct(map(candidate_set.candidates.__getitem__, members))


def mean_correctness(candidate_set: CandidateSet) -> float:
  """Returns the share of correct candidates: the unbiased estimate of Pass@1 of one sample."""
  return _share_correct(candidate_set.candidates)


def _share_correct(candidates: Iterable[Candidate]) -> float:
  correct = [bool(candidate.is_correct) for candidate in candidates]
  return float(np.mean(correct)) if correct else 0.0
