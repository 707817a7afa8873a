"""Time, tokens and memory of training steps, for the metrics of a run."""

from collections.abc import Mapping
import time

import numpy as np

from mathft_jax.models import transformer
from mathft_jax.monitoring import progress, stage_cost
from mathft_jax.training import device_memory
from mathft_jax.training import train_step as step_lib

GIB = 2**30


class Throughput:
  """Counts steps and tokens from one reading to the next.

  Nothing is counted before `start`, after the first step of a process: it compiles. Time of
  evaluations and saves is taken out by `pause`.
  """

  def __init__(self, config: step_lib.TrainStepConfig):
    self._flops_per_token = train_flops_per_token(config)
    self._has_started = False
    self._compilations = 0
    self._reset()

  def start(self, compilations: int) -> None:
    """Starts counting; `compilations` are those until now."""
    self._has_started = True
    self._compilations = compilations
    self._reset()

  def add_step(self, batch: Mapping[str, np.ndarray]) -> None:
    """Counts one step with this batch."""
    segments = batch['decoder_segment_ids']
    self._steps += 1
    self._tokens += int(np.count_nonzero(segments))
    self._slots += segments.size

  def pause(self, seconds: float) -> None:
    """Takes seconds out of the time of training."""
    self._start_time += seconds

  def read(self, compilations: int) -> dict[str, float]:
    """Returns the metrics since the last reading, and starts anew.

    `step_time_s`, `tokens_per_s` (without padding), `model_flops_utilization` (of known
    accelerators), `token_share` (of the positions of a batch), `recompilations` since the first
    step and `memory_gib` (peak of a device; on CPU the peak of the process).
    """
    metrics: dict[str, float] = {}
    seconds = max(time.monotonic() - self._start_time, 1e-9)
    if self._slots:
      metrics['token_share'] = self._tokens / self._slots
    if self._has_started and self._steps:
      rate = self._tokens / seconds
      metrics['step_time_s'] = seconds / self._steps
      metrics['tokens_per_s'] = rate
      metrics['recompilations'] = compilations - self._compilations
      utilization = progress.model_flops_utilization(
        rate * self._flops_per_token
      )
      if utilization is not None:
        metrics['model_flops_utilization'] = utilization
    memory = peak_memory_bytes()
    if memory is not None:
      metrics['memory_gib'] = memory / GIB
    self._reset()
    return metrics

  def _reset(self) -> None:
    self._start_time = time.monotonic()
    self._steps = self._tokens = self._slots = 0


def train_flops_per_token(config: step_lib.TrainStepConfig) -> float:
  """Returns FLOPs per token of matrix products with parameters, forward and backward.

  A trained parameter counts 6, a frozen one 4. Attention scores do not count.
  """
  params = transformer.abstract_params(config.model)
  num_parameters = device_memory.count_parameters(params)
  if not config.model.tied_embeddings:
    num_parameters -= params['embedding'].size
  return (6 if config.lora is None else 4) * num_parameters


def peak_memory_bytes() -> int | None:
  """Returns the largest memory in use: of the fullest local device, on CPU of this process."""
  return stage_cost.peak_device_bytes() or stage_cost.peak_host_bytes()
