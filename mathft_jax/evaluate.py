r"""Scored candidates -> a report: every rule with its interval, tests, curves and costs.

  python -m mathft_jax.evaluate --gin_file=programs/evaluate.gin \
      --gin.CANDIDATES=runs/scored/scored.jsonl --gin.EVAL_OUTPUT_DIR=runs/report

Writes into the workdir: report.json (docs/report.md says what each field is), report.md,
report.html (one self-contained page), plots/*.png, and outcomes.jsonl: for each problem what each
rule got right, to look up the problems where two rules differ.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import time
from typing import Any

from absl import logging
from etils import epath

import mathft_jax
from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.evaluation import evaluated_file
from mathft_jax.evaluation.report import (
  rendering,
  report_contents,
  report_tables,
  tables,
)
from mathft_jax.storage import atomic_files, remote_paths

Paths = epath.PathLike | Mapping[str, epath.PathLike]


def evaluate(
  workdir: epath.PathLike,
  *,
  candidates: Paths,
  rules: Sequence[Any],
  greedy_candidates: Paths | None = None,
  baseline: str = 'Maj1@N',
  confidence: float = 0.95,
  resamples: int = 10_000,
  draws: int = 100,
  seed: int = 0,
  print_tables: bool = True,
) -> epath.Path:
  """The path of report.json, written unless it is there for the same inputs and settings.

  Of several processes the first one works.

  Args:
    workdir: where the report goes.
    candidates: a scored (or only graded) candidate file, or several by name; the first of several
      is the one that the others are compared with, problem by problem.
    rules: `Rule`s of evaluation/voting.py, or your own.
    greedy_candidates: a graded file of one greedy candidate for each of the same problems, for Pass@1 as the
      paper defines it; by name when `candidates` is by name.
    baseline: the row that the other rows of a file are compared with.
    confidence: of every interval.
    resamples: bootstrap resamples of the problems.
    draws: random orders of the candidates for those curves over k that have no formula.
    seed: of the bootstrap and of the draws.
    print_tables: whether to show the main tables on standard output.
  """
  workdir = epath.Path(workdir)
  settings = report_contents.ReportSettings(
    baseline, confidence, resamples, draws, seed
  )
  processes.run_on_primary(
    'evaluate',
    lambda: _evaluate(
      workdir, candidates, greedy_candidates, rules, settings, print_tables
    ),
  )
  return workdir / 'report.json'


def _evaluate(
  workdir: epath.Path,
  candidates: Paths,
  greedy: Paths | None,
  rules: Sequence[Any],
  settings: report_contents.ReportSettings,
  print_tables: bool,
) -> None:
  begun = time.monotonic()
  files, greedy_files = (
    _by_name(candidates),
    _greedy_by_name(greedy, _by_name(candidates)),
  )
  head = _head(workdir, files, greedy_files, rules, settings)
  done = workdir / 'report.json'
  if (
    done.exists()
    and head.items() <= (found := json.loads(done.read_text())).items()
  ):
    _show(found, print_tables)
    logging.info('evaluate: %s is there for the same inputs and settings', done)
    return
  measured = {
    name: evaluated_file.evaluate_file(path, rules, greedy_files.get(name))
    for name, path in files.items()
  }
  whole = {
    **head,
    'comparisons': report_contents.compare_files(measured, settings),
    'files': {
      name: report_contents.make_file_section(each, rules, settings)
      for name, each in measured.items()
    },
  }
  for each in whole['files'].values():
    each['notes'] += _stale(each['graders'])
  _write(workdir, whole, measured)
  _show(whole, print_tables)
  counts = [section['statistics'] for section in whole['files'].values()]
  total, seconds = (
    sum(count['candidates'] for count in counts),
    time.monotonic() - begun,
  )
  logging.info(
    'evaluate: %d candidates of %d problems in %.1f s (%.0f candidates/s); report in %s',
    total,
    sum(count['problems'] for count in counts),
    seconds,
    total / seconds,
    workdir,
  )


def _by_name(paths: Paths) -> dict[str, epath.Path]:
  """One file is named after its stem."""
  if isinstance(paths, Mapping):
    return {name: epath.Path(path) for name, path in paths.items()}
  return {epath.Path(paths).name.split('.')[0]: epath.Path(paths)}


def _greedy_by_name(
  greedy: Paths | None, files: Mapping[str, epath.Path]
) -> dict[str, epath.Path]:
  if greedy is None:
    return {}
  if not isinstance(greedy, Mapping):
    if len(files) > 1:
      raise ValueError(
        f'greedy_candidates is one path, {greedy}, for the files {list(files)}; '
        'wanted a mapping from their names to their greedy files.'
      )
    greedy = {name: greedy for name in files}
  unknown = sorted(set(greedy) - set(files))
  if unknown:
    raise ValueError(
      f'greedy_candidates names {unknown}; the candidate files are {list(files)}.'
    )
  return {name: epath.Path(path) for name, path in greedy.items()}


def _head(
  workdir: epath.Path,
  files: Mapping[str, epath.Path],
  greedy: Mapping[str, epath.Path],
  rules: Sequence[Any],
  settings: report_contents.ReportSettings,
) -> dict[str, Any]:
  """What the report is made from; the same head, the same report."""

  def inputs(paths: Mapping[str, epath.Path]) -> dict[str, dict[str, str]]:
    return {
      name: {
        'path': remote_paths.relative_path(path, workdir),
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
      }
      for name, path in paths.items()
    }

  return {
    'schema': 'mathft_jax.report',
    'version': report_contents.REPORT_VERSION,
    'mathft_jax': mathft_jax.__version__,
    'grader': f'{grading.GRADER_NAME} {grading.GRADER_VERSION}',
    'inputs': inputs(files),
    'greedy': inputs(greedy),
    'rules': [str(rule) for rule in rules],
    'settings': dataclasses.asdict(settings),
  }


def _stale(graders: Sequence[str]) -> list[str]:
  """A note where another version of the grader has graded a file."""
  here = f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'
  return [
    f'graded by {grader}; the grader here is {here}: run grade again.'
    for grader in graders
    if grader.split()[0] == grading.GRADER_NAME and grader != here
  ]


def _write(
  workdir: epath.Path,
  whole: Mapping[str, Any],
  measured: Mapping[str, evaluated_file.EvaluatedFile],
) -> None:
  """Writes all files; report.json last, for its presence says that all are there."""
  images = rendering.render_plots(whole)
  (workdir / 'plots').mkdir(parents=True, exist_ok=True)
  for name, data in (item for each in images.values() for item in each.items()):
    (workdir / 'plots' / name).write_bytes(data)
  (workdir / 'report.md').write_text(rendering.render_markdown(whole, images))
  (workdir / 'report.html').write_text(rendering.render_html(whole, images))
  schema.write_jsonl(workdir / 'outcomes.jsonl', _outcome_rows(measured))
  atomic_files.write_text_atomically(
    workdir / 'report.json',
    json.dumps(whole, indent=1, ensure_ascii=False) + '\n',
  )


def _outcome_rows(measured: Mapping[str, evaluated_file.EvaluatedFile]):
  """One row per file and problem: what each rule got right."""
  for name, each in measured.items():
    columns = {
      row: values_P.tolist() for row, values_P in each.values().items()
    }
    for index, candidate_set in enumerate(each.candidate_sets):
      problem = candidate_set.problem
      yield {
        'file': name,
        'id': problem.id,
        'subject': problem.subject,
        'level': problem.level,
        'correct': {row: values[index] for row, values in columns.items()},
      }


def _show(whole: Mapping[str, Any], print_tables: bool) -> None:
  """Prints the main tables; logs what the notes say."""
  for table in report_tables.make_main_tables(whole) if print_tables else []:
    print(tables.table_to_markdown(table))
  for name, section in whole['files'].items():
    for note in section['notes']:
      logging.warning('evaluate: %s: %s', name, note)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(evaluate)
