"""Numbers of packed rows, in a text file, so that a resumed run finds its place without tokenizing.

counts = PackedRowCounts(path)
counts.add(epoch=0, window=17, count=320)
counts.get(0, 17)      # 320, also in a later process
"""

import os


class PackedRowCounts:
  """The number of rows of each window of each epoch.

  A line of the file is `epoch window count`. Lines that are cut off are ignored, so a process that
  is killed while it writes loses one number, which is counted again.
  """

  def __init__(self, path: str | os.PathLike[str] | None = None):
    """Reads the file if it exists; without a path nothing is stored."""
    self._path = path
    self._counts: dict[tuple[int, int], int] = {}
    if path is not None and os.path.exists(path):
      with open(path, encoding='ascii', errors='replace') as file:
        for line in file:
          self._read(line)

  def _read(self, line: str) -> None:
    words = line.split()
    if line.endswith('\n') and len(words) == 3 and ''.join(words).isdigit():
      epoch, window, count = map(int, words)
      self._counts[epoch, window] = count

  def get(self, epoch: int, window: int) -> int | None:
    """Returns the number of rows; None if it is not known."""
    return self._counts.get((epoch, window))

  def add(self, epoch: int, window: int, count: int) -> None:
    """Stores the number of rows, unless it is known."""
    if (epoch, window) in self._counts:
      return
    self._counts[epoch, window] = count
    if self._path is not None:
      # The line break before it ends a line that another process left cut off.
      with open(self._path, 'a', encoding='ascii') as file:
        file.write(f'\n{epoch} {window} {count}\n')
