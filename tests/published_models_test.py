"""Trains a Hugging Face folder through the paper's stages and exports it for `transformers`.

A small random model of two families, each with a tokenizer of its real kind: byte-level BPE in a
tokenizer.json for Qwen2.5, SentencePiece for Gemma 3.
"""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mathft_jax import (
  checkpoints,
  convert,
  evaluate,
  grade,
  sample,
  score,
  train,
)
from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.data import examples, prompt_templates, schema, vocabularies
from mathft_jax.evaluation import voting
from mathft_jax.inference import sampling
from mathft_jax.models import transformer
from mathft_jax.models.huggingface import config_json, tensor_names
from mathft_jax.training import losses, optimizers
from tests.train_arguments import group_train_arguments

pytestmark = pytest.mark.usefixtures('quick_compiles')
PROBLEMS = [
  schema.Problem(
    id=f'p{n}',
    question=f'What is {n} + 1?',
    split=split,
    solution=f'{n} + 1 is \\boxed{{{n + 1}}}.',
    answer=str(n + 1),
  )
  for n, split in enumerate(['train'] * 8 + ['test'] * 2)
]
TEMPLATE = prompt_templates.Template()
SIZES = dict(
  hidden_size=16,
  intermediate_size=24,
  num_hidden_layers=2,
  num_attention_heads=2,
  num_key_value_heads=1,
  rms_norm_eps=1e-6,
  max_position_embeddings=512,
)
KINDS = {
  'qwen': (
    dict(model_type='qwen2', rope_theta=1e6, tie_word_embeddings=True),
    dict(eos='<|endoftext|>', pad='<|fim_pad|>'),
  ),
  'gemma': (
    dict(
      model_type='gemma3_text',
      head_dim=8,
      sliding_window=64,
      rope_theta=1e6,
      sliding_window_pattern=2,
      rope_scaling={'rope_type': 'linear', 'factor': 8.0},
    ),
    dict(eos='<eos>', pad='<pad>', bos='<bos>'),
  ),
}


def problems(split):
  return [problem for problem in PROBLEMS if problem.split == split]


def make_folder(
  folder: pathlib.Path, keys: dict, vocab_size: int
) -> pathlib.Path:
  """A folder as published: config.json and two files of random weights in bfloat16."""
  folder.mkdir()
  found = {**SIZES, **keys, 'vocab_size': vocab_size, 'eos_token_id': 1}
  (folder / 'config.json').write_text(json.dumps(found))
  family, config = config_json.family_and_model_config(found, where='test')
  params = lazy_params.flatten_params(
    transformer.init_params(config, jax.random.key(0))
  )
  arrays = {}
  for row in tensor_names.select_mappings(
    family.tensors, {name: array.shape for name, array in params.items()}
  ):
    array = np.asarray(params[row.param_name].astype('bfloat16'))
    for layer in range(config.num_layers) if row.is_stacked else (None,):
      arrays[row.tensor_name(layer)] = row.to_tensor(
        array if layer is None else array[layer]
      )
  halves = [dict(list(arrays.items())[i::2]) for i in range(2)]
  where = {}
  for number, half in enumerate(halves, 1):
    file = f'model-{number:05}-of-00002.safetensors'
    safetensors_format.write_safetensors(
      folder / file, half, half.values(), {'format': 'pt'}
    )
    where.update(dict.fromkeys(half, file))
  (folder / 'model.safetensors.index.json').write_text(
    json.dumps({'weight_map': where})
  )
  return folder


def score_and_report(
  workdir: pathlib.Path,
  evaluator: pathlib.Path,
  graded: pathlib.Path,
  parts: dict[str, object],
) -> None:
  scored = score.score(
    workdir / 'scored',
    checkpoint=evaluator,
    candidates=graded,
    batch_size=8,
    **parts,
  )
  evaluate.evaluate(
    workdir / 'report',
    candidates=scored,
    rules=(voting.Majority(), voting.Rerank(), voting.WeightedVote()),
    resamples=50,
    draws=2,
  )


def run_stages(
  workdir: pathlib.Path, folder: pathlib.Path, vocabulary
) -> pathlib.Path:
  """SSFT, sample, grade, SCR, score, evaluate; the generator's checkpoint."""
  parts = dict(
    model=checkpoints.load_model_config(folder),
    vocabulary=vocabulary,
    template=TEMPLATE,
  )
  training = dict(
    parts,
    optimizer=optimizers.AdamW(1e-3),
    batch_size=8,
    max_length=160,
    tensorboard=False,
  )
  generator = train.train(
    workdir / 'ssft',
    init_from=folder,
    train_steps=3,
    examples=examples.SolutionExamples(problems, TEMPLATE, vocabulary),
    **group_train_arguments(loss=losses.Mle(), **training),
  )
  candidates = sample.sample(
    workdir / 'candidates',
    checkpoint=generator,
    problems=PROBLEMS,
    num_decodes=3,
    max_decode_length=12,
    batch_size=8,
    method=sampling.Nucleus(0.95, 0.9),
    **parts,
  )
  graded = grade.grade(workdir / 'graded', candidates=candidates)
  # A random model is never right: the reference solutions are the correct candidates.
  evaluator = train.train(
    workdir / 'scr',
    init_from=generator,
    train_steps=2,
    **group_train_arguments(loss=losses.VerifierXent(), **training),
    examples=examples.VerdictExamples(
      candidates=str(graded),
      vocabulary=vocabulary,
      template=TEMPLATE,
      single_class_problems='reference',
      examples_per_problem=2,
    ),
  )
  score_and_report(workdir, evaluator, graded, parts)
  return generator


@pytest.fixture(
  scope='module',
  params=['qwen', pytest.param('gemma', marks=pytest.mark.slow)],
)
def journey(request, tmp_path_factory, make_tokenizer):
  """(published folder, exported folder, vocabulary size) of a made-up published model."""
  workdir = tmp_path_factory.mktemp(request.param)
  keys, names = KINDS[request.param]
  tokenizer = make_tokenizer(request.param)
  vocabulary = vocabularies.TokenizerVocabulary(str(tokenizer), **names)
  folder = make_folder(workdir / 'published', keys, vocabulary.vocab_size + 5)
  shutil.copy(tokenizer, folder)
  generator = run_stages(workdir, folder, vocabulary)
  out = convert.convert(
    checkpoint=generator, output=workdir / 'out', tokenizer=folder
  )
  return folder, out, vocabulary.vocab_size + 5


def test_a_published_model_passes_all_stages_and_is_exported(journey):
  folder, out, vocab_size = journey
  report = json.loads((folder.parent / 'report' / 'report.json').read_text())
  assert 'Maj1' in json.dumps(report)
  found = json.loads((out / 'config.json').read_text())
  assert found['vocab_size'] == vocab_size and found['eos_token_id'] == 1
  assert found['max_position_embeddings'] == 512
  assert any(
    (out / name).is_file() for name in ('tokenizer.json', 'tokenizer.model')
  )
  before, after = (
    checkpoints.load_params(
      path, checkpoints.load_abstract_params(path, 'float32')
    )
    for path in (folder, out)
  )
  moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), before, after)
  assert 0 < max(jax.tree.leaves(moved)) < 0.1


def test_installed_transformers_loads_the_result(journey):
  torch = pytest.importorskip('torch', reason='the extra [hf] is not installed')
  transformers = pytest.importorskip(
    'transformers', reason='the extra [hf] is not installed'
  )
  _, out, _ = journey
  model = transformers.AutoModelForCausalLM.from_pretrained(
    out, dtype=torch.float32
  )
  tokens = np.arange(20, dtype=np.int32)[None] + 30
  with torch.no_grad():
    theirs = model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
  config = checkpoints.load_model_config(out)
  params = checkpoints.load_params(out, transformer.abstract_params(config))
  hidden, _ = transformer.hidden_states(
    config, params, tokens, positions_BT=np.arange(20)[None]
  )
  ours = np.asarray(transformer.logits(config, params, hidden))
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
