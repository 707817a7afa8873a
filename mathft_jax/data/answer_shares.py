"""How the answers of candidates were found: shares by method, and warnings about unusual ones.

shares = AnswerShares.of(candidate_sets)
shares.headline()    # '5,276 answers: phrase 99.9%, none 0.1%'
shares.warnings()    # one sentence for each unusual share
"""

import collections
from collections.abc import Iterable, Mapping
import dataclasses
from typing import Self

from mathft_jax.data import schema

NO_ANSWER = 'none'
UNKNOWN = 'unknown'  # files of graders that do not write `how`
INFERRED = ('final_sentence', 'last_number', 'last_line')
MAX_WITHOUT_ANSWER = 0.05
MAX_INFERRED = 0.2
_MIN_CANDIDATES = (
  20  # fewer candidates of a method give no warning about its accuracy
)


@dataclasses.dataclass(frozen=True)
class AnswerShares:
  """Numbers of candidates by the method that found their answer.

  Attributes:
    counts: candidates by method; `none` without an answer.
    correct: correct candidates by method.
    labelled: candidates with a label by method.
    cut_without_answer: candidates without an answer that were cut at the length limit.
    length_limit: tokens of the longest of these; None if their tokens are not known.
  """

  counts: Mapping[str, int]
  correct: Mapping[str, int]
  labelled: Mapping[str, int]
  cut_without_answer: int = 0
  length_limit: int | None = None

  @classmethod
  def of(cls, sets: Iterable[schema.CandidateSet]) -> Self:
    """Returns the numbers of graded candidate sets."""
    counts = collections.Counter()
    correct = collections.Counter()
    labelled = collections.Counter()
    cut_lengths = []
    for unit in sets:
      for candidate in unit.candidates:
        method = method_of(candidate)
        counts[method] += 1
        correct[method] += candidate.is_correct is True
        labelled[method] += candidate.is_correct is not None
        if method == NO_ANSWER and candidate.finished is False:
          cut_lengths.append(len(candidate.token_ids or ()))
    length_limit = max(cut_lengths, default=0) or None
    return cls(counts, correct, labelled, len(cut_lengths), length_limit)

  def shares(self) -> dict[str, float]:
    """Returns the share of each method in all candidates, the largest first, `none` last."""
    total = max(sum(self.counts.values()), 1)
    methods = sorted(
      self.counts, key=lambda name: (name == NO_ANSWER, -self.counts[name])
    )
    return {name: self.counts[name] / total for name in methods}

  def headline(self) -> str:
    """Returns one line: how many candidates, and the share of each method in percent."""
    shares = {NO_ANSWER: 0.0} | self.shares()
    none = shares.pop(NO_ANSWER)
    parts = [f'{name} {share:.1%}' for name, share in shares.items()]
    parts.append(f'no answer {none:.1%}')
    return f'{sum(self.counts.values()):,} candidates, answers by ' + ', '.join(
      parts
    )

  def warnings(self) -> list[str]:
    """Returns a sentence for each unusual share, '' never among them."""
    shares = self.shares()
    found = []
    without = shares.get(NO_ANSWER, 0.0)
    if without > MAX_WITHOUT_ANSWER:
      found.append(
        f'{without:.1%} of the candidates have no answer ({MAX_WITHOUT_ANSWER:.0%} is usual). They '
        f'count as wrong. {self._advice_without_answer()}'
      )
    inferred = sum(shares.get(name, 0.0) for name in INFERRED)
    if inferred > MAX_INFERRED:
      found.append(
        f'{inferred:.1%} of the answers were not announced but taken from the end of the text '
        f'(up to {MAX_INFERRED:.0%} is usual). Look at some of them.'
      )
    return found + self._warnings_about_accuracy()

  def _advice_without_answer(self) -> str:
    """Returns what to do if many candidates have no answer."""
    cut = self.cut_without_answer / max(self.counts.get(NO_ANSWER, 0), 1)
    if cut <= 0.5:
      return (
        'Look at some of them; see FIND_ANSWERS and the turn markers of grade.'
      )
    limit = f' ({self.length_limit})' if self.length_limit else ''
    return (
      f'{cut:.1%} of them were cut at the length limit: raise '
      f'MAX_DECODE_LENGTH{limit} of sample.'
    )

  def _warnings_about_accuracy(self) -> list[str]:
    """Returns a sentence for each method with less than half of the accuracy of the others."""
    found = []
    for name, count in self.labelled.items():
      others = (
        sum(self.labelled.values()) - count - self.labelled.get(NO_ANSWER, 0)
      )
      if name == NO_ANSWER or min(count, others) < _MIN_CANDIDATES:
        continue
      accuracy = self.correct[name] / count
      other_accuracy = (
        sum(self.correct.values()) - self.correct[name]
      ) / others
      if accuracy < other_accuracy / 2:
        found.append(
          f'Of the answers found by {name}, {accuracy:.1%} are correct; of all others, '
          f'{other_accuracy:.1%}. The method may read these texts wrongly.'
        )
    return found


def method_of(candidate: schema.Candidate) -> str:
  """Returns the method that found the answer of a candidate, `none` or `unknown`."""
  if candidate.answer is None:
    return NO_ANSWER
  return candidate.how or UNKNOWN
