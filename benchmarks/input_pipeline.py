"""Tokens per second of training batches alone, and their share of real tokens.

  python -m benchmarks.input_pipeline --tokenizer=runs/smollm2/tokenizer.json \
      --problems=../shared/data/math/train.jsonl.gz

Problems are tokenised once when a training starts; then batches of numpy arrays are made, here an
epoch of them, packed and with one example per row. Compare the tokens per second with
`tokens_per_s` of a training. No model is needed.
"""

import argparse
import itertools
import json
import time

import numpy as np

from mathft_jax.data import (
  batching,
  examples,
  problem_sources,
  prompt_templates,
  vocabularies,
)


def measure_epoch(
  solutions: list, layout: batching.BatchLayout, pack: bool
) -> dict[str, float]:
  """Makes the batches of about one epoch."""
  total = sum(len(each.inputs) + len(each.targets) for each in solutions)
  if pack:
    num_batches = total // (layout.batch_size * layout.max_length)
  else:
    num_batches = len(solutions) // layout.batch_size
  start = time.perf_counter()
  tokens = positions = 0
  batches = batching.train_batches(solutions, layout, seed=0, pack=pack)
  for batch in itertools.islice(batches, max(1, num_batches)):
    segment_ids_BT = batch['decoder_segment_ids']
    tokens += int(np.count_nonzero(segment_ids_BT))
    positions += segment_ids_BT.size
  seconds = time.perf_counter() - start
  return {
    'batches': num_batches,
    'tokens_per_s': round(tokens / seconds),
    'real tokens, share': round(tokens / positions, 4),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--problems', required=True, help='a problem file')
  parser.add_argument('--tokenizer', required=True, help='a tokenizer.json')
  parser.add_argument('--eos', default='<|im_end|>')
  parser.add_argument('--pad', default='<|endoftext|>')
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument('--max_length', type=int, default=1024)
  parser.add_argument('--limit', type=int, help='problems; default: all')
  options = parser.parse_args()
  vocabulary = vocabularies.TokenizerVocabulary(
    options.tokenizer, eos=options.eos, pad=options.pad
  )
  source = examples.SolutionExamples(
    problem_sources.JsonlProblems(options.problems, limit=options.limit),
    prompt_templates.Template(),
    vocabulary,
  )
  start = time.perf_counter()
  solutions = list(source('train'))
  seconds = time.perf_counter() - start
  tokens = sum(len(each.inputs) + len(each.targets) for each in solutions)
  layout = batching.BatchLayout(
    batch_size=options.batch_size,
    max_length=options.max_length,
    pad_id=vocabulary.pad_id,
  )
  report = {
    'examples': len(solutions),
    'reading and tokenising, s': round(seconds, 1),
    'tokens_per_s of reading and tokenising': round(tokens / seconds),
    'packed': measure_epoch(solutions, layout, pack=True),
    'one example per row': measure_epoch(solutions, layout, pack=False),
  }
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
