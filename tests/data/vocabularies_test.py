import gzip
import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mathft_jax.data import vocabularies

BYTES = vocabularies.ByteVocabulary()
WORDS = vocabularies.WordVocabulary(('check', ':', 'A', '1', '2', 'correct'))


@settings(deadline=None)  # the first call may wait for a busy machine
@given(st.text())
def test_bytes_restore_any_text(text):
  ids = BYTES.encode(text)
  assert BYTES.decode(ids) == text
  assert all(
    vocabularies.FIRST_TEXT_ID <= index < BYTES.vocab_size for index in ids
  )


def test_bytes_restore_all_of_math(shared_data):
  for name in ('train', 'test'):
    with gzip.open(
      shared_data / 'math' / f'{name}.jsonl.gz', 'rt', encoding='utf-8'
    ) as lines:
      for row in map(json.loads, lines):
        for text in (row['problem'], row['solution']):
          assert BYTES.decode(BYTES.encode(text)) == text


@pytest.mark.parametrize('vocabulary', [BYTES, WORDS])
def test_padding_differs_from_eos(vocabulary):
  assert len({vocabulary.pad_id, vocabulary.eos_id, vocabulary.bos_id}) == 3


def test_byte_decoding_stops_at_eos_and_drops_padding_and_bos():
  ids = [
    BYTES.bos_id,
    *BYTES.encode('ab'),
    BYTES.pad_id,
    *BYTES.encode('c'),
    BYTES.eos_id,
  ]
  assert BYTES.decode(ids + BYTES.encode('never')) == 'abc'


def test_half_a_character_becomes_a_replacement_character():
  assert BYTES.decode(BYTES.encode('é')[:1]) == '\ufffd'


@pytest.mark.parametrize('index', [-1, BYTES.vocab_size])
def test_an_id_out_of_range_is_an_error(index):
  with pytest.raises(ValueError, match=f'id {index}'):
    BYTES.decode([index])


def test_words_are_numbered_in_their_order():
  assert WORDS.encode('A  1 check') == [5, 6, 3]
  assert WORDS.decode([5, 6, 3]) == 'A 1 check'
  assert WORDS.vocab_size == 9


def test_the_error_names_an_unknown_word():
  with pytest.raises(ValueError, match="'zwei'"):
    WORDS.encode('A zwei')


@pytest.mark.parametrize('words', [('a', 'a'), ('a b',), ('',)])
def test_words_that_cannot_be_told_apart_are_an_error(words):
  with pytest.raises(ValueError, match='distinct'):
    vocabularies.WordVocabulary(words)


def test_vocabularies_with_other_ids_have_other_fingerprints():
  other = vocabularies.WordVocabulary(WORDS.words[::-1])
  assert len({v.fingerprint() for v in (BYTES, WORDS, other)}) == 3
  assert vocabularies.WordVocabulary(list(WORDS.words)) == WORDS
