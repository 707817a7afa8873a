"""The texts that a model is asked with, and their token ids: the only place that makes either.

Every stage (training, sampling, scoring) calls these functions, so a prompt is tokenised in one way
everywhere. BOS stands once, at the very start, when the vocabulary has one; EOS ends a solution.

A prompt, the solution after it, the two pieces of an evaluator prompt and a label word are each
tokenised on their own, in training as well: no token reaches over such a border, as sampling and
scoring could not know what follows. Where the later piece begins with a space or a letter, byte-
level BPE and SentencePiece give the joint text the same tokens; where it begins with a line break
after another, they need not.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import re

import numpy as np

from mathft_jax.data import schema


@dataclasses.dataclass(frozen=True)
class Template:
  """The prompts. `{question}` and `{solution}` are replaced; other braces mean themselves.

  The evaluator's text is the paper's (2310.10047, section 3.2); the generator's is ours. The
  evaluator prompt comes in two pieces, so that the piece with the problem is prefilled once for all
  candidates. `label_words` continue the evaluator prompt, with their leading space: correct one first.
  `shots` are demonstrations, pairs of (question, solution), for pre-trained models.

  `special_tokens` are names that stand in the template's own texts for one token each, such as
  `<|im_start|>`; the vocabulary must have them among its `special_ids`. In a question or a solution
  the same names are text.
  """

  solve: str = 'Problem:\n{question}\n\nSolution:\n'
  verify_problem: str = (
    'Here is a math problem: {question}. Here is a candidate solution:'
  )
  verify_solution: str = ' {solution}. The above candidate solution is'
  label_words: tuple[str, str] = (' correct', ' incorrect')
  shots: tuple[tuple[str, str], ...] = ()
  shot_separator: str = '\n\n'
  special_tokens: tuple[str, ...] = ()

  def __post_init__(self):
    object.__setattr__(self, 'label_words', tuple(self.label_words))
    object.__setattr__(self, 'special_tokens', tuple(self.special_tokens))
    object.__setattr__(self, 'shots', tuple(tuple(shot) for shot in self.shots))
    for name, slot in (
      ('solve', '{question}'),
      ('verify_problem', '{question}'),
      ('verify_solution', '{solution}'),
    ):
      if getattr(self, name).count(slot) != 1:
        raise ValueError(
          f'Template.{name} is {getattr(self, name)!r}; wanted {slot} in it once.'
        )
    if len(self.label_words) != 2:
      raise ValueError(
        f'Template.label_words are {self.label_words}; wanted two, the correct one first.'
      )
    if '' in self.special_tokens:
      raise ValueError(
        f'Template.special_tokens are {self.special_tokens}; wanted names.'
      )


def encode_prompt(
  template: Template, vocabulary, problem: schema.Problem
) -> list[int]:
  """The generator's prompt: BOS, demonstrations, problem."""
  parts: list[str | int] = []
  for question, solution in template.shots:
    parts += [
      *_filled(template, vocabulary, template.solve, '{question}', question),
      solution,
      *_own(template, vocabulary, template.shot_separator),
    ]
  parts += _filled(
    template, vocabulary, template.solve, '{question}', problem.question
  )
  return _start(vocabulary, parts)


def encode_solution(vocabulary, text: str) -> list[int]:
  """A solution as a training target: its tokens and EOS."""
  return vocabulary.encode(text) + [vocabulary.eos_id]


def truncate_at_next_problem(template: Template, text: str) -> str:
  """A sampled solution up to where it goes on with a further problem, as after demonstrations.

  A pre-trained model seldom ends by itself; the last box of what it writes would be another
  problem's answer. Without `shots` the text stays as it is.
  """
  if not template.shots:
    return text
  begins = template.shot_separator + template.solve.partition('{question}')[0]
  return text.partition(begins.rstrip() or begins)[0]


def encode_evaluator_problem(
  template: Template, vocabulary, problem: schema.Problem
) -> list[int]:
  """The evaluator prompt's first piece, BOS and problem: the same for every candidate."""
  return _start(
    vocabulary,
    _filled(
      template,
      vocabulary,
      template.verify_problem,
      '{question}',
      problem.question,
    ),
  )


def encode_evaluator_solution(
  template: Template, vocabulary, solution: str
) -> list[int]:
  """The evaluator prompt's second piece, up to where the verdict stands."""
  return _ids(
    vocabulary,
    _filled(
      template, vocabulary, template.verify_solution, '{solution}', solution
    ),
  )


def encode_label_words(
  template: Template, vocabulary
) -> tuple[np.ndarray, np.ndarray]:
  """The label words as `words_WM` (int32, padded) and `mask_WM` (bool, True at tokens).

  ValueError when the two cannot be told apart: a word without tokens, or one that begins the other
  (whatever follows, the shorter word would be at least as probable).
  """
  ids = [vocabulary.encode(word) for word in template.label_words]
  shortest = min(map(len, ids))
  if ids[0][:shortest] == ids[1][:shortest]:
    raise ValueError(
      f'The label words {template.label_words} become the tokens {ids}, which cannot be told apart; '
      'wanted words of which neither begins the other. Bind other Template.label_words.'
    )
  words_WM = np.full((2, max(map(len, ids))), vocabulary.pad_id, np.int32)
  mask_WM = np.zeros(words_WM.shape, bool)
  for row, word in enumerate(ids):
    words_WM[row, : len(word)] = word
    mask_WM[row, : len(word)] = True
  return words_WM, mask_WM


def template_fingerprint(template: Template, vocabulary) -> dict[str, str]:
  """What a checkpoint remembers of its template and vocabulary; compared at each hand-over.

  Demonstrations are left out: a prompt with `shots` is the same template.
  """
  texts = {
    f'template.{name}': getattr(template, name)
    for name in ('solve', 'verify_problem', 'verify_solution')
  }
  if template.special_tokens:
    texts['template.special_tokens'] = ' '.join(template.special_tokens)
  return {
    **texts,
    'template.label_words': ' | '.join(template.label_words),
    'vocabulary': vocabulary.fingerprint(),
    'vocabulary.size': str(vocabulary.vocab_size),
  }


def _filled(
  template: Template, vocabulary, text: str, slot: str, value: str
) -> list[str | int]:
  """A text of the template with `value` in its slot, as texts and special tokens' ids."""
  before, _, after = text.partition(slot)
  return [
    *_own(template, vocabulary, before),
    value,
    *_own(template, vocabulary, after),
  ]


def _own(template: Template, vocabulary, text: str) -> list[str | int]:
  """A text of the template itself, in which special tokens have become ids."""
  if not template.special_tokens:
    return [text]
  missing = [
    name
    for name in template.special_tokens
    if name not in vocabulary.special_ids
  ]
  if missing:
    raise ValueError(
      f'Template.special_tokens has {missing}, which are no special tokens of the vocabulary '
      f'({vocabulary.fingerprint()}); it has {sorted(vocabulary.special_ids)[:20]}. Give the '
      "template of the vocabulary's family, or name them in TokenizerVocabulary.additional_special_tokens."
    )
  longest_first = sorted(template.special_tokens, key=len, reverse=True)
  parts = re.split(f'({"|".join(map(re.escape, longest_first))})', text)
  return [
    vocabulary.special_ids[part] if index % 2 else part
    for index, part in enumerate(parts)
  ]


def _start(vocabulary, parts: Sequence[str | int]) -> list[int]:
  """The ids of what begins a text: BOS, then the tokenizer's own first space if text is next."""
  bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  parts = [part for part in parts if part != '']
  prefix = (
    [vocabulary.text_prefix] if parts and isinstance(parts[0], str) else []
  )
  return bos + _ids(vocabulary, [*prefix, *parts])


def _ids(vocabulary, parts: Sequence[str | int]) -> list[int]:
  """Ids stay, neighbouring texts are tokenised as one."""
  ids: list[int] = []
  for is_text, group in itertools.groupby(
    parts, lambda part: isinstance(part, str)
  ):
    ids += vocabulary.encode(''.join(group)) if is_text else group
  return ids
