"""Memory and speed of problems that stay in an Arrow file (`STREAM_DIR`).

  python -m benchmarks.streaming_memory --rows=3000000 --characters=400

Writes a parquet file with the columns of OpenMathReasoning, stores its problems and makes batches
of solutions. Prints the anonymous memory of the process (which the system cannot reclaim),
the time of the first run, which writes the Arrow file, and the examples per second of batches.
"""

import argparse
import multiprocessing
import pathlib
import tempfile
import time

from mathft_jax.data import (
  batching,
  examples,
  problem_sources,
  prompt_templates,
  published_sets,
  streamed_batches,
  vocabularies,
)

MIB = 2**20
ROWS_PER_GROUP = 50_000
NUM_BATCHES = 200


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


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--rows', type=int, default=100_000)
  parser.add_argument('--characters', type=int, default=4_000)
  parser.add_argument('--folder', type=pathlib.Path)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    measure(pathlib.Path(folder), options.rows, options.characters)


def measure(folder: pathlib.Path, num_rows: int, num_characters: int) -> None:
  """Prints the measurements."""
  path = folder / 'rows.parquet'
  # In another process, whose memory does not count.
  writer = multiprocessing.get_context('spawn').Process(
    target=write_parquet, args=(path, num_rows, num_characters)
  )
  writer.start()
  writer.join()
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


if __name__ == '__main__':
  main()
