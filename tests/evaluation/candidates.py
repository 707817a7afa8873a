"""Candidate sets for tests: by hand from short rows, and random ones for property tests."""

from hypothesis import strategies as st

from mathft_jax.data.schema import Candidate, CandidateSet, Problem
from mathft_jax.evaluation.report import rendering

CORRECT = 'right'


def candidate_set(rows, id_='p', **problem):
  """A graded set of (answer, score[, log_prob[, log_odds]]) rows; None is no answer."""
  labels, candidates = {}, []
  for index, (answer, score, *more) in enumerate(rows):
    log_prob, log_odds = [*more, None, None][:2]
    cluster = None if answer is None else labels.setdefault(answer, len(labels))
    candidates.append(
      Candidate(
        f'{index}: {answer}',
        answer=answer,
        cluster=cluster,
        score=score,
        is_correct=answer == CORRECT,
        log_prob=log_prob,
        log_odds=log_odds,
      )
    )
  return CandidateSet(
    Problem(id_, 'question', answer=CORRECT, **problem), tuple(candidates)
  )


def answers():
  return st.sampled_from((CORRECT, 'a', 'b', 'c', 'd', None))


def scores():
  """Often equal, so that ties are tested; else anything in [0, 1]."""
  return st.one_of(
    st.sampled_from((0.0, 0.25, 0.5, 1.0)), st.floats(0, 1, width=32)
  )


def candidate_sets(most=12):
  """Half of them with log-odds, which decide between equal scores."""
  tie_breaks = st.sampled_from((-1.0, 2.0, 2.0, 3.0))
  plain = st.tuples(answers(), scores())
  with_log_odds = st.tuples(answers(), scores(), st.none(), tie_breaks)
  return st.one_of(
    st.lists(plain, max_size=most), st.lists(with_log_odds, max_size=most)
  ).map(candidate_set)


def no_plots(report):
  """Stands in for the plots, which take most of the time of a small report."""
  files = {name: {'accuracies': b'<svg/>'} for name in report['files']}
  return rendering.PlotImages({}, files)
