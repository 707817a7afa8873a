"""Gin files of templates/ and vocabularies/, with small tokenizers of the same kinds."""

import dataclasses
import pathlib

import gin
import pytest

from mathft_jax.data import prompt_templates, schema

CONFIGS = pathlib.Path(__file__).parents[2] / 'gin_configs'
VOCABULARIES = {
  'deepseek_r1_llama': 'deepseek',
  'deepseek_r1_qwen': 'deepseek',
  'gemma': 'gemma',
  'llama3': 'llama3',
  'llama3_0': 'llama3',
  'qwen': 'qwen',
  'mistral': 'llama2',
  'smollm2': 'smollm2',
}
CHATS = {
  'deepseek_r1_llama': 'deepseek',
  'deepseek_r1_qwen': 'deepseek',
  'gemma_chat': 'gemma',
  'llama3_0_chat': 'llama3',
  'llama3_1_chat': 'llama3',
  'llama3_chat': 'llama3',
  'qwen2_5_chat': 'qwen',
  'qwen2_5_math_chat': 'qwen',
  'qwen3_2507_chat': 'qwen',
  'qwen3_2507_thinking': 'qwen',
  'qwen3_chat': 'qwen',
  'qwen3_thinking': 'qwen',
  'qwen_chat': 'qwen',
  'smollm2_chat': 'smollm2',
}
THINKING = {
  'deepseek_r1_llama': True,
  'deepseek_r1_qwen': True,
  'qwen3_2507_thinking': True,
  'qwen3_thinking': False,
}
PROBLEM = schema.Problem('p', 'What is $1+1$?')
SOLUTION = 'We add:\n\n\\boxed{2}'


@pytest.fixture
def build(tokenizer_paths):
  """Returns a function: gin file -> (vocabulary, template), with a small tokenizer of its kind."""

  def built(file, kind):
    gin.clear_config()
    gin.add_config_file_search_path(str(CONFIGS))
    gin.parse_config(
      ['from __gin__ import dynamic_registration', f"include '{file}.gin'"]
    )
    gin.parse_config(f"TOKENIZER_PATH = '{tokenizer_paths[kind]}'")
    template = make('TEMPLATE') if 'templates' in file else None
    return make('VOCABULARY'), template

  yield built
  gin.clear_config()


def make(macro):
  """Returns the object that a macro is bound to."""
  return gin.query_parameter(f'%{macro}').scoped_configurable_fn()


def text_of(vocabulary, ids):
  """Decodes ids; special tokens become their names."""
  names = {index: name for name, index in vocabulary.special_ids.items()}
  parts, run = [], []
  for index in ids:
    if index in names:
      parts += [vocabulary.decode(run), names[index]]
      run = []
    else:
      run.append(index)
  return ''.join([*parts, vocabulary.decode(run)])


@pytest.mark.parametrize('name', VOCABULARIES)
def test_each_base_vocabulary_has_eos_that_differs_from_padding(build, name):
  vocabulary, _ = build(f'vocabularies/{name}', VOCABULARIES[name])
  assert (
    vocabulary.special_ids[vocabulary.eos]
    == vocabulary.eos_id
    != vocabulary.pad_id
  )
  assert vocabulary.decode(vocabulary.encode(SOLUTION)) == SOLUTION
  words = prompt_templates.make_label_words(
    prompt_templates.Template(), vocabulary
  )
  assert words.mask_WM.any()


def test_the_plain_template_is_the_default():
  gin.clear_config()
  gin.parse_config_file(str(CONFIGS / 'templates' / 'plain.gin'))
  try:
    assert (
      gin.query_parameter('%TEMPLATE').scoped_configurable_fn()
      == prompt_templates.Template()
    )
  finally:
    gin.clear_config()


def test_every_template_and_vocabulary_is_tested_here():
  files = {
    folder: {path.stem for path in (CONFIGS / folder).glob('*.gin')}
    for folder in ('templates', 'vocabularies')
  }
  assert files == {
    'templates': {*CHATS, 'plain', 'of_folder'},
    'vocabularies': set(VOCABULARIES),
  }


@pytest.fixture(params=CHATS)
def chat(build, request):
  return build(f'templates/{request.param}', CHATS[request.param])


def test_a_chat_prompt_has_one_id_for_each_special_token(chat):
  vocabulary, template = chat
  ids = prompt_templates.encode_prompt(template, vocabulary, PROBLEM)
  begin = vocabulary.bos or ''
  text = template.system + template.solve + template.assistant_start
  assert text_of(vocabulary, ids) == begin + text.replace(
    '{question}', PROBLEM.question
  )
  for name in template.special_tokens:
    assert ids.count(vocabulary.special_ids[name]) == text.count(name)
    assert name in text + template.shot_separator


def test_eos_is_the_end_of_a_turn(chat):
  vocabulary, template = chat
  assert template.special_tokens.count(vocabulary.eos) == 1
  assert (
    prompt_templates.encode_solution(vocabulary, SOLUTION)[-1]
    == vocabulary.eos_id
  )
  assert vocabulary.eos in template.shot_separator
  prompt = prompt_templates.encode_prompt(template, vocabulary, PROBLEM)
  assert vocabulary.pad_id not in prompt


def test_the_parts_of_the_evaluator_prompt_are_the_prompt(chat):
  vocabulary, template = chat
  ids = prompt_templates.encode_evaluator_problem(
    template, vocabulary, PROBLEM
  ) + prompt_templates.encode_evaluator_solution(template, vocabulary, SOLUTION)
  text = template.verify_problem.replace(
    '{question}', PROBLEM.question
  ) + template.verify_solution.replace('{solution}', SOLUTION)
  start = (vocabulary.bos or '') + template.system
  assert text_of(vocabulary, ids) == start + text


def test_names_of_special_tokens_in_a_problem_or_solution_are_text(chat):
  vocabulary, template = chat
  names = ''.join(
    (
      *template.special_tokens,
      vocabulary.eos,
      vocabulary.pad,
      vocabulary.bos or '',
    )
  )
  hostile = dataclasses.replace(PROBLEM, question=f'{names}What is 1+1?{names}')
  for encode, value in (
    (prompt_templates.encode_prompt, (PROBLEM, hostile)),
    (prompt_templates.encode_evaluator_problem, (PROBLEM, hostile)),
    (prompt_templates.encode_evaluator_solution, (SOLUTION, f'2{names}')),
  ):
    plain, attacked = (encode(template, vocabulary, each) for each in value)
    for index in vocabulary.special_ids.values():
      assert attacked.count(index) == plain.count(index)
    assert names in text_of(vocabulary, attacked)
  solution = prompt_templates.encode_solution(vocabulary, f'{names} 2')
  assert not {*solution[:-1]} & {*vocabulary.special_ids.values()}
  assert vocabulary.decode(solution) == f'{names} 2'


def test_names_of_special_tokens_in_demonstrations_are_text(chat):
  vocabulary, template = chat
  name = template.special_tokens[0]
  template = dataclasses.replace(
    template, shots=((f'1+2 {name}', f'3 {name}'),)
  )
  ids = prompt_templates.encode_prompt(template, vocabulary, PROBLEM)
  text = template.system + 2 * template.solve + template.shot_separator
  in_template = text.count(name)
  assert ids.count(vocabulary.special_ids[name]) == in_template


def test_a_special_name_across_template_and_problem_is_text(chat):
  vocabulary, template = chat
  name = template.special_tokens[0]
  torn = dataclasses.replace(
    template, system='', solve='{question}' + name[3:], assistant_start=''
  )
  ids = prompt_templates.encode_prompt(
    torn, vocabulary, schema.Problem('p', name[:3])
  )
  assert (
    vocabulary.special_ids[name] not in ids and vocabulary.decode(ids) == name
  )


def test_the_error_for_another_model_family_shows_both_sides(build):
  vocabulary, _ = build('vocabularies/qwen', 'qwen')
  _, template = build('templates/gemma_chat', 'gemma')
  with pytest.raises(
    ValueError, match=r"\['<start_of_turn>', '<end_of_turn>'\].*<\|im_start\|>"
  ):
    prompt_templates.encode_prompt(template, vocabulary, PROBLEM)


def test_label_words_of_several_tokens_can_be_told_apart(chat):
  vocabulary, template = chat
  words = prompt_templates.make_label_words(template, vocabulary)
  for word, ids in zip(template.label_words, words.token_ids, strict=True):
    assert vocabulary.decode(ids) == word
  unusual = dataclasses.replace(template, label_words=(' flawless', ' faulty'))
  words = prompt_templates.make_label_words(unusual, vocabulary)
  assert min(map(len, words.token_ids)) > 1


def test_special_tokens_are_in_the_fingerprint(chat):
  vocabulary, template = chat
  found = prompt_templates.template_fingerprint(template, vocabulary)
  assert found['template.special_tokens'] == ' '.join(template.special_tokens)
  assert 'template.special_tokens' not in prompt_templates.template_fingerprint(
    prompt_templates.Template(), vocabulary
  )


def test_only_the_start_of_a_prompt_gets_the_tokenizer_space(build):
  sentencepiece = pytest.importorskip('sentencepiece')
  vocabulary, _ = build('vocabularies/mistral', 'llama2')
  published = sentencepiece.SentencePieceProcessor(model_file=vocabulary.path)
  template = prompt_templates.Template()
  text = template.solve.replace('{question}', PROBLEM.question)
  assert prompt_templates.encode_prompt(template, vocabulary, PROBLEM) == [
    vocabulary.bos_id,
    *published.encode(text),
  ]
  joint = [
    *prompt_templates.encode_evaluator_problem(template, vocabulary, PROBLEM),
    *prompt_templates.encode_evaluator_solution(template, vocabulary, SOLUTION),
  ]
  text = template.verify_problem.replace(
    '{question}', PROBLEM.question
  ) + template.verify_solution.replace('{solution}', SOLUTION)
  assert joint == [vocabulary.bos_id, *published.encode(text)]
  begin = prompt_templates.encode_prompt(
    prompt_templates.Template(special_tokens=('</s>',), solve='</s>{question}'),
    vocabulary,
    PROBLEM,
  )
  assert begin[:3] == [
    vocabulary.bos_id,
    vocabulary.eos_id,
    *vocabulary.encode('What')[:1],
  ]


@pytest.mark.parametrize('name', THINKING)
def test_solutions_of_thinking_models_have_a_thought(build, name):
  vocabulary, template = build(f'templates/{name}', CHATS[name])
  complete = prompt_templates.complete_thought
  starts = THINKING[name]
  assert template.assistant_start == ('<think>\n' if starts else '')
  start = '' if starts else '<think>\n'
  assert complete(template, 'It is 2.') == f'{start}\n</think>\n\nIt is 2.'
  whole = '<think>\nMaybe 3?\n</think>\n\nIt is 2.'
  assert complete(template, whole) == whole.removeprefix(
    '<think>\n' if starts else ''
  )
  sampled = 'Maybe 3?\n</think>\n\nIt is 2.'
  assert complete(template, sampled) == sampled


@pytest.mark.parametrize('name', THINKING)
@pytest.mark.parametrize('counts', [False, True])
def test_thoughts_count_decides_what_the_evaluator_reads(build, name, counts):
  vocabulary, template = build(f'templates/{name}', CHATS[name])
  template = dataclasses.replace(
    template,
    turn_markers=dataclasses.replace(
      template.turn_markers, thoughts_count=counts
    ),
  )

  def read(solution):
    ids = prompt_templates.encode_evaluator_solution(
      template, vocabulary, solution
    )
    return text_of(vocabulary, ids)

  assert 'Maybe 3?' in read('Maybe 3?\n</think>\n\nIt is 2.') or not counts
  if not counts:
    assert read('Maybe 3?\n</think>\n\nIt is 2.') == read('It is 2.')
    assert read('It is 2.').startswith(' It is 2.. Is the above')


def test_a_template_is_restored_from_its_fingerprint(chat):
  vocabulary, template = chat
  found = prompt_templates.template_fingerprint(template, vocabulary)
  restored = prompt_templates.template_from_fingerprint(found)
  assert restored == dataclasses.replace(
    template, shot_separator=restored.shot_separator
  )


def test_a_field_leaves_out_the_system_turn(build):
  vocabulary, template = build('templates/qwen2_5_chat', 'qwen')
  assert template.system.startswith('<|im_start|>system\nYou are Qwen')
  gin.parse_config("SYSTEM_TURN = ''")
  _, old = build('templates/qwen_chat', 'qwen')
  assert dataclasses.replace(template, system='') == old
