"""The table of docs/plan.md: published models on TPUs, trained and sampled, none of them owned.

  python -m benchmarks.plans --output=runs/plans

Each row is one run of mathft_jax.plan, whose json stays in the folder; running the command again only
makes rows that are missing. A row compiles its programs, which takes a minute or two on two cores.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Row:
  """One run: the words that its command has besides those that all have."""

  what: str
  model: str
  topology: str
  settings: tuple[str, ...]

  @property
  def name(self) -> str:
    slices = ''.join(each for each in self.settings if each.startswith('DCN'))
    return f'{self.what}_{self.model}_{self.topology}{slices}'.translate(
      str.maketrans(':=(,', '____', ') ')
    )


def train(
  model: str,
  topology: str,
  rows_a_device: int,
  devices: int,
  *more: str,
  search: bool = False,
) -> Row:
  return Row(
    'train',
    model,
    topology,
    (
      f'BATCH_SIZE={rows_a_device * devices}',
      'FSDP=True',
      f'FIND_BATCH={search}',
      *more,
    ),
  )


def sample(
  model: str, topology: str, num_partitions: int, problems: int
) -> Row:
  return Row(
    'sample',
    model,
    topology,
    (
      f'NUM_PARTITIONS={num_partitions}',
      f'DECODE_BATCH_SIZE={problems}',
      'FIND_BATCH=False',
    ),
  )


ROWS = (
  train('gemma2_2b', 'v5e:4x4', 4, 16, search=True),
  train('gemma2_9b', 'v6e:4x8', 4, 32),
  train('gemma2_9b', 'v4:4x4x4', 4, 64),
  train('gemma2_27b', 'v5p:4x4x4', 4, 64),
  train('llama3_1_8b', 'v5p:2x4x4', 4, 32, search=True),
  train('llama3_3_70b', 'v5p:4x4x8', 4, 128),
  train('llama3_3_70b', 'v5p:8x8x16', 2, 1024, 'NUM_PARTITIONS=4'),
  train(
    'llama3_3_70b',
    'v5e:16x16',
    2,
    512,
    'NUM_PARTITIONS=4',
    'DCN_MESH_SHAPE=(2, 1)',
  ),
  train('qwen2_5_7b', 'v6e:4x8', 4, 32, search=True),
  train('qwen2_5_72b', 'tpu7x:4x4x8', 4, 256),
  sample('gemma2_2b', 'v5e:4x4', 4, 16),
  sample('gemma2_9b', 'v6e:4x4', 4, 8),
  sample('gemma2_27b', 'v5p:2x2x4', 4, 32),
  sample('llama3_1_8b', 'v5p:2x2x4', 4, 64),
  sample('llama3_3_70b', 'v5p:2x2x4', 4, 16),
  sample('qwen2_5_7b', 'v6e:4x4', 4, 64),
  sample('qwen2_5_72b', 'tpu7x:2x2x2', 8, 16),
)
FORMS = {'train': 'stages/ssft.gin', 'sample': 'programs/sample.gin'}
HEADS = {
  'train': (
    'model',
    'chips',
    'data x model',
    'rows',
    'GiB of',
    'largest',
    'tokens/s a chip',
    'MFU %',
  ),
  'sample': (
    'model',
    'chips',
    'data x model x groups',
    'problems',
    'GiB of',
    'tokens/s a chip',
    '500 problems, minutes',
  ),
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    required=True,
    help='folder of the json files',
  )
  folder = parser.parse_args().output
  folder.mkdir(parents=True, exist_ok=True)
  missing = [row for row in ROWS if not plan(row, folder / f'{row.name}.json')]
  for what, heads in HEADS.items():
    print('| ' + ' | '.join(heads) + ' |\n|' + '---|' * len(heads))
    for row in ROWS:
      if row.what == what and row not in missing:
        found = json.loads((folder / f'{row.name}.json').read_text())
        print('| ' + ' | '.join(cells(row, found)) + ' |')
    print()
  if missing:
    raise SystemExit(
      f'failed, and not in the table: {", ".join(row.name for row in missing)}'
    )


def plan(row: Row, path: pathlib.Path) -> bool:
  """Whether a row has its json, now or from before; one that does not fit (status 1) has it too."""
  if path.exists():
    return True
  partial = path.with_suffix('.partial')
  command = [
    sys.executable,
    '-m',
    'mathft_jax.plan',
    f'--gin_file=models/{row.model}.gin',
    f'--gin_file={FORMS[row.what]}',
    f'--gin.TOPOLOGY={row.topology}',
    '--gin.ATTENTION_KERNEL=splash',
    f'--gin.PLAN_OUTPUT={partial}',
    *(f'--gin.{each}' for each in row.settings),
  ]
  print(' '.join(command), file=sys.stderr, flush=True)
  done = subprocess.run(command, stdout=sys.stderr, check=False)
  if done.returncode > 1 or not partial.exists():
    print(f'{row.name}: status {done.returncode}', file=sys.stderr)
    return False
  partial.rename(path)
  return True


def cells(row: Row, found: dict[str, Any]) -> list[str]:
  """The cells of a row."""
  (stage,) = found['stages']
  gib = (
    f'{stage["used_bytes"] / GIB:.1f} of {found["chip"]["hbm_bytes"] / GIB:.1f}'
  )
  size = str(stage['settings']['batch_size'])
  rate = span(stage, 'tokens_per_second_per_chip')
  mesh = ' x '.join(map(str, stage['mesh']))
  if row.what == 'sample':
    minutes = span(stage, 'stage_seconds', 1 / 60)
    return [
      row.model,
      found['topology'],
      f'{mesh} x {stage["groups"]}',
      size,
      gib,
      rate,
      minutes,
    ]
  largest = str(stage.get('largest_batch', {}).get('batch_size', '-'))
  return [
    row.model,
    found['topology'],
    mesh,
    size,
    gib,
    largest,
    rate,
    span(stage, 'model_flops_utilization', 100),
  ]


def span(stage: dict[str, Any], name: str, factor: float = 1) -> str:
  """'low to high' of a pair of numbers."""
  if name not in stage:
    return 'does not fit'
  return ' to '.join(
    f'{factor * each:,.3g}' if factor * each < 1000 else f'{factor * each:,.0f}'
    for each in sorted(stage[name])
  )


if __name__ == '__main__':
  main()
