"""Runs for tests of self-checks: the embedded base weights on their own problems."""

import dataclasses

import jax

from mathft_jax import checkpoints
from mathft_jax.data import examples as examples_lib
from mathft_jax.data import prompt_templates
from mathft_jax.dials import dial_problems
from mathft_jax.distributed import partitioning
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.training import (
  losses,
  optimizers,
  train_config,
  train_inputs,
  train_step,
)

BASE = dial_problems.base_weights_path()
VOCABULARY = dial_problems.dial_vocabulary()
TEMPLATE = prompt_templates.Template(
  solve='{question}',
  verify_problem='{question}',
  verify_solution=' {solution} verdict',
)
PROBLEMS = dial_problems.DialProblems(num_train=40, style='fine')
SOURCE = examples_lib.SolutionExamples(PROBLEMS, TEMPLATE, VOCABULARY)


def make_data(**changes):
  settings = dict(
    vocabulary=VOCABULARY, template=TEMPLATE, batch_size=4, max_length=58
  )
  return train_config.DataConfig(**settings | changes)


def make_run(workdir='/tmp', data=None, source=SOURCE, **changes):
  """A run as `train` would start it, on one device; `changes` replace what the checks look at."""
  data = data or make_data()
  inputs = train_inputs.TrainInputs(source, data)
  run = CheckedRun(
    workdir=workdir,
    init_from=BASE,
    step_config=make_step_config(),
    data=data,
    group_size=source.group_size,
    examples=inputs.checked_examples,
    batch=next(inputs.train_batches(seed=0, start_step=0)),
  )
  return dataclasses.replace(run, **changes)


def make_step_config(**model_changes):
  mesh = partitioning.Partitioner().mesh(jax.devices()[:1])
  model = checkpoints.load_model_config(BASE)
  return train_step.TrainStepConfig(
    model=dataclasses.replace(model, **model_changes),
    loss=losses.Mle(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW(1e-3)),
    mesh=mesh,
  )


def with_batch(run, **arrays):
  return dataclasses.replace(run, batch={**run.batch, **arrays})


def change_examples(run, change):
  """The run with each example replaced by `change(example)`, in the batch too."""
  changed = [change(example) for example in run.examples]
  return make_run(run.workdir, run.data, FixedExamples(tuple(changed)))


@dataclasses.dataclass(frozen=True)
class FixedExamples:
  """A source with these examples."""

  examples: tuple
  group_size: int = 1

  def __call__(self, split):
    return list(self.examples)
