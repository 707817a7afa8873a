"""Leaves out test problems whose question a training set has seen.

  test = UnseenProblems(problems=asdiv, seen=(asdiv_a_fold, mawps_fold))('test')

Two questions are the same if their normalised texts are equal: lower case, words only, each number
(also as a word) replaced by `#`. Questions that differ in a name or a word are found by the overlap
of their three-word sequences.
"""

import collections
from collections.abc import Iterable, Sequence
import dataclasses
import logging
import re

from mathft_jax.data import problem_sources
from mathft_jax.data.schema import Problem

_NUMBER_WORDS = frozenset(
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen '
  'sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety '
  'hundred thousand million'.split()
)
_NUMBER = re.compile(r'\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?\b')
_TOKEN = re.compile(r'[^\W\d_]+|#')
_Trigrams = frozenset[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class UnseenProblems:
  """The problems of a source, without those whose question is in a training set.

  Attributes:
    problems: the source.
    seen: sources whose split 'train' was used in training. Bind them without a limit.
    max_overlap: a problem is also left out if its question has at least this Jaccard overlap of
      three-word sequences with a seen question; 1.0: only equal normalised texts.
    limit: maximum number of problems that are left, chosen by a hash of the id; None means all.
  """

  problems: problem_sources.ProblemSource
  seen: tuple[problem_sources.ProblemSource, ...]
  max_overlap: float = 0.8
  limit: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'seen', tuple(self.seen))
    if not 0 < self.max_overlap <= 1:
      raise ValueError(
        f'UnseenProblems.max_overlap is {self.max_overlap}; it must be above 0 and at most 1.'
      )

  def __call__(self, split: str) -> list[Problem]:
    questions = []
    for source in self.seen:
      questions += [problem.question for problem in source('train')]
    seen = SeenQuestions(questions)

    problems = self.problems(split)
    unseen = []
    num_equal = 0
    for problem in problems:
      overlap = seen.overlap(problem.question)
      num_equal += overlap == 1.0
      if overlap < self.max_overlap:
        unseen.append(problem)
    logging.info(
      'split %s: %d problems; %d left out because training has seen the question, %d because it '
      'has seen a similar one',
      split,
      len(unseen),
      num_equal,
      len(problems) - len(unseen) - num_equal,
    )
    if not unseen:
      raise ValueError(
        f'Training has seen all {len(problems)} problems of split {split!r}.'
      )
    return problem_sources.subsample_problems(unseen, self.limit)


class SeenQuestions:
  """Normalised questions, and an index of their three-word sequences."""

  def __init__(self, questions: Iterable[str]):
    self._texts = set(map(normalize_question, questions))
    self._trigrams = [_trigrams(text) for text in sorted(self._texts)]
    self._places = collections.defaultdict(list)
    for place, trigrams in enumerate(self._trigrams):
      for trigram in trigrams:
        self._places[trigram].append(place)

  def overlap(self, question: str) -> float:
    """Returns 1.0 for a seen question, else the largest overlap with one, which is below 1."""
    text = normalize_question(question)
    if text in self._texts:
      return 1.0
    trigrams = _trigrams(text)
    common = collections.Counter[int]()
    for trigram in trigrams:
      common.update(self._places.get(trigram, ()))
    largest = 0.0
    for place, count in common.items():
      total = len(trigrams) + len(self._trigrams[place]) - count
      largest = max(largest, count / total)
    return min(largest, 1.0 - 1e-9)


def normalize_question(text: str) -> str:
  """Returns the words of a question in lower case, with `#` for each number."""
  text = text.lower()
  text = re.sub(r"\s+n['’]t\b", 'nt', text)
  text = re.sub(r"\s*['’]\s*", '', text)
  text = _NUMBER.sub(' # ', text)
  words: list[str] = []
  for word in _TOKEN.findall(text):
    word = '#' if word in _NUMBER_WORDS else word
    if word != '#' or words[-1:] != ['#']:
      words.append(word)
  return ' '.join(words)


def _trigrams(text: str) -> _Trigrams:
  words: Sequence[str] = text.split()
  return frozenset(zip(words, words[1:], words[2:]))
