"""A program for tests: several small samplings and scorings in one run of one or more processes.

`python -m inference_program --gin.inference_program.run.workdir=... and so on`.
"""

import os
import signal

from etils import epath

from mathft_jax import convert, grade, sample, score
from mathft_jax.data import prompt_templates, schema, vocabularies
from mathft_jax.distributed import partitioning, processes
from mathft_jax.inference import resumable_output, sampling
from mathft_jax.models import transformer

MODEL = transformer.TransformerConfig(
  vocab_size=300, embed_dim=16, num_layers=1, num_heads=4, mlp_dim=32
)
VOCABULARY = vocabularies.ByteVocabulary()
TEMPLATE = prompt_templates.Template(solve='{question}', label_words=('y', 'n'))
PROBLEMS = tuple(
  schema.Problem(f'p{i}', 'what? ' * (1 + i % 5)) for i in range(21)
)


def run(workdir, *, inputs, work: str, dies: str = ''):
  """Does the pieces of work named in `work`, each into a folder of its name.

  Args:
    inputs: a folder with a checkpoint `step`, the same as `one.safetensors`, and candidates
      `written.jsonl`.
    work: names of pieces below, with commas; one may end in the devices along `model`, `sample:2`.
    dies: 'process:parts': that process is killed when it has kept so many batches.
  """
  workdir, inputs = epath.Path(workdir), epath.Path(inputs)
  if dies:
    _die_later(*map(int, dies.split(':')))
  for each in work.split(','):
    piece, _, model = each.partition(':')
    PIECES[piece](
      workdir / each.replace(':', '_'),
      inputs,
      partitioning.Partitioner(num_partitions=int(model or 1)),
    )
  return workdir


def _sample(folder, inputs, partitioner, problems=PROBLEMS):
  sample.sample(
    folder,
    checkpoint=inputs / 'step',
    problems=problems,
    model=MODEL,
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    method=sampling.Temperature(1.0),
    max_decode_length=24,
    num_decodes=3,
    batch_size=8,
    seed=5,
    partitioner=partitioner,
  )


def _few(folder, inputs, partitioner):
  _sample(folder, inputs, partitioner, PROBLEMS[3:6])


def _score(folder, inputs, partitioner):
  score.score(
    folder,
    checkpoint=inputs / 'one.safetensors',
    candidates=inputs / 'written.jsonl',
    model=MODEL,
    vocabulary=VOCABULARY,
    template=TEMPLATE,
    batch_size=8,
    partitioner=partitioner,
  )


def _grade(folder, inputs, _):
  grade.grade(
    folder, candidates=inputs / 'written.jsonl', compare_with=['exact']
  )


def _evaluate(folder, inputs, _):
  from mathft_jax import evaluate  # not at the top: plots take long to import
  from mathft_jax.evaluation import voting

  evaluate.evaluate(
    folder,
    candidates=inputs / 'written.jsonl',
    resamples=20,
    draws=2,
    rules=[voting.Majority(), voting.Rerank()],
  )


def _convert(folder, inputs, _):
  convert.convert(
    checkpoint=inputs / 'step',
    output=folder / 'one.safetensors',
    dtype='bfloat16',
  )


PIECES = {
  'convert': _convert,
  'sample': _sample,
  'few': _few,
  'score': _score,
  'grade': _grade,
  'evaluate': _evaluate,
}


def _die_later(process: int, parts: int) -> None:
  add, made = resumable_output.BatchJob.add, []

  def counting(job, sets):
    add(job, sets)
    made.append(job)
    if (processes.process_index(), len(made)) == (process, parts):
      os.kill(os.getpid(), signal.SIGKILL)

  resumable_output.BatchJob.add = counting


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(run)
