"""Prompts that differ between stages or from the published chat template, and label words."""

import dataclasses
import json

import pytest

from mathft_jax.data import examples as examples_lib
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.data.example_types import SolutionExample, VerdictExample
from mathft_jax.self_checks import prompt_checks
from tests.self_checks import checked_runs

CHATML = (
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}"
TEMPLATE = prompt_templates.Template(
  solve='<|im_start|>user\n{question}\nThink.<|im_end|>\n<|im_start|>assistant\n',
  special_tokens=('<|im_start|>', '<|im_end|>'),
)


@pytest.fixture(scope='module')
def run():
  return checked_runs.make_run()


@pytest.fixture
def chat_run(tokenizer_paths, tmp_path):
  """chat_run(chat_template): a run of a model whose folder has this template."""
  pytest.importorskip('jinja2')
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths['qwen']), eos='<|im_end|>', pad='<|endoftext|>'
  )
  (tmp_path / 'config.json').write_text('{}')

  def make(chat_template):
    (tmp_path / 'tokenizer_config.json').write_text(
      json.dumps({'chat_template': chat_template})
    )
    data = checked_runs.make_data(vocabulary=vocabulary, template=TEMPLATE)
    problem = schema.Problem(id='1', question='1 + 1?', solution='2')
    example = examples_lib.make_solution_example(TEMPLATE, vocabulary, problem)
    source = checked_runs.FixedExamples((example,))
    return checked_runs.make_run(data=data, source=source, init_from=tmp_path)

  return make


def test_equal_prompts_pass(run):
  finding = prompt_checks.check_same_prompts(run)
  assert finding.status == 'ok' and finding.found.startswith('32 prompts')


def test_prompts_with_chat_turns_are_read_back(chat_run):
  finding = prompt_checks.check_same_prompts(chat_run(CHATML))
  assert finding.status == 'ok', finding.line()


def test_prompts_with_demonstrations_are_read_back(run):
  template = dataclasses.replace(
    checked_runs.TEMPLATE,
    shots=(('A 1 +1 . code ?', ' 2'),),
    shot_separator=' next ',
  )
  source = dataclasses.replace(checked_runs.SOURCE, template=template)
  data = checked_runs.make_data(template=template, max_length=80)
  finding = prompt_checks.check_same_prompts(
    checked_runs.make_run(data=data, source=source)
  )
  assert finding.status == 'ok', finding.line()


def test_a_prompt_that_is_tokenised_differently_fails(run):
  wrong = checked_runs.change_examples(
    run, lambda x: SolutionExample(x.inputs[1:], x.targets)
  )
  finding = prompt_checks.check_same_prompts(wrong)
  assert finding.status == 'failure'
  assert (
    "position 0: 'A" in finding.found and "against '<bos>A" in finding.found
  )


def test_examples_of_another_template_are_a_warning(run):
  template = dataclasses.replace(
    checked_runs.TEMPLATE, solve='{question} chain'
  )
  wrong = dataclasses.replace(
    run, data=checked_runs.make_data(template=template)
  )
  assert prompt_checks.check_same_prompts(wrong).status == 'warning'


@pytest.mark.parametrize('cut, status', [(0, 'ok'), (1, 'warning')])
def test_evaluator_prompts_are_those_of_scoring(run, cut, status):
  template, vocabulary = checked_runs.TEMPLATE, checked_runs.VOCABULARY
  problem = checked_runs.PROBLEMS('train')[0]
  ids = prompt_templates.encode_evaluator_problem(template, vocabulary, problem)
  ids += prompt_templates.encode_evaluator_solution(
    template, vocabulary, problem.solution
  )
  example = VerdictExample(ids[: len(ids) - cut], 1)
  verdicts = dataclasses.replace(run, examples=[example])
  assert prompt_checks.check_same_prompts(verdicts).status == status


@pytest.mark.parametrize(
  'chat_template, status, text',
  [
    (CHATML, 'ok', 'equal'),
    (
      SYSTEM + CHATML,
      'warning',
      "leaves out '<|im_start|>system\\nBe helpful.",
    ),
    (CHATML.replace('assistant', 'model'), 'failure', 'model'),
    (CHATML.replace("+ '\n' +", "+ ' ' +"), 'failure', 'im_start|>user '),
    ('{{ raise_exception("no system turn") }}', 'warning', 'no system turn'),
  ],
)
def test_chat_prompts_are_compared_with_the_published_template(
  chat_run, chat_template, status, text
):
  finding = prompt_checks.check_chat_template(chat_run(chat_template))
  assert finding.status == status, finding.line()
  assert text in finding.line()


def test_plain_prompts_are_not_compared(run):
  assert prompt_checks.check_chat_template(run).status == 'skipped'


@pytest.mark.parametrize(
  'words, status',
  [
    ((' correct', ' incorrect'), 'ok'),
    ((' correct', ' correct incorrect'), 'failure'),
    ((' A correct', ' A incorrect'), 'warning'),
  ],
)
def test_label_words_are_distinguishable(run, words, status):
  template = dataclasses.replace(checked_runs.TEMPLATE, label_words=words)
  changed = dataclasses.replace(
    run, data=checked_runs.make_data(template=template)
  )
  assert prompt_checks.check_label_words(changed).status == status


def test_a_label_word_that_merges_with_the_prompt_is_a_warning(
  run, tokenizer_paths
):
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths['qwen']), eos='<|im_end|>', pad='<|endoftext|>'
  )
  template = prompt_templates.Template(
    verify_solution=' {solution}. The an',
    label_words=('swer', 'wrong'),
  )
  data = checked_runs.make_data(vocabulary=vocabulary, template=template)
  finding = prompt_checks.check_label_words(dataclasses.replace(run, data=data))
  assert finding.status == 'warning' and 'joins' in finding.found
