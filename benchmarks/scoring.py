"""Log-probabilities of published MATH samples: mathft_jax against transformers + torch.

  python -m benchmarks.scoring --model=runs/smollm2 --data=../shared/data    # needs '.[bench]'

Both give log p(solution | problem) of the same texts, tokenised by the model's tokenizer. The peer
gets each text with its problem as one row; the rows are sorted by length and padded to the longest
of their batch. mathft_jax packs the texts of a problem into rows. Rounds of the two alternate. The
medians are printed as JSON, with the largest difference of a log-probability.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib
import time

import jax
import numpy as np

from benchmarks import real_samples
from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import load_params, score_packing, scoring

Run = Callable[[], np.ndarray]


def read_problems(
  options: argparse.Namespace,
) -> list[score_packing.Problem]:
  """Returns token ids of evenly spaced problems of the file and of their distinct samples."""
  import tokenizers

  path = pathlib.Path(options.model) / 'tokenizer.json'
  tokenizer = tokenizers.Tokenizer.from_file(str(path))

  def encode(text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids

  sets = real_samples.read_samples(options.data / 'samples', options.source)
  chosen = np.linspace(0, len(sets) - 1, min(options.problems, len(sets)))
  problems = []
  for index in chosen.astype(int):
    candidates = sets[index].candidates[: options.candidates]
    texts = dict.fromkeys(candidate.solution for candidate in candidates)
    tails = [encode(text)[: options.limit] for text in texts if text]
    prefix = encode(f'{sets[index].problem.question}\n\n')
    problems.append(score_packing.Problem(prefix, tails))
  return problems


def make_jax_run(problems: Sequence[score_packing.Problem], folder: str) -> Run:
  """Returns a function that scores all texts with mathft_jax."""
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  model = checkpoints.load_model_config(folder, dtype='float32')
  params = load_params.load_inference_params(
    folder, model, fingerprint={}, mesh=mesh
  )
  config = scoring.ScoreConfig(model, None, mesh)
  lengths = [score_packing.problem_lengths(each, None) for each in problems]
  row_lengths = score_packing.choose_row_lengths(lengths)

  def run() -> np.ndarray:
    scores = scoring.score_texts(
      config, params, problems, row_lengths=row_lengths
    )
    return np.concatenate(scores)

  return run


def make_torch_run(
  problems: Sequence[score_packing.Problem],
  folder: str,
  threads: int,
  batch_size: int,
) -> Run:
  """Returns a function that scores the same texts with transformers."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32
  ).eval()
  texts = [
    (problem.prefix, tail) for problem in problems for tail in problem.tails
  ]
  order = sorted(range(len(texts)), key=lambda i: sum(map(len, texts[i])))

  def score(batch: Sequence[int]) -> np.ndarray:
    longest = max(sum(map(len, texts[index])) for index in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.int64)
    weights = torch.zeros((len(batch), longest))
    for row, index in enumerate(batch):
      prefix, tail = texts[index]
      end = len(prefix) + len(tail)
      ids[row, :end] = torch.tensor([*prefix, *tail])
      weights[row, len(prefix) : end] = 1
    with torch.inference_mode():
      # Padding is on the right, where no token attends to it.
      logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
      losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction='none'
      )
    log_probs = -losses.reshape(len(batch), -1) * weights[:, 1:]
    return log_probs.sum(axis=1).numpy()

  def run() -> np.ndarray:
    scores = np.zeros(len(texts), np.float32)
    for start in range(0, len(order), batch_size):
      batch = order[start : start + batch_size]
      scores[batch] = score(batch)
    return scores

  return run


def timed(run: Run) -> tuple[float, np.ndarray]:
  start = time.perf_counter()
  scores = run()
  return time.perf_counter() - start, scores


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--model', required=True, help='a Hugging Face folder')
  parser.add_argument('--data', type=pathlib.Path, default='../shared/data')
  parser.add_argument(
    '--source', choices=real_samples.SAMPLES, default='math_qwen'
  )
  parser.add_argument('--problems', type=int, default=4)
  parser.add_argument('--candidates', type=int, default=8)
  parser.add_argument(
    '--limit', type=int, default=1024, help='tokens of a text'
  )
  parser.add_argument('--batch', type=int, default=8, help='rows of the peer')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--threads', type=int, default=2, help='of torch')
  options = parser.parse_args()
  problems = read_problems(options)
  runs = {
    'mathft_jax': make_jax_run(problems, options.model),
    'transformers': make_torch_run(
      problems, options.model, options.threads, options.batch
    ),
  }
  first, scores = timed(runs['mathft_jax'])
  rounds: dict[str, list[float]] = {name: [] for name in runs}
  difference = 0.0
  for _ in range(options.rounds):
    seconds, scores = timed(runs['mathft_jax'])
    peer_seconds, peer_scores = timed(runs['transformers'])
    rounds['mathft_jax'].append(round(seconds, 3))
    rounds['transformers'].append(round(peer_seconds, 3))
    difference = float(np.max(np.abs(scores - peer_scores)))

  medians = {name: float(np.median(each)) for name, each in rounds.items()}
  num_tokens = sum(len(tail) for each in problems for tail in each.tails)
  report = {
    'texts': len(scores),
    'tokens of the texts': num_tokens,
    'first call with compiling, s': first,
    'rounds, s': rounds,
    'tokens_per_s': {
      name: num_tokens / seconds for name, seconds in medians.items()
    },
    'largest difference of log p': difference,
    'smallest log p': float(scores.min()),
    'ratio': medians['transformers'] / medians['mathft_jax'],
  }
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
