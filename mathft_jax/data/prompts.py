"""The texts that a model is asked with, and their token ids: the only place that makes either.

Every stage (training, sampling, scoring) calls these functions, so a prompt is tokenised in one way
everywhere. BOS stands once, at the very start, when the vocabulary has one; EOS ends a solution.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mathft_jax import records


@dataclasses.dataclass(frozen=True)
class Template:
  """The prompts. `{question}` and `{solution}` are replaced; other braces mean themselves.

  The evaluator's text is the paper's (2310.10047, section 3.2); the generator's is ours. The
  evaluator prompt comes in two pieces, so that the piece with the problem is prefilled once for all
  candidates. `words` continue the evaluator prompt, with their leading space: correct one first.
  `shots` are demonstrations, pairs of (question, solution), for pre-trained models.
  """

  solve: str = 'Problem:\n{question}\n\nSolution:\n'
  verify_problem: str = 'Here is a math problem: {question}. Here is a candidate solution:'
  verify_solution: str = ' {solution}. The above candidate solution is'
  words: tuple[str, str] = (' correct', ' incorrect')
  shots: tuple[tuple[str, str], ...] = ()
  shot_separator: str = '\n\n'

  def __post_init__(self):
    object.__setattr__(self, 'words', tuple(self.words))
    object.__setattr__(self, 'shots', tuple(tuple(shot) for shot in self.shots))
    for name, slot in (('solve', '{question}'), ('verify_problem', '{question}'),
                       ('verify_solution', '{solution}')):
      if getattr(self, name).count(slot) != 1:
        raise ValueError(f'Template.{name} is {getattr(self, name)!r}; wanted {slot} in it once.')
    if len(self.words) != 2:
      raise ValueError(f'Template.words are {self.words}; wanted two, the correct one first.')


def encode_prompt(template: Template, vocabulary, problem: records.Problem) -> list[int]:
  """The generator's prompt: BOS, demonstrations, problem."""
  shots = ''.join(template.solve.replace('{question}', question) + solution
                  + template.shot_separator for question, solution in template.shots)
  return _bos(vocabulary) + vocabulary.encode(
      shots + template.solve.replace('{question}', problem.question))


def encode_solution(vocabulary, text: str) -> list[int]:
  """A solution as a training target: its tokens and EOS."""
  return vocabulary.encode(text) + [vocabulary.eos_id]


def encode_verify_problem(template: Template, vocabulary, problem: records.Problem) -> list[int]:
  """The evaluator prompt's first piece, BOS and problem: the same for every candidate."""
  return _bos(vocabulary) + vocabulary.encode(
      template.verify_problem.replace('{question}', problem.question))


def encode_verify_solution(template: Template, vocabulary, solution: str) -> list[int]:
  """The evaluator prompt's second piece, up to where the verdict stands."""
  return vocabulary.encode(template.verify_solution.replace('{solution}', solution))


def encode_words(template: Template, vocabulary) -> tuple[np.ndarray, np.ndarray]:
  """The label words as `words_WM` (int32, padded) and `mask_WM` (bool, True at tokens).

  ValueError when the two cannot be told apart: a word without tokens, or one that begins the other
  (whatever follows, the shorter word would be at least as probable).
  """
  ids = [vocabulary.encode(word) for word in template.words]
  shortest = min(map(len, ids))
  if ids[0][:shortest] == ids[1][:shortest]:
    raise ValueError(
        f'The label words {template.words} become the tokens {ids}, which cannot be told apart; '
        'wanted words of which neither begins the other. Bind other Template.words.')
  words_WM = np.full((2, max(map(len, ids))), vocabulary.pad_id, np.int32)
  mask_WM = np.zeros(words_WM.shape, bool)
  for row, word in enumerate(ids):
    words_WM[row, :len(word)] = word
    mask_WM[row, :len(word)] = True
  return words_WM, mask_WM


def fingerprint(template: Template, vocabulary) -> dict[str, str]:
  """What a checkpoint remembers of its template and vocabulary; compared at each hand-over.

  Demonstrations are left out: a prompt with `shots` is the same template.
  """
  texts = {f'template.{name}': getattr(template, name)
           for name in ('solve', 'verify_problem', 'verify_solution')}
  return {**texts, 'template.words': ' | '.join(template.words),
          'vocabulary': vocabulary.fingerprint(), 'vocabulary.size': str(vocabulary.vocab_size)}


def _bos(vocabulary) -> Sequence[int]:
  return [] if vocabulary.bos_id is None else [vocabulary.bos_id]
