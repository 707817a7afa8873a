"""Compiled train steps of mathft_jax and MaxText for one TPU slice, in two columns.

  python3.12 -m venv runs/maxtext && runs/maxtext/bin/pip install 'maxtext[tpu]' -e .    # 2.4 GB
  runs/maxtext/bin/python -m benchmarks.maxtext_plan --output=runs/maxtext_plan

Both programs are compiled ahead of time for the same slice; no TPU is needed. The same analyser
(`mathft_jax/aot/hlo`) reads both. With both packages in one environment, both are compiled by the
same libtpu; `--python` names another environment for MaxText. A compilation takes some minutes. A
program whose result is in the output folder is not compiled again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

from mathft_jax.aot.hlo import program_costs

# Runs the ahead-of-time entry point of MaxText, and stores the text and the memory of the program.
_DRIVER = """
import importlib.metadata, json, pathlib, runpy, sys
import jax, maxtext
output = pathlib.Path(sys.argv.pop(1))
compile_lowered = jax.stages.Lowered.compile
def compile_and_store(lowered, *arguments, **options):
  compiled = compile_lowered(lowered, *arguments, **options)
  text = compiled.as_text()
  largest = output / 'maxtext.hlo.txt'
  if not largest.exists() or largest.stat().st_size < len(text):
    largest.write_text(text)
    memory = compiled.memory_analysis()
    versions = {n: importlib.metadata.version(n) for n in ('maxtext', 'jax', 'libtpu')}
    record = {'used_bytes': memory.peak_memory_in_bytes, 'versions': versions}
    (output / 'maxtext.json').write_text(json.dumps(record))
  return compiled
jax.stages.Lowered.compile = compile_and_store
base = pathlib.Path(maxtext.__file__).parent / 'configs' / 'base.yml'
sys.argv[:1] = ['train_compile', str(base)]
runpy.run_module('maxtext.trainers.pre_train.train_compile', run_name='__main__')
"""
_ENVIRONMENT = {
  'JAX_PLATFORMS': 'cpu',
  # Without these, libtpu asks a metadata server about the local machine.
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v5p-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}


def compile_maxtext(options: argparse.Namespace, num_chips: int) -> None:
  """Writes maxtext.hlo.txt and maxtext.json to the output folder."""
  settings = {
    'model_name': options.maxtext_model,
    'compile_topology': options.maxtext_topology,
    'compile_topology_num_slices': 1,
    'per_device_batch_size': options.batch_size / num_chips,
    'max_target_length': options.length,
    'remat_policy': 'full',
    'attention': 'flash',
    'dataset_type': 'synthetic',
    'enable_checkpointing': False,
    'base_output_directory': str(options.output),
    'run_name': 'maxtext',
  }
  arguments = [f'{name}={value}' for name, value in settings.items()]
  subprocess.run(
    [
      options.python,
      '-c',
      _DRIVER,
      str(options.output),
      *arguments,
      *options.maxtext_setting,
    ],
    env={**os.environ, **_ENVIRONMENT},
    check=True,
  )


def maxtext_figures(folder: pathlib.Path) -> dict[str, object]:
  """Returns the costs of the stored program per chip."""
  text = (folder / 'maxtext.hlo.txt').read_text()
  record = json.loads((folder / 'maxtext.json').read_text())
  costs = program_costs.count_program_costs(text)
  sent = sum(collective.bytes_sent for collective in costs.collectives)
  return {
    'sent GB': round(sent / 1e9, 1),
    'HBM traffic GB': round(costs.hbm_bytes / 1e9),
    'peak memory GiB': round(record['used_bytes'] / 2**30, 2),
    'not counted': costs.uncounted,
    'versions': record['versions'],
  }


def compile_ours(options: argparse.Namespace) -> None:
  """Writes ours.json, the output of `mathft_jax.plan`, to the output folder."""
  subprocess.run(
    [
      sys.executable,
      '-m',
      'mathft_jax.plan',
      f'--gin_file=models/{options.model}.gin',
      '--gin_file=stages/ssft.gin',
      f'--gin.TOPOLOGY={options.topology}',
      f'--gin.BATCH_SIZE={options.batch_size}',
      f'--gin.MAX_LENGTH={options.length}',
      '--gin.FSDP=True',
      '--gin.ATTENTION_KERNEL=splash',
      '--gin.FIND_BATCH=False',
      '--gin.transformer.TransformerConfig.remat=full',
      f'--gin.PLAN_OUTPUT={options.output / "ours.json"}',
      *[f'--gin.{setting}' for setting in options.setting],
    ],
    check=True,
  )


def our_figures(folder: pathlib.Path) -> dict[str, object]:
  """Returns the same of our program."""
  (stage,) = json.loads((folder / 'ours.json').read_text())['stages']
  (program,) = stage['programs']
  sent = sum(each['bytes'] for each in program['collectives'])
  return {
    'sent GB': round(sent / 1e9, 1),
    'HBM traffic GB': round(program['hbm_bytes'] / 1e9),
    'peak memory GiB': round(stage['used_bytes'] / 2**30, 2),
    'not counted': program['uncounted'],
  }


def print_columns(ours: dict[str, object], peer: dict[str, object]) -> None:
  print('| per chip and step | mathft_jax | MaxText | ratio |')
  print('|---|---:|---:|---:|')
  for name in ('sent GB', 'HBM traffic GB', 'peak memory GiB'):
    our_value, peer_value = ours[name], peer[name]
    assert isinstance(our_value, int | float)
    assert isinstance(peer_value, int | float)
    ratio = our_value / peer_value
    print(f'| {name} | {our_value} | {peer_value} | {ratio:.2f} |')
  print(f'not counted: {ours["not counted"]}, {peer["not counted"]}')
  print(f'MaxText: {peer["versions"]}')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--python', default=sys.executable, help="of MaxText's environment"
  )
  parser.add_argument('--output', type=pathlib.Path, required=True)
  parser.add_argument('--model', default='llama3_1_8b')
  parser.add_argument('--topology', default='v5p:4x4x4')
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--length', type=int, default=1024)
  parser.add_argument('--maxtext_model', default='llama3.1-8b')
  parser.add_argument(
    '--maxtext_topology', default='v5p-128', help='128 cores: 64 chips'
  )
  parser.add_argument(
    '--setting', nargs='*', default=[], help='gin binding of ours'
  )
  parser.add_argument(
    '--maxtext_setting', nargs='*', default=[], help='such as remat_policy=full'
  )
  options = parser.parse_args()
  options.output = options.output.resolve()
  options.output.mkdir(parents=True, exist_ok=True)
  sizes = options.topology.partition(':')[2].split('x')
  num_chips = 1
  for size in sizes:
    num_chips *= int(size)
  if not (options.output / 'maxtext.json').exists():
    compile_maxtext(options, num_chips)
  if not (options.output / 'ours.json').exists():
    compile_ours(options)
  print_columns(our_figures(options.output), maxtext_figures(options.output))


if __name__ == '__main__':
  main()
