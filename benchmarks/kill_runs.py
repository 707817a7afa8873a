"""Kills the recipe at random and aimed moments, resumes it, and compares all outputs.

  python -m benchmarks.kill_runs --kills=50 --seed=0
  python -m benchmarks.kill_runs --kills=6 --processes=2
  python -m benchmarks.kill_runs --kills=6 --meshes       resumes on other devices and processes

The recipe is recipes/tiny_cpu.gin in a small setting: real data, training, sampling, grading,
scoring and reports, with few steps. It runs once undisturbed. Then it is killed again and again and
resumed by the same command. When it ends, every file must have the same bytes and every array of
the last checkpoints the same bits; times and memory in metrics.jsonl are left out. Then the next
round starts.

Half of the kills come at a random time. The others are aimed: SIGKILL right before the n-th
operation that changes the folder (open for writing, rename, mkdir, remove). A share of the signals
is SIGTERM, which must end with status 75.

With `--meshes` only a training runs, because sums over devices differ in their last bits:
parameters must agree within 1e-5, and metrics.jsonl must have the same steps.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Any

import numpy as np

REPOSITORY = pathlib.Path(__file__).parent.parent
RECIPE_GIN = """
from __gin__ import dynamic_registration
from mathft_jax import recipe
from mathft_jax import train
from mathft_jax.data import examples
from mathft_jax.dials import dial_problems
from mathft_jax.training import optimizers
from mathft_jax.training import train_config

dial_problems.DialProblems:
  num_train = 12
  num_validation = 4
  num_test = 6
  turn_range = (1, 9)
SOLUTIONS = {'fine': @fine/examples.SolutionExamples()}
recipe.Stages:
  scr = {'margin': @scr_margin/train.train}
  ssft_again = None
  control = None
  score_by_likelihood = None
VERDICTS = {'margin': @margin/examples.VerdictExamples()}
FEW_SHOT = {}
CURVE_PROBLEMS = 2
train_config.LoopConfig.tensorboard = False
scr_margin/train_config.LoopConfig.eval_period = None  # too few problems for validation verdicts
ssft/train_config.LoopConfig.checkpoint_period = 3
ssft/train_config.LoopConfig.eval_period = 3
scr_margin/train_config.LoopConfig.checkpoint_period = 3
optimizers.Cosine.warmup_steps = 1
ssft/train.train.train_steps = 6
scr_margin/train.train.train_steps = 6
BATCH_SIZE = 8
DECODE_BATCH_SIZE = 4
SCORE_BATCH_SIZE = 4
NUM_DECODES = 4
NUM_TRAIN_DECODES = 4
EXAMPLES_PER_PROBLEM = 2
"""
RECIPE = ('--gin_file=recipes/tiny_cpu.gin', '--gin_file=small.gin')
TRAIN = (
  '--gin_file=models/dials.gin',
  '--gin_file=data/generated.gin',
  '--gin_file=stages/ssft.gin',
  '--gin.INITIAL_CHECKPOINT_PATH=random',
  '--gin.TENSORBOARD=False',
  '--gin.dial_problems.DialProblems.num_train=16',
  '--gin.BATCH_SIZE=8',
  '--gin.MAX_LENGTH=64',
  '--gin.WARMUP_STEPS=1',
  '--gin.TRAIN_STEPS=12',
  '--gin.CHECKPOINT_PERIOD=2',
)
# In lines of metrics.jsonl; the others are times, memory and compilations.
_COST_FILE = re.compile(r'cost(\.\d+)?\.json|costs\.(md|json)')
# Tables of measured seconds in a report: from their title to the end of their note.
_COST_TABLES = {
  'report.md': rb'(?s)### Accuracy against measured seconds\n.*?Measured: [^\n]*\n',
  'report.html': rb'(?s)<h3>Accuracy against measured seconds</h3>.*?Measured: [^\n]*\n',
}
COMPARED = (
  'step',
  'split',
  'loss',
  'token_nll',
  'gradient_norm',
  'learning_rate',
)
CHANGES = ('os.rename', 'os.mkdir', 'os.remove', 'os.rmdir')
# For processes that have lost another one.
END_S = 90.0
SIGTERM_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Layout:
  """Processes, simulated devices of each, and size of the mesh axis `model`."""

  processes: int = 1
  devices: int = 1
  partitions: int = 1


MESHES = (
  Layout(),
  Layout(1, 2),
  Layout(1, 2, 2),
  Layout(2, 1),
  Layout(2, 1, 2),
)


@dataclasses.dataclass
class Counts:
  """What happened in all rounds."""

  at_random: int = 0
  aimed: int = 0
  terminated: int = 0
  rounds: int = 0
  files: int = 0
  arrays: int = 0


def main(argv: Sequence[str]) -> int:
  """Runs the whole check; 1 if an output differs."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--processes', type=int, default=1)
  parser.add_argument('--meshes', action='store_true')
  parser.add_argument('--workdir', help='is kept; default: a temporary folder')
  flags = parser.parse_args(argv)
  with tempfile.TemporaryDirectory(prefix='kill_runs') as temporary:
    folder = pathlib.Path(flags.workdir or temporary).absolute()
    try:
      counts = check(
        folder,
        num_kills=flags.kills,
        seed=flags.seed,
        num_processes=flags.processes,
        meshes=flags.meshes,
      )
    except AssertionError as error:
      print(f'DIFFERENT: {error}', flush=True)
      return 1
  print(
    f'{counts.at_random} SIGKILL at random times, {counts.aimed} before changes of files, '
    f'{counts.terminated} SIGTERM; {counts.rounds} complete runs with {counts.files} files and '
    f'{counts.arrays} arrays are equal to the undisturbed run.',
    flush=True,
  )
  return 0


def check(
  folder: pathlib.Path,
  *,
  num_kills: int,
  seed: int,
  num_processes: int = 1,
  meshes: bool = False,
) -> Counts:
  """Kills and resumes until `num_kills` kills have hit, and the last run is complete.

  Raises:
    AssertionError: an output differs from the undisturbed one, or a run failed by itself.
  """
  _import_all()
  generator = random.Random(seed)
  layouts = MESHES if meshes else (Layout(num_processes),)
  program = 'train' if meshes else 'recipe'
  whole = folder / 'whole'
  runner = Runner(folder, program)
  start = time.monotonic()
  runner.run_undisturbed(whole, layouts[0])
  seconds = time.monotonic() - start
  num_changes = int((whole / 'changes').read_text())
  print(f'undisturbed: {seconds:.1f} s, {num_changes} changes', flush=True)

  counts = Counts()
  num_hits = 0
  while num_hits < num_kills:
    killed = folder / f'killed_{counts.rounds}'
    while True:
      layout = generator.choice(layouts)
      disturbance = make_disturbance(generator, seconds, num_changes)
      if num_hits == num_kills:
        disturbance = Disturbance()
      ended = runner.run_disturbed(killed, layout, disturbance, generator)
      if ended == 'complete':
        break
      num_hits += 1
      setattr(counts, ended, getattr(counts, ended) + 1)
      print(f'{num_hits}: {ended}, {disturbance}, {layout}', flush=True)
    counts.rounds += 1
    compare = compare_trainings if meshes else compare_runs
    num_files, num_arrays = _in_child(compare, whole / 'run', killed / 'run')
    counts.files += num_files
    counts.arrays += num_arrays
    print(f'run {counts.rounds}: equal', flush=True)
    shutil.rmtree(killed)
  return counts


@dataclasses.dataclass(frozen=True)
class Disturbance:
  """One signal: `seconds` after the start, or before the change with number `change`."""

  seconds: float | None = None
  change: int | None = None
  number: signal.Signals = signal.SIGKILL


def make_disturbance(
  generator: random.Random, seconds: float, num_changes: int
) -> Disturbance:
  """A random disturbance. Early ones are frequent, because a resumed run has less to do."""
  if generator.random() < 0.5:
    return Disturbance(change=1 + int(num_changes * generator.random() ** 2))
  is_term = generator.random() < 2 * SIGTERM_SHARE
  return Disturbance(
    seconds=seconds
    * generator.random() ** 2
    / 2,  # compilations are cached now
    number=signal.SIGTERM if is_term else signal.SIGKILL,
  )


@dataclasses.dataclass(frozen=True)
class Runner:
  """Starts the program in forked processes, which have all modules imported."""

  folder: pathlib.Path
  program: str

  def run_undisturbed(self, place: pathlib.Path, layout: Layout) -> None:
    statuses = self._wait(self._start(place, layout, Disturbance()), 3600)
    assert statuses == [0] * layout.processes, self._failure(place, statuses)

  def run_disturbed(
    self,
    place: pathlib.Path,
    layout: Layout,
    disturbance: Disturbance,
    generator: random.Random,
  ) -> str:
    """Returns `complete`, or the name of the count in which the kill is counted."""
    victim = generator.randrange(layout.processes)
    pids = self._start(place, layout, disturbance, victim)
    if disturbance.seconds is not None:
      end = time.monotonic() + disturbance.seconds
      while time.monotonic() < end and not _has_exited(pids[victim]):
        time.sleep(0.01)
      if not _has_exited(pids[victim]):
        os.kill(pids[victim], disturbance.number)
    statuses = self._wait(pids, 3600, after_loss=END_S)

    if statuses == [0] * layout.processes:
      return 'complete'
    hit = {-signal.SIGKILL, 75}
    if layout.processes > 1:
      hit.add(
        -signal.SIGABRT
      )  # by jax, in processes that have lost another one
    assert set(statuses) <= hit, self._failure(place, statuses)
    if -signal.SIGKILL not in statuses:
      return 'terminated'
    return 'aimed' if disturbance.change else 'at_random'

  def _failure(self, place: pathlib.Path, statuses: Sequence[int]) -> str:
    logs = [path.read_text()[-3000:] for path in sorted(place.glob('log*'))]
    return f'{place} ended with {statuses}:\n' + '\n'.join(logs)

  def _start(
    self,
    place: pathlib.Path,
    layout: Layout,
    disturbance: Disturbance,
    victim: int = 0,
  ) -> list[int]:
    place.mkdir(parents=True, exist_ok=True)
    (place / 'small.gin').write_text(RECIPE_GIN)
    arguments = [
      *(RECIPE if self.program == 'recipe' else TRAIN),
      '--gin.MODEL_DIR=run',
      f'--compilation_cache_dir={self.folder / "compiled"}',
    ]
    if layout.partitions > 1:
      arguments.append(f'--gin.NUM_PARTITIONS={layout.partitions}')
    port = _free_port()
    pids = []
    for index in range(layout.processes):
      flags = []
      if layout.processes > 1:
        flags = [
          f'--coordinator_address=localhost:{port}',
          f'--process_count={layout.processes}',
          f'--process_index={index}',
          '--start_timeout_s=60',
          '--heartbeat_timeout_s=10',
        ]
      change = disturbance.change if index == victim else None
      pid = os.fork()
      if pid == 0:
        _run_child(
          self.program, place, index, [*arguments, *flags], layout, change
        )
      pids.append(pid)
    return pids

  def _wait(
    self, pids: Sequence[int], seconds: float, after_loss: float | None = None
  ) -> list[int]:
    """Returns exit statuses, negative for signals."""
    statuses: dict[int, int] = {}
    end = time.monotonic() + seconds
    while len(statuses) < len(pids):
      for pid in pids:
        if pid not in statuses and _has_exited(pid):
          statuses[pid] = _reap(pid)
          if statuses[pid] and after_loss:
            end = min(end, time.monotonic() + after_loss)
      if time.monotonic() > end:
        for pid in pids:
          if pid not in statuses:
            os.kill(pid, signal.SIGKILL)
            _reap(pid)
        raise AssertionError(f'A process did not end: {statuses}')
      time.sleep(0.02)
    return [statuses[pid] for pid in pids]


def _has_exited(pid: int) -> bool:
  """Whether a child has exited; it stays a zombie, so that its status can be read."""
  found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
  return found is not None


def _reap(pid: int) -> int:
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run_child(
  program: str,
  place: pathlib.Path,
  index: int,
  arguments: Sequence[str],
  layout: Layout,
  change: int | None,
) -> None:
  """Runs the program in this process and exits."""
  os.setpgid(0, 0)
  os.chdir(place)
  log = os.open(f'log_{index}', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
  os.dup2(log, 1)
  os.dup2(log, 2)
  os.environ['XLA_FLAGS'] = (
    f'--xla_force_host_platform_device_count={layout.devices}'
  )
  from mathft_jax import recipe, train
  from mathft_jax.config import entry_point
  from mathft_jax.distributed import stop_signals

  function = recipe.recipe if program == 'recipe' else train.train
  count = _count_changes(str(place), change)
  stop_signals.install(program)
  status = 1
  try:
    status = entry_point.main(function, [program, *arguments])
  finally:
    if index == 0 and status == 0:
      pathlib.Path('changes').write_text(str(count()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _count_changes(place: str, change: int | None) -> Callable[[], int]:
  """Counts operations that change the folder; SIGKILL right before number `change`."""
  count = 0

  def listen(event: str, arguments: tuple) -> None:
    nonlocal count
    if event == 'open':
      path, mode, flags = arguments
      is_change = bool(flags & (os.O_WRONLY | os.O_RDWR)) or 'w' in (mode or '')
    elif event in CHANGES:
      path, is_change = arguments[0], True
    else:
      return
    if not is_change or not isinstance(path, (str, os.PathLike)):
      return
    path = os.path.abspath(os.fspath(path))
    if path.startswith(f'{place}/run'):
      count += 1
      if count == change:
        os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(listen)
  return lambda: count


def _in_child(
  compare: Callable[[pathlib.Path, pathlib.Path], tuple[int, int]],
  whole: pathlib.Path,
  killed: pathlib.Path,
) -> tuple[int, int]:
  """Compares in a forked process: this one must start no jax threads before it forks again."""
  reader, writer = os.pipe()
  pid = os.fork()
  if pid == 0:
    try:
      result = json.dumps(compare(whole, killed))
    except Exception as error:  # noqa: BLE001 (passed on)
      result = json.dumps(f'{type(error).__name__}: {error}')
    os.write(writer, result.encode()[:60000])
    os._exit(0)
  os.close(writer)
  with os.fdopen(reader) as file:
    found = json.loads(file.read())
  os.waitpid(pid, 0)
  assert isinstance(found, list), found
  return found[0], found[1]


def compare_runs(whole: pathlib.Path, killed: pathlib.Path) -> tuple[int, int]:
  """Returns the numbers of files and arrays; AssertionError unless all are equal."""
  left, right = _files(whole), _files(killed)
  assert left == right, f'files {sorted(left ^ right)}'
  for name in sorted(left):
    if name.endswith('metrics.jsonl'):
      assert _metrics(whole / name) == _metrics(killed / name), name
    else:
      left_text = _without_costs(whole / name)
      assert left_text == _without_costs(killed / name), name
  num_arrays = 0
  for folder in sorted(whole.glob('*/checkpoints')):
    num_arrays += _compare_checkpoints(
      folder, killed / folder.relative_to(whole), tolerance=0.0
    )
  return len(left), num_arrays


def compare_trainings(
  whole: pathlib.Path, killed: pathlib.Path
) -> tuple[int, int]:
  """AssertionError unless the last parameters agree and all steps are logged once."""
  num_arrays = _compare_checkpoints(
    whole / 'checkpoints', killed / 'checkpoints', tolerance=1e-5
  )
  steps = []
  for place in (whole, killed):
    lines = _metrics(place / 'metrics.jsonl')
    steps.append([(line['step'], line['split']) for line in lines])
  assert steps[0] == steps[1], f'steps {steps}'
  return 1, num_arrays


def _compare_checkpoints(
  whole: pathlib.Path, killed: pathlib.Path, *, tolerance: float
) -> int:
  """Compares the last checkpoints and returns the number of parameters."""
  from mathft_jax import checkpoints

  step = max(int(path.name) for path in whole.iterdir() if path.name.isdigit())
  left = checkpoints.open_lazy_params(whole / str(step))
  right = checkpoints.open_lazy_params(killed / str(step))
  assert left.shapes == right.shapes, killed
  for name in left.shapes:
    difference = np.abs(
      left.read_array(name, None).astype(np.float64)
      - right.read_array(name, None).astype(np.float64)
    )
    assert difference.max() <= tolerance, f'{killed}/{step}: {name}'
  if tolerance == 0:  # with the checksums of the optimizer state
    assert _without_sources(left.metadata) == _without_sources(
      right.metadata
    ), f'{killed}/{step}: metadata'
  return len(left.shapes)


def _without_sources(metadata: Mapping[str, Any]) -> dict[str, Any]:
  """Returns metadata without the paths and times of the files that examples come from."""
  settings = dict(metadata.get('settings', {}))
  settings.pop('source', None)
  return {**metadata, 'settings': settings}


def _files(folder: pathlib.Path) -> set[str]:
  """All files but locks, curves (of times) and those of checkpoints, whose names are random."""
  names = set()
  for path in folder.rglob('*'):
    name = str(path.relative_to(folder))
    # A killed process leaves the lock of an output that it had just finished; curves.html shows
    # the times of metrics.jsonl, the others measured seconds.
    if path.name in ('run.lock', 'curves.html') or _COST_FILE.fullmatch(
      path.name
    ):
      continue
    if path.is_file() and '/checkpoints/' not in f'/{name}':
      names.add(name)
  return names


def _without_costs(path: pathlib.Path) -> bytes:
  """Returns the bytes of a file; of a report without its measured seconds."""
  data = path.read_bytes()
  if path.name == 'report.json':
    report = json.loads(data)
    for section in report['files'].values():
      section.pop('cost')
    return json.dumps(report).encode()
  pattern = _COST_TABLES.get(path.name)
  return data if pattern is None else re.sub(pattern, b'', data)


def _metrics(path: pathlib.Path) -> list[dict]:
  lines = []
  for line in path.read_text().splitlines():
    record = json.loads(line)
    kept = {name: record[name] for name in COMPARED if name in record}
    lines.append(kept)
  return lines


def _import_all() -> None:
  """Imports what the program imports, without starting a backend: forks start at once."""
  import jax

  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_disable_most_optimizations', True)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
  os.environ['PYTHONPATH'] = os.pathsep.join(
    [str(REPOSITORY), os.environ.get('PYTHONPATH', '')]
  )
  import mathft_jax.config.entry_point  # noqa: F401
  import mathft_jax.evaluate  # noqa: F401
  import mathft_jax.grade  # noqa: F401
  import mathft_jax.recipe  # noqa: F401
  import mathft_jax.sample  # noqa: F401
  import mathft_jax.score  # noqa: F401
  import mathft_jax.train  # noqa: F401


def _free_port() -> int:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
