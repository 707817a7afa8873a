"""Training throughput of mathft_jax and of transformers + torch, on one machine.

  python -m benchmarks.training            # needs pip install -e '.[bench]'

Both train the same Llama-like model (28M parameters: d=512, 8 layers, 8 heads, tied embeddings) in
float32 with AdamW on the same random tokens, 8 sequences of 256. Rounds of the two alternate, so
that other load on the machine affects both. The fastest round of each counts.
"""

import argparse
from collections.abc import Callable
import json
import time

import jax
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.training import losses, optimizers
from mathft_jax.training import train_step as step_lib

V, D, L, N, F = 4096, 512, 8, 8, 1408
B, T = 8, 256


Step = Callable[[], float]


def make_tokens() -> np.ndarray:
  return np.random.default_rng(0).integers(0, V, (B, T + 1)).astype(np.int32)


def make_jax_step(tokens: np.ndarray) -> tuple[Step, int]:
  """Returns a function that trains one step and returns the loss, and the parameter count."""
  config = step_lib.TrainStepConfig(
    model=model_config.TransformerConfig(
      vocab_size=V, embed_dim=D, num_layers=L, num_heads=N, mlp_dim=F
    ),
    loss=losses.Mle(),
    mesh=partitioning.Partitioner().mesh(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
  )
  batch = {
    'decoder_input_tokens': tokens[:, :-1],
    'decoder_target_tokens': tokens[:, 1:],
    'decoder_loss_weights': np.ones((B, T), np.float32),
    'decoder_positions': np.tile(np.arange(T, dtype=np.int32), (B, 1)),
    'decoder_segment_ids': np.ones((B, T), np.int32),
  }
  batch = partitioning.shard_batch(batch, config.mesh)
  params = step_lib.init_random_params(config, seed=0)
  state = step_lib.init_train_state(config, params)
  num_params = sum(x.size for x in jax.tree.leaves(state.params))
  train_step = step_lib.make_train_step(config)

  def step() -> float:
    nonlocal state
    state, metrics = train_step(state, batch, np.float32(1e-3))
    return float(metrics['loss'][0])

  return step, num_params


def make_torch_step(tokens: np.ndarray, threads: int) -> tuple[Step, int]:
  """Returns the same for transformers and torch."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  torch.manual_seed(0)
  model = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=V,
      hidden_size=D,
      num_hidden_layers=L,
      num_attention_heads=N,
      intermediate_size=F,
      tie_word_embeddings=True,
    )
  )
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0
  )
  ids = torch.from_numpy(tokens[:, :-1].astype(np.int64))
  targets = torch.from_numpy(tokens[:, 1:].astype(np.int64))

  def step() -> float:
    optimizer.zero_grad()
    logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
      logits.view(-1, V), targets.reshape(-1)
    )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())

  return step, sum(p.numel() for p in model.parameters())


def seconds_per_step(step: Step, steps: int) -> float:
  start = time.perf_counter()
  for _ in range(steps):
    step()
  return (time.perf_counter() - start) / steps


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--steps', type=int, default=4, help='steps per round')
  parser.add_argument('--threads', type=int, default=2, help='threads of torch')
  arguments = parser.parse_args()
  tokens = make_tokens()
  start = time.perf_counter()
  jax_step, jax_size = make_jax_step(tokens)
  torch_step, torch_size = make_torch_step(tokens, arguments.threads)
  first_losses = jax_step(), torch_step()

  rounds = []
  for _ in range(arguments.rounds):
    jax_seconds = seconds_per_step(jax_step, arguments.steps)
    torch_seconds = seconds_per_step(torch_step, arguments.steps)
    rounds.append((jax_seconds, torch_seconds))
  jax_seconds, torch_seconds = np.min(rounds, axis=0)
  result = {
    'parameters': [jax_size, torch_size],
    'first_losses': first_losses,
    'rows': B,
    'tokens': T,
    'seconds_a_step': {'mathft_jax': jax_seconds, 'torch': torch_seconds},
    'rounds': np.round(rounds, 3).tolist(),
    'set-up and first steps': time.perf_counter() - start,
    'tokens_per_s': {
      'mathft_jax': B * T / jax_seconds,
      'torch': B * T / torch_seconds,
    },
    'ratio': torch_seconds / jax_seconds,
  }
  print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()
