"""Our vocabularies as seqio knows vocabularies: one tokenisation for both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

PROBE = 'Find $x$ if  $\\frac{12}{x} = 1.5$.\n\nSo x is \\boxed{8}'


class SeqioVocabulary(seqio.Vocabulary):
  """One of our vocabularies as seqio knows them."""

  def __init__(self, vocabulary):
    super().__init__()
    self.vocabulary = vocabulary

  @property
  def bos_id(self) -> int | None:
    return self.vocabulary.bos_id

  @property
  def eos_id(self) -> int:
    return self.vocabulary.eos_id

  @property
  def pad_id(self) -> int:
    return self.vocabulary.pad_id

  @property
  def unk_id(self) -> None:
    return None

  @property
  def _base_vocab_size(self) -> int:
    return self.vocabulary.vocab_size

  def _encode(self, s: str) -> list[int]:
    return self.vocabulary.encode(s)

  def _decode(self, ids: Sequence[int]) -> str:
    return self.vocabulary.decode(ids)

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    def encode(value):
      return np.asarray(
        self.vocabulary.encode(decode_tf_string(value)), np.int32
      )

    ids = tf.numpy_function(encode, [tf.convert_to_tensor(s)], tf.int32)
    return tf.ensure_shape(ids, [None])

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    decode = lambda row: self.vocabulary.decode(row).encode('utf-8')
    return tf.numpy_function(decode, [ids], tf.string)

  def __eq__(self, other: Any) -> bool:
    return (
      isinstance(other, SeqioVocabulary)
      and other.vocabulary.fingerprint() == self.vocabulary.fingerprint()
    )

  __hash__ = None


def decode_tf_string(value: Any) -> str:
  """The text of a string as TensorFlow hands it to Python: bytes, or an array of them."""
  return np.asarray(value, object).item().decode('utf-8')


def encodes_same_ids(other: seqio.Vocabulary, vocabulary) -> bool:
  """Whether a seqio vocabulary gives our ids: ours, or one that agrees on `PROBE`.

  One that only passes ids through shows no more than its size.
  """
  if isinstance(other, SeqioVocabulary):
    return other == SeqioVocabulary(vocabulary)
  if isinstance(other, seqio.PassThroughVocabulary):
    return other.vocab_size == vocabulary.vocab_size
  return other.eos_id == vocabulary.eos_id and list(
    other.encode(PROBE)
  ) == vocabulary.encode(PROBE)
