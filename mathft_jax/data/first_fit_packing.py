"""First-fit packing: which examples share one row of a batch."""

from collections.abc import Sequence

import numpy as np


def pack_first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
  """Returns rows of indices: each item goes into the first row with enough room.

  Args:
    lengths: tokens of each item; at least one item, none longer than `capacity`.
    capacity: tokens of a row.
  """
  rows: list[list[int]] = []
  room = np.zeros(len(lengths), np.int64)  # free tokens of each row
  shortest = min(lengths)
  first_open = 0  # all rows before this one are full

  for index, length in enumerate(lengths):
    fits = room[first_open : len(rows)] >= length
    row = first_open + int(fits.argmax()) if fits.any() else len(rows)
    if row == len(rows):
      rows.append([])
      room[row] = capacity

    rows[row].append(index)
    room[row] -= length
    while first_open < len(rows) and room[first_open] < shortest:
      first_open += 1
  return rows
