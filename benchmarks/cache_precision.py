"""Change of log-probabilities when the KV cache of decoding has a narrower dtype.

  python -m benchmarks.cache_precision --model=runs/smollm2 --data=../shared/data

Decodes the reference solutions of GSM8K problems with forced tokens: prompts and finished blocks of
16 tokens are read from the cache, as in sampling. Prints the change of log p(solution | problem)
beside a cache of the model's dtype, per token.
"""

import argparse
import dataclasses
import gzip
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import (
  decode_block,
  decode_caches,
  decode_config,
  decoding,
  load_params,
  prefill,
  sampling,
)
from mathft_jax.models import transformer


def read_problems(
  options: argparse.Namespace,
) -> tuple[list[prefill.Prompt], list[list[int]]]:
  """Returns prompts and the token ids of their solutions."""
  import tokenizers

  path = pathlib.Path(options.model) / 'tokenizer.json'
  tokenizer = tokenizers.Tokenizer.from_file(str(path))
  prompts, solutions = [], []
  with gzip.open(options.data / 'gsm8k' / 'test.jsonl.gz', 'rt') as lines:
    for index, line in zip(range(options.problems), lines):
      record = json.loads(line)
      ids = tokenizer.encode(f'Question: {record["question"]}\nAnswer:').ids
      prompts.append(prefill.Prompt(str(index), ids))
      solution = tokenizer.encode(f' {record["answer"]}').ids
      solutions.append(solution[: options.tokens])
  return prompts, solutions


def force_tokens(solutions: list[list[int]], num_tokens: int) -> None:
  """Makes decoding append the tokens of the solutions instead of sampled ones."""
  tokens_PU = np.zeros((len(solutions), num_tokens), np.int32)
  for index, solution in enumerate(solutions):
    tokens_PU[index, : len(solution)] = solution
  lengths_P = np.array([len(solution) for solution in solutions])

  def append_forced(config, rows, logits_BV, keys_B):
    del config, keys_B
    problems_B = rows.problem_words_B2[:, 0]
    tokens_B = jnp.array(tokens_PU)[problems_B, rows.lengths_B]
    chosen_B = jnp.take_along_axis(logits_BV, tokens_B[:, None], axis=1)[:, 0]
    log_probs_B = chosen_B - jax.nn.logsumexp(logits_BV, axis=-1)
    lengths_B = rows.lengths_B + rows.active_B
    added_B = jnp.where(rows.active_B, log_probs_B, 0)
    is_unfinished_B = lengths_B < jnp.array(lengths_P)[problems_B]
    rows = rows._replace(
      lengths_B=lengths_B,
      last_tokens_B=tokens_B,
      log_probs_B=rows.log_probs_B + added_B,
      active_B=rows.active_B & is_unfinished_B,
    )
    return rows, tokens_B

  # Instead of random words: the index of the problem.
  decode_block.problem_words = lambda name: np.array([int(name), 0], np.uint32)
  decode_block._sample_tokens = append_forced


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--model', required=True, help='a Hugging Face folder')
  parser.add_argument('--data', type=pathlib.Path, default='../shared/data')
  parser.add_argument('--problems', type=int, default=20)
  parser.add_argument('--tokens', type=int, default=128, help='at most')
  parser.add_argument('--dtype', default='float32', help='of the computation')
  options = parser.parse_args()
  prompts, solutions = read_problems(options)
  force_tokens(solutions, options.tokens)
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  model = checkpoints.load_model_config(options.model, dtype=options.dtype)
  params = load_params.load_inference_params(
    options.model, model, fingerprint={}, mesh=mesh
  )
  params = transformer.unstack_layers(model, params, donate=True)
  config = decode_config.DecodeConfig(
    model,
    sampling.Greedy(),
    num_rows=len(prompts),
    rows_per_group=1,
    prompt_slots=decode_config.prompt_slots(max(len(p.ids) for p in prompts)),
    max_decode_length=options.tokens,
    end_ids=(-1,),
    vocab_size=model.vocab_size,
    mesh=mesh,
    stacked=False,
  )
  log_probs = {}
  for dtype in (None, 'bfloat16', 'float8_e4m3fn', 'float8_e5m2'):
    narrow = dataclasses.replace(
      config, model=dataclasses.replace(model, cache_dtype=dtype)
    )
    total_P = np.zeros(len(prompts))
    for block in decoding.decode(
      narrow, params, prompts, num_candidates=1, seed=0
    ):
      for candidate in block.ended:
        total_P[candidate.prompt] = candidate.log_prob
    log_probs[dtype] = total_P / [len(solution) for solution in solutions]
    change_P = log_probs[dtype] - log_probs[None]
    report = {
      'cache': dtype or options.dtype,
      'cache bytes': decode_caches.cache_bytes_per_device(narrow),
      'log p per token': round(float(log_probs[dtype].mean()), 4),
      'mean change': round(float(change_P.mean()), 5),
      'largest change': round(float(np.abs(change_P).max()), 5),
    }
    print(json.dumps(report), flush=True)


if __name__ == '__main__':
  main()
