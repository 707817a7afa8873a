"""Other ways to score the same candidates: what an evaluator has to beat.

Without these rows a table misleads. Voting weighted by any evaluator, even a constant one, is as
good as the vote (W.RR = Maj1), and a generator often knows by itself which of its samples is good.
"""

import dataclasses
import math

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import voting


def score_by_log_prob(candidate_set: CandidateSet) -> CandidateSet:
  """The set with the generator's own probability of each candidate in the place of its score.

  The score is exp(log_prob - the largest log_prob of the problem): the factor is the same for all
  candidates of a problem and so changes no choice, of RR or of W.RR (whose weights may as well be
  called a softmax over the candidates); it only keeps long solutions from underflowing.

  Raises:
    MissingScore: a candidate has no log_prob.
  """
  log_probs = [candidate.log_prob for candidate in candidate_set.candidates]
  missing = sum(log_prob is None for log_prob in log_probs)
  if missing:
    raise voting.MissingScoreError(
      f'problem {candidate_set.problem.id!r}: {missing} of {len(log_probs)} candidates have no '
      'log_prob; sample writes it, candidates made elsewhere may carry it as "log_prob".'
    )
  largest = max(log_probs, default=0.0)
  return dataclasses.replace(
    candidate_set,
    candidates=tuple(
      dataclasses.replace(
        candidate, score=math.exp(candidate.log_prob - largest)
      )
      for candidate in candidate_set.candidates
    ),
  )


def expected_random_accuracy(
  candidate_set: CandidateSet, top_clusters: int | None = None
) -> float:
  """Accuracy expected of RR (RR.Top-K) under scores that are random: no evaluator at all.

  It is the share of correct ones among the candidates that the rule chooses from.
  """
  members = [
    index
    for cluster in candidate_set.clusters()[:top_clusters]
    for index in cluster
  ]
  correct = [
    bool(candidate_set.candidates[index].is_correct) for index in members
  ]
  return float(np.mean(correct)) if correct else 0.0


def mean_correctness(candidate_set: CandidateSet) -> float:
  """Share of correct candidates: the unbiased estimate of Pass@1 of one sample."""
  correct = [
    bool(candidate.is_correct) for candidate in candidate_set.candidates
  ]
  return float(np.mean(correct)) if correct else 0.0
