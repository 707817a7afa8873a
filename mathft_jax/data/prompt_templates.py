"""Prompt templates and the token ids of prompts, solutions and label words.

  template = Template()
  ids = encode_prompt(template, vocabulary, problem) + encode_solution(vocabulary, problem.solution)

Training, sampling and scoring all call these functions, so a prompt has the same token ids in
every stage. BOS is the first token, if the vocabulary has one; EOS ends a solution.

A prompt, the solution after it, the two parts of an evaluator prompt and a label word are each
tokenised separately, also in training. No token crosses such a boundary, because sampling and
scoring do not see what follows. If the later part starts with a space or a letter, byte-level BPE
and SentencePiece give the joint text the same tokens; if it starts with a line break after another
line break, they may not.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import re
from typing import Protocol

from mathft_jax.data import label_word_branches as words_lib
from mathft_jax.data import schema, thoughts


class Vocabulary(Protocol):
  """Text to token ids and back; `vocabularies` has implementations."""

  @property
  def vocab_size(self) -> int:
    """All ids are below it."""
    ...

  @property
  def pad_id(self) -> int:
    """Differs from `eos_id`; else a model does not learn to stop."""
    ...

  @property
  def eos_id(self) -> int: ...

  @property
  def end_ids(self) -> tuple[int, ...]:
    """Ids that end a sampled text: EOS and further ends of a turn."""
    ...

  @property
  def bos_id(self) -> int | None:
    """None if texts do not start with BOS."""
    ...

  @property
  def special_ids(self) -> Mapping[str, int]:
    """Ids by name of tokens that templates may use and that no text becomes."""
    ...

  @property
  def text_prefix(self) -> str:
    """Text that the published tokenizer puts before every text: '' or a space (Llama 2)."""
    ...

  def encode(self, text: str) -> list[int]:
    """Returns token ids without BOS, EOS or other special tokens."""
    ...

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text before the first EOS, without PAD and BOS."""
    ...

  def fingerprint(self) -> str:
    """Equal for vocabularies that give the same ids to every text."""
    ...


@dataclasses.dataclass(frozen=True)
class Template:
  """Prompt texts. `{question}` and `{solution}` are replaced; other braces are literal.

  The evaluator texts are those of the paper (2310.10047, section 3.2); the generator text is a
  default. The evaluator prompt has two parts, so that the part with the problem is prefilled once
  for all candidates.

  Attributes:
    solve: the generator prompt.
    verify_problem: first part of the evaluator prompt.
    verify_solution: second part of the evaluator prompt, up to the label word.
    label_words: (correct, incorrect); they continue the evaluator prompt, with a leading space.
    shots: demonstrations for pre-trained models, pairs of (question, solution).
    shot_separator: text after each demonstration.
    special_tokens: names that are one token each in the template's own texts, for example
      `<|im_start|>`; the vocabulary must have them in `special_ids`. In a question or a solution
      the same names are plain text.
    system: text before everything else: the system turn of a published chat template.
    assistant_start: text after `solve` in the model's last turn, not in demonstrations: an empty
      thought, or the start of a thought.
    turn_markers: of a model that thinks before it answers. A reference solution without a thought
      then gets an empty one, and the evaluator prompt contains the part of a solution that counts.
      None: solutions are used unchanged.
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
  system: str = ''
  assistant_start: str = ''
  turn_markers: thoughts.TurnMarkers | None = None

  def __post_init__(self):
    object.__setattr__(self, 'label_words', tuple(self.label_words))
    object.__setattr__(self, 'special_tokens', tuple(self.special_tokens))
    object.__setattr__(self, 'shots', tuple(map(tuple, self.shots)))
    self._check_slot('solve', '{question}')
    self._check_slot('verify_problem', '{question}')
    self._check_slot('verify_solution', '{solution}')
    if len(self.label_words) != 2:
      raise ValueError(
        f'Template.label_words are {self.label_words}; wanted two, the correct one first.'
      )
    if '' in self.special_tokens:
      raise ValueError(
        f'Template.special_tokens are {self.special_tokens}; wanted names that are not empty.'
      )

  def _check_slot(self, name: str, slot: str):
    text = getattr(self, name)
    if text.count(slot) != 1:
      raise ValueError(
        f'Template.{name} is {text!r}; it must contain {slot} once.'
      )


def encode_prompt(
  template: Template, vocabulary: Vocabulary, problem: schema.Problem
) -> list[int]:
  """Returns the generator prompt: BOS, system turn, demonstrations, problem."""
  parts = _split_specials(template, vocabulary, template.system)
  for question, solution in template.shots:
    parts += _fill(template, vocabulary, template.solve, '{question}', question)
    parts.append(solution)
    parts += _split_specials(template, vocabulary, template.shot_separator)
  parts += _fill(
    template, vocabulary, template.solve, '{question}', problem.question
  )
  parts += _split_specials(template, vocabulary, template.assistant_start)
  return _encode_start(vocabulary, parts)


def complete_thought(template: Template, solution: str) -> str:
  """Returns a reference solution as the model's turn: with its thought, or with an empty one.

  If the prompt ends with the start of a thought, the start is not repeated. Without `turn_markers`
  the solution is returned unchanged.
  """
  markers = template.turn_markers
  if markers is None:
    return solution
  if markers.starts_in_thought and solution.startswith(markers.thought_start):
    solution = solution.removeprefix(markers.thought_start).removeprefix('\n')
  if markers.thought_end in solution:
    return solution

  empty = f'\n{markers.thought_end}\n\n'
  if not markers.starts_in_thought:
    empty = f'{markers.thought_start}\n{empty}'
  return empty + solution.lstrip('\n')


def encode_solution(vocabulary: Vocabulary, text: str) -> list[int]:
  """Returns a solution as a training target: its tokens and EOS."""
  return vocabulary.encode(text) + [vocabulary.eos_id]


def truncate_at_next_problem(template: Template, text: str) -> str:
  """Returns a sampled solution up to where the model starts a further problem.

  After demonstrations a pre-trained model often continues with a problem of its own; the last box
  of that text would be the wrong answer. Without `shots` the text is returned unchanged.
  """
  if not template.shots:
    return text
  start = template.shot_separator + template.solve.partition('{question}')[0]
  return text.partition(start.rstrip() or start)[0]


def encode_evaluator_problem(
  template: Template, vocabulary: Vocabulary, problem: schema.Problem
) -> list[int]:
  """Returns the first part of the evaluator prompt, BOS to problem, shared by all candidates."""
  parts = _split_specials(template, vocabulary, template.system)
  parts += _fill(
    template,
    vocabulary,
    template.verify_problem,
    '{question}',
    problem.question,
  )
  return _encode_start(vocabulary, parts)


def encode_evaluator_solution(
  template: Template, vocabulary: Vocabulary, solution: str
) -> list[int]:
  """Returns the second part of the evaluator prompt, up to the label word.

  With `turn_markers` the prompt contains only the part of the solution that counts. A solution
  without marks, such as a reference solution, counts as a whole.
  """
  if template.turn_markers is not None:
    markers = dataclasses.replace(
      template.turn_markers, starts_in_thought=False, turn_ends=()
    )
    solution = thoughts.text_that_counts(solution, markers).strip()
  parts = _fill(
    template, vocabulary, template.verify_solution, '{solution}', solution
  )
  return _encode_parts(vocabulary, parts)


def make_label_words(
  template: Template, vocabulary: Vocabulary
) -> words_lib.LabelWords:
  """Returns the label words as token ids.

  Raises:
    ValueError: a word without tokens, or one that starts with the other. The shorter word would
      then be at least as probable whatever follows.
  """
  correct, incorrect = map(vocabulary.encode, template.label_words)
  shortest = min(len(correct), len(incorrect))
  if correct[:shortest] == incorrect[:shortest]:
    raise ValueError(
      f'The label words {template.label_words} become the tokens {[correct, incorrect]}: '
      'one starts with the other. Set Template.label_words to words of which neither does.'
    )
  return words_lib.LabelWords(
    (tuple(correct), tuple(incorrect)), vocabulary.pad_id
  )


def template_fingerprint(
  template: Template, vocabulary: Vocabulary
) -> dict[str, str]:
  """Returns texts that identify template and vocabulary in checkpoint metadata.

  Programs compare them when they load a checkpoint. Demonstrations are left out: a prompt with
  `shots` counts as the same template.
  """
  texts = {
    'template.solve': template.solve,
    'template.verify_problem': template.verify_problem,
    'template.verify_solution': template.verify_solution,
  }
  if template.special_tokens:
    texts['template.special_tokens'] = ' '.join(template.special_tokens)
  if template.system:
    texts['template.system'] = template.system
  if template.assistant_start:
    texts['template.assistant_start'] = template.assistant_start
  if template.turn_markers is not None:
    texts['template.thoughts'] = template.turn_markers.fingerprint()
  texts['template.words'] = ' | '.join(template.label_words)
  texts['vocabulary'] = vocabulary.fingerprint()
  texts['vocabulary.size'] = str(vocabulary.vocab_size)
  return texts


def template_from_fingerprint(texts: Mapping[str, str]) -> Template:
  """Returns the template of `template_fingerprint`; the default one if it has none."""
  if 'template.solve' not in texts:
    return Template()
  correct, incorrect = texts['template.words'].split(' | ')
  markers = None
  if 'template.thoughts' in texts:
    markers = thoughts.markers_from_fingerprint(texts['template.thoughts'])
  return Template(
    solve=texts['template.solve'],
    verify_problem=texts['template.verify_problem'],
    verify_solution=texts['template.verify_solution'],
    label_words=(correct, incorrect),
    special_tokens=tuple(texts.get('template.special_tokens', '').split()),
    system=texts.get('template.system', ''),
    assistant_start=texts.get('template.assistant_start', ''),
    turn_markers=markers,
  )


def _fill(
  template: Template, vocabulary: Vocabulary, text: str, slot: str, value: str
) -> list[str | int]:
  """Returns a template text with `value` in its slot, as texts and ids of special tokens."""
  before, _, after = text.partition(slot)
  return [
    *_split_specials(template, vocabulary, before),
    value,
    *_split_specials(template, vocabulary, after),
  ]


def _split_specials(
  template: Template, vocabulary: Vocabulary, text: str
) -> list[str | int]:
  """Returns a template text split into texts and ids of special tokens."""
  if not template.special_tokens:
    return [text]
  ids = vocabulary.special_ids
  missing = [name for name in template.special_tokens if name not in ids]
  if missing:
    raise ValueError(
      f'Template.special_tokens contains {missing}, which are no special tokens of the vocabulary '
      f'({vocabulary.fingerprint()}); it has {sorted(ids)[:20]}. Use the template of the '
      "vocabulary's family, or add them to TokenizerVocabulary.additional_special_tokens."
    )
  longest_first = sorted(template.special_tokens, key=len, reverse=True)
  pattern = '|'.join(map(re.escape, longest_first))
  parts = re.split(f'({pattern})', text)
  return [ids[part] if index % 2 else part for index, part in enumerate(parts)]


def _encode_start(
  vocabulary: Vocabulary, parts: Sequence[str | int]
) -> list[int]:
  """Returns the ids of the start of a sequence: BOS, the tokenizer's own prefix, the parts."""
  parts = [part for part in parts if part != '']
  if parts and isinstance(parts[0], str):
    parts = [vocabulary.text_prefix, *parts]
  bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  return bos + _encode_parts(vocabulary, parts)


def _encode_parts(
  vocabulary: Vocabulary, parts: Iterable[str | int]
) -> list[int]:
  """Returns token ids; ids in `parts` stay, neighbouring texts are tokenised as one."""
  ids: list[int] = []
  text = ''
  for part in parts:
    if isinstance(part, str):
      text += part
    else:
      ids += [*vocabulary.encode(text), part]
      text = ''
  return ids + vocabulary.encode(text)
