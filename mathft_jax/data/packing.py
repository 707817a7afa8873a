"""Which examples share a row."""

from collections.abc import Sequence

import numpy as np


def pack_first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
  """Rows of indices: each item goes into the first row that still has room for it."""
  rows: list[list[int]] = []
  room = np.zeros(
    len(lengths), np.int64
  )  # of rows, in order; rows before `first` are closed
  shortest, first = min(lengths), 0
  for index, length in enumerate(lengths):
    fits = room[first : len(rows)] >= length
    row = first + int(fits.argmax()) if fits.any() else len(rows)
    if row == len(rows):
      rows.append([])
      room[row] = capacity
    rows[row].append(index)
    room[row] -= length
    while first < len(rows) and room[first] < shortest:
      first += 1
  return rows
