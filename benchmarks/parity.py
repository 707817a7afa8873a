"""Logits of small models of every family against those of `transformers`: a table.

  python -m benchmarks.parity

The models and the logits of `transformers` are the files that tests/models/make_goldens.py wrote.
"""

from tests.models import make_goldens, parity_test


def main() -> None:
  print(
    '| model | largest logit | full forward | prefill and decoding |\n|---|---:|---:|---:|'
  )
  for case in make_goldens.CASES:
    config, params = parity_test.load(parity_test.GOLDENS / case)
    golden = parity_test.expected(case)
    tokens, wanted = golden['tokens'], golden['logits']
    found = [
      parity_test.difference(logits(config, params, tokens), wanted)
      for logits in (parity_test.full_logits, parity_test.decoded_logits)
    ]
    print(
      f'| `{case}` | {abs(wanted).max():.2f} | {found[0]:.1e} | {found[1]:.1e} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
