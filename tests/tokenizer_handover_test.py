"""Programs use the tokenizer and template of a checkpoint, and refuse others."""

import dataclasses
import json
import pathlib
import shutil

import jax
import pytest

from mathft_jax import api, checkpoints, convert, sample, score, train
from mathft_jax.config import entry_point, flags, resolved_config
from mathft_jax.data import examples, prompt_templates, schema, vocabularies
from mathft_jax.inference import checkpoint_prompts, load_params, sampling
from mathft_jax.models import transformer
from mathft_jax.training import losses, optimizers, tokenizer_copy
from tests.train_arguments import group_train_arguments

MODEL = transformer.TransformerConfig(
  vocab_size=640, embed_dim=8, num_layers=1, num_heads=1, mlp_dim=16
)
CHAT = prompt_templates.Template(
  special_tokens=('<|im_start|>', '<|im_end|>'),
  solve='<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n',
)
PROBLEMS = [
  schema.Problem(f'p{n}', f'What is {n}+1?', f'\\boxed{{{n + 1}}}')
  for n in range(8)
]


def vocabulary_at(path, **changed):
  return vocabularies.TokenizerVocabulary(
    str(path), **dict(eos='<|im_end|>', pad='<|endoftext|>') | changed
  )


@pytest.fixture(scope='module')
def trained(tokenizer_paths, tmp_path_factory):
  """A checkpoint of one step with a Qwen-like tokenizer and chat template."""
  return run_training(
    tmp_path_factory.mktemp('trained'),
    'random',
    vocabulary_at(tokenizer_paths['qwen']),
    CHAT,
  )


def run_training(workdir, init_from, vocabulary, template):
  arguments = group_train_arguments(
    init_from=init_from,
    model=MODEL,
    vocabulary=vocabulary,
    template=template,
    examples=examples.SolutionExamples(
      lambda split: PROBLEMS, template, vocabulary
    ),
    loss=losses.Mle(),
    optimizer=optimizers.AdamW(learning_rate=1e-3),
    train_steps=1,
    batch_size=8,
    max_length=128,
    tensorboard=False,
  )
  return train.train(workdir, **arguments)


def run_sampling(workdir, checkpoint, vocabulary, template):
  return sample.sample(
    workdir,
    checkpoint=checkpoint,
    problems=PROBLEMS,
    model=MODEL,
    vocabulary=vocabulary,
    template=template,
    method=sampling.Greedy(),
    max_decode_length=8,
    num_decodes=1,
    batch_size=8,
  )


def run_scoring(workdir, checkpoint, vocabulary, template):
  sets = [
    schema.CandidateSet(problem, (schema.Candidate('2'),))
    for problem in PROBLEMS
  ]
  return score.score(
    workdir,
    checkpoint=checkpoint,
    model=MODEL,
    vocabulary=vocabulary,
    candidates=schema.write_jsonl(workdir / 'candidates.jsonl', sets),
    template=template,
    batch_size=8,
  )


CHANGES = {
  'end': (
    dict(eos='<|endoftext|>', pad='<|fim_pad|>'),
    {},
    r'eos <\|im_end.*\n.*eos <\|endof',
  ),
  'tokenizer': (None, {}, r'sha256 (\w+).*\n.*sha256 (?!\1)'),
  'special tokens': (
    {},
    dict(special_tokens=()),
    r'<\|im_start\|> <\|im_end\|>.*\n.*None',
  ),
  'prompt': (
    {},
    dict(verify_problem='Is {question} =='),
    r'Here is.*\n.*Is \{question\} ==',
  ),
}


@pytest.mark.parametrize('program', [run_training, run_sampling, run_scoring])
@pytest.mark.parametrize('change', CHANGES)
def test_the_error_for_another_tokenizer_or_template_shows_both_sides(
  tmp_path, trained, make_tokenizer, tokenizer_paths, program, change
):
  special, fields, message = CHANGES[change]
  path = (
    tokenizer_paths['qwen']
    if special is not None
    else make_tokenizer('qwen', ['other texts, other merges'] * 9)
  )
  vocabulary = vocabulary_at(path, **special or {})
  with pytest.raises(ValueError, match=f'(?s)another fingerprint.*{message}'):
    program(tmp_path, trained, vocabulary, dataclasses.replace(CHAT, **fields))


def test_the_same_tokenizer_in_another_folder_is_accepted(
  tmp_path, trained, tokenizer_paths
):
  shutil.copy(tokenizer_paths['qwen'], tmp_path / 'copy.json')
  moved = vocabulary_at(tmp_path / 'copy.json')
  checkpoints.check_metadata(
    trained,
    model=MODEL,
    fingerprint=prompt_templates.template_fingerprint(CHAT, moved),
  )
  mesh = jax.make_mesh((8, 1), ('data', 'model'))
  params = load_params.load_inference_params(
    trained,
    MODEL,
    fingerprint=prompt_templates.template_fingerprint(CHAT, moved),
    mesh=mesh,
  )
  assert params['embedding'].shape == (640, 8)


def test_training_and_scoring_have_the_same_ids(tmp_path, tokenizer_paths):
  vocabulary = vocabulary_at(tokenizer_paths['qwen'])
  sets = [
    schema.CandidateSet(
      dataclasses.replace(problem, split='train'),
      (
        schema.Candidate(problem.solution, is_correct=True),
        schema.Candidate('wrong <|im_end|>', is_correct=False),
      ),
    )
    for problem in PROBLEMS
  ]
  graded = schema.write_jsonl(tmp_path / 'graded.jsonl', sets)
  trained_on = examples.VerdictExamples(
    candidates=str(graded), template=CHAT, vocabulary=vocabulary
  )('train')
  seen = {tuple(row.inputs.tolist()) for row in trained_on}
  for each in sets:
    task = score._make_task(each, None, 'verdict', vocabulary, CHAT)
    assert {(*task.prefix, *tail) for tail in task.tails} <= seen
  assert len(seen) == 2 * len(PROBLEMS)


@pytest.fixture
def moved(tmp_path, trained, monkeypatch):
  """The work directory of `trained`, copied to a machine without its tokenizer."""
  workdir = tmp_path / 'moved'
  shutil.copytree(trained.parent.parent, workdir)
  metadata = checkpoint_prompts.checkpoints.read_metadata(trained)
  metadata['prompts']['vocabulary']['path'] = '/not/here/tokenizer.json'
  monkeypatch.setattr(
    checkpoint_prompts.checkpoints, 'read_metadata', lambda path: metadata
  )
  return workdir


def arguments_of(program, *arguments):
  """The arguments that a command line gives a program."""
  name = entry_point.gin_name(program)
  line = flags.parse_command_line([name, *arguments], (), name)
  config = entry_point.load_config(program, line)
  return resolved_config.build_arguments(program, config)


def test_the_checkpoint_alone_gives_model_tokenizer_and_template(moved):
  found = arguments_of(
    score.score,
    '--gin_file=programs/score.gin',
    f'--gin.CHECKPOINT_PATH={moved}',
    '--gin.CANDIDATES=graded.jsonl',
    '--gin.INFER_OUTPUT_DIR=scored',
  )
  assert found['model'] == MODEL
  assert found['vocabulary'] == vocabulary_at(moved / 'tokenizer')
  assert found['template'] == CHAT

  model = api.load(moved)
  assert (model.vocabulary, model.template) == (found['vocabulary'], CHAT)


def test_the_next_stage_gets_them_from_its_initial_checkpoint(moved):
  found = arguments_of(
    train.train,
    '--gin_file=stages/ssft.gin',
    '--gin_file=data/jsonl.gin',
    '--gin.DATA_PATH=mine.jsonl',
    '--gin.MODEL_DIR=next',
    f'--gin.INITIAL_CHECKPOINT_PATH={moved}/checkpoints/1',
    '--gin.DROPOUT_RATE=0.25',
    '--gin.ATTENTION_KERNEL=einsum',
  )
  assert found['data'].vocabulary == vocabulary_at(moved / 'tokenizer')
  assert found['data'].template == CHAT
  assert found['model'] == dataclasses.replace(
    MODEL, dropout_rate=0.25, attention_kernel='einsum'
  )


def test_a_tokenizer_that_is_missing_or_another_one_is_an_error(
  moved, make_tokenizer, tokenizer_paths
):
  file = moved / 'tokenizer' / 'tokenizer.json'
  shutil.copy(make_tokenizer('qwen', ['other texts'] * 9), file)
  with pytest.raises(ValueError, match='(?s)another tokenizer.*sha256.*sha256'):
    checkpoint_prompts.load_vocabulary(moved)
  file.unlink()
  with pytest.raises(ValueError, match='neither in .*moved/tokenizer nor in '):
    checkpoint_prompts.load_vocabulary(moved)
  found = checkpoint_prompts.load_vocabulary(moved, tokenizer_paths['qwen'])
  assert found == vocabulary_at(tokenizer_paths['qwen'])


def test_an_export_has_the_tokenizer_of_the_run(tmp_path, trained):
  convert.convert(checkpoint=trained, output=tmp_path / 'exported')
  copy = trained.parent.parent / 'tokenizer' / 'tokenizer.json'
  exported = tmp_path / 'exported' / 'tokenizer.json'
  assert exported.read_bytes() == copy.read_bytes()


def test_an_exported_file_also_gives_them(tmp_path, trained, tokenizer_paths):
  file = convert.convert(checkpoint=trained, output=tmp_path / 'c.safetensors')
  found = arguments_of(
    sample.sample,
    '--gin_file=programs/sample.gin',
    '--gin_file=data/jsonl.gin',
    f'--gin.CHECKPOINT_PATH={file}',
    '--gin.DATA_PATH=mine.jsonl',
    '--gin.INFER_OUTPUT_DIR=samples',
  )
  assert found['model'] == MODEL and found['template'] == CHAT
  assert found['vocabulary'] == vocabulary_at(tokenizer_paths['qwen'])


SYSTEM_TURN = "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}"


@pytest.mark.parametrize('system_turn', ['', SYSTEM_TURN])
def test_an_export_whose_chat_template_gives_another_prompt_gets_a_warning(
  tmp_path, trained, tokenizer_paths, caplog, system_turn
):
  pytest.importorskip('jinja2')
  folder = tmp_path / 'published'
  folder.mkdir()
  shutil.copy(tokenizer_paths['qwen'], folder / 'tokenizer.json')
  turns = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + "
    "'<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}"
  )
  config = {'eos_token': '<|im_end|>', 'chat_template': system_turn + turns}
  (folder / 'tokenizer_config.json').write_text(json.dumps(config))
  convert.convert(
    checkpoint=trained, output=tmp_path / 'exported', tokenizer=folder
  )
  if system_turn:
    assert 'gives another prompt than that of the training' in caplog.text
    assert "served:  '<|im_start|>system\\nBe brief." in caplog.text
  else:
    assert 'another prompt' not in caplog.text


def test_the_copy_follows_the_tokenizer_of_the_run(tmp_path, tokenizer_paths):
  folder, workdir = tmp_path / 'published', tmp_path / 'run'
  folder.mkdir()
  file = pathlib.Path(
    shutil.copy(tokenizer_paths['qwen'], folder / 'qwen.json')
  )
  (folder / 'generation_config.json').write_text('{"eos_token_id": [1]}')
  copy = workdir / 'tokenizer'
  copy.mkdir(parents=True)
  (copy / 'tokenizer.model').write_text('of a run that was stopped')

  vocabulary = vocabulary_at(file)
  tokenizer_copy.copy_tokenizer(vocabulary, workdir)
  names = sorted(path.name for path in copy.iterdir())
  assert names == ['generation_config.json', 'tokenizer.json']
  assert vocabulary_at(copy).end_ids == vocabulary.end_ids
  times = [path.stat().st_mtime_ns for path in copy.iterdir()]
  tokenizer_copy.copy_tokenizer(vocabulary, workdir)
  assert times == [path.stat().st_mtime_ns for path in copy.iterdir()]

  tokenizer_copy.copy_tokenizer(vocabularies.ByteVocabulary(), tmp_path / 'b')
  assert not (tmp_path / 'b').exists()
