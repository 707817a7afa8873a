"""Log lines of native libraries that say nothing about a run are not shown.

TensorFlow prints which CPU instructions it uses and that it finds no GPU, libtpu that there is no
TPU. They write to file descriptor 2 before any level can be set.
"""

from collections.abc import Iterator
import contextlib
import glob
import importlib.util
import os
import re
import sys
import tempfile

_NOISE = re.compile(
  rb'WARNING: All log messages before absl::InitializeLog'
  rb'|I\d{4} |[WE]\d{4} .*(?:cuda|cuInit|cuDNN|cuFFT|cuBLAS|TensorRT)'
)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
  """Holds back what is written to stderr; without the noise it is written at the end."""
  if not _is_installed('tensorflow') or 'tensorflow' in sys.modules:
    yield
    return
  sys.stderr.flush()
  stderr = os.dup(2)
  with tempfile.TemporaryFile() as held_back:
    os.dup2(held_back.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      os.close(stderr)
      held_back.seek(0)
      for line in held_back:
        if not _NOISE.match(line):
          os.write(2, line)


def skip_libtpu_without_tpu() -> None:
  """Lets jax use the CPU if libtpu is installed, for `mathft_jax.plan`, and there is no TPU.

  Otherwise libtpu searches for a TPU and logs errors. With a TPU, with a GPU plugin of jax or with
  `JAX_PLATFORMS` nothing is changed.
  """
  has_accelerator = glob.glob('/dev/accel*') or glob.glob('/dev/vfio/*')
  if has_accelerator or 'JAX_PLATFORMS' in os.environ:
    return
  if _is_installed('jax_plugins') or not _is_installed('libtpu'):
    return
  os.environ['JAX_PLATFORMS'] = 'cpu'
  if 'jax' in sys.modules:  # it has read the environment already
    sys.modules['jax'].config.update('jax_platforms', 'cpu')


def _is_installed(module: str) -> bool:
  return importlib.util.find_spec(module) is not None
