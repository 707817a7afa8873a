"""The processes of one run, often one per host: who they are, and the little they tell each other.

What is told goes through jax's coordination service, not through the devices: so it works while
processes do different work, and a process that died ends the wait of the others.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import sys
import time
from typing import Any

from absl import logging

from mathft_jax.distributed import cluster_detection, lifeline, relay

DAY_S = 24 * 3600.0
SEEN_S = (
  100.0  # until a disk that hosts share shows all of them what one has written
)
GRACE_S = 1.0  # what all processes refuse is told by the first one

_lifeline: lifeline.Lifeline | None = None

_uses: collections.Counter[str] = (
  collections.Counter()
)  # names may be used again, in every process


def initialize(
  place: cluster_detection.ProcessConfig = cluster_detection.ProcessConfig(),
  about: Mapping[str, str] | None = None,
) -> None:
  """Meets the other processes of the run, where there are any; before any device is touched.

  Args:
    place: what the flags say.
    about: texts by name that must be the same in all processes, as the configuration.
  """
  global _lifeline
  found = cluster_detection.detect_cluster(place)
  if found is None:
    return
  world = found.world
  _lifeline = lifeline.Lifeline(world, about or {})
  port = _lifeline.meet()
  address = (
    ('localhost', port)
    if world.index == 0
    else (
      '127.0.0.1',
      relay.open_relay(world.address[0], port, seconds=world.start_timeout_s),
    )
  )
  import jax  # not at the top: grade and evaluate do without jax

  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  jax.config.update(
    'jax_enable_preemption_service', False
  )  # it would swallow SIGTERM
  jax.distributed.initialize(
    f'{address[0]}:{address[1]}',
    world.count,
    world.index,
    local_device_ids=found.local_device_ids,
    cluster_detection_method='deactivate',
    initialization_timeout=int(world.start_timeout_s) + 60,
    heartbeat_timeout_seconds=3 * int(world.heartbeat_timeout_s) + 10,
  )  # ours comes first
  if world.index == 0:
    hosts = collections.Counter(_lifeline.hosts)
    logging.info(
      '%d processes on %d hosts: %s',
      world.count,
      len(hosts),
      ', '.join(f'{host} x {times}' for host, times in hosts.items()),
    )


def shutdown() -> None:
  """A clean end of this process, when all others have come to theirs."""
  if _lifeline is not None:
    wait_at_barrier('finish')
    sys.modules[
      'jax'
    ].distributed.shutdown()  # a death in it is still told, and does not wait
    _lifeline.close()


def abort_all_processes(reason: str, status: int) -> None:
  """Ends this process and all others, which print the reason; returns where there is one only."""
  if _lifeline is not None:
    _lifeline.end(reason, status)


def delay_unless_primary() -> None:
  """Waits a moment in the other processes, so that what all of them refuse is told once."""
  if not is_primary():
    time.sleep(GRACE_S)


def process_index() -> int:
  """The number of this process, from 0; 0 where there is one only."""
  return _state().process_id if _client() else 0


def process_count() -> int:
  """How many processes the run has."""
  return _state().num_processes if _client() else 1


def is_primary() -> bool:
  """Whether this process writes what is written once."""
  return process_index() == 0


def wait_at_barrier(
  name: str, *, among: Sequence[int] | None = None, seconds: float = DAY_S
) -> None:
  """Returns when all processes, or those `among` whom this one is, have come to here.

  Raises RuntimeError when `seconds` have passed. A death ends this process (`lifeline`).
  """
  if process_count() > 1:
    _client().wait_at_barrier(
      _unique(f'{name}/{among}'),
      int(seconds * 1000),
      process_ids=None if among is None else list(among),
    )


def broadcast_from_primary(
  name: str, text: str | None = None, *, seconds: float = DAY_S
) -> str | None:
  """What the first process gave as `text`; that of the others does not count."""
  if process_count() == 1:
    return text
  key = _unique(name)
  if is_primary():
    _client().key_value_set(key, text)
    return text
  return _client().blocking_key_value_get(key, int(seconds * 1000))


def wait_until_visible(
  is_there: Callable[[], bool], *, seconds: float = SEEN_S
) -> bool:
  """Whether what another process has written shows here within `seconds`."""
  until = time.monotonic() + seconds
  while not (found := is_there()) and time.monotonic() < until:
    time.sleep(0.2)
  return found


def assert_equal_across_processes(what: str, found: str) -> None:
  """ValueError unless `found` is in this process what it is in the first."""
  first = broadcast_from_primary(what, found)
  if found != first:
    raise ValueError(
      f'{what}: process {process_index()} has {found}, process 0 has {first}. All processes '
      'must read the same files: put them on a disk that all see, or in a bucket.'
    )


def run_on_primary(name: str, work: Callable[[], Any]) -> Any:
  """What `work` returns, in the first process, which alone does it; the others wait and get None.

  Its ValueErrors, which refuse an input, are raised in all.
  """
  if not is_primary():
    if refused := broadcast_from_primary(name):
      raise ValueError(refused)
    return None
  try:
    result = work()
  except ValueError as error:
    broadcast_from_primary(name, str(error) or repr(error))
    raise
  broadcast_from_primary(name, '')
  return result


def _unique(name: str) -> str:
  _uses[name] += 1
  return f'mathft_jax/{name}/{_uses[name]}'


def _client() -> Any:
  """The connection to the coordination service; None where there is one process."""
  return _state().client if 'jax' in sys.modules else None


def _state() -> Any:
  from jax._src import (
    distributed,
  )  # the service has no public door; orbax enters here too

  return distributed.global_state
