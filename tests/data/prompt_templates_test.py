import dataclasses

import numpy as np
import pytest

from mathft_jax.data import prompt_templates, schema, vocabularies

BYTES = vocabularies.ByteVocabulary()
TEMPLATE = prompt_templates.Template()
PROBLEM = schema.Problem('p', r'What is $\frac{1}{2} + \{x\}$?', 'It is 1.')


@dataclasses.dataclass(frozen=True)
class WithoutBos:
  """A vocabulary of letters that has no BOS."""

  pad_id, eos_id, bos_id, vocab_size = 0, 1, None, 400
  special_ids, text_prefix = {}, ''

  def encode(self, text):
    return [ord(letter) + 2 for letter in text]

  def decode(self, ids):
    return ''.join(chr(index - 2) for index in ids)

  def fingerprint(self):
    return 'letters'


def test_the_evaluator_prompt_is_that_of_the_paper():
  ids = prompt_templates.encode_evaluator_problem(
    TEMPLATE, BYTES, PROBLEM
  ) + prompt_templates.encode_evaluator_solution(TEMPLATE, BYTES, 'x = 2')
  assert BYTES.decode(ids) + TEMPLATE.label_words[0] == (
    r'Here is a math problem: What is $\frac{1}{2} + \{x\}$?. Here is a candidate solution: '
    'x = 2. The above candidate solution is correct'
  )


def test_bos_is_the_first_token_and_occurs_once():
  for ids in (
    prompt_templates.encode_prompt(TEMPLATE, BYTES, PROBLEM),
    prompt_templates.encode_evaluator_problem(TEMPLATE, BYTES, PROBLEM),
  ):
    assert ids[0] == BYTES.bos_id and BYTES.bos_id not in ids[1:]
  assert BYTES.bos_id not in prompt_templates.encode_evaluator_solution(
    TEMPLATE, BYTES, 'x'
  )


def test_a_vocabulary_without_bos_gets_none():
  ids = prompt_templates.encode_prompt(TEMPLATE, WithoutBos(), PROBLEM)
  assert WithoutBos().decode(ids).startswith('Problem:')


def test_a_solution_ends_with_eos():
  assert prompt_templates.encode_solution(BYTES, 'ab') == [
    *BYTES.encode('ab'),
    BYTES.eos_id,
  ]


def test_demonstrations_come_before_the_problem():
  template = prompt_templates.Template(
    solve='Q {question} A ',
    shots=[['1+1', '2'], ['{question}', '4']],
    shot_separator=' ; ',
  )
  ids = prompt_templates.encode_prompt(
    template, BYTES, schema.Problem('p', '3+3')
  )
  assert BYTES.decode(ids) == 'Q 1+1 A 2 ; Q {question} A 4 ; Q 3+3 A '
  assert hash(template)


def test_label_words_are_padded():
  vocabulary = vocabularies.WordVocabulary(('right', 'not'))
  template = prompt_templates.Template(label_words=('right', 'not right'))
  words = prompt_templates.make_label_words(template, vocabulary)
  np.testing.assert_array_equal(words.ids_WM, [[3, 0], [4, 3]])
  np.testing.assert_array_equal(words.mask_WM, [[True, False], [True, True]])
  assert words.ids_WM.dtype == np.int32


@pytest.mark.parametrize('words', [('yes', 'yes'), ('no', 'not'), ('', 'no')])
def test_label_words_that_start_with_each_other_are_an_error(words):
  with pytest.raises(ValueError, match='one starts with the other'):
    prompt_templates.make_label_words(
      prompt_templates.Template(label_words=words), BYTES
    )


@pytest.mark.parametrize(
  'field, text', [('solve', 'no slot'), ('verify_solution', '{question}')]
)
def test_a_template_without_its_slot_is_an_error(field, text):
  with pytest.raises(ValueError, match=field):
    prompt_templates.Template(**{field: text})


def test_the_fingerprint_shows_what_changed():
  before = prompt_templates.template_fingerprint(TEMPLATE, BYTES)
  after = prompt_templates.template_fingerprint(
    dataclasses.replace(TEMPLATE, label_words=(' yes', ' no')), BYTES
  )
  assert {name for name in before if before[name] != after[name]} == {
    'template.words'
  }
  assert before != prompt_templates.template_fingerprint(TEMPLATE, WithoutBos())


def test_demonstrations_do_not_change_the_fingerprint():
  shots = dataclasses.replace(TEMPLATE, shots=(('1+1', '2'),))
  assert prompt_templates.template_fingerprint(
    shots, BYTES
  ) == prompt_templates.template_fingerprint(TEMPLATE, BYTES)


def test_with_demonstrations_a_solution_is_truncated_at_the_next_problem():
  plain = prompt_templates.Template()
  few_shot = prompt_templates.Template(shots=(('1 + 1?', '2'),))
  text = (
    'We add.\n\nThen \\boxed{2}.\n\nProblem:\n3 + 3?\n\nSolution:\n\\boxed{6}'
  )
  assert (
    prompt_templates.truncate_at_next_problem(few_shot, text)
    == 'We add.\n\nThen \\boxed{2}.'
  )
  assert prompt_templates.truncate_at_next_problem(plain, text) == text
  bare = prompt_templates.Template(
    solve='{question}', shots=(('1 + 1?', '2'),), shot_separator='\n\n'
  )
  assert prompt_templates.truncate_at_next_problem(bare, text) == 'We add.'
