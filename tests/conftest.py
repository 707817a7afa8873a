"""Test set-up: eight CPU devices, fast compilation, real data if present, small tokenizers."""

import ctypes
import gc
import importlib.metadata
import io
import os
import pathlib
import signal
import sys

REPOSITORY = pathlib.Path(__file__).parent.parent

# JAX reads these when it is first imported; subprocesses of tests inherit them.
# Tests run programs once, so XLA compiles fast instead of well.
FAST_COMPILATION = [
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
]
# These make compilation three to four times faster. Later versions do not have the first flag, and
# XLA stops a process that gets an unknown flag.
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  FAST_COMPILATION += [
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=1',
  ]
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    *FAST_COMPILATION,
  ]
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compilations are shared by workers, by processes of one test and by later runs.
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', str(REPOSITORY / '.pytest_cache' / 'jax')
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')

# A shell starts background commands with SIGINT ignored; tests send it to themselves and to others.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)
# `nohup` ignores SIGHUP, which no shell can trap then.
if (
  hasattr(signal, 'SIGHUP')
  and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
):
  signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest  # noqa: E402 (jax must find the flags above when a test imports it)

# Pre-tokenization patterns from the tokenizer.json files of Llama 3 and Qwen2.
LLAMA3 = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
QWEN2 = LLAMA3.replace(r'\p{N}{1,3}', r'\p{N}')
SPECIAL = {
  'qwen': ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|fim_pad|>'],
  'llama3': [
    '<|begin_of_text|>',
    '<|end_of_text|>',
    '<|start_header_id|>',
    '<|end_header_id|>',
    '<|eot_id|>',
    '<|finetune_right_pad_id|>',
    '<|reserved_special_token_250|>',
  ],
  'smollm2': ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<repo_name>'],
  'deepseek': [
    '<｜begin▁of▁sentence｜>',
    '<｜end▁of▁sentence｜>',
    '<｜User｜>',
    '<｜Assistant｜>',
    '<|fim_pad|>',
    '<|finetune_right_pad_id|>',
  ],
  'gemma': ['<start_of_turn>', '<end_of_turn>'],
}
CORPUS = [
  f'Find the value of $\\frac{{{a}}}{{{b}}} + x^2$, if\n\n\\[x = \\sqrt{{{a * b}}}.\\]  The '
  f'answer is correct; it is not {a}:\n  \\boxed{{{a}{b}}}.'
  for a in range(2, 60)
  for b in range(3, 9)
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Runs all tests of a file in one worker: its fixtures and compilations exist once."""
  from xdist.scheduler import LoadFileScheduling

  return LoadFileScheduling(config, log)


@pytest.fixture(scope='module', autouse=True)
def free_compilations():
  """Frees the compiled programs of a module; the next module rarely uses them.

  glibc keeps freed memory in its arenas; `malloc_trim` returns it to the system, which halves the
  memory of a worker. What is left are modules above all: half a million objects, through which
  each collection would go again (0.3 s), so later ones leave them out.
  """
  yield
  if 'jax' in sys.modules:
    sys.modules['jax'].clear_caches()
    gc.collect()
    gc.freeze()
    if sys.platform == 'linux':
      trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # musl has none
      if trim is not None:
        trim(0)


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder with real MATH, PRM800K, GSM8K and samples; skips if there is none."""
  folder = pathlib.Path(
    os.environ.get('MATHFT_DATA', REPOSITORY.parent / 'shared' / 'data')
  )
  if not (folder / 'math').is_dir():
    pytest.skip(
      f'no real data in {folder}: set MATHFT_DATA to a folder that has math/, gsm8k/, ...'
    )
  return folder


@pytest.fixture(scope='session')
def libtpu():
  """Skips tests that compile for TPUs if libtpu is not installed; [test] installs it on Linux."""
  pytest.importorskip(
    'libtpu',
    reason="libtpu is not installed; it compiles for TPUs: pip install 'mathft_jax[plan]'",
  )


@pytest.fixture(scope='module')
def quick_compiles():
  """Turns off most XLA optimizations, for programs that run once."""
  import jax

  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def byte_level(kind, texts, vocab_size=600):
  """Returns the text of a tokenizer.json with byte-level BPE."""
  tokenizers = pytest.importorskip('tokenizers')
  levels = tokenizers.pre_tokenizers
  trained = tokenizers.Tokenizer(tokenizers.models.BPE())
  if kind == 'qwen':
    trained.normalizer = tokenizers.normalizers.NFC()
  pattern = tokenizers.Regex(QWEN2 if kind == 'qwen' else LLAMA3)
  trained.pre_tokenizer = levels.Sequence(
    [
      levels.Split(pattern, 'isolated'),
      levels.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  trained.decoder = tokenizers.decoders.ByteLevel()
  trained.train_from_iterator(
    texts,
    tokenizers.trainers.BpeTrainer(
      vocab_size=vocab_size,
      initial_alphabet=levels.ByteLevel.alphabet(),
      show_progress=False,
    ),
  )
  trained.add_special_tokens(
    [
      tokenizers.AddedToken(name, normalized=False, special=True)
      for name in SPECIAL[kind]
    ]
  )
  return trained.to_str()


def sentence_pieces(kind, texts, vocab_size=600):
  """Returns a SentencePiece model as bytes, like Gemma's or Llama 2's (adds a first space)."""
  sentencepiece = pytest.importorskip('sentencepiece')
  model = io.BytesIO()
  gemma = kind == 'gemma'
  lines = (line for text in texts for line in text.split('\n') if line)
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=lines,
    model_writer=model,
    model_type='bpe',
    vocab_size=vocab_size,
    byte_fallback=True,
    split_digits=True,
    allow_whitespace_only_pieces=True,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
    add_dummy_prefix=not gemma,
    hard_vocab_limit=False,
    minloglevel=2,
    num_threads=1,
    user_defined_symbols=[*SPECIAL['gemma'], '\n', '\n\n'] if gemma else [],
    **(
      dict(
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece='<eos>',
        bos_piece='<bos>',
      )
      if gemma
      else dict(unk_id=0, bos_id=1, eos_id=2)
    ),
  )
  return model.getvalue()


@pytest.fixture(scope='session')
def make_tokenizer(tmp_path_factory):
  """make_tokenizer(kind, texts=CORPUS): the path of a new tokenizer file."""

  def make(kind: str, texts=CORPUS, **settings) -> pathlib.Path:
    folder = tmp_path_factory.mktemp(kind)
    if kind not in ('gemma', 'llama2'):
      path = folder / 'tokenizer.json'
      path.write_text(byte_level(kind, texts, **settings), encoding='utf-8')
    else:
      path = folder / 'tokenizer.model'
      path.write_bytes(sentence_pieces(kind, texts, **settings))
    return path

  return make


@pytest.fixture(scope='session')
def tokenizer_paths(make_tokenizer):
  """{kind: path} of one small tokenizer of each kind."""
  return {kind: make_tokenizer(kind) for kind in (*SPECIAL, 'llama2')}
