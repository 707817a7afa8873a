"""The cost of a stage in cost.json of its folder: seconds, device-seconds, tokens, memory, chip.

  with StageMeter(workdir, 'sample', inputs=[checkpoint]) as meter:
    meter.add(tokens_in=len(prompt), tokens_out=len(solution))

  costs = read_costs_of_file('runs/scored/scored.jsonl')   # of score, grade and sample

A resumed stage adds to its file. A start that is killed loses at most 30 s of its cost. In a run of
several processes each writes its own file, and `read_cost` merges them.
"""

from collections.abc import Sequence
import dataclasses
import json
import sys
import time
from types import TracebackType

from absl import logging
from etils import epath

from mathft_jax.distributed import processes
from mathft_jax.monitoring import progress
from mathft_jax.storage import atomic_files, local_and_remote_paths

FILE = 'cost.json'
_SAVE_PERIOD_S = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageCost:
  """Cost of a stage over all its starts.

  Attributes:
    program: such as 'train'.
    seconds: wall-clock time, with compilation and loading of weights.
    compile_seconds: part of `seconds` in which XLA compiled.
    device_seconds: `seconds` times devices, summed over starts.
    tokens_in: training: tokens of the batches without padding; sampling: prompt tokens; scoring:
      tokens of problems and texts.
    tokens_out: training: tokens that the loss is of; sampling: tokens that were sampled.
    starts: number of starts.
    peak_host_bytes: largest memory of a process up to the end of the stage; of earlier stages too
      if one process ran them.
    peak_device_bytes: likewise, of the fullest device; None where JAX does not report it (CPU).
    device_kind: kind of the devices, such as 'cpu' or 'TPU v5p'; '' if the stage used none.
    num_devices: number of devices at the last start.
    inputs: files and folders that the stage read, relative to its folder.
  """

  program: str
  seconds: float = 0.0
  compile_seconds: float = 0.0
  device_seconds: float = 0.0
  tokens_in: int = 0
  tokens_out: int = 0
  starts: int = 0
  peak_host_bytes: int | None = None
  peak_device_bytes: int | None = None
  device_kind: str = ''
  num_devices: int = 0
  inputs: tuple[str, ...] = ()


class StageMeter:
  """Measures one start of a stage and adds it to the cost of the earlier starts.

  Use it as a context. A file that cannot be written is logged; the stage continues.
  """

  def __init__(
    self,
    folder: epath.PathLike,
    program: str,
    *,
    inputs: Sequence[epath.PathLike] = (),
    uses_devices: bool = True,
  ):
    """Takes the folder and program of the stage, what it reads, and if it uses devices."""
    self._path = epath.Path(folder) / _file_name(processes.process_index())
    self._program = program
    self._uses_devices = uses_devices
    relative = []
    for path in inputs:
      relative.append(local_and_remote_paths.relative_path(path, folder))
    self._inputs = tuple(relative)
    self._tokens_in = self._tokens_out = 0

  def __enter__(self) -> 'StageMeter':
    self._earlier = _read_file(self._path) or StageCost(program=self._program)
    self._start = self._last_save = time.monotonic()
    self._compilations = None
    if self._uses_devices:
      self._compilations = progress.CompilationCounter()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    del kind, error, traceback  # a start that fails has a cost, too
    self._save()

  def add(self, *, tokens_in: int = 0, tokens_out: int = 0) -> None:
    """Counts tokens of this process."""
    self._tokens_in += tokens_in
    self._tokens_out += tokens_out
    if time.monotonic() - self._last_save > _SAVE_PERIOD_S:
      self._save()

  def cost(self) -> StageCost:
    """Returns the cost up to now, with that of the earlier starts."""
    now = _cost_of_start(
      self._program, time.monotonic() - self._start, self._uses_devices
    )
    compile_seconds = 0.0
    if self._compilations is not None:
      compile_seconds = self._compilations.seconds
    now = dataclasses.replace(
      now,
      compile_seconds=compile_seconds,
      tokens_in=self._tokens_in,
      tokens_out=self._tokens_out,
      inputs=self._inputs,
    )
    return add_costs(self._earlier, now)

  def _save(self) -> None:
    self._last_save = time.monotonic()
    text = json.dumps(dataclasses.asdict(self.cost()), indent=1)
    try:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      atomic_files.write_text_atomically(self._path, f'{text}\n')
    except OSError as error:
      logging.warning('%s: the cost was not written: %s', self._path, error)


def meter_on_host(
  folder: epath.PathLike, program: str, inputs: Sequence[epath.PathLike]
) -> StageMeter:
  """Returns the meter of a stage that does not use devices."""
  return StageMeter(folder, program, inputs=inputs, uses_devices=False)


def add_costs(earlier: StageCost, later: StageCost) -> StageCost:
  """Returns the cost of two starts of one stage, one after the other."""
  kinds = [earlier.device_kind, later.device_kind]
  return dataclasses.replace(
    later,
    seconds=earlier.seconds + later.seconds,
    compile_seconds=earlier.compile_seconds + later.compile_seconds,
    device_seconds=earlier.device_seconds + later.device_seconds,
    tokens_in=earlier.tokens_in + later.tokens_in,
    tokens_out=earlier.tokens_out + later.tokens_out,
    starts=earlier.starts + later.starts,
    peak_host_bytes=_larger(earlier.peak_host_bytes, later.peak_host_bytes),
    peak_device_bytes=_larger(
      earlier.peak_device_bytes, later.peak_device_bytes
    ),
    device_kind=', '.join(filter(None, dict.fromkeys(kinds))),
  )


def write_sum(folder: epath.PathLike, stages: Sequence[epath.PathLike]) -> None:
  """Writes the sum of the costs of several stages to a folder; nothing if one is not known."""
  total = None
  for stage in stages:
    cost = read_cost(stage)
    if cost is None:
      return
    total = cost if total is None else add_costs(total, cost)
  if total is not None:
    text = json.dumps(dataclasses.asdict(total), indent=1)
    atomic_files.write_text_atomically(epath.Path(folder) / FILE, f'{text}\n')


def read_cost(folder: epath.PathLike) -> StageCost | None:
  """Returns the cost of the stage in a folder; None if it is not known.

  Files of several processes are merged: their tokens are added, of times and memory the largest
  counts.
  """
  folder = epath.Path(folder)
  merged = _read_file(folder / FILE)
  if merged is None:
    return None
  for path in sorted(folder.glob('cost.[0-9]*.json')):
    other = _read_file(path)
    if other is None:
      continue
    merged = dataclasses.replace(
      merged,
      seconds=max(merged.seconds, other.seconds),
      compile_seconds=max(merged.compile_seconds, other.compile_seconds),
      device_seconds=max(merged.device_seconds, other.device_seconds),
      tokens_in=merged.tokens_in + other.tokens_in,
      tokens_out=merged.tokens_out + other.tokens_out,
      peak_host_bytes=_larger(merged.peak_host_bytes, other.peak_host_bytes),
      peak_device_bytes=_larger(
        merged.peak_device_bytes, other.peak_device_bytes
      ),
    )
  return merged


def read_costs_of_file(path: epath.PathLike) -> dict[str, StageCost]:
  """Returns by program the cost of the stages that made a candidate file, the last stage first.

  The chain follows the inputs: scored.jsonl, graded.jsonl, candidates.jsonl. It ends at a stage
  whose cost is not known.
  """
  costs: dict[str, StageCost] = {}
  folder = epath.Path(path).parent
  while True:
    cost = read_cost(folder)
    if cost is None or cost.program in costs:
      return costs
    costs[cost.program] = cost
    files = [name for name in cost.inputs if '.jsonl' in name]
    if not files:
      return costs
    folder = (folder / files[0]).parent


def _cost_of_start(
  program: str, seconds: float, uses_devices: bool
) -> StageCost:
  """Returns time, memory and devices of this start."""
  cost = StageCost(
    program=program,
    seconds=seconds,
    starts=1,
    peak_host_bytes=peak_host_bytes(),
  )
  if not uses_devices:
    return cost
  import jax  # not at the top: `grade` runs without jax

  return dataclasses.replace(
    cost,
    device_seconds=seconds * jax.device_count(),
    peak_device_bytes=peak_device_bytes(),
    device_kind=jax.devices()[0].device_kind,
    num_devices=jax.device_count(),
  )


def peak_device_bytes() -> int | None:
  """Returns the largest memory in use of the fullest local device; None where JAX has no figure."""
  import jax  # see `_cost_of_start`

  peaks = []
  for device in jax.local_devices():
    peak = (device.memory_stats() or {}).get('peak_bytes_in_use')
    if peak is not None:
      peaks.append(peak)
  return max(peaks, default=None)


def peak_host_bytes() -> int | None:
  """Returns the largest memory of this process so far; None on Windows."""
  try:
    import resource  # not on Windows
  except ImportError:
    return None
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _file_name(process_index: int) -> str:
  return FILE if process_index == 0 else f'cost.{process_index:04d}.json'


def _read_file(path: epath.Path) -> StageCost | None:
  """Returns the cost in a file; None if there is none or the file is damaged."""
  try:
    found = json.loads(path.read_bytes())
    cost = StageCost(**found)
    return dataclasses.replace(cost, inputs=tuple(cost.inputs))
  except FileNotFoundError:
    return None
  except (OSError, ValueError, TypeError) as error:
    logging.warning('%s is damaged and is not counted: %s', path, error)
    return None


def _larger(a: int | None, b: int | None) -> int | None:
  return max(filter(None, (a, b)), default=None)
