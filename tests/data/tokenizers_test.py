"""TokenizerVocabulary with small tokenizers of the published kinds (conftest.py)."""

import json

import pytest

from mathft_jax.data import tokenizer_files, vocabularies

KINDS = ('qwen', 'llama3', 'gemma', 'llama2')
BOUND = {
  'qwen': dict(eos='<|endoftext|>', pad='<|fim_pad|>'),
  'llama3': dict(
    eos='<|eot_id|>', pad='<|finetune_right_pad_id|>', bos='<|begin_of_text|>'
  ),
  'gemma': dict(
    eos='<eos>',
    pad='<pad>',
    bos='<bos>',
    additional_special_tokens=('<start_of_turn>', '<end_of_turn>'),
  ),
  'llama2': dict(eos='</s>', pad='<unk>', bos='<s>'),
}
TEXTS = (
  '',
  ' correct',
  'x',
  '\n\n  two  lines é∑\ud55c\t\\boxed{\\frac{12}{3}}$ ',
  '1+1',
  '\n',
)
NAMES = ' '.join(
  (
    '<|endoftext|>',
    '<|im_start|>x',
    '<|eot_id|>',
    '<eos>',
    '<bos>',
    '</s>',
    '<pad>',
    '<unk>',
    '<start_of_turn>user',
    '<|begin_of_text|>',
    '<|fim_pad|>',
  )
)


@pytest.fixture(params=KINDS)
def vocabulary(request, tokenizer_paths):
  return vocabularies.TokenizerVocabulary(
    str(tokenizer_paths[request.param]), **BOUND[request.param]
  )


def test_eos_pad_and_bos_are_the_bound_tokens(vocabulary):
  for name, index in (
    ('eos', vocabulary.eos_id),
    ('pad', vocabulary.pad_id),
    ('bos', vocabulary.bos_id),
  ):
    if getattr(vocabulary, name) is not None:
      assert (
        vocabulary.special_ids[getattr(vocabulary, name)]
        == index
        < vocabulary.vocab_size
      )
  assert vocabulary.pad_id != vocabulary.eos_id


@pytest.mark.parametrize('text', TEXTS)
def test_decoding_restores_any_text(vocabulary, text):
  ids = vocabulary.encode(text)
  assert vocabulary.decode(ids) == text
  assert not set(vocabulary.special_ids.values()) & set(ids)


def test_parts_are_decoded_without_extra_spaces(vocabulary):
  pieces = ['1', '+', '1', ' = 2', '.\n']
  assert vocabulary.decode(sum(map(vocabulary.encode, pieces), [])) == ''.join(
    pieces
  )


def test_the_name_of_a_special_token_in_a_text_stays_text(vocabulary):
  for text in (NAMES, *vocabulary.special_ids):
    ids = vocabulary.encode(text)
    assert not set(vocabulary.special_ids.values()) & set(ids)
    assert vocabulary.decode(ids) == text


def test_text_around_a_special_name_has_its_usual_tokens(vocabulary):
  name = next(iter(vocabulary.special_ids))
  ids = vocabulary.encode(f'The answer is correct {name}')
  assert ids[:3] == vocabulary.encode('The answer is correct')[:3]


def test_decoding_stops_at_eos_and_drops_padding_and_bos(vocabulary):
  begin = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  ids = vocabulary.encode(' x²')
  assert (
    vocabulary.decode(
      [*begin, *ids, vocabulary.pad_id, vocabulary.eos_id, *ids]
    )
    == ' x²'
  )


def test_a_special_name_created_by_normalization_is_text(
  tmp_path, tokenizer_paths
):
  tokenizers = pytest.importorskip('tokenizers')
  read = tokenizers.Tokenizer.from_file(str(tokenizer_paths['qwen']))
  read.normalizer = tokenizers.normalizers.NFKC()
  read.add_tokens(
    [tokenizers.AddedToken('<end>', normalized=True, special=True)]
  )
  read.save(str(tmp_path / 'tokenizer.json'))
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tmp_path), eos='<end>', pad='<|fim_pad|>'
  )
  fullwidth = '\uff1cend\uff1e'
  assert read.encode(fullwidth).ids == [vocabulary.eos_id]
  assert vocabulary.decode(vocabulary.encode(fullwidth)) == '<end>'


def test_only_a_tokenizer_that_adds_a_space_has_a_prefix(tokenizer_paths):
  made = {
    kind: vocabularies.TokenizerVocabulary(str(path), **BOUND[kind]).text_prefix
    for kind, path in tokenizer_paths.items()
    if kind in BOUND
  }
  assert made == {'qwen': '', 'llama3': '', 'gemma': '', 'llama2': ' '}


def test_with_the_prefix_a_text_has_the_ids_of_the_published_tokenizer(
  tokenizer_paths,
):
  sentencepiece = pytest.importorskip('sentencepiece')
  for kind in ('gemma', 'llama2'):
    vocabulary = vocabularies.TokenizerVocabulary(
      str(tokenizer_paths[kind]), **BOUND[kind]
    )
    published = sentencepiece.SentencePieceProcessor(
      model_file=str(tokenizer_paths[kind])
    )
    for text in filter(None, TEXTS):
      assert vocabulary.encode(
        vocabulary.text_prefix + text
      ) == published.encode(text)


@pytest.mark.parametrize(
  'normalizer, pre_tokenizer',
  [
    (
      {
        'type': 'Sequence',
        'normalizers': [
          {'type': 'Prepend', 'prepend': '\u2581'},
          {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\u2581'},
        ],
      },
      None,
    ),
    (
      None,
      {
        'type': 'Metaspace',
        'replacement': '\u2581',
        'prepend_scheme': 'first',
        'split': False,
      },
    ),
  ],
)
def test_both_ways_to_add_a_first_space_are_removed(
  tmp_path, normalizer, pre_tokenizer
):
  tokenizers = pytest.importorskip('tokenizers')
  vocab = {
    '<unk>': 0,
    '</s>': 1,
    **{f'<0x{byte:02X}>': byte + 2 for byte in range(256)},
    '\u2581': 258,
    '1': 259,
    '\u25811': 260,
  }
  made = json.loads(
    tokenizers.Tokenizer(
      tokenizers.models.BPE(
        vocab, [('\u2581', '1')], unk_token='<unk>', byte_fallback=True
      )
    ).to_str()
  )
  made.update(
    normalizer=normalizer,
    pre_tokenizer=pre_tokenizer,
    decoder={
      'type': 'Sequence',
      'decoders': [
        {'type': 'Replace', 'pattern': {'String': '\u2581'}, 'content': ' '},
        {'type': 'ByteFallback'},
        {'type': 'Fuse'},
        {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0},
      ],
    },
  )
  (tmp_path / 'tokenizer.json').write_text(json.dumps(made))
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tmp_path), eos='</s>', pad='<unk>'
  )
  assert vocabulary.text_prefix == ' '
  assert vocabulary.encode('1') == [259] and vocabulary.encode(' 1') == [260]
  assert vocabulary.decode([260, 259]) == ' 11'
  published = tokenizers.Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  assert published.encode('1').ids == vocabulary.encode(
    vocabulary.text_prefix + '1'
  )


def test_a_tokenizer_that_loses_white_space_is_an_error(tmp_path):
  sentencepiece = pytest.importorskip('sentencepiece')
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['1 +1', '+ 1'] * 9),
    model_prefix=str(tmp_path / 'nmt'),
    vocab_size=265,
    byte_fallback=True,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  with pytest.raises(ValueError, match='keeps white space'):
    vocabularies.TokenizerVocabulary(
      str(tmp_path / 'nmt.model'), eos='</s>', pad='<unk>'
    )


def test_padding_and_truncation_of_a_file_are_ignored(
  tmp_path, tokenizer_paths
):
  tokenizers = pytest.importorskip('tokenizers')
  read = tokenizers.Tokenizer.from_file(str(tokenizer_paths['qwen']))
  read.enable_truncation(4)
  read.enable_padding(length=30)
  read.save(str(tmp_path / 'tokenizer.json'))
  texts = ['x', 'a text of more than four tokens']
  plain, other = (
    vocabularies.TokenizerVocabulary(str(path), **BOUND['qwen'])
    for path in (tokenizer_paths['qwen'], tmp_path)
  )
  assert [plain.encode(text) for text in texts] == [
    other.encode(text) for text in texts
  ]
  assert plain.fingerprint() == other.fingerprint()


def test_a_name_of_the_hub_is_answered_with_its_download(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='hf download Qwen/Qwen2.5-0.5B --local'):
    tokenizer_files.load_tokenizer('Qwen/Qwen2.5-0.5B')
  (tmp_path / 'runs/mine').mkdir(parents=True)
  with pytest.raises(ValueError, match='no tokenizer') as caught:
    tokenizer_files.load_tokenizer('runs/min')
  assert 'runs/min does not exist: no tokenizer; ' in str(caught.value)
  assert 'Did you mean runs/mine?' in str(caught.value)
  assert 'hf download' not in str(caught.value)


def test_a_file_is_read_once_until_it_changes(make_tokenizer, tokenizer_paths):
  path = tokenizer_paths['qwen']
  first = tokenizer_files.load_tokenizer(path)
  assert tokenizer_files.load_tokenizer(path.parent) is first
  changed = make_tokenizer('qwen')
  before = tokenizer_files.load_tokenizer(changed)
  changed.write_text(changed.read_text() + '\n')
  assert tokenizer_files.load_tokenizer(changed) is not before


def test_a_fingerprint_depends_on_content_and_special_tokens_only(
  tmp_path, tokenizer_paths
):
  pytest.importorskip('tokenizers')
  content = json.loads(tokenizer_paths['qwen'].read_text())
  content['model']['merges'] = [
    ' '.join(pair) for pair in content['model']['merges']
  ]
  (tmp_path / 'tokenizer.json').write_text(
    json.dumps(content, indent=3, sort_keys=True)
  )
  original = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths['qwen']), **BOUND['qwen']
  )
  by_id = vocabularies.TokenizerVocabulary(
    str(tmp_path), eos=original.eos_id, pad=original.pad_id
  )
  assert by_id.fingerprint() == original.fingerprint()
  assert str(tmp_path) not in by_id.fingerprint()
  assert (
    vocabularies.TokenizerVocabulary(
      str(tmp_path), eos='<|im_end|>', pad='<|fim_pad|>'
    ).fingerprint()
    != original.fingerprint()
  )
  content['normalizer'] = None
  (tmp_path / 'tokenizer.json').write_text(json.dumps(content))
  assert (
    vocabularies.TokenizerVocabulary(
      str(tmp_path), **BOUND['qwen']
    ).fingerprint()
    != original.fingerprint()
  )


def test_every_kind_of_tokenizer_has_another_fingerprint(tokenizer_paths):
  made = [
    vocabularies.TokenizerVocabulary(str(path), **BOUND[kind]).fingerprint()
    for kind, path in tokenizer_paths.items()
    if kind in BOUND
  ]
  assert len(set(made)) == 4


def test_the_error_for_an_unknown_token_lists_known_tokens(
  tokenizer_paths,
):
  path = str(tokenizer_paths['gemma'])
  make = vocabularies.TokenizerVocabulary
  with pytest.raises(ValueError, match='never learns to stop'):
    make(path, eos='<eos>', pad=1)
  with pytest.raises(ValueError, match="no token '<end>'.*<pad>, <eos>, <bos>"):
    make(path, eos='<end>', pad='<pad>')
  with pytest.raises(ValueError, match='no token 5000'):
    make(path, eos=5000, pad='<pad>')
  with pytest.raises(ValueError, match="no token '<nothing>'"):
    make(
      path, eos='<eos>', pad='<pad>', additional_special_tokens=('<nothing>',)
    ).special_ids


def test_ids_above_max_vocab_size_are_left_out(tokenizer_paths):
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths['llama3']),
    **BOUND['llama3'] | dict(pad=0, max_vocab_size=605),
  )
  assert (
    vocabulary.vocab_size == 605
    and '<|finetune_right_pad_id|>' not in vocabulary.special_ids
  )
  assert max(vocabulary.encode(NAMES)) < 600


def test_a_text_that_needs_the_padding_token_is_an_error(tmp_path):
  tokenizers = pytest.importorskip('tokenizers')
  letters = {
    '<unk>': 0,
    '</s>': 1,
    **{letter: i for i, letter in enumerate('\n +1', start=2)},
  }
  tokenizers.Tokenizer(
    tokenizers.models.BPE(letters, [], unk_token='<unk>')
  ).save(str(tmp_path / 'tokenizer.json'))
  content = json.loads((tmp_path / 'tokenizer.json').read_text())
  content['decoder'] = {'type': 'Fuse'}
  (tmp_path / 'tokenizer.json').write_text(json.dumps(content))
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tmp_path), eos='</s>', pad='<unk>'
  )
  with pytest.raises(ValueError, match="'1 x' has a letter"):
    vocabulary.encode('1 x')


@pytest.mark.parametrize(
  'content, message',
  [
    (None, 'no tokenizer; wanted'),
    ('{"model": ', 'not a tokenizer that can be read'),
    ('[]', 'not a tokenizer that can be read'),
    ('null', 'not a tokenizer that can be read'),
    ('version https://git-lfs.github.com/spec/v1\n', 'git lfs pointer'),
    ('GGUF\x03', 'GGUF file.*mathft_jax.convert --checkpoint='),
    ('{"model": {"type": "Unheard"}}', 'not a tokenizer that can be read'),
  ],
)
def test_files_that_are_not_tokenizers_are_an_error(tmp_path, content, message):
  pytest.importorskip('tokenizers')
  if content is not None:
    (tmp_path / 'tokenizer.json').write_text(content)
  with pytest.raises(ValueError, match=message):
    tokenizer_files.load_tokenizer(tmp_path)


def test_a_broken_sentencepiece_model_is_an_error(tmp_path):
  pytest.importorskip('sentencepiece')
  (tmp_path / 'tokenizer.model').write_bytes(b'nothing of the kind')
  with pytest.raises(ValueError, match='not a tokenizer that can be read'):
    tokenizer_files.load_tokenizer(tmp_path)
