"""Training throughput of mathft_jax and of transformers + torch, on one machine.

  python -m benchmarks.training                        # needs pip install -e '.[bench]'
  python -m benchmarks.training --model smollm2_135m   # sizes of SmolLM2-135M, 4 sequences of 384
  python -m benchmarks.training --model llama_1b --compile    # on a GPU, bfloat16, 8 of 2,048

Both train the same Llama-like model with random weights (28M parameters: d=512, 8 layers, 8 heads,
tied embeddings) in float32 with AdamW on the same random tokens, 8 sequences of 256. Rounds of the
two and of the machine's ceilings alternate, so that other load affects all. Medians are printed, as
JSON. The share of the ceiling is that of the matrix products without attention, three times those
of a forward pass, at the rate of the same side's library.
"""

import argparse
from collections.abc import Callable
import dataclasses
import json

import jax
import numpy as np

from benchmarks import ceilings
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.training import losses, optimizers
from mathft_jax.training import train_step as step_lib

V, D, L, N, F = 4096, 512, 8, 8, 1408  # of the model with 28M parameters


@dataclasses.dataclass(frozen=True)
class Workload:
  """A model and the shape of its batches."""

  model: model_config.TransformerConfig
  batch_size: int
  length: int

  @property
  def num_tokens(self) -> int:
    return self.batch_size * self.length


WORKLOADS = {
  'llama_28m': Workload(
    model_config.TransformerConfig(
      vocab_size=V, embed_dim=D, num_layers=L, num_heads=N, mlp_dim=F
    ),
    batch_size=8,
    length=256,
  ),
  'smollm2_135m': Workload(
    model_config.TransformerConfig(
      vocab_size=49152,
      embed_dim=576,
      num_layers=30,
      num_heads=9,
      num_kv_heads=3,
      mlp_dim=1536,
      rope_theta=100_000.0,
    ),
    batch_size=4,
    length=384,
  ),
  'llama_1b': Workload(
    model_config.TransformerConfig(
      vocab_size=128_256,
      embed_dim=2048,
      num_layers=16,
      num_heads=32,
      num_kv_heads=8,
      mlp_dim=8192,
      rope_theta=500_000.0,
      dtype='bfloat16',
      attention_kernel='cudnn',
    ),
    batch_size=8,
    length=2048,
  ),
}

Step = Callable[[], float]


def make_tokens(workload: Workload) -> np.ndarray:
  shape = workload.batch_size, workload.length + 1
  random = np.random.default_rng(0)
  return random.integers(0, workload.model.vocab_size, shape).astype(np.int32)


def make_jax_step(workload: Workload, tokens: np.ndarray) -> tuple[Step, int]:
  """Returns a function that trains one step and returns the loss, and the parameter count."""
  config = step_lib.TrainStepConfig(
    model=workload.model,
    loss=losses.Mle(),
    mesh=partitioning.Partitioner().mesh(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
  )
  shape = workload.batch_size, workload.length
  positions = np.arange(workload.length, dtype=np.int32)
  batch = {
    'decoder_input_tokens': tokens[:, :-1],
    'decoder_target_tokens': tokens[:, 1:],
    'decoder_loss_weights': np.ones(shape, np.float32),
    'decoder_positions': np.tile(positions, (workload.batch_size, 1)),
    'decoder_segment_ids': np.ones(shape, np.int32),
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


def make_torch_step(
  workload: Workload, tokens: np.ndarray, options: argparse.Namespace
) -> tuple[Step, int]:
  """Returns the same for transformers and torch. bfloat16: parameters stay float32."""
  import torch
  import transformers

  device = ceilings.torch_device()
  torch.set_num_threads(options.threads)
  torch.manual_seed(0)
  model_sizes = workload.model
  model = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=model_sizes.vocab_size,
      hidden_size=model_sizes.embed_dim,
      num_hidden_layers=model_sizes.num_layers,
      num_attention_heads=model_sizes.num_heads,
      num_key_value_heads=model_sizes.kv_heads,
      intermediate_size=model_sizes.mlp_dim,
      tie_word_embeddings=True,
    )
  ).to(device)
  num_params = sum(p.numel() for p in model.parameters())
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0
  )
  forward = torch.compile(model) if options.compile else model
  is_narrow = model_sizes.dtype == 'bfloat16'
  ids = torch.from_numpy(tokens[:, :-1].astype(np.int64)).to(device)
  targets = torch.from_numpy(tokens[:, 1:].astype(np.int64)).to(device)

  def step() -> float:
    optimizer.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=is_narrow):
      logits = forward(input_ids=ids, use_cache=False).logits
      loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.reshape(-1)
      )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())

  return step, num_params


def repeat(step: Step, steps: int) -> Step:
  """A function that trains several steps."""

  def run() -> float:
    for _ in range(steps):
      loss = step()
    return loss

  return run


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--model', choices=WORKLOADS, default='llama_28m')
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--steps', type=int, default=4, help='steps per round')
  parser.add_argument('--threads', type=int, default=2, help='threads of torch')
  parser.add_argument('--compile', action='store_true', help='torch.compile')
  arguments = parser.parse_args()
  workload = WORKLOADS[arguments.model]
  tokens = make_tokens(workload)
  jax_step, jax_size = make_jax_step(workload, tokens)
  torch_step, torch_size = make_torch_step(workload, tokens, arguments)
  first_losses = jax_step(), torch_step()
  runs = {
    'mathft_jax': repeat(jax_step, arguments.steps),
    'torch': repeat(torch_step, arguments.steps),
    **ceilings.make_ceilings(workload.model, workload.num_tokens),
  }
  times = ceilings.alternate(runs, arguments.rounds)

  sides = {'mathft_jax': 'matmul, XLA', 'torch': 'matmul, torch'}
  seconds = {
    name: float(np.median(times[name])) / arguments.steps for name in sides
  }
  shares = {
    name: 3 * float(np.median(times[ceiling])) / seconds[name]
    for name, ceiling in sides.items()
  }
  result = {
    'parameters': [jax_size, torch_size],
    'first_losses': first_losses,
    'rows': workload.batch_size,
    'tokens': workload.length,
    'seconds a step': seconds,
    'rounds, s': {name: times[name] for name in sides},
    'tokens_per_s': {
      name: workload.num_tokens / each for name, each in seconds.items()
    },
    'ratio': seconds['torch'] / seconds['mathft_jax'],
    'ceilings': ceilings.report_ceilings(
      times, workload.model, workload.num_tokens
    ),
    'share of the ceiling': shares,
  }
  print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()
