"""Peak host memory of conversions of a random model of 3B parameters, bfloat16.

  python benchmarks/convert_memory.py            # 25 GB of disk, 12 GB of memory, some minutes

Each conversion is a process of its own. The table has the peak of its resident memory without and
with the pages of memory-mapped files, which the system reclaims when it needs them.
"""

import argparse
from collections.abc import Sequence
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import ml_dtypes
import numpy as np

from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.models import layer_stacks, transformer
from mathft_jax.models.huggingface import config_json, tensor_names

GIB = 2**30
SHARD_BYTES = 2e9
CONFIG_JSON: dict[str, Any] = dict(  # of Qwen2.5 3B
  model_type='qwen2',
  vocab_size=151_936,
  hidden_size=2048,
  num_hidden_layers=36,
  num_attention_heads=16,
  num_key_value_heads=2,
  intermediate_size=11_008,
  tie_word_embeddings=True,
  rope_theta=1_000_000.0,
)
IMPORTS = """
import sys
from mathft_jax import checkpoints
from mathft_jax.models import transformer
"""
LOAD = f"""{IMPORTS}
path = sys.argv[1]
params = checkpoints.load_params(path, checkpoints.load_abstract_params(path))
"""


def tensor_shapes(keys: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of all tensors of a model."""
  family, config = config_json.family_and_model_config(
    keys, where='CONFIG_JSON'
  )
  params = lazy_params.flatten_params(transformer.abstract_params(config))
  shapes = {}
  for mapping in tensor_names.select_mappings(family.tensors, params):
    shape = params[mapping.param_name].shape
    if mapping.is_stacked:
      shape = shape[1:]
    for layer in layer_stacks.layers_of_param(config, mapping.param_name):
      shapes[mapping.tensor_name(layer)] = mapping.tensor_shape(shape)
  return shapes


def make_folder(folder: pathlib.Path, keys: dict[str, Any]) -> tuple[int, int]:
  """Writes a Hugging Face folder of random weights in files of SHARD_BYTES.

  Returns bytes of all tensors and bytes of the largest tensor.
  """
  folder.mkdir()
  (folder / 'config.json').write_text(json.dumps(keys))
  values = np.random.default_rng(0).normal(0, 0.02, 1 << 22)
  block = values.astype(ml_dtypes.bfloat16)

  shards: list[dict[str, np.ndarray]] = [{}]
  sizes = []
  shard_size = 0
  for name, shape in tensor_shapes(keys).items():
    tensor = np.broadcast_to(block[:1], shape)
    if shard_size > SHARD_BYTES:
      shards.append({})
      shard_size = 0
    shards[-1][name] = tensor
    sizes.append(2 * tensor.size)
    shard_size += sizes[-1]

  file_by_name = {}
  for number, shard in enumerate(shards, 1):
    file = f'model-{number:05}-of-{len(shards):05}.safetensors'
    tensors = (np.resize(block, tensor.shape) for tensor in shard.values())
    safetensors_format.write_safetensors(
      folder / file, shard, tensors, {'format': 'pt'}
    )
    file_by_name.update(dict.fromkeys(shard, file))
  index = json.dumps({'weight_map': file_by_name})
  (folder / 'model.safetensors.index.json').write_text(index)
  return sum(sizes), max(sizes)


def measure(command: Sequence[str]) -> tuple[int, int, float]:
  """Runs a process; returns peak bytes without mapped files, with them, and seconds."""
  start = time.time()
  anonymous = resident = 0
  process = subprocess.Popen(command)
  while process.poll() is None:
    try:
      status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    except OSError:
      continue
    fields = dict(line.split(':', 1) for line in status.splitlines())
    if 'RssAnon' in fields:
      anonymous = max(anonymous, int(fields['RssAnon'].split()[0]) * 1024)
      resident = max(resident, int(fields['VmHWM'].split()[0]) * 1024)
    time.sleep(0.005)

  if process.returncode:
    raise RuntimeError(f'{command} exited with {process.returncode}')
  return anonymous, resident, time.time() - start


def conversions(folder: pathlib.Path) -> dict[str, list[str]]:
  """Returns the command of each line of the table."""
  python = sys.executable

  def convert(source: str, target: str) -> list[str]:
    paths = f'--checkpoint={folder / source}', f'--output={folder / target}'
    return [python, '-m', 'mathft_jax.convert', *paths]

  return {
    'imports only': [python, '-c', IMPORTS],
    'folder to native file': convert('hf', 'x.safetensors'),
    'native file to folder': convert('x.safetensors', 'out'),
    'folder to one device (its memory included)': [
      python,
      '-c',
      LOAD,
      f'{folder}/hf',
    ],
    'folder to an orbax step (its memory included)': convert('hf', 'step'),
    'orbax step to folder': convert('step', 'out2'),
  }


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument(
    '--layers', type=int, default=CONFIG_JSON['num_hidden_layers']
  )
  parser.add_argument(
    '--folder', default=None, help='parent of a temporary folder of 25 GB'
  )
  arguments = parser.parse_args()

  keys = {**CONFIG_JSON, 'num_hidden_layers': arguments.layers}
  with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
    folder = pathlib.Path(name)
    total, largest = make_folder(folder / 'hf', keys)
    print(f'{total / GIB:.2f} GiB, largest tensor {largest / GIB:.2f} GiB')
    print('| | GiB, without mapped files | with | seconds |')
    print('|---|---:|---:|---:|', flush=True)
    for name, command in conversions(folder).items():
      anonymous, resident, seconds = measure(command)
      print(
        f'| {name} | {anonymous / GIB:.2f} | {resident / GIB:.2f} | {seconds:.0f} |',
        flush=True,
      )


if __name__ == '__main__':
  main()
