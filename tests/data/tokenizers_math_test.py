"""Compares tokenizers trained on MATH with the published libraries."""

import dataclasses
import gzip
import json

import pytest

from mathft_jax.data import prompt_templates, schema, vocabularies

KINDS = {
  'qwen': ('Qwen2Tokenizer', dict(eos='<|endoftext|>', pad='<|fim_pad|>')),
  'llama3': (
    'PreTrainedTokenizerFast',
    dict(
      eos='<|eot_id|>', pad='<|finetune_right_pad_id|>', bos='<|begin_of_text|>'
    ),
  ),
  'gemma': (
    'GemmaTokenizer',
    dict(
      eos='<eos>',
      pad='<pad>',
      bos='<bos>',
      max_vocab_size=262144,
      additional_special_tokens=('<start_of_turn>', '<end_of_turn>'),
    ),
  ),
  'llama2': ('LlamaTokenizer', dict(eos='</s>', pad='<unk>', bos='<s>')),
}
TEMPLATE = prompt_templates.Template()


@pytest.fixture(scope='module')
def problems(shared_data):
  """Every twentieth problem of MATH's test file."""
  with gzip.open(
    shared_data / 'math' / 'test.jsonl.gz', 'rt', encoding='utf-8'
  ) as lines:
    rows = [json.loads(line) for line in lines][::20]
  return [
    schema.Problem(row['unique_id'], row['problem'], row['solution'])
    for row in rows
  ]


@pytest.fixture(scope='module')
def paths(shared_data, make_tokenizer):
  with gzip.open(
    shared_data / 'math' / 'train.jsonl.gz', 'rt', encoding='utf-8'
  ) as lines:
    rows = [json.loads(line) for line in lines][::25]
  texts = [row[name] for row in rows for name in ('problem', 'solution')]
  return {kind: make_tokenizer(kind, texts, vocab_size=2000) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
  return request.param


@pytest.fixture
def vocabulary(kind, paths):
  return vocabularies.TokenizerVocabulary(str(paths[kind]), **KINDS[kind][1])


@pytest.fixture
def published(kind, paths):
  """The tokenizer as `transformers` loads it."""
  transformers = pytest.importorskip(
    'transformers', reason='compares with transformers'
  )
  name = KINDS[kind][0]
  if name == 'PreTrainedTokenizerFast':
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(paths[kind]))
  return getattr(transformers, name).from_pretrained(str(paths[kind].parent))


def test_decoding_restores_math(vocabulary, problems):
  for problem in problems:
    for text in (problem.question, problem.solution):
      ids = vocabulary.encode(text)
      assert vocabulary.decode(ids) == text
      assert not {vocabulary.pad_id, vocabulary.eos_id, vocabulary.bos_id} & {
        *ids
      }


def test_ids_are_those_of_transformers(kind, vocabulary, published, problems):
  for problem in problems:
    prompt = TEMPLATE.solve.replace('{question}', problem.question)
    for text in (prompt, problem.question, problem.solution):
      theirs = published(text, add_special_tokens=False).input_ids
      assert vocabulary.encode(vocabulary.text_prefix + text) == theirs
    begin = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
    assert (
      prompt_templates.encode_prompt(TEMPLATE, vocabulary, problem)
      == begin + published(prompt, add_special_tokens=False).input_ids
    )


def test_json_saved_by_transformers_gives_the_same_ids(
  kind, vocabulary, published, problems, tmp_path
):
  published.save_pretrained(str(tmp_path))
  (tmp_path / 'tokenizer.model').unlink(missing_ok=True)
  saved = vocabularies.TokenizerVocabulary(str(tmp_path), **KINDS[kind][1])
  assert saved.text_prefix == vocabulary.text_prefix
  for problem in problems[::5]:
    for text in (problem.question, problem.solution, ' ' + problem.solution):
      assert saved.encode(text) == vocabulary.encode(text)
      assert saved.decode(saved.encode(text)) == text


def test_parts_have_the_ids_of_the_joint_text(vocabulary, problems):
  for problem in problems:
    question, solution = problem.question, problem.solution.lstrip()
    prompt = prompt_templates.encode_prompt(TEMPLATE, vocabulary, problem)
    target = prompt_templates.encode_solution(vocabulary, solution)
    joint = dataclasses.replace(
      TEMPLATE,
      solve=TEMPLATE.solve.replace('{question}', question) + '{question}',
    )
    assert prompt + target[:-1] == prompt_templates.encode_prompt(
      joint, vocabulary, schema.Problem('joint', solution)
    )
    pieces = prompt_templates.encode_evaluator_problem(
      TEMPLATE, vocabulary, problem
    ) + prompt_templates.encode_evaluator_solution(
      TEMPLATE, vocabulary, solution
    )
    for word in TEMPLATE.label_words:
      text = (
        TEMPLATE.verify_problem.replace('{question}', question)
        + TEMPLATE.verify_solution.replace('{solution}', solution)
        + word
      )
      whole = dataclasses.replace(TEMPLATE, solve='{question}')
      assert pieces + vocabulary.encode(word) == prompt_templates.encode_prompt(
        whole, vocabulary, schema.Problem('whole', text)
      )
