"""Token ids of the evaluator's label words and the branches that they add to a prompt.

A label word of several tokens needs all but its last token as input. The input of a verdict is
therefore `prompt + word 0 [:-1] + word 1 [:-1]`. Each word's part is a branch (1 or 2; the prompt
is 0): it attends to the prompt and to itself, and its positions continue those of the prompt.
"""

from collections.abc import Sequence
import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class LabelWords:
  """The two label words of an evaluator.

  Attributes:
    token_ids: token ids of each word, the correct word first.
    pad_id: fills `ids_WM` behind the shorter word.
  """

  token_ids: tuple[tuple[int, ...], ...]
  pad_id: int = 0

  @property
  def branch_lengths(self) -> list[int]:
    """Number of input tokens of each word: all but the last."""
    return [len(word) - 1 for word in self.token_ids]

  @functools.cached_property
  def ids_WM(self) -> np.ndarray:
    """Token ids as int32, padded to the longer word."""
    return _pad(self.token_ids, self.pad_id)

  @functools.cached_property
  def mask_WM(self) -> np.ndarray:
    """True where `ids_WM` has a token."""
    ones = [[1] * len(word) for word in self.token_ids]
    return _pad(ones, 0).astype(bool)

  @functools.cached_property
  def branch_tokens(self) -> np.ndarray:
    """Token ids of all branches, one after the other."""
    inputs = [np.array(word[:-1], np.int32) for word in self.token_ids]
    return np.concatenate(inputs)

  @functools.cached_property
  def branch_ids(self) -> np.ndarray:
    """The branch, 1 or 2, of each token in `branch_tokens`."""
    return np.repeat([1, 2], self.branch_lengths)

  @functools.cached_property
  def branch_positions(self) -> np.ndarray:
    """The position of each token in `branch_tokens`, counted from the end of the prompt."""
    return np.concatenate([np.arange(n) for n in self.branch_lengths])

  @functools.cached_property
  def word_positions_WM(self) -> np.ndarray:
    """Index whose hidden state predicts each word token, counted from the end of the prompt.

    -1 is the last token of the prompt, which predicts the first token of each word.
    """
    positions_WM = np.full(self.ids_WM.shape, -1, np.int32)
    start = 0
    for word, length in enumerate(self.branch_lengths):
      positions_WM[word, 1 : 1 + length] = start + np.arange(length)
      start += length
    return positions_WM


def _pad(words: Sequence[Sequence[int]], value: int) -> np.ndarray:
  """Returns the words as one int32 array; `value` fills the shorter ones."""
  longest = max(map(len, words))
  padded_WM = np.full((len(words), longest), value, np.int32)
  for index, word in enumerate(words):
    padded_WM[index, : len(word)] = word
  return padded_WM
