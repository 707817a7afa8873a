"""Compares `t5x.train` with `mathft_jax.train`: the losses of five steps, and the parameters then.

  XLA_FLAGS=--xla_force_host_platform_device_count=4 \\
      python -m tests.t5x.compare_runs <folder> [case ...]

Both start from the same checkpoint and get the same batches. The output is one JSON line for each
loss and number of microbatches.
"""

import dataclasses
import functools
import json
import pathlib
import sys

import jax
import numpy as np
import seqio
from t5x import partitioning
from t5x import train as t5x_train
from t5x import utils as t5x_utils

from mathft_jax import checkpoints, convert
from mathft_jax import train as train_lib
from mathft_jax.data import examples as examples_lib
from mathft_jax.data import prompt_templates, vocabularies
from mathft_jax.data.example_types import (
  ContrastExample,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer
from mathft_jax.t5x_bridge import (
  math_model,
  math_trainer,
  optax_optimizer,
  train_batches,
)
from mathft_jax.training import losses, optimizers
from tests.train_arguments import group_train_arguments

WORDS = ('problem', 'solution', 'is', 'correct', 'incorrect', *'0123456789')
VOCABULARY = vocabularies.WordVocabulary(WORDS)
TEMPLATE = prompt_templates.Template(
  solve='problem {question} solution',
  verify_problem='problem {question}',
  verify_solution=' solution {solution} is',
)
# An untied head, padding rows of the vocabulary, and one key/value head.
MODEL = model_config.TransformerConfig(
  vocab_size=VOCABULARY.vocab_size,
  vocab_multiple=8,
  embed_dim=16,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  mlp_dim=32,
  tied_embeddings=False,
)
STEPS, ROWS, LENGTH = 5, 16, 24


@dataclasses.dataclass(frozen=True)
class Copies:
  """`problem 3 4 solution` -> `3 4` and longer ones, as solutions, verdicts or contrast pairs."""

  kind: str

  @property
  def group_size(self):
    return 1 if self.kind == 'solution' else 2

  def __call__(self, split):
    random = np.random.default_rng(0)
    rows = []
    for _ in range(48):
      count = random.integers(1, 6)
      numbers = [
        ' '.join(map(str, random.integers(10, size=count))) for _ in 'ab'
      ]
      prompt = [VOCABULARY.bos_id, *VOCABULARY.encode(f'problem {numbers[0]}')]
      rows += self.rows(prompt, numbers)
    return rows

  def rows(self, prompt, numbers):
    if self.kind == 'verdict':
      for is_correct, number in zip((1, 0), numbers):
        tail = VOCABULARY.encode(f'solution {number} is')
        yield VerdictExample([*prompt, *tail], is_correct)
      return
    prompt = [*prompt, *VOCABULARY.encode('solution')]
    for is_correct, number in zip((1, 0), numbers):
      target = [*VOCABULARY.encode(number), VOCABULARY.eos_id]
      if self.kind == 'contrast':
        yield ContrastExample(prompt, target, is_correct)
      elif is_correct:
        yield SolutionExample(prompt, target)


MIXED = examples_lib.MixedExamples(
  examples=(Copies('verdict'), Copies('solution')), rates=(2, 2)
)
CASES = {
  'mle': (losses.Mle(z_loss=1e-3), Copies('solution'), False),
  'mle_packed': (losses.Mle(), Copies('solution'), True),
  'margin': (losses.VerifierMargin(), Copies('verdict'), False),
  'xent': (losses.VerifierXent(), Copies('verdict'), False),
  'contrast': (losses.SequenceContrast(), Copies('contrast'), False),
  'dropout': (losses.Mle(), Copies('solution'), False),
  'joint': (losses.Joint(verify=losses.VerifierMargin()), MIXED, False),
}


class RecordingTrainer(math_trainer.MathTrainer):
  """Keeps the loss of each step."""

  recorded: list[float] = []

  def train(self, *args, **kwargs):
    summary = super().train(*args, **kwargs)
    self.recorded.append(float(summary.result()['loss'].value))
    return summary


def arguments(loss, pack, num_microbatches, dropout_rate):
  return group_train_arguments(
    model=dataclasses.replace(MODEL, dropout_rate=dropout_rate),
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    loss=loss,
    pack=pack,
    optimizer=optimizers.AdamW(
      optimizers.Cosine(0.01, decay_steps=STEPS, warmup_steps=2),
      weight_decay=0.1,
    ),
    num_microbatches=num_microbatches,
    batch_size=ROWS,
    max_length=LENGTH,
    log_period=1,
    tensorboard=False,
    train_steps=STEPS,
    self_checks='off',
  )


def train_with_ours(workdir, init_from, examples, arguments):
  """Returns the loss of each step, and the parameters."""
  path = train_lib.train(
    workdir, init_from=init_from, examples=examples, **arguments
  )
  recorded = []
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    metrics = json.loads(line)
    if 'loss' in metrics:
      recorded.append(metrics['loss'])
  shapes = transformer.abstract_params(MODEL)
  return recorded, checkpoints.load_params(path, shapes)


def make_model(config, optimization):
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=math_model.logical_axis_rules(config, 1),
  )
  return partitioner, math_model.MathModel(
    model=config,
    optimization=optimization,
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    partitioner=partitioner,
  )


def train_with_t5x(workdir, init_from, examples, arguments, stops):
  """Returns the loss of each step, and the parameters; a run of its own up to each stop."""
  RecordingTrainer.recorded = []
  for stop in stops:
    state = train_to(stop, workdir, init_from, examples, arguments)
  return RecordingTrainer.recorded, state.params


def train_to(stop, workdir, init_from, examples, arguments):
  data, optimization = arguments['data'], arguments['optimization']
  partitioner, model = make_model(arguments['model'], optimization)
  _, state = t5x_train.train(
    model=model,
    train_dataset_cfg=t5x_utils.DatasetConfig(
      mixture_or_task_name='',
      task_feature_lengths={},
      split='train',
      batch_size=ROWS,
      shuffle=True,
      seed=0,
    ),
    train_eval_dataset_cfg=None,
    infer_eval_dataset_cfg=None,
    checkpoint_cfg=t5x_utils.CheckpointConfig(
      save=t5x_utils.SaveCheckpointConfig(period=stop),
      restore=t5x_utils.RestoreCheckpointConfig(
        path=str(init_from),
        mode='specific',
        fallback_to_scratch=True,
        assignment_map=((r'^state.*', None),),
      ),
    ),
    partitioner=partitioner,
    trainer_cls=functools.partial(
      RecordingTrainer,
      num_microbatches=optimization.num_microbatches,
      learning_rate_fn=math_trainer.learning_rate_fn(optimization.optimizer),
      seeks_batches=True,
    ),
    model_dir=str(workdir),
    total_steps=stop,
    eval_steps=0,
    eval_period=0,
    stats_period=1,
    random_seed=0,
    summarize_config_fn=lambda *args: None,
    inference_evaluator_cls=seqio.Evaluator,
    get_dataset_fn=functools.partial(
      train_batches.get_dataset, examples=examples, data=data
    ),
    verify_matching_vocabs_fn=None,
  )
  return state


def main(folder: pathlib.Path, names: list[str]):
  folder = folder.resolve()
  params = transformer.init_params(MODEL, jax.random.key(1))
  ours = checkpoints.save_orbax_checkpoint(
    folder / 'init' / '0', params, {'model': MODEL}
  )
  theirs = convert.convert(
    checkpoint=ours, output=folder / 't5x_init' / 'checkpoint_0'
  )
  for name in names or CASES:
    loss, examples, pack = CASES[name]
    for num_microbatches in (1, 2):
      dropout_rate = 0.1 if name == 'dropout' else 0.0
      settings = arguments(loss, pack, num_microbatches, dropout_rate)
      case = f'{name}_{num_microbatches}'
      stops = (3, STEPS) if case == 'mle_1' else (STEPS,)  # one is interrupted
      found, params = train_with_ours(
        folder / 'ours' / case, ours, examples, settings
      )
      t5x_found, t5x_params = train_with_t5x(
        folder / 't5x' / case, theirs, examples, settings, stops
      )
      differences = jax.tree.map(
        lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))),
        params,
        optax_optimizer.unfreeze(t5x_params),
      )
      line = {
        'loss': name,
        'num_microbatches': num_microbatches,
        'devices': jax.device_count(),
        'ours': found,
        't5x': t5x_found,
        'largest_difference': float(
          np.max(np.abs(np.subtract(found, t5x_found)))
        ),
        'first_step_difference': abs(found[0] - t5x_found[0]),
        'parameters': max(jax.tree.leaves(differences)),
      }
      print(json.dumps(line), flush=True)


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])
