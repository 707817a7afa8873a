"""Fine-tuning of language models for math in JAX: SSFT, SCR and MTSF (arXiv 2310.10047).

In notebooks and scripts:

  import mathft_jax as mf

  model = mf.load('runs/ssft')
  graded = mf.grade_candidates(model.sample(mf.read_problems('test.jsonl'), n=16))
  print(mf.report(graded))

On the command line: `python -m mathft_jax.<program>`, e.g. train, sample, grade, score, evaluate.

Array names end in the letters of their axes. The letters have one meaning in the whole package:

  B  sequences of a batch         N  query heads
  T  query positions              K  key/value heads
  S  key/value slots              G  query heads per key/value head, N / K
  D  model width                  H  head size
  F  MLP width                    V  vocabulary
  L  layers                       C  candidates per problem
  P  problems                     W  label words (correct, incorrect)
                                  M  tokens of a label word

For example, `logits_BTV` has one value per sequence, position and token.

`import mathft_jax` is cheap: the names of `mathft_jax.api` are loaded when they are first used.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING

# `gs://` paths are read by gcsfs in every program, with and without TensorFlow. TensorFlow's own
# client cannot be pointed at a test server.
os.environ.setdefault('EPATH_USE_TF', 'false')
# Use the published JSON interface only; do not ask each bucket for newer ones first.
os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
# Do not cache listings: other processes, and tensorstore in this process, also write there.
os.environ.setdefault('FSSPEC_GCS', '{"use_listings_cache": false}')

__version__ = '0.1.0'

if sys.argv[:1] == ['-m']:  # started as `python -m mathft_jax.<program>`
  from mathft_jax.distributed import stop_signals

  # Before the imports of the program, which take seconds.
  if program := stop_signals.program_from_command_line():
    stop_signals.install(program)

if TYPE_CHECKING:
  from mathft_jax.api import (
    Candidate,
    CandidateSet,
    Majority,
    Model,
    Oracle,
    Problem,
    ProblemMapping,
    Report,
    Rerank,
    Template,
    TokenizerVocabulary,
    WeightedVote,
    grade_candidates,
    load,
    read_candidates,
    read_problems,
    report,
    select,
    write_candidates,
  )

__all__ = [
  'Candidate',
  'CandidateSet',
  'Majority',
  'Model',
  'Oracle',
  'Problem',
  'ProblemMapping',
  'Report',
  'Rerank',
  'Template',
  'TokenizerVocabulary',
  'WeightedVote',
  'grade_candidates',
  'load',
  'read_candidates',
  'read_problems',
  'report',
  'select',
  'write_candidates',
]


def __getattr__(name: str) -> object:
  """Loads a name of the Python API on first use."""
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module('mathft_jax.api'), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])
