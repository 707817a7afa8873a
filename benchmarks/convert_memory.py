"""Peak host memory of conversions of a made-up model of 3B parameters, bfloat16.

  python benchmarks/convert_memory.py            # 25 GB of disk, 12 GB of memory, some minutes

Each conversion is a process of its own. Its peak is that of its resident memory, once without the
pages of mapped files, which the system takes back when it needs them, and once with them.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import ml_dtypes
import numpy as np

from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.models import transformer
from mathft_jax.models.huggingface import config_json, tensor_names

GIB = 2**30
SIZES = dict(  # those of Qwen2.5 3B
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
LOAD = """
import sys
from mathft_jax import checkpoints
from mathft_jax.models import transformer
path = sys.argv[1]
params = checkpoints.load_params(path, checkpoints.load_abstract_params(path))
"""


def make_folder(folder: pathlib.Path, sizes: dict) -> tuple[int, int]:
  """Writes a folder of random weights in files of 2 GB; (bytes in all, of the largest tensor)."""
  folder.mkdir()
  (folder / 'config.json').write_text(json.dumps(sizes))
  family, config = config_json.from_config_json(sizes, where='sizes')
  shapes = {
    name: array.shape
    for name, array in lazy_params.flatten_params(
      transformer.abstract_params(config)
    ).items()
  }
  block = (
    np.random.default_rng(0).normal(0, 0.02, 1 << 22).astype(ml_dtypes.bfloat16)
  )
  wanted = {}
  for row in tensor_names.select_mappings(family.tensors, shapes):
    ours = shapes[row.param_name][1:] if row.is_stacked else shapes[row.param_name]
    for layer in range(config.num_layers) if row.is_stacked else (None,):
      wanted[row.tensor_name(layer)] = np.broadcast_to(
        block[:1], row.tensor_shape(ours)
      )
  shards, size = [{}], 0
  for name, each in wanted.items():
    if size > 2e9:
      shards.append({})
      size = 0
    shards[-1][name] = each
    size += 2 * each.size
  where = {}
  for number, shard in enumerate(shards, 1):
    file = f'model-{number:05}-of-{len(shards):05}.safetensors'
    parts = (np.resize(block, each.shape) for each in shard.values())
    safetensors_format.write_safetensors(
      folder / file, shard, parts, {'format': 'pt'}
    )
    where.update(dict.fromkeys(shard, file))
  (folder / 'model.safetensors.index.json').write_text(
    json.dumps({'weight_map': where})
  )
  sizes = [2 * each.size for each in wanted.values()]
  return sum(sizes), max(sizes)


def measure(command: list[str]) -> tuple[int, int, float]:
  """(peak without mapped files, peak with them, seconds) of a process; bytes."""
  start, anonymous, resident = time.time(), 0, 0
  process = subprocess.Popen(command)
  while process.poll() is None:
    try:
      status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
    except OSError:
      continue
    lines = dict(line.split(':', 1) for line in status.splitlines())
    if 'RssAnon' in lines:
      anonymous = max(anonymous, int(lines['RssAnon'].split()[0]) * 1024)
      resident = max(resident, int(lines['VmHWM'].split()[0]) * 1024)
    time.sleep(0.005)
  if process.returncode:
    raise RuntimeError(f'{command} ended with {process.returncode}')
  return anonymous, resident, time.time() - start


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--layers', type=int, default=SIZES['num_hidden_layers'])
  parser.add_argument(
    '--folder', default=None, help='where to put some 25 GB for a while'
  )
  arguments = parser.parse_args()
  sizes = {**SIZES, 'num_hidden_layers': arguments.layers}
  with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
    folder = pathlib.Path(folder)
    total, largest = make_folder(folder / 'hf', sizes)
    print(
      f'{total / GIB:.2f} GiB in all, largest tensor {largest / GIB:.2f} GiB',
      flush=True,
    )
    print(
      '| | GiB, without mapped files | with | seconds |\n|---|---:|---:|---:|',
      flush=True,
    )
    convert = [sys.executable, '-m', 'mathft_jax.convert']
    for name, command in {
      'nothing but the imports': [
        sys.executable,
        '-c',
        LOAD.split('path =')[0],
      ],
      'folder to native file': [
        *convert,
        f'--checkpoint={folder}/hf',
        f'--output={folder}/x.safetensors',
      ],
      'native file to folder': [
        *convert,
        f'--checkpoint={folder}/x.safetensors',
        f'--output={folder}/out',
      ],
      'folder to one device (its memory included)': [
        sys.executable,
        '-c',
        LOAD,
        f'{folder}/hf',
      ],
      'folder to an orbax step (its memory included)': [
        *convert,
        f'--checkpoint={folder}/hf',
        f'--output={folder}/step',
      ],
      'orbax step to folder': [
        *convert,
        f'--checkpoint={folder}/step',
        f'--output={folder}/out2',
      ],
    }.items():
      anonymous, resident, seconds = measure(command)
      row = (
        name,
        f'{anonymous / GIB:.2f}',
        f'{resident / GIB:.2f}',
        f'{seconds:.0f}',
      )
      print(f'| {" | ".join(row)} |', flush=True)


if __name__ == '__main__':
  main()
