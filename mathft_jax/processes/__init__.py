"""The processes of one run, often one per host: who they are, and the little they tell each other.

What is told goes through jax's coordination service, not through the devices: so it works while
processes do different work, and a process that died ends the wait of the others.
"""

from collections.abc import Callable, Sequence
import collections
import sys
from typing import Any

from mathft_jax.processes import starting
from mathft_jax.processes.starting import Place, check

__all__ = ['Place', 'check', 'count', 'index', 'is_first', 'once', 'start', 'told', 'wait']

DAY_S = 24 * 3600.0

_uses: collections.Counter[str] = collections.Counter()  # names may be used again, in every process


def start(place: Place = Place()) -> None:
  """Finds the other processes of the run, where there are any; before any device is touched."""
  found = starting.arguments(place)
  if found is not None:
    import jax  # not at the top: grade and evaluate do without jax
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(**found)


def index() -> int:
  """The number of this process, from 0; 0 where there is one only."""
  return _state().process_id if _client() else 0


def count() -> int:
  """How many processes the run has."""
  return _state().num_processes if _client() else 1


def is_first() -> bool:
  """Whether this process writes what is written once."""
  return index() == 0


def wait(name: str, *, among: Sequence[int] | None = None, seconds: float = DAY_S) -> None:
  """Returns when all processes, or those `among` whom this one is, have come to here.

  Raises RuntimeError when one of them has died or `seconds` have passed.
  """
  if count() > 1:
    _client().wait_at_barrier(_unique(f'{name}/{among}'), int(seconds * 1000),
                              process_ids=None if among is None else list(among))


def told(name: str, text: str | None = None, *, seconds: float = DAY_S) -> str | None:
  """What the first process gave as `text`; that of the others does not count."""
  if count() == 1:
    return text
  key = _unique(name)
  if is_first():
    _client().key_value_set(key, text)
    return text
  return _client().blocking_key_value_get(key, int(seconds * 1000))


def once(name: str, work: Callable[[], Any]) -> Any:
  """What `work` returns, in the first process, which alone does it; the others wait and get None.

  Its ValueErrors, which refuse an input, are raised in all.
  """
  if not is_first():
    if refused := told(name):
      raise ValueError(refused)
    return None
  try:
    result = work()
  except ValueError as error:
    told(name, str(error) or repr(error))
    raise
  told(name, '')
  return result


def _unique(name: str) -> str:
  _uses[name] += 1
  return f'mathft_jax/{name}/{_uses[name]}'


def _client() -> Any:
  """The connection to the coordination service; None where there is one process."""
  return _state().client if 'jax' in sys.modules else None


def _state() -> Any:
  from jax._src import distributed  # the service has no public door; orbax enters here too
  return distributed.global_state
