"""Fine-tuning language models for math: SSFT, SCR and MTSF of arXiv 2310.10047.

Array names end in the letters of their axes; the letters mean the same everywhere:

  B  rows of a batch              N  query heads
  T  query positions              K  key/value heads
  S  key/value slots              G  query heads per key/value head, N / K
  D  model width                  H  head size
  F  MLP width                    V  vocabulary
  L  layers                       C  candidates per problem
  P  problems                     W  label words (correct, incorrect)
                                  M  tokens of a label word

`logits_BTV` is an array of logits with one row per batch row, position and token.
Programs are `python -m mathft_jax.<verb>`; importing the package imports nothing
of it, and sets the environment for `gs://` paths.
"""

import os

# How libraries reach `gs://`, unless the environment says otherwise. One client in every program,
# with and without TensorFlow, whose own cannot be pointed at a stand-in: gcsfs.
os.environ.setdefault('EPATH_USE_TF', 'false')
# By requests of the one published json interface; not by asking each bucket for newer ones first.
os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
# No memory of listings: other processes, and tensorstore in this one, write there too.
os.environ.setdefault('FSSPEC_GCS', '{"use_listings_cache": false}')

__version__ = '0.1.0'
