"""Table of planned runs on the slices of `gin_configs/slices/` (docs/plan.md).

  python -m benchmarks.slice_plans --output=runs/slice_plans
  python -m benchmarks.slice_plans --output=runs/slice_plans --only=v5p_64_small

Each slice file is planned with a model of its size: a training step (SSFT, 1,024 tokens a row),
sampling (64 candidates of up to 768 tokens) and scoring. The JSON of each is stored in the folder.
Running the command again computes only what is missing, and prints the table of all that is there.
One TPU entry takes one to five minutes on two quiet cores.
"""

import argparse
import json
import pathlib
import re
from typing import Any

from benchmarks import plans

GIB = plans.GIB
SLICES = ('v5e_256', 'v5p_64', 'v5p_128', 'v6e_256', 'h100_8', 'h200_8')
MODELS = {'small': 'gemma2_9b', 'large': 'llama3_3_70b'}
# Models that differ from those above: 16 partitions are more than Llama's 8 key/value heads.
OTHER_MODELS = {'v5e_256_large': 'palm_62b'}
PROGRAMS = {
  'train': 'stages/ssft.gin',
  'sample': 'programs/sample.gin',
  'score': 'programs/score.gin',
}
HEADINGS = (
  'slice file',
  'model',
  'program',
  'data x model x groups',
  'batch',
  'GiB per device',
  'free %',
  'seconds per batch',
  'tokens/s per chip',
  'MFU %',
)


def planned_runs() -> list[tuple[str, plans.PlannedRun]]:
  """Returns (slice file, run) for each slice, size and program."""
  runs = []
  for program in PROGRAMS:
    for size in MODELS:
      for slice_name in SLICES:
        name = f'{slice_name}_{size}'
        model = OTHER_MODELS.get(name, MODELS[size])
        files = (PROGRAMS[program], f'slices/{name}.gin')
        settings = (
          'FIND_BATCH=False',
          'transformer.TransformerConfig.remat=full',
        )
        run = plans.PlannedRun(program, model, name, settings, files)
        runs.append((name, run))
  return runs


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    required=True,
    help='folder of the JSON files',
  )
  parser.add_argument(
    '--only', default='', help='regular expression of names to compute'
  )
  arguments = parser.parse_args()
  folder = arguments.output
  folder.mkdir(parents=True, exist_ok=True)

  missing, rows = [], []
  for name, run in planned_runs():
    path = folder / f'{run.name}.json'
    wanted = re.search(arguments.only, run.name)
    if path.exists() or (wanted and plans.run_plan(run, path)):
      rows.append(table_cells(name, run, json.loads(path.read_text())))
    else:
      missing.append(run.name)

  print(f'| {" | ".join(HEADINGS)} |\n|{"---|" * len(HEADINGS)}')
  for row in sorted(rows):
    print(f'| {" | ".join(row)} |')
  if missing:
    raise SystemExit(f'Not in the table: {", ".join(missing)}')


def table_cells(
  name: str, run: plans.PlannedRun, document: dict[str, Any]
) -> list[str]:
  """Returns the cells of one row; for GPUs nothing is compiled: memory is a lower bound."""
  (stage,) = document['stages']
  used = stage['used_bytes'] / GIB
  capacity = document['chip']['hbm_bytes'] / GIB
  is_tpu = bool(document['chip']['dimensions'])
  mesh = ' x '.join(map(str, stage['mesh']))
  if run.program != 'train':
    mesh += f' x {stage["groups"]}'
  return [
    f'`{name}`',
    run.model,
    run.program,
    mesh,
    str(stage['settings']['batch_size']),
    f'{"" if is_tpu else ">= "}{used:.1f} of {capacity:.1f}',
    f'{"" if is_tpu else "<= "}{100 * (1 - used / capacity):.0f}',
    plans.format_range(stage, 'batch_seconds'),
    plans.format_range(stage, 'tokens_per_second_per_chip'),
    plans.format_range(stage, 'model_flops_utilization', 100),
  ]


if __name__ == '__main__':
  main()
