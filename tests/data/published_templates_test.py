"""Templates and vocabularies from the files in a published folder, with small tokenizers."""

import dataclasses
import json
import shutil

import pytest

from mathft_jax import sample
from mathft_jax.config import entry_point
from mathft_jax.data import (
  chat_template,
  prompt_templates,
  published_templates,
  schema,
)

pytest.importorskip('jinja2')
QUESTION = 'What is $1+1$?'
TURN = (
  "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}"
)
CHATML = (
  "{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ SYSTEM }}{% endif %}"
  + TURN
  + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
  "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}"
  '{% endif %}{% endif %}'
)
SYSTEM = (
  "'<|im_start|>system\\nToday: ' + strftime_now('%d %b %Y') + '<|im_end|>\\n'"
)
WITHOUT_SYSTEM = CHATML.replace('{{ SYSTEM }}', '')
TEMPLATES = {
  'thinks if asked': WITHOUT_SYSTEM,
  'system turn with a date': CHATML.replace('SYSTEM', SYSTEM),
  'starts with BOS': '{{ bos_token }}' + WITHOUT_SYSTEM,
  'thinks always': WITHOUT_SYSTEM.partition('{% if enable_thinking')[0].replace(
    'assistant\\n', 'assistant\\n<think>\\n'
  )
  + '{% endif %}',
}


@pytest.fixture(name='make_folder')
def _make_folder(tmp_path, tokenizer_paths):
  def make(template, kind='qwen', **config):
    shutil.copy(tokenizer_paths[kind], tmp_path / 'tokenizer.json')
    tokens = {'eos_token': '<|endoftext|>', 'bos_token': '<|fim_pad|>'}
    text = json.dumps({**tokens, 'chat_template': template, **config})
    (tmp_path / 'tokenizer_config.json').write_text(text)
    return tmp_path

  return make


def prompt_of(folder, **settings):
  template = published_templates.load_template(
    folder, instruction='', **settings
  )
  vocabulary = published_templates.load_vocabulary(folder)
  ids = prompt_templates.encode_prompt(
    template, vocabulary, schema.Problem('p', QUESTION)
  )
  return vocabulary, template, ids


def rendered_ids(folder, source, *, enable_thinking):
  """Ids of the rendered chat template, by the tokenizer's own special tokens."""
  tokenizers = pytest.importorskip('tokenizers')
  text = chat_template.render_chat_template(
    source,
    [{'role': 'user', 'content': QUESTION}],
    now=published_templates.DATE,
    bos_token='<|fim_pad|>',
    enable_thinking=enable_thinking,
  )
  library = tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json'))
  return library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize('name', TEMPLATES)
@pytest.mark.parametrize('enable_thinking', [False, True])
def test_prompts_are_what_the_chat_template_renders(
  make_folder, name, enable_thinking
):
  folder = make_folder(TEMPLATES[name])
  vocabulary, template, ids = prompt_of(folder, enable_thinking=enable_thinking)
  assert ids == rendered_ids(
    folder, TEMPLATES[name], enable_thinking=enable_thinking
  )
  assert vocabulary.eos == '<|im_end|>'
  assert vocabulary.bos == (
    '<|fim_pad|>' if name == 'starts with BOS' else None
  )
  assert vocabulary.pad not in (vocabulary.eos, vocabulary.bos)
  thinks = name == 'thinks always' or enable_thinking
  assert (template.turn_markers is not None) == thinks


def test_thoughts_in_channels_can_only_be_empty(make_folder):
  source = WITHOUT_SYSTEM.replace(
    '<think>\\n\\n</think>\\n\\n', '<|channel>thought\\n<channel|>'
  )
  folder = make_folder(source)
  _, template, ids = prompt_of(folder)
  assert template.assistant_start == '<|channel>thought\n<channel|>'
  assert ids == rendered_ids(folder, source, enable_thinking=False)
  with pytest.raises(ValueError, match='ENABLE_THINKING is True'):
    prompt_of(folder, enable_thinking=True)


def test_demonstrations_are_earlier_turns(make_folder):
  folder = make_folder(TEMPLATES['system turn with a date'])
  shots = (('1+2?', 'It is 3.'),)
  template = published_templates.load_template(folder, instruction='')
  assert template.system.endswith('Today: 26 Jul 2024<|im_end|>\n')
  template = dataclasses.replace(template, shots=shots)
  text = chat_template.render_chat_template(
    TEMPLATES['system turn with a date'],
    [
      {'role': 'user', 'content': '1+2?'},
      {'role': 'assistant', 'content': 'It is 3.'},
      {'role': 'user', 'content': QUESTION},
    ],
    now=published_templates.DATE,
    enable_thinking=False,
  )
  vocabulary = published_templates.load_vocabulary(folder)
  ids = prompt_templates.encode_prompt(
    template, vocabulary, schema.Problem('p', QUESTION)
  )
  names = {index: name for name, index in vocabulary.special_ids.items()}
  shown = ''
  for index in ids:
    shown += names.get(index) or vocabulary.decode([index])
  assert shown == text


def test_the_system_turn_can_be_left_out(make_folder):
  folder = make_folder(TEMPLATES['system turn with a date'])
  _, template, _ = prompt_of(folder, with_system=False)
  assert template.system == ''
  assert template.solve.startswith('<|im_start|>user\n')


def test_sampling_ends_at_the_tokens_of_generation_config(make_folder):
  folder = make_folder(TEMPLATES['thinks if asked'])
  vocabulary = published_templates.load_vocabulary(folder)
  assert vocabulary.end_ids == (vocabulary.eos_id,)
  ids = [
    vocabulary.special_ids[name] for name in ('<|endoftext|>', '<|im_end|>')
  ]
  text = json.dumps({'eos_token_id': ids})
  (folder / 'generation_config.json').write_text(text)
  found = published_templates.load_vocabulary(folder)
  assert set(found.end_ids) == set(ids)
  assert found.end_ids[0] == vocabulary.eos_id
  assert found.fingerprint() == vocabulary.fingerprint()


@pytest.mark.parametrize(
  'template, message',
  [
    (None, 'has no chat template'),
    ('{{ messages[0].content }}', 'wanted each of three messages once'),
    ('{{ raise_exception("no") }}', 'cannot be rendered'),
  ],
)
def test_a_folder_without_a_usable_template_is_an_error(
  make_folder, template, message
):
  with pytest.raises(ValueError, match=message):
    published_templates.load_template(make_folder(template))


def test_a_folder_without_a_padding_token_asks_for_one(
  tmp_path, tokenizer_paths
):
  shutil.copy(tokenizer_paths['gemma'], tmp_path / 'tokenizer.model')
  config = {'eos_token': '<eos>', 'pad_token': None}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))

  vocabulary = published_templates.load_vocabulary(tmp_path, chat=False)
  assert (vocabulary.pad, vocabulary.bos) == ('<pad>', None)

  shutil.copy(tokenizer_paths['llama2'], tmp_path / 'tokenizer.model')
  config = {'eos_token': '</s>', 'pad_token': '</s>'}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match='no padding token'):
    published_templates.load_vocabulary(tmp_path, chat=False)


@pytest.mark.parametrize('adds_bos, bos', [(None, '<s>'), (False, None)])
def test_sentencepiece_models_have_bos_unless_their_folder_says_no(
  tmp_path, tokenizer_paths, adds_bos, bos
):
  shutil.copy(tokenizer_paths['llama2'], tmp_path / 'tokenizer.model')
  config = {'eos_token': '</s>', 'bos_token': '<s>', 'pad_token': '<unk>'}
  if adds_bos is not None:
    config['add_bos_token'] = adds_bos
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  assert published_templates.load_vocabulary(tmp_path).bos == bos


def test_gin_takes_prompts_and_vocabulary_from_a_folder(make_folder, capsys):
  folder = make_folder(TEMPLATES['system turn with a date'])
  files = ['models/tiny.gin', 'data/jsonl.gin', 'templates/of_folder.gin']
  macros = {
    'TOKENIZER_PATH': folder,
    'DATA_PATH': __file__,
    'CHECKPOINT_PATH': 'none',
    'INFER_OUTPUT_DIR': 'runs/x',
    'transformer.TransformerConfig.vocab_size': 400,
  }

  def dry_run(files):
    argv = ['sample', '--gin_file=programs/sample.gin', '--dry_run']
    argv += [f'--gin_file={file}' for file in files]
    argv += [f'--gin.{name}={value}' for name, value in macros.items()]
    capsys.readouterr()
    status = entry_point.main(sample.sample, argv)
    return status, capsys.readouterr()

  status, printed = dry_run(files)
  assert status == 0, printed.err
  assert 'load_template' in printed.out
  status, printed = dry_run([files[0], files[2], files[1]])
  assert status == 2
  assert 'resets TEMPLATE to the plain prompts' in printed.err
