"""Memory and speed of problems that stay in an Arrow file (`STREAM_DIR`), and of candidate files.

  python -m benchmarks.streaming_memory --rows=3000000 --characters=400
  python -m benchmarks.streaming_memory --candidates=300000 --characters=400

Writes a parquet file with the columns of OpenMathReasoning, stores its problems and makes batches
of solutions. Prints the anonymous memory of the process (which the system cannot reclaim),
the time of the first run, which writes the Arrow file, and the examples per second of batches.

With `--candidates` it writes a graded candidate file instead: 64 candidates per problem with texts,
token ids and log-probabilities. It reads the examples of an evaluator and the pairs of DPO from it.
"""

import argparse
from collections.abc import Callable
import multiprocessing
import pathlib
import tempfile
import threading
import time

from mathft_jax.data import (
  batching,
  examples,
  problem_sources,
  prompt_templates,
  published_sets,
  schema,
  streamed_batches,
  vocabularies,
)
from mathft_jax.training import train_config, train_inputs

MIB = 2**20
ROWS_PER_GROUP = 50_000
NUM_BATCHES = 200
NUM_CANDIDATES = 64  # of a problem
CHARACTERS_PER_TOKEN = 3


def anonymous_mib() -> float:
  """Returns the anonymous resident memory of this process; pages of mapped files do not count."""
  status = pathlib.Path('/proc/self/status').read_text()
  for line in status.splitlines():
    if line.startswith('RssAnon'):
      return int(line.split()[1]) / 1024
  raise RuntimeError('/proc/self/status has no RssAnon; use Linux.')


def write_parquet(path: pathlib.Path, num_rows: int, num_characters: int):
  """Writes made-up rows with the columns of OpenMathReasoning."""
  import pyarrow
  from pyarrow import parquet

  sentence = 'We add both numbers and simplify the sum. '
  solution = (sentence * (num_characters // len(sentence) + 1))[:num_characters]
  writer = None
  for start in range(0, num_rows, ROWS_PER_GROUP):
    numbers = range(start, min(start + ROWS_PER_GROUP, num_rows))
    table = pyarrow.table(
      {
        'problem': [f'What is {number} + 1?' for number in numbers],
        'generated_solution': [
          f'{solution}\\boxed{{{number + 1}}}' for number in numbers
        ],
        'expected_answer': [str(number + 1) for number in numbers],
        'problem_type': ['has_answer_extracted'] * len(numbers),
        'problem_source': ['aops_c4_high_school_math'] * len(numbers),
        'inference_mode': ['cot'] * len(numbers),
      }
    )
    writer = writer or parquet.ParquetWriter(path, table.schema)
    writer.write_table(table)
  if writer is not None:
    writer.close()


def write_candidates(path: pathlib.Path, number: int, num_characters: int):
  """Writes graded candidates, half of them correct, with token ids as `sample` writes them."""
  sentence = 'We add both numbers and simplify the sum. '
  text = (sentence * (num_characters // len(sentence) + 1))[:num_characters]
  token_ids = tuple(range(1000, 1000 + num_characters // CHARACTERS_PER_TOKEN))

  def sets():
    for problem in range(number // NUM_CANDIDATES):
      candidates = []
      for index in range(NUM_CANDIDATES):
        candidate = schema.Candidate(
          f'{index}. {text}\\boxed{{{problem + index % 2}}}',
          token_ids=token_ids,
          log_prob=-1.5,
          finished=True,
          answer=str(problem + index % 2),
          is_correct=index % 2 == 0,
          cluster=index % 2,
        )
        candidates.append(candidate)
      yield schema.CandidateSet(
        schema.Problem(
          str(problem), f'What is {problem}?', answer=str(problem)
        ),
        tuple(candidates),
      )

  schema.write_jsonl(path, sets())


def run_in_another_process(function: Callable[..., object], *arguments: object):
  """Runs a function in a process of its own, whose memory does not count."""
  process = multiprocessing.get_context('spawn').Process(
    target=function, args=arguments
  )
  process.start()
  process.join()


class PeakMemory:
  """Measures the largest anonymous memory of this process, every 20 ms."""

  def __init__(self):
    self.mib = 0.0
    self._is_done = threading.Event()
    self._thread = threading.Thread(target=self._watch)

  def __enter__(self) -> 'PeakMemory':
    self._thread.start()
    return self

  def __exit__(self, *error: object):
    self._is_done.set()
    self._thread.join()

  def _watch(self):
    while not self._is_done.wait(0.02):
      self.mib = max(self.mib, anonymous_mib())


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--rows', type=int, default=100_000)
  parser.add_argument('--characters', type=int, default=4_000)
  parser.add_argument('--candidates', type=int, help='of a candidate file')
  parser.add_argument('--folder', type=pathlib.Path)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    if options.candidates is None:
      measure(pathlib.Path(folder), options.rows, options.characters)
    else:
      measure_candidates(
        pathlib.Path(folder), options.candidates, options.characters
      )


def measure(folder: pathlib.Path, num_rows: int, num_characters: int) -> None:
  """Prints the measurements."""
  path = folder / 'rows.parquet'
  run_in_another_process(write_parquet, path, num_rows, num_characters)
  source = problem_sources.JsonlProblems(
    str(path),
    mapping=published_sets.published_mapping('open_math_reasoning'),
    stream_dir=str(folder / 'cache'),
  )
  solutions = examples.SolutionExamples(
    source, prompt_templates.Template(), vocabularies.ByteVocabulary()
  )
  start_mib = anonymous_mib()
  for run in ('first run, writes the Arrow file', 'later run'):
    start = time.monotonic()
    streamed = solutions('train')
    seconds = time.monotonic() - start
    print(
      f'{run}: {len(streamed):,} examples in {seconds:.1f} s, '
      f'{anonymous_mib() - start_mib:+.0f} MiB of memory'
    )

  layout = batching.BatchLayout(batch_size=32, max_length=512)
  for pack in (False, True):
    batches = streamed_batches.train_batches(
      streamed, layout, seed=0, start_step=0, pack=pack
    )
    start = time.monotonic()
    count = 0
    for _ in range(NUM_BATCHES):
      count += int(next(batches)['decoder_segment_ids'].max(axis=1).sum())
    speed = count / (time.monotonic() - start)
    print(
      f'{NUM_BATCHES} batches, pack={pack}: {speed:,.0f} examples/s, '
      f'{anonymous_mib() - start_mib:+.0f} MiB of memory'
    )
  size = sum(file.stat().st_size for file in (folder / 'cache').iterdir())
  print(f'Arrow file: {size / MIB:,.0f} MiB')


def measure_candidates(
  folder: pathlib.Path, number: int, num_characters: int
) -> None:
  """Prints the measurements of a candidate file."""
  path = folder / 'graded.jsonl'
  run_in_another_process(write_candidates, path, number, num_characters)
  size = path.stat().st_size
  print(f'{number:,} candidates, a file of {size / MIB:,.0f} MiB')
  template = prompt_templates.Template()
  vocabulary = vocabularies.ByteVocabulary()
  fields = {
    'candidates': str(path),
    'template': template,
    'vocabulary': vocabulary,
  }
  data = train_config.DataConfig(
    vocabulary=vocabulary, template=template, batch_size=32, max_length=1024
  )
  for name, source in (
    ('verdicts', examples.VerdictExamples(paired=False, **fields)),
    ('pairs for DPO', examples.PreferenceExamples(**fields)),
  ):
    start_mib, start = anonymous_mib(), time.monotonic()
    with PeakMemory() as peak:
      inputs = train_inputs.TrainInputs(source, data)
      inputs.digest()
      next(inputs.train_batches(seed=0, start_step=0))
    seconds = time.monotonic() - start
    print(
      f'{name}: {len(inputs.checked_examples):,} examples in {seconds:.1f} s, '
      f'{peak.mib - start_mib:+.0f} MiB of memory at most, '
      f'{anonymous_mib() - start_mib:+.0f} MiB at the end'
    )
    del inputs


if __name__ == '__main__':
  main()
