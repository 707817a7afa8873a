"""Compares logits of small models of every family with those of `transformers`; prints a table.

  python -m benchmarks.parity              # or names of cases

`tests/models/make_goldens.py` wrote the models and the logits of `transformers`.
"""

import sys

from tests.models import make_goldens, parity_test


def main() -> None:
  print('| model | largest logit | full forward | prefill and decoding |')
  print('|---|---:|---:|---:|')
  for case in sys.argv[1:] or make_goldens.CASES:
    config, params = parity_test.load(parity_test.GOLDENS / case)
    golden = parity_test.expected(case)
    tokens, wanted = golden['tokens'], golden['logits']

    full = parity_test.full_logits(config, params, tokens)
    decoded = parity_test.decoded_logits(config, params, tokens)
    full_error = parity_test.difference(full, wanted)
    decoded_error = parity_test.difference(decoded, wanted)
    print(
      f'| `{case}` | {abs(wanted).max():.2f} | {full_error:.1e} | {decoded_error:.1e} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
