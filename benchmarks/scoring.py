"""Log-probabilities of published MATH samples: mathft_jax against transformers + torch.

  python -m benchmarks.scoring --model=runs/smollm2 --data=../shared/data    # needs '.[bench]'

Both give log p(solution | problem) of the same texts, tokenised by the model's tokenizer. The peer
gets each text with its problem as one row; the rows are sorted by length and padded to the longest
of their batch. mathft_jax packs the texts of a problem into rows. Rounds of the two and of the
machine's ceilings alternate. The medians are printed as JSON, with the largest difference of a
log-probability. Distinct tokens: those of the texts, and those of each problem once.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib

import jax
import numpy as np

from benchmarks import ceilings, real_samples
from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.inference import load_params, score_packing, scoring
from mathft_jax.models import config as model_config

Run = Callable[[], np.ndarray]
CEILING_ROWS = 1024


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


def make_jax_run(
  model: model_config.TransformerConfig,
  problems: Sequence[score_packing.Problem],
  folder: str,
) -> Run:
  """Returns a function that scores all texts with mathft_jax."""
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
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
  problems: Sequence[score_packing.Problem], options: argparse.Namespace
) -> Run:
  """Returns a function that scores the same texts with transformers."""
  import torch
  import transformers

  torch.set_num_threads(options.threads)
  device = ceilings.torch_device()
  model = transformers.AutoModelForCausalLM.from_pretrained(
    options.model, dtype=getattr(torch, options.dtype)
  )
  model = model.eval().to(device)
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
    ids = ids.to(device)
    with torch.inference_mode():
      # Padding is on the right, where no token attends to it.
      logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
      losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction='none'
      )
    log_probs = -losses.reshape(len(batch), -1).cpu() * weights[:, 1:]
    return log_probs.sum(axis=1).numpy()

  def run() -> np.ndarray:
    scores = np.zeros(len(texts), np.float32)
    for start in range(0, len(order), options.batch):
      batch = order[start : start + options.batch]
      scores[batch] = score(batch)
    return scores

  return run


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
  parser.add_argument('--dtype', default='float32', help='or bfloat16')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--threads', type=int, default=2, help='of torch')
  options = parser.parse_args()
  problems = read_problems(options)
  model = checkpoints.load_model_config(options.model, dtype=options.dtype)
  ours = make_jax_run(model, problems, options.model)
  theirs = make_torch_run(problems, options)
  scores, peer_scores = ours(), theirs()
  runs = {
    'mathft_jax': ours,
    'transformers': theirs,
    **ceilings.make_ceilings(model, CEILING_ROWS),
  }
  times = ceilings.alternate(runs, options.rounds)

  sides = ('mathft_jax', 'transformers')
  medians = {name: float(np.median(times[name])) for name in sides}
  num_tokens = sum(len(tail) for each in problems for tail in each.tails)
  num_distinct = num_tokens + sum(len(each.prefix) for each in problems)
  flop = ceilings.forward_flop(model, num_distinct)
  ceiling = ceilings.forward_flop(model, CEILING_ROWS) / float(
    np.median(times['matmul, XLA'])
  )
  report = {
    'texts': len(scores),
    'tokens of the texts': num_tokens,
    'rounds, s': {name: times[name] for name in sides},
    'tokens_per_s': {name: num_tokens / medians[name] for name in sides},
    'ratio': medians['transformers'] / medians['mathft_jax'],
    'ceilings': ceilings.report_ceilings(times, model, CEILING_ROWS),
    'share of the ceiling on distinct tokens': flop
    / medians['mathft_jax']
    / ceiling,
    'largest difference of log p': np.max(np.abs(scores - peer_scores)).item(),
    'smallest log p': scores.min().item(),
  }
  print(json.dumps(report, indent=1))


if __name__ == '__main__':
  main()
