import gzip
import json
import pathlib

from hypothesis import given
from hypothesis import strategies as st
import pytest

from mathft_jax.data import vocabularies

BYTES = vocabularies.ByteVocabulary()
WORDS = vocabularies.WordVocabulary(('check', ':', 'A', '1', '2', 'correct'))


@given(st.text())
def test_bytes_bring_back_any_text(text):
  ids = BYTES.encode(text)
  assert BYTES.decode(ids) == text
  assert all(vocabularies.FIRST_ID <= index < BYTES.vocab_size for index in ids)


def test_bytes_bring_back_all_of_math(shared_data):
  for name in ('train', 'test'):
    with gzip.open(shared_data / 'math' / f'{name}.jsonl.gz', 'rt', encoding='utf-8') as lines:
      for row in map(json.loads, lines):
        for text in (row['problem'], row['solution']):
          assert BYTES.decode(BYTES.encode(text)) == text


@pytest.mark.parametrize('vocabulary', [BYTES, WORDS])
def test_padding_is_not_the_end(vocabulary):
  assert len({vocabulary.pad_id, vocabulary.eos_id, vocabulary.bos_id}) == 3


def test_decoding_stops_at_the_first_end_and_drops_padding_and_begin():
  ids = [BYTES.bos_id, *BYTES.encode('ab'), BYTES.pad_id, *BYTES.encode('c'), BYTES.eos_id]
  assert BYTES.decode(ids + BYTES.encode('never')) == 'abc'


def test_half_a_character_becomes_a_replacement():
  assert BYTES.decode(BYTES.encode('é')[:1]) == '\ufffd'


@pytest.mark.parametrize('index', [-1, BYTES.vocab_size])
def test_an_id_out_of_range_is_an_error(index):
  with pytest.raises(ValueError, match=f'id {index}'):
    BYTES.decode([index])


def test_words_are_numbered_in_their_order():
  assert WORDS.encode('A  1 check') == [5, 6, 3]
  assert WORDS.decode([5, 6, 3]) == 'A 1 check'
  assert WORDS.vocab_size == 9


def test_an_unknown_word_is_named():
  with pytest.raises(ValueError, match="'zwei'"):
    WORDS.encode('A zwei')


@pytest.mark.parametrize('words', [('a', 'a'), ('a b',), ('',)])
def test_words_that_cannot_be_told_apart_are_refused(words):
  with pytest.raises(ValueError, match='distinct'):
    vocabularies.WordVocabulary(words)


def test_vocabularies_with_other_ids_have_other_fingerprints():
  other = vocabularies.WordVocabulary(WORDS.words[::-1])
  assert len({v.fingerprint() for v in (BYTES, WORDS, other)}) == 3
  assert vocabularies.WordVocabulary(list(WORDS.words)) == WORDS


@pytest.fixture(scope='module')
def tokenizer_file(tmp_path_factory):
  """A small byte-level BPE tokenizer, as Llama 3 and Qwen have."""
  tokenizers = pytest.importorskip('tokenizers')
  trained = tokenizers.Tokenizer(tokenizers.models.BPE())
  trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  trained.decoder = tokenizers.decoders.ByteLevel()
  trained.train_from_iterator(
      ['The answer is correct', 'the answer is incorrect'] * 9, tokenizers.trainers.BpeTrainer(
          vocab_size=400, special_tokens=['<pad>', '<s>', '</s>'], show_progress=False,
          initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
  path = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.json'
  trained.save(str(path))
  return str(path)


def test_a_published_tokenizer_is_a_vocabulary(tokenizer_file):
  vocabulary = vocabularies.TokenizerVocabulary(tokenizer_file, eos='</s>', pad='<pad>', bos='<s>')
  assert (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id) == (0, 1, 2)
  ids = vocabulary.encode(' correct') + vocabulary.encode(' x²')
  assert vocabulary.decode([1, *ids, 2, *ids]) == ' correct x²'
  assert len(vocabulary.encode(' correct')) == 1
  assert max(ids) < vocabulary.vocab_size


def test_a_tokenizer_is_known_by_its_content_and_special_tokens(tokenizer_file, tmp_path):
  copy = tmp_path / 'other.json'
  copy.write_text(pathlib.Path(tokenizer_file).read_text())
  made = [vocabularies.TokenizerVocabulary(str(path), eos='</s>', pad='<pad>', bos=bos)
          for path, bos in ((tokenizer_file, None), (copy, None), (copy, '<s>'))]
  assert made[0].fingerprint() == made[1].fingerprint() != made[2].fingerprint()


def test_a_tokenizer_that_pads_with_its_end_or_lacks_a_token_is_refused(tokenizer_file):
  with pytest.raises(ValueError, match='never learns to stop'):
    vocabularies.TokenizerVocabulary(tokenizer_file, eos='</s>', pad='</s>')
  with pytest.raises(ValueError, match="no token '<end>'"):
    vocabularies.TokenizerVocabulary(tokenizer_file, eos='<end>', pad='<pad>').eos_id


def test_a_tokenizer_that_adds_spaces_to_pieces_is_refused(tmp_path):
  tokenizers = pytest.importorskip('tokenizers')
  spaced = tokenizers.Tokenizer(tokenizers.models.BPE(
      {'<pad>': 0, '</s>': 1, '\u2581': 2, '1': 3, '+': 4}, []))
  spaced.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  spaced.decoder = tokenizers.decoders.Metaspace()
  spaced.save(str(tmp_path / 'spaced.json'))
  with pytest.raises(ValueError, match="come back as '1 \\+1'"):
    vocabularies.TokenizerVocabulary(str(tmp_path / 'spaced.json'), eos='</s>', pad='<pad>')
