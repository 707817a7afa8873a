"""Profiles some steps of a run with jax.profiler.

  with StepProfiler(folder, (10, 12)) as profiler:
    for step in range(1, 100):
      profiler.start_step(step)
      state, metrics = train_step(state, batch)
      profiler.end_step(step, metrics)

TensorBoard's profile plugin and xprof show the trace; Perfetto opens the file `*.trace.json.gz`.
"""

from typing import Self

from absl import logging
from etils import epath
import jax


def check_profile_steps(steps: tuple[int, int] | None) -> None:
  """Raises ValueError unless `steps` is None or (first, last) with 1 <= first <= last."""
  if steps is None:
    return
  is_pair = len(steps) == 2 and all(type(step) is int for step in steps)
  if not is_pair or not 1 <= steps[0] <= steps[1]:
    raise ValueError(
      f'profile_steps is {steps}; it must be (first, last) with 1 <= first <= last, for example '
      '(10, 12), or None (PROFILE_STEPS).'
    )


class StepProfiler:
  """Writes a trace of the steps from `steps[0]` to `steps[1]` to `folder`.

  Args:
    folder: of the trace; each process writes its own files.
    steps: first and last step; None profiles nothing.
  """

  def __init__(self, folder: epath.PathLike, steps: tuple[int, int] | None):
    self._folder, self._steps = str(folder), steps
    self._is_running = False
    self._annotation: jax.profiler.StepTraceAnnotation | None = None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    self._stop()

  def start_step(self, step: int) -> None:
    """Starts the trace if this step is due. Call it before the step is dispatched."""
    if self._steps is None or not self._steps[0] <= step <= self._steps[1]:
      return
    if not self._is_running:
      jax.profiler.start_trace(self._folder)
      self._is_running = True
    self._annotation = jax.profiler.StepTraceAnnotation('train', step_num=step)
    self._annotation.__enter__()

  def end_step(self, step: int, outputs: object) -> None:
    """Ends the trace after the last step, when the devices have computed its outputs."""
    if self._annotation is None:
      return
    self._annotation.__exit__(None, None, None)
    self._annotation = None
    if self._steps is not None and step == self._steps[1]:
      jax.block_until_ready(outputs)
      self._stop()

  def _stop(self) -> None:
    if self._is_running:
      self._is_running = False
      jax.profiler.stop_trace()
      logging.info(
        'profile of steps %s is in %s (tensorboard --logdir, or xprof)',
        self._steps,
        self._folder,
      )
