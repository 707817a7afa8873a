"""Measures a checkpoint on problems: samples, grades and reports, without any training.

  python -m mathft_jax.measure --gin_file=programs/measure.gin --gin_file=data/<one>.gin \
      --gin.CHECKPOINT_PATH=runs/ssft --gin.EVAL_OUTPUT_DIR=runs/measured

Use it for the few-shot baseline of a pre-trained model, or for a generator with another number of
candidates, temperature or prompt. If it is stopped, the same command resumes.

With `--gin_file=data/benchmarks.gin` it measures several benchmarks (MATH-500, AIME, ...): one
report for each, and `benchmarks.md` with all of them and their average.
"""

from collections.abc import Mapping, Sequence
import functools
import json

from etils import epath

from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.data import problem_sources
from mathft_jax.data.schema import Problem
from mathft_jax.distributed import processes
from mathft_jax.evaluation.report import benchmark_table, tables, terminal
from mathft_jax.storage import atomic_files

Problems = problem_sources.ProblemSource | Sequence[Problem]


def measure(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: Problems | Mapping[str, Problems],
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  evaluate: BoundProgram,
  seed: int = 0,
  decodes_by_benchmark: Mapping[str, int] | None = None,
) -> epath.Path:
  """Returns the path of `<workdir>/report/report.json`, or of `<workdir>/benchmarks.json`.

  Args:
    workdir: each program writes to its own folder here.
    checkpoint: the generator.
    problems: the problems for `sample`: a list, or a source of problems. With a mapping from names
      of benchmarks, each is measured in `<workdir>/<name>`.
    sample: the program `sample`, for N candidates of each problem.
    sample_greedy: the same for one greedy solution of each problem (Pass@1); None omits that row.
    grade: the program `grade`.
    evaluate: the program `evaluate`.
    seed: of the samples.
    decodes_by_benchmark: number of candidates for some of the benchmarks, instead of that of
      `sample`.
  """
  workdir = epath.Path(workdir)
  if isinstance(problems, Mapping):
    reports = {}
    num_decodes = _check_names(decodes_by_benchmark or {}, problems)
    for name, benchmark in problems.items():
      reports[name] = measure(
        workdir / name,
        checkpoint=checkpoint,
        problems=benchmark,
        sample=_with_num_decodes(sample, num_decodes.get(name)),
        sample_greedy=sample_greedy,
        grade=grade,
        evaluate=evaluate,
        seed=seed,
      )
    return _write_benchmarks(workdir, reports)

  graded, graded_greedy = sample_and_grade(
    workdir,
    checkpoint,
    problems,
    sample=sample,
    sample_greedy=sample_greedy,
    grade=grade,
    seed=seed,
  )
  return evaluate(
    workdir / 'report', candidates=graded, greedy_candidates=graded_greedy
  )


def _check_names(
  num_decodes: Mapping[str, int], benchmarks: Mapping[str, Problems]
) -> Mapping[str, int]:
  """Returns the numbers by benchmark; ValueError for another name or a number below 1."""
  for name, number in num_decodes.items():
    if name not in benchmarks or type(number) is not int or number < 1:
      raise ValueError(
        f'DECODES_BY_BENCHMARK has {name!r}: {number!r}; it must have integers from 1 for some of '
        f'{list(benchmarks)} (BENCHMARKS).'
      )
  return num_decodes


def _with_num_decodes(
  sample: BoundProgram, num_decodes: int | None
) -> BoundProgram:
  if num_decodes is None:
    return sample
  return functools.partial(sample, num_decodes=num_decodes)


def _write_benchmarks(
  workdir: epath.Path, reports: Mapping[str, epath.Path]
) -> epath.Path:
  """Writes the table of all benchmarks, with their average, and returns the path of its json."""

  def write() -> None:
    benchmarks = benchmark_table.read_benchmarks(reports)
    average = benchmark_table.average_of(benchmarks)
    table = benchmark_table.make_benchmark_table(benchmarks, average)
    text = tables.table_to_markdown(table)
    terminal.print_table(table)
    (workdir / 'benchmarks.md').write_text(f'{text}\n')
    contents = json.dumps(
      {'benchmarks': benchmarks, 'average': average}, indent=1
    )
    atomic_files.write_text_atomically(
      workdir / 'benchmarks.json', f'{contents}\n'
    )

  processes.run_on_primary('measure: benchmarks', write)
  return workdir / 'benchmarks.json'


def sample_and_grade(
  workdir: epath.Path,
  checkpoint: epath.PathLike,
  problems: Problems,
  *,
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  seed: int,
) -> tuple[epath.Path, epath.Path | None]:
  """Returns the graded candidates of a generator and its graded greedy solutions (or None)."""
  inputs = {'checkpoint': checkpoint, 'problems': problems, 'seed': seed}
  greedy = None
  if sample_greedy is not None:
    greedy = sample_greedy(workdir / 'greedy', **inputs)
  candidates = sample(workdir / 'candidates', **inputs)

  graded = grade(workdir / 'graded', candidates=candidates)
  if greedy is None:
    return graded, None
  return graded, grade(workdir / 'graded_greedy', candidates=greedy)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(measure)
