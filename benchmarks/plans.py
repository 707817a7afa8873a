"""Table of planned runs: published models, trained and sampled on TPU slices (docs/plan.md).

  python -m benchmarks.plans --output=runs/plans
  python -m benchmarks.plans --output=runs/plans --models=olmo3_7b,phi4_14b

Each entry is one run of `mathft_jax.plan`; its JSON is stored in the folder. Running the command
again computes only the missing entries. One entry takes a minute or two on two cores. With
`--models` only the entries of these models are computed and printed.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One run of `mathft_jax.plan`.

  Attributes:
    program: 'train', 'sample' or 'score'.
    model: gin file in `models/`.
    topology: such as 'v5p:4x4x4', or a file in `slices/` that names it.
    settings: gin macros in addition to those of all runs.
    gin_files: after that of the model; by default the file of the program.
  """

  program: str
  model: str
  topology: str
  settings: tuple[str, ...]
  gin_files: tuple[str, ...] = ()

  @property
  def name(self) -> str:
    slices = ''.join(
      setting for setting in self.settings if setting.startswith('DCN')
    )
    name = f'{self.program}_{self.model}_{self.topology}{slices}'
    return re.sub(r'[) ]', '', re.sub(r'[:=(,]', '_', name))


def training_run(
  model: str,
  topology: str,
  batch_per_device: int,
  num_devices: int,
  *settings: str,
  search: bool = False,
) -> PlannedRun:
  """Returns a training run; `search` also searches for the largest batch size."""
  common = (
    f'BATCH_SIZE={batch_per_device * num_devices}',
    'FSDP=True',
    'transformer.TransformerConfig.remat=full',
    f'FIND_BATCH={search}',
  )
  return PlannedRun('train', model, topology, (*common, *settings))


def sampling_run(
  model: str, topology: str, num_partitions: int, batch_size: int
) -> PlannedRun:
  """Returns a sampling run; `batch_size` is in problems."""
  settings = (
    f'NUM_PARTITIONS={num_partitions}',
    f'DECODE_BATCH_SIZE={batch_size}',
    'FIND_BATCH=False',
  )
  return PlannedRun('sample', model, topology, settings)


RUNS = (
  training_run('gemma2_2b', 'v5e:4x4', 4, 16, search=True),
  training_run('gemma2_9b', 'v6e:4x8', 4, 32),
  training_run('gemma2_9b', 'v4:4x4x4', 4, 64),
  training_run('gemma2_27b', 'v5p:4x4x4', 4, 64),
  training_run('llama3_1_8b', 'v5p:2x4x4', 4, 32, search=True),
  training_run('llama3_3_70b', 'v5p:4x4x8', 4, 128),
  training_run('llama3_3_70b', 'v5p:8x8x16', 2, 1024, 'NUM_PARTITIONS=4'),
  training_run(
    'llama3_3_70b',
    'v5e:16x16',
    2,
    512,
    'NUM_PARTITIONS=4',
    'DCN_MESH_SHAPE=(2, 1)',
  ),
  training_run('qwen2_5_7b', 'v6e:4x8', 4, 32, search=True),
  training_run('qwen2_5_72b', 'tpu7x:4x4x8', 4, 256),
  training_run('smollm3_3b', 'v5e:4x4', 4, 16),
  training_run('deepseek_r1_qwen_7b', 'v5e:4x8', 4, 32),
  training_run('olmo3_7b', 'v5e:4x8', 4, 32),
  training_run('granite3_3_8b', 'v5p:2x2x4', 4, 16),
  training_run('ministral3_8b', 'v5p:2x2x4', 4, 16),
  training_run('phi4_14b', 'v5p:2x4x4', 4, 32),
  training_run('mistral_small_24b', 'v5p:4x4x4', 4, 64),
  sampling_run('gemma2_2b', 'v5e:4x4', 4, 16),
  sampling_run('gemma2_9b', 'v6e:4x4', 4, 8),
  sampling_run('gemma2_27b', 'v5p:2x2x4', 4, 32),
  sampling_run('llama3_1_8b', 'v5p:2x2x4', 4, 64),
  sampling_run('llama3_3_70b', 'v5p:2x2x4', 4, 16),
  sampling_run('qwen2_5_7b', 'v6e:4x4', 4, 64),
  sampling_run('qwen2_5_72b', 'tpu7x:2x2x2', 8, 16),
)
GIN_FILES = {'train': 'stages/ssft.gin', 'sample': 'programs/sample.gin'}
HEADINGS = {
  'train': (
    'model',
    'chips',
    'data x model',
    'batch size',
    'GiB',
    'largest',
    'tokens/s per chip',
    'MFU %',
  ),
  'sample': (
    'model',
    'chips',
    'data x model x groups',
    'problems per batch',
    'GiB',
    'tokens/s per chip',
    'minutes for 500 problems',
  ),
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    required=True,
    help='folder of the JSON files',
  )
  parser.add_argument(
    '--models',
    type=lambda names: tuple(names.split(',')),
    default=tuple(dict.fromkeys(run.model for run in RUNS)),
    help='gin files in `models/`, separated by commas; default: all',
  )
  options = parser.parse_args()
  folder = options.output
  folder.mkdir(parents=True, exist_ok=True)

  documents, failed = {}, []
  for run in RUNS:
    if run.model not in options.models:
      continue
    path = folder / f'{run.name}.json'
    if path.exists() or run_plan(run, path):
      documents[run] = json.loads(path.read_text())
    else:
      failed.append(run.name)

  for program, headings in HEADINGS.items():
    print(f'| {" | ".join(headings)} |\n|{"---|" * len(headings)}')
    for run, document in documents.items():
      if run.program == program:
        print(f'| {" | ".join(table_cells(run, document))} |')
    print()
  if failed:
    raise SystemExit(f'Failed, not in the table: {", ".join(failed)}')


def run_plan(run: PlannedRun, path: pathlib.Path) -> bool:
  """Runs `mathft_jax.plan` and returns whether it wrote its JSON, also if the run does not fit."""
  partial = path.with_suffix('.partial')
  command = [
    sys.executable,
    '-m',
    'mathft_jax.plan',
    f'--gin_file=models/{run.model}.gin',
    f'--gin.PLAN_OUTPUT={partial}',
  ]
  command += [
    f'--gin_file={file}' for file in run.gin_files or (GIN_FILES[run.program],)
  ]
  if not run.gin_files:
    command += [
      f'--gin.TOPOLOGY={run.topology}',
      '--gin.ATTENTION_KERNEL=splash',
    ]
  command += [f'--gin.{setting}' for setting in run.settings]
  print(' '.join(command), file=sys.stderr, flush=True)
  done = subprocess.run(command, stdout=sys.stderr, check=False)
  if done.returncode > 1 or not partial.exists():
    print(f'{run.name}: exit status {done.returncode}', file=sys.stderr)
    return False
  partial.rename(path)
  return True


def table_cells(run: PlannedRun, document: dict[str, Any]) -> list[str]:
  (stage,) = document['stages']
  used = stage['used_bytes'] / GIB
  capacity = document['chip']['hbm_bytes'] / GIB
  mesh = ' x '.join(map(str, stage['mesh']))
  if run.program == 'sample':
    mesh += f' x {stage["groups"]}'
  cells = [
    run.model,
    document['topology'],
    mesh,
    str(stage['settings']['batch_size']),
    f'{used:.1f} of {capacity:.1f}',
  ]
  throughput = format_range(stage, 'tokens_per_second_per_chip')
  if run.program == 'sample':
    minutes = format_range(stage, 'stage_seconds', 1 / 60)
    return [*cells, throughput, minutes]
  largest = stage.get('largest_batch', {}).get('batch_size', '-')
  utilization = format_range(stage, 'model_flops_utilization', 100)
  return [*cells, str(largest), throughput, utilization]


def format_range(stage: dict[str, Any], name: str, factor: float = 1) -> str:
  """Returns 'low to high' for a pair of numbers."""
  if name not in stage:
    return 'does not fit'
  numbers = []
  for number in sorted(stage[name]):
    number *= factor
    numbers.append(f'{number:,.3g}' if number < 1000 else f'{number:,.0f}')
  return ' to '.join(numbers)


if __name__ == '__main__':
  main()
