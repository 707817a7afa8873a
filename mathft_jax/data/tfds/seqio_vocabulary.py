"""Vocabularies of this package as seqio vocabularies, so that both give the same token ids."""

from collections.abc import Sequence

import numpy as np
import seqio
import tensorflow as tf

from mathft_jax.data import prompt_templates

PROBE_TEXT = 'Find $x$ if  $\\frac{12}{x} = 1.5$.\n\nSo x is \\boxed{8}'


class SeqioVocabulary(seqio.Vocabulary):
  """A `prompt_templates.Vocabulary` with the interface of seqio."""

  def __init__(self, vocabulary: prompt_templates.Vocabulary):
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
    def encode(value: bytes) -> np.ndarray:
      ids = self.vocabulary.encode(decode_tf_string(value))
      return np.asarray(ids, np.int32)

    ids = tf.numpy_function(encode, [tf.convert_to_tensor(s)], tf.int32)
    return tf.ensure_shape(ids, [None])

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    def decode(row: np.ndarray) -> bytes:
      return self.vocabulary.decode(row).encode('utf-8')

    return tf.numpy_function(decode, [ids], tf.string)

  def __eq__(self, other: object) -> bool:
    return (
      isinstance(other, SeqioVocabulary)
      and other.vocabulary.fingerprint() == self.vocabulary.fingerprint()
    )

  __hash__ = None  # pyright: ignore[reportAssignmentType]


def decode_tf_string(value: bytes | np.ndarray) -> str:
  """Returns the text of a TensorFlow string in Python: bytes, or an array of bytes."""
  return np.asarray(value, object).item().decode('utf-8')


def encodes_same_ids(
  other: seqio.Vocabulary, vocabulary: prompt_templates.Vocabulary
) -> bool:
  """Returns whether a seqio vocabulary gives the ids of `vocabulary`, judged by `PROBE_TEXT`.

  A pass-through vocabulary can only be compared by its size.
  """
  if isinstance(other, SeqioVocabulary):
    return other == SeqioVocabulary(vocabulary)
  if isinstance(other, seqio.PassThroughVocabulary):
    return other.vocab_size == vocabulary.vocab_size
  if other.eos_id != vocabulary.eos_id:
    return False
  return list(other.encode(PROBE_TEXT)) == vocabulary.encode(PROBE_TEXT)
