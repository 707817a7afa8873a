"""The recipes of a real model on real problems: they assemble, and a short run of all stages."""

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys

import gin
import numpy as np
import pytest

from benchmarks import smollm2_folder
from mathft_jax import experiments
from mathft_jax.checkpoints import safetensors_format
from mathft_jax.config import entry_point

FOLD = (
  'Question,Numbers,Equation,Answer\n'
  'ann has number0 cups and buys number1 . how many has she ?,8 2,+ number0 number1,10\n'
  'bob has number0 cups and breaks number1 . how many has he ?,8 2,- number0 number1,6\n'
)
CONFIG = {
  'model_type': 'llama',
  'vocab_size': 640,
  'hidden_size': 8,
  'num_hidden_layers': 1,
  'num_attention_heads': 2,
  'intermediate_size': 16,
  'hidden_act': 'silu',
  'tie_word_embeddings': True,
}
LAYER = {
  'input_layernorm': (8,),
  'post_attention_layernorm': (8,),
  'self_attn.q_proj': (8, 8),
  'self_attn.k_proj': (8, 8),
  'self_attn.v_proj': (8, 8),
  'self_attn.o_proj': (8, 8),
  'mlp.gate_proj': (16, 8),
  'mlp.up_proj': (16, 8),
  'mlp.down_proj': (8, 16),
}


@pytest.fixture
def data(tmp_path, tokenizer_paths):
  """Arguments that name small files of the published formats."""
  for name in ('asdiv_a', 'mawps'):
    with gzip.open(tmp_path / f'{name}_fold0_train.csv.gz', 'wt') as file:
      file.write(FOLD)
  folder = tmp_path / 'model'
  folder.mkdir()
  shutil.copy(tokenizer_paths['qwen'], folder)
  (folder / 'config.json').write_text(json.dumps(CONFIG))
  tensors = {
    'model.embed_tokens.weight': np.zeros((640, 8), np.float32),
    'model.norm.weight': np.zeros(8, np.float32),
  }
  for name, shape in LAYER.items():
    tensors[f'model.layers.0.{name}.weight'] = np.zeros(shape, np.float32)
  safetensors_format.write_safetensors(
    folder / 'model.safetensors', tensors, tensors.values(), {}
  )
  gsm8k = {'question': 'How many?', 'answer': '1+1 = <<1+1=2>>2\n#### 2'}
  for split in ('train', 'test'):
    (tmp_path / f'{split}.jsonl').write_text(json.dumps(gsm8k) + '\n')
  return [
    f'--gin.MODEL_DIR={tmp_path}/runs',
    f'--gin.BENCHMARK_DIR={tmp_path}',
    f'--gin.INITIAL_CHECKPOINT_PATH={folder}',
    "--gin.vocabularies.TokenizerVocabulary.pad='<|fim_pad|>'",
  ]


@pytest.mark.parametrize('size', ['cpu', 'cpu_methods', 'gpu'])
def test_the_recipe_assembles(size, data, tmp_path, capsys):
  argv = ['experiments', f'--gin_file=recipes/smollm2_{size}.gin', *data]
  if size == 'gpu':
    argv.append(f'--gin.GSM8K_PATH={tmp_path}/{{split}}.jsonl')
  status = entry_point.main(experiments.experiments, [*argv, '--dry_run'])
  gin.clear_config()
  assert status == 0, capsys.readouterr().err


def test_the_folder_of_the_real_model_has_the_published_epsilon():
  assert smollm2_folder.published_float(9.999999747378752e-06) == 1e-5


@pytest.mark.slow
def test_all_stages_of_the_small_size_on_the_real_model(tmp_path, shared_data):
  folder = os.environ.get('MATHFT_SMOLLM2', '')
  if not (pathlib.Path(folder) / 'model.safetensors').is_file():
    pytest.skip(
      'no SmolLM2-135M: set MATHFT_SMOLLM2 to the folder that '
      '`python -m benchmarks.smollm2_folder` writes'
    )
  command = [
    *(sys.executable, '-m', 'mathft_jax.experiments'),
    '--gin_file=recipes/smollm2_cpu.gin',
    f'--gin.MODEL_DIR={tmp_path}/runs',
    f'--gin.INITIAL_CHECKPOINT_PATH={folder}',
    f'--gin.BENCHMARK_DIR={shared_data}/benchmarks',
    *('--gin.TEST_LIMIT=4', '--gin.PROBLEM_LIMIT=60', '--gin.BATCH_SIZE=4'),
    *('--gin.NUM_SAMPLED_PROBLEMS=4', '--gin.SSFT_STEPS=1'),
    *('--gin.EVALUATOR_STEPS=1', '--gin.THIRD_STEPS=1'),
    '--gin.CONTROL_STEPS=2',
  ]
  subprocess.run(command, check=True, timeout=1800)
  tables = (tmp_path / 'runs' / 'experiments.md').read_text()
  assert 'MTSF: Maj1@N' in tables or 'Maj1@N: MTSF' in tables
