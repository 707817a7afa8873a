"""A detour for jax's connection to the first process, so that its death can be told in one line."""

import contextlib
import socket
import threading
import time
from typing import Any


def open_relay(host: str, port: int, *, seconds: float) -> int:
  """A port of this machine that leads to another's, and stays open when that one closes.

  jax's client ends its process with a stack trace as soon as its connection to the first process
  closes. Behind the relay it does not see that, and our own message comes (`lifeline`). The other
  side may come up to `seconds` later.
  """
  server = socket.create_server(('127.0.0.1', 0))

  def serve() -> None:
    while True:
      inside, _ = server.accept()
      daemon(connect, inside)

  def connect(inside: socket.socket) -> None:
    outside = patiently((host, port), seconds)
    daemon(_copy, outside, inside)
    _copy(inside, outside)
    with contextlib.suppress(OSError):  # the other side may be gone already
      outside.shutdown(socket.SHUT_RDWR)

  daemon(serve)
  return server.getsockname()[1]


def patiently(address: tuple[str, int], seconds: float) -> socket.socket:
  """A connection, tried again until somebody listens there; OSError after so many seconds."""
  until = time.monotonic() + seconds
  while True:
    try:
      found = socket.create_connection(address, timeout=5)
      if (
        found.getsockname() == found.getpeername()
      ):  # nobody listens, TCP gave it itself
        found.close()
        raise ConnectionRefusedError('nobody listens there')
      found.settimeout(None)
      return found
    except OSError:
      if time.monotonic() > until:
        raise
      time.sleep(0.1)


def free_port() -> int:
  """A port that nobody listens at."""
  with socket.create_server(('', 0)) as found:
    return found.getsockname()[1]


def daemon(function: Any, *arguments: Any) -> None:
  """Runs a function in a thread that does not keep the process alive."""
  threading.Thread(target=function, args=arguments, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
  """Passes bytes on until one of the two sides is gone."""
  try:
    while data := source.recv(1 << 16):
      target.sendall(data)
  except OSError:
    pass
