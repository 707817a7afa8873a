"""A line from every process of a run to the first: who has come, who is gone, and why all stop.

jax's own answer to a process that died is a stack trace, at once or after its heartbeats, and its
answer to one that never comes is the same. So before jax connects, all processes meet at the first
one's address, over lines of json:

  to the first    {"process": 1, "count": 2, "host": "b", "about": {...}}    I am here
  from the first  {"go": 40123, "host": "a"}           all are; jax's service is at this port
  both ways       {"alive": true}                      now and then
  both ways       {"end": "reason", "status": 1}       stop
  to the first    {"bye": true}                        my end is no death

A line that closes is a process that died; one that is silent for `heartbeat_timeout_s` is a process
that hangs, or a host that is gone. Either way every process that is left prints the reason and
ends, whatever its main thread waits for.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import os
import socket
import sys
import threading
import time
from typing import Any

from mathft_jax.distributed.relay import daemon, free_port, patiently

GONE = (
  75  # exit status: another process is gone, the same command may be run again
)
AGAIN = 'Run the same command again to resume.'
LAST_WORDS_S = (
  3.0  # so long the first process stays for the others to hear why all stop
)
HELLO = {'process': int, 'count': int, 'host': str, 'about': dict}
HELLO_S = 30.0  # a caller that has not said who it is by then is none of us
LONGEST = 1 << 24  # characters of a line; a configuration is the longest


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
  """The processes that shall be, seen from one of them.

  Attributes:
    address: (host, port) where the first one listens.
    start_timeout_s: how long to wait for the others.
    heartbeat_timeout_s: how long a process may be silent.
  """

  address: tuple[str, int]
  count: int
  index: int
  start_timeout_s: float
  heartbeat_timeout_s: float


class _Peer:
  """One end of a line."""

  def __init__(self, connection: socket.socket, index: int, host: str):
    self.index, self.host = index, host
    self._connection, self._lock = connection, threading.Lock()
    self._lines = connection.makefile('r', encoding='utf-8')
    self.heard, self.is_open, self.said_bye = time.monotonic(), True, False

  def __str__(self) -> str:
    return f'process {self.index} ({self.host})'

  def send(self, message: Mapping[str, Any]) -> None:
    """Sends, unless the line is closed: its reader says so."""
    with self._lock:
      try:
        self._connection.sendall((json.dumps(message) + '\n').encode())
      except OSError:
        self.is_open = False

  def messages(self) -> Iterator[dict[str, Any]]:
    """What the other side says until the line closes."""
    try:
      while isinstance(
        message := json.loads(self._lines.readline(LONGEST)), dict
      ):
        self.heard = time.monotonic()
        yield message
    except (
      OSError,
      ValueError,
      RecursionError,
    ):  # closed, reset, cut in a line, or no json
      pass
    self.is_open = False


class Lifeline:
  """This process's lines: the first one's to all others, the others' to the first.

  Args:
    about: texts that must be the same in all processes, by name.
  """

  def __init__(self, world: World, about: Mapping[str, str]):
    self._world, self._about = world, about
    self._peers: dict[int, _Peer] = {}
    self._all_here, self._port = threading.Event(), 0
    self._entering = threading.Lock()
    self._ending, self._closing = threading.Lock(), False

  @property
  def hosts(self) -> list[str]:
    """The host of each process; in the first one only."""
    return [
      socket.gethostname(),
      *(self._peers[i].host for i in range(1, self._world.count)),
    ]

  def meet(self) -> int:
    """The port of jax's service, when all processes have come.

    Ends this process with a message when not all come in time, or when one is another program.
    """
    daemon(self._watch)
    if self._world.index:
      self._call()
    else:
      self._port = free_port()
      self._listen()
    first_to_say = (
      2 * LAST_WORDS_S if self._world.index else 0
    )  # it knows who is missing
    if not self._all_here.wait(self._world.start_timeout_s + first_to_say):
      self._end(self._who_came(), GONE)
    return self._port

  def close(self) -> None:
    """From now on a line that closes is no death."""
    self._closing = True
    for peer in list(self._peers.values()):
      peer.send({'bye': True})

  def end(self, reason: str, status: int) -> None:
    """Ends all processes, this one included; the others print the reason."""
    self._end(
      f'process {self._world.index} ({socket.gethostname()}) stopped: {reason}',
      status,
      show=False,
    )

  def _listen(self) -> None:
    """The first process: lets the others in."""
    dualstack = socket.has_dualstack_ipv6()
    try:
      server = socket.create_server(
        ('', self._world.address[1]),
        backlog=self._world.count,
        dualstack_ipv6=dualstack,
        family=socket.AF_INET6 if dualstack else socket.AF_INET,
      )
    except OSError as error:
      raise ValueError(
        f'Process 0 cannot listen at port {self._world.address[1]} ({error}): is '
        'this run going on already? Else give another port.'
      ) from error
    daemon(self._accept, server)

  def _accept(self, server: socket.socket) -> None:
    while True:
      connection, _ = server.accept()
      daemon(self._hello, connection)

  def _hello(self, connection: socket.socket) -> None:
    """Reads who calls, then what it says until it is gone."""
    connection.settimeout(HELLO_S)
    peer = _Peer(connection, -1, '')
    hello = next(peer.messages(), {})
    if any(
      not isinstance(hello.get(name), kind) for name, kind in HELLO.items()
    ):
      connection.close()  # not one of us
      return
    connection.settimeout(None)
    peer.index, peer.host = hello['process'], hello['host']
    with self._entering:
      late = self._late()
      wrong = late or self._wrong(hello)
      if not wrong:
        self._enter(peer)
    if not wrong:
      self._read(peer)
    elif late:  # a run that goes on is not ended by a stranger
      peer.send({'end': wrong, 'status': GONE})
    else:
      peer.send({'end': wrong, 'status': 1})
      self._end(wrong, 1)

  def _enter(self, peer: _Peer) -> None:
    """Counts a process in; tells all where to go when it is the last one."""
    self._peers[peer.index] = peer
    if len(self._peers) == self._world.count - 1:
      for each in self._peers.values():
        each.send({'go': self._port, 'host': socket.gethostname()})
      self._all_here.set()

  def _late(self) -> str:
    """Why nobody else may come in; '' while some are missing."""
    return (
      ''
      if not self._all_here.is_set()
      else (
        f'the run at port {self._world.address[1]} of {socket.gethostname()} has all its '
        f'{self._world.count} processes: wait for its end, or give another port.'
      )
    )

  def _wrong(self, hello: Mapping[str, Any]) -> str:
    """Why a process that has come is none of this run; '' when it is."""
    who = f'process {hello["process"]} ({hello["host"]})'
    if hello['count'] != self._world.count:
      return (
        f'{who} was started as one of {hello["count"]} processes, process 0 as one of '
        f'{self._world.count}: give all the same --process_count.'
      )
    if (
      hello['process'] in self._peers
      or not 0 < hello['process'] < self._world.count
    ):
      return (
        f'Two processes came as number {hello["process"]}: the second is {who}.'
      )
    for name in sorted(self._about.keys() | hello['about'].keys()):
      here, there = (
        set(about.get(name, '').splitlines())
        for about in (self._about, hello['about'])
      )
      if here != there:
        return (
          f'{who} has another {name} than process 0:\n  process 0: '
          f'{"; ".join(sorted(here - there))}\n  process {hello["process"]}: '
          f'{"; ".join(sorted(there - here))}\nStart all with the same code and flags.'
        )
    return ''

  def _call(self) -> None:
    """All but the first: calls it, again and again until it is there."""
    try:
      connection = patiently(self._world.address, self._world.start_timeout_s)
    except OSError as error:
      self._end(
        f'process 0 does not answer at {_text(self._world.address)} since '
        f'{self._world.start_timeout_s:.0f} s ({error}). Is it running, and is this its '
        f'address? {AGAIN}',
        GONE,
      )
    peer = self._peers[0] = _Peer(connection, 0, self._world.address[0])
    peer.send(
      {
        'process': self._world.index,
        'count': self._world.count,
        'host': socket.gethostname(),
        'about': dict(self._about),
      }
    )
    daemon(self._read, peer)

  def _read(self, peer: _Peer) -> None:
    """Follows what one process says; when the line closes, it has died."""
    for message in peer.messages():
      if 'end' in message:
        peer.is_open = False  # it ends by itself
        self._end(message['end'], message['status'])
      elif 'go' in message:
        self._port, peer.host = message['go'], message['host']
        self._all_here.set()
      elif 'bye' in message:
        peer.said_bye = True
    if not (self._closing or peer.said_bye):
      self._end(f'{peer} is gone. {AGAIN}', GONE)

  def _watch(self) -> None:
    """Gives signs of life and looks for those of the others."""
    limit = self._world.heartbeat_timeout_s
    while not self._closing:
      time.sleep(min(5.0, limit / 5))
      for peer in list(self._peers.values()):
        peer.send({'alive': True})
        silent = time.monotonic() - peer.heard
        if silent > limit and not (self._closing or peer.said_bye):
          peer.is_open = False
          self._end(
            f'{peer} has given no sign of life for {silent:.0f} s: it hangs or its host '
            f'is gone. {AGAIN}',
            GONE,
          )

  def _who_came(self) -> str:
    if self._world.index:
      return (
        f'not all of {self._world.count} processes came in '
        f'{self._world.start_timeout_s:.0f} s. {AGAIN}'
      )
    missing = [i for i in range(1, self._world.count) if i not in self._peers]
    return (
      f'{self._world.count - len(missing)} of {self._world.count} processes came in '
      f'{self._world.start_timeout_s:.0f} s; missing: {", ".join(map(str, missing))}. '
      f'{AGAIN}'
    )

  def _end(self, reason: str, status: int, *, show: bool = True) -> None:
    """Tells the others, prints the reason and ends the process; the first reason counts."""
    if not self._ending.acquire(blocking=False):
      time.sleep(2 * LAST_WORDS_S)  # another thread is at it and ends us too
    peers = list(self._peers.values())
    for peer in peers:
      peer.send({'end': reason, 'status': status})
    if show:
      print(
        f'process {self._world.index} of {self._world.count}: {reason}',
        file=sys.stderr,
      )
    if not self._world.index:
      until = time.monotonic() + LAST_WORDS_S
      while any(peer.is_open for peer in peers) and time.monotonic() < until:
        time.sleep(0.02)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the main thread may wait for the dead for ever


def _text(address: tuple[str, int]) -> str:
  return f'{address[0]}:{address[1]}'
