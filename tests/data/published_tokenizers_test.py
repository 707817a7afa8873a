"""Gin files of templates/ and vocabularies/ against published tokenizers and chat templates.

MATHFT_PUBLISHED names a folder with a folder for each tokenizer (tokenizer.json and
tokenizer_config.json): qwen3, gemma3, llama3, deepseek_v3, and a SmolLM2*.gguf.
"""

import functools
import gzip
import json
import os
import pathlib

import gin
import pytest

from mathft_jax.checkpoints import gguf_files
from mathft_jax.data import (
  chat_template,
  prompt_templates,
  published_templates,
  schema,
)

pytestmark = pytest.mark.slow  # reads large files
tokenizers = pytest.importorskip('tokenizers')
pytest.importorskip('jinja2')
PUBLISHED = pathlib.Path(os.environ.get('MATHFT_PUBLISHED', 'not set'))
CONFIGS = pathlib.Path(__file__).parents[2] / 'gin_configs'
INSTRUCTION = f'\n\n{published_templates.INSTRUCTION}'
# Gin file -> (published tokenizer, variables of its chat template).
TEMPLATES = {
  'qwen3_chat': ('qwen3', {'enable_thinking': False}),
  'qwen3_thinking': ('qwen3', {'enable_thinking': True}),
  'gemma_chat': ('gemma3', {}),
  'llama3_0_chat': ('llama3', {}),
  'smollm2_chat': ('smollm2', {}),
}
FOLDERS = ('qwen3', 'gemma3', 'llama3', 'deepseek_v3', 'smollm2')
# System turns whose templates are not among the files: tokens of the turn, as published.
SYSTEM_TOKENS = {
  'qwen2_5_chat': ('qwen3', 21),
  'llama3_1_chat': ('llama3', 25),
  'smollm2_chat': ('smollm2', 21),
}


@pytest.fixture(scope='session', name='find_folder')
def _find_folder(tmp_path_factory):
  @functools.cache
  def find(name):
    if name != 'smollm2':
      folder = PUBLISHED / name
      if not folder.is_dir():
        pytest.skip(f'no {name} in MATHFT_PUBLISHED ({PUBLISHED})')
      return folder
    files = sorted(PUBLISHED.glob('SmolLM2*.gguf'))
    if not files:
      pytest.skip(f'no SmolLM2*.gguf in MATHFT_PUBLISHED ({PUBLISHED})')
    folder = tmp_path_factory.mktemp('smollm2')
    gguf_files.write_tokenizer_files(files[0], folder)
    return folder

  return find


@pytest.fixture(scope='module', name='problems')
def _problems(shared_data):
  path = shared_data / 'math' / 'test.jsonl.gz'
  with gzip.open(path, 'rt', encoding='utf-8') as lines:
    rows = [json.loads(line) for line in lines][::10]
  return [
    schema.Problem(row['unique_id'], row['problem'], row['solution'])
    for row in rows
  ]


@functools.cache
def library_of(folder):
  """The published tokenizer, read by the library alone."""
  return tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json'))


@functools.cache
def chat_of(folder):
  return published_templates.read_published_chat(folder)


def build(name, folder, pad=None):
  """(vocabulary, template) of a gin file of templates/."""
  gin.clear_config()
  gin.add_config_file_search_path(str(CONFIGS))
  imports = 'from __gin__ import dynamic_registration'
  gin.parse_config([imports, f"include 'templates/{name}.gin'"])
  gin.parse_config(f"TOKENIZER_PATH = '{folder}'")
  if pad is not None:
    gin.parse_config(
      [
        imports,
        'from mathft_jax.data import vocabularies',
        f"vocabularies.TokenizerVocabulary.pad = '{pad}'",
      ]
    )
  values = []
  for macro in ('VOCABULARY', 'TEMPLATE'):
    values.append(gin.query_parameter(f'%{macro}').scoped_configurable_fn())
  gin.clear_config()
  return values


def render(chat, messages, **variables):
  return chat_template.render_chat_template(
    chat.source,
    messages,
    now=published_templates.DATE,
    bos_token=chat.tokens.get('bos_token', ''),
    eos_token=chat.tokens.get('eos_token', ''),
    **variables,
  )


@pytest.mark.parametrize('name', TEMPLATES)
def test_prompts_and_solutions_are_those_of_the_published_chat_template(
  find_folder, problems, name
):
  kind, variables = TEMPLATES[name]
  folder = find_folder(kind)
  vocabulary, template = build(name, folder)
  chat, library = chat_of(folder), library_of(folder)

  def published_ids(messages, **more):
    text = render(chat, messages, **variables, **more)
    return library.encode(text, add_special_tokens=False).ids

  for problem in problems:
    question = problem.question.strip() + INSTRUCTION
    problem = schema.Problem('p', problem.question.strip())
    turns = [{'role': 'user', 'content': question}]
    prompt = prompt_templates.encode_prompt(template, vocabulary, problem)
    assert prompt == published_ids(turns)

    solution = 'We add:\n\n\\[1 + 1 = \\boxed{2}.\\]'
    turns.append({'role': 'assistant', 'content': solution})
    text = prompt_templates.complete_thought(template, solution)
    target = prompt_templates.encode_solution(vocabulary, text)
    whole = published_ids(turns, add_generation_prompt=False)
    joined = prompt + target
    assert joined == whole[: len(joined)]


@pytest.mark.parametrize('name', FOLDERS)
def test_ids_of_math_are_those_of_the_published_tokenizer(
  find_folder, problems, name
):
  folder = find_folder(name)
  vocabulary = published_templates.load_vocabulary(folder)
  library = library_of(folder)
  for problem in problems:
    for text in (problem.question, problem.solution):
      wanted = library.encode(text, add_special_tokens=False).ids
      assert vocabulary.encode(text) == wanted
      assert vocabulary.decode(wanted) == text


@pytest.mark.parametrize('name', FOLDERS)
def test_templates_of_folders_are_what_their_chat_template_renders(
  find_folder, problems, name
):
  folder = find_folder(name)
  vocabulary = published_templates.load_vocabulary(folder)
  template = published_templates.load_template(folder, instruction='')
  chat, library = chat_of(folder), library_of(folder)
  for problem in problems[::5]:
    problem = schema.Problem('p', problem.question.strip())
    turn = {'role': 'user', 'content': problem.question}
    text = render(chat, [turn], enable_thinking=False)
    wanted = library.encode(text, add_special_tokens=False).ids
    found = prompt_templates.encode_prompt(template, vocabulary, problem)
    assert found == wanted


@pytest.mark.parametrize('name', SYSTEM_TOKENS)
def test_system_turns_have_the_published_number_of_tokens(find_folder, name):
  kind, wanted = SYSTEM_TOKENS[name]
  pad = '<|reserved_special_token_250|>' if kind == 'llama3' else None
  _, template = build(name, find_folder(kind), pad)
  library = library_of(find_folder(kind))
  ids = library.encode(template.system, add_special_tokens=False).ids
  assert len(ids) == wanted
