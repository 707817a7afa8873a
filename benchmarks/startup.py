"""Time from the command to the first train step, with a cold and a warm compilation cache.

  python -m benchmarks.startup                              # the embedded default model
  python -m benchmarks.startup --gin_file=models/tiny.gin   # another model with a vocabulary

Each round starts `python -m mathft_jax.train` twice with a new cache folder: the first process
compiles, the second reads. The time of `import` and of reading the data is part of both.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

FIRST_STEP = 'first step done; '
ARGUMENTS = (
  '--gin_file=stages/ssft.gin',
  '--gin_file=data/generated.gin',
  '--gin.INITIAL_CHECKPOINT_PATH=random',
  '--gin.TRAIN_STEPS=1',
  '--gin.WARMUP_STEPS=0',
  '--gin.TENSORBOARD=False',
)


def seconds_to_first_step(
  folder: pathlib.Path, cache: pathlib.Path, arguments: list[str]
) -> tuple[float, str]:
  """Returns the seconds from the command to the line of the first step, and what the line says."""
  start = time.perf_counter()
  command = [sys.executable, '-m', 'mathft_jax.train', *ARGUMENTS, *arguments]
  command += [f'--gin.MODEL_DIR={folder}', f'--compilation_cache_dir={cache}']
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  assert process.stderr is not None
  seconds, said, output = None, '', ''
  for line in process.stderr:
    output += line
    if FIRST_STEP in line and seconds is None:
      seconds = time.perf_counter() - start
      said = line.partition(FIRST_STEP)[2].strip()
  if process.wait() or seconds is None:
    raise RuntimeError(f'{" ".join(command)} failed:\n{output}')
  return seconds, said


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--gin_file', default='models/dials.gin')
  parser.add_argument('--gin', nargs='*', default=[], help='NAME=VALUE')
  options = parser.parse_args()
  arguments = [f'--gin_file={options.gin_file}']
  arguments += [f'--gin.{binding}' for binding in options.gin]

  seconds: dict[str, list[float]] = {'cold': [], 'warm': []}
  said = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for index in range(options.rounds):
      for state in seconds:
        run, cache = folder / f'{state}{index}', folder / f'cache{index}'
        taken, said[state] = seconds_to_first_step(run, cache, arguments)
        seconds[state].append(taken)

  medians = {state: float(np.median(taken)) for state, taken in seconds.items()}
  result = {
    'seconds to the first step': medians,
    'rounds': {k: np.round(v, 2).tolist() for k, v in seconds.items()},
    'first step': said,
    'ratio': medians['cold'] / medians['warm'],
  }
  print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()
