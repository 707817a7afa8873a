r"""Reports on scored candidates: every voting rule with its interval, tests, curves and costs.

  python -m mathft_jax.evaluate --gin_file=programs/evaluate.gin \
      --gin.CANDIDATES=runs/scored/scored.jsonl --gin.EVAL_OUTPUT_DIR=runs/report

Writes to the work directory: report.json (docs/report.md documents each field), report.md,
report.html (one self-contained page), plots/*.svg, outcomes.jsonl, which has the correctness of
each rule on each problem, and candidates.html: all problems and candidates, to read them in a
browser without a server.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import time

from absl import logging
from etils import epath

import mathft_jax
from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.evaluation import evaluated_file, run_description
from mathft_jax.evaluation.report import (
  candidate_pages,
  chosen_differences,
  headline,
  measured_costs,
  rendering,
  report_json,
  terminal,
)
from mathft_jax.evaluation.report.stored_numbers import JsonObject
from mathft_jax.grading import answer_location
from mathft_jax.monitoring import stage_cost
from mathft_jax.storage import (
  atomic_files,
  local_and_remote_paths,
  run_config,
)

Paths = epath.PathLike | Mapping[str, epath.PathLike]
PathsByName = Mapping[str, epath.Path]
Files = Mapping[str, evaluated_file.EvaluatedFile]

CURRENT_GRADER = f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'


def evaluate(
  workdir: epath.PathLike,
  *,
  candidates: Paths,
  rules: Sequence[evaluated_file.VotingRule],
  greedy_candidates: Paths | None = None,
  compare: Sequence[str] = (),
  baseline: str = 'Maj1@N',
  confidence: float = 0.95,
  resamples: int = 10_000,
  draws: int = 100,
  seed: int = 0,
  print_tables: bool = True,
  title: str = '',
  browse_candidates: bool = True,
) -> epath.Path:
  """Returns the path of report.json, which is written unless one of the same inputs exists.

  A report of other inputs is replaced. With several processes, only the primary process works.

  Args:
    workdir: directory of the report.
    candidates: a scored (or only graded) candidate file, or several by name. The others are
      compared with the first, problem by problem. If all names are 'EVALUATOR on GENERATOR', the
      report has a grid of evaluators and generators.
    rules: voting rules of evaluation/voting.py, or other callables of the same kind.
    greedy_candidates: a graded file with one greedy candidate for each of the same problems, for
      Pass@1 as the paper defines it; by name if `candidates` is by name.
    compare: differences between rows of any files on the same problems, such as
      'tuned: RR.Top-8 - few_shot: Maj1@N'; with one file, 'W.RR - RR.All'.
    baseline: name of the row that the other rows of a file are compared with.
    confidence: coverage of every interval.
    resamples: bootstrap resamples of the problems.
    draws: random orders of the candidates, for curves over k that have no formula.
    seed: of the bootstrap and of the random orders.
    print_tables: whether to print the headline and the main tables.
    title: title of the report; by default its folder.
    browse_candidates: whether to write candidates.html, which has all texts again.
  """
  workdir = epath.Path(workdir)
  settings = report_json.ReportSettings(
    baseline, confidence, resamples, draws, seed
  )

  def work() -> None:
    files = _by_name(candidates)
    greedy_files = _greedy_by_name(greedy_candidates, files)
    chosen = chosen_differences.parse_differences(compare, [*files])
    head = _report_head(workdir, files, greedy_files, rules, settings)
    head['compare'] = [_difference_text(each) for each in chosen]
    head |= {'title': title, 'browse_candidates': browse_candidates}
    report = _read_complete_report(workdir, head)
    if report is None:
      report = _write_report(
        workdir, head, files, greedy_files, rules, settings, chosen
      )
    _show_report(workdir, report, print_tables)

  processes.run_on_primary('evaluate', work)
  return workdir / 'report.json'


def _show_report(
  workdir: epath.Path, report: JsonObject, print_tables: bool
) -> None:
  """Prints the headline and the main tables, if they are wanted, and logs all notes."""
  if print_tables:
    run = headline.RunDescription(**report['run'])
    terminal.print_report(report, run, str(workdir / 'report.html'))
  for name, section in report['files'].items():
    for note in section['notes']:
      logging.warning('evaluate: %s: %s', name, note)


def _by_name(paths: Paths) -> dict[str, epath.Path]:
  """Returns the paths by name; a single file is named after its stem."""
  if isinstance(paths, Mapping):
    return {name: epath.Path(path) for name, path in paths.items()}
  path = epath.Path(paths)
  return {path.name.split('.')[0]: path}


def _greedy_by_name(
  greedy: Paths | None, files: PathsByName
) -> dict[str, epath.Path]:
  if greedy is None:
    return {}
  if isinstance(greedy, Mapping):
    unknown = sorted(set(greedy) - set(files))
    if unknown:
      raise ValueError(
        f'greedy_candidates names {unknown}; the candidate files are {list(files)}.'
      )
    return _by_name(greedy)
  if len(files) > 1:
    raise ValueError(
      f'greedy_candidates is one path, {greedy}, for the files {list(files)}; '
      'wanted a mapping from their names to their greedy files.'
    )
  return {name: epath.Path(greedy) for name in files}


def _read_complete_report(
  workdir: epath.Path, head: JsonObject
) -> JsonObject | None:
  """Returns the report that exists with the same inputs and settings, if there is one."""
  path = workdir / 'report.json'
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_bytes())
  except ValueError as error:
    logging.warning('%s is damaged and is written again: %s', path, error)
    return None
  if not isinstance(found, dict):
    return None
  changed = [name for name in head if found.get(name) != head[name]]
  if changed:
    logging.info(
      'evaluate: %s is of other %s and is written again',
      path,
      ', '.join(changed),
    )
    return None
  run_config.keep_existing(workdir)
  logging.info('evaluate: %s exists with the same inputs and settings', path)
  return found


def _write_report(
  workdir: epath.Path,
  head: JsonObject,
  paths: PathsByName,
  greedy_paths: PathsByName,
  rules: Sequence[evaluated_file.VotingRule],
  settings: report_json.ReportSettings,
  chosen: Sequence[chosen_differences.ChosenDifference],
) -> JsonObject:
  """Returns the contents of report.json, after writing all files."""
  start = time.monotonic()
  files, shown_files, sections = {}, {}, {}
  for name, candidates_path in paths.items():
    greedy_path = greedy_paths.get(name)
    file = evaluated_file.evaluate_file(candidates_path, rules, greedy_path)
    shown, shown_rules = evaluated_file.without_repeated_rows(
      file, rules, settings.baseline
    )
    section = report_json.make_file_section(shown, shown_rules, settings)
    section['notes'] += _note_outdated_graders(section['graders'])
    section['cost'] = measured_costs.describe_cost(
      stage_cost.read_costs_of_file(candidates_path), section
    )
    files[name], shown_files[name], sections[name] = file, shown, section
  comparisons = report_json.compare_files(shown_files, settings)
  run = run_description.describe_run(workdir, paths, files, head['title'])
  report = {
    **head,
    'run': dataclasses.asdict(run),
    'comparisons': comparisons,
    'chosen_differences': chosen_differences.compute_differences(
      chosen, files, settings
    ),
    'files': sections,
  }
  run_config.begin_output(workdir)
  _write_files(workdir, report, run, files, rules)
  _log_throughput(workdir, files, time.monotonic() - start)
  return report


def _difference_text(chosen: chosen_differences.ChosenDifference) -> str:
  return ' - '.join([f'{side.file}: {side.row}' for side in chosen])


def _report_head(
  workdir: epath.Path,
  paths: PathsByName,
  greedy_paths: PathsByName,
  rules: Sequence[evaluated_file.VotingRule],
  settings: report_json.ReportSettings,
) -> JsonObject:
  """Returns the inputs and settings; two reports with the same head have the same numbers."""
  return {
    'schema': 'mathft_jax.report',
    'version': report_json.REPORT_VERSION,
    'mathft_jax': mathft_jax.__version__,
    'grader': CURRENT_GRADER,
    'inputs': _describe_inputs(paths, workdir),
    'greedy': _describe_inputs(greedy_paths, workdir),
    'rules': [*map(str, rules)],
    'settings': dataclasses.asdict(settings),
  }


def _describe_inputs(
  paths: PathsByName, workdir: epath.Path
) -> dict[str, dict[str, str]]:
  described = {}
  for name, path in paths.items():
    described[name] = {
      'path': local_and_remote_paths.relative_path(path, workdir),
      'sha256': hashlib.sha256(schema.read_bytes(path)).hexdigest(),
    }
  return described


def _note_outdated_graders(graders: Sequence[str]) -> list[str]:
  """Returns a note for each other version of the grader that graded the file."""
  notes = []
  for grader in graders:
    if grader.split()[0] == grading.GRADER_NAME and grader != CURRENT_GRADER:
      notes.append(
        f'graded by {grader}; the grader here is {CURRENT_GRADER}: run grade again.'
      )
  return notes


def _write_files(
  workdir: epath.Path,
  report: JsonObject,
  run: headline.RunDescription,
  files: Files,
  rules: Sequence[evaluated_file.VotingRule],
) -> None:
  """Writes all files; report.json last, because it marks a complete report."""
  images = rendering.render_plots(report)
  plots = workdir / 'plots'
  plots.mkdir(parents=True, exist_ok=True)
  for name, data in images.by_file_name().items():
    (plots / name).write_bytes(data)
  browser_page = None
  if report['browse_candidates']:
    browser_page = candidate_pages.PAGE
    candidate_pages.write_candidate_pages(
      workdir, run.title, files, rules, answer_location.locate_answer
    )
  markdown = rendering.render_markdown(report, images, run)
  (workdir / 'report.md').write_text(markdown)
  html = rendering.render_html(report, images, run, browser_page)
  (workdir / 'report.html').write_text(html)
  schema.write_jsonl(workdir / 'outcomes.jsonl', _outcome_records(files))
  text = json.dumps(report, indent=1, ensure_ascii=False)
  atomic_files.write_text_atomically(workdir / 'report.json', f'{text}\n')


def _outcome_records(files: Files) -> Iterator[JsonObject]:
  """Yields one record per file and problem: the correctness of each rule."""
  for name, file in files.items():
    for index, candidate_set in enumerate(file.candidate_sets):
      problem = candidate_set.problem
      correct = {}
      for result in file.results:
        correct[result.name] = float(result.values_P[index])
      yield {
        'file': name,
        'id': problem.id,
        'subject': problem.subject,
        'level': problem.level,
        'correct': correct,
      }


def _log_throughput(workdir: epath.Path, files: Files, seconds: float) -> None:
  problems = candidates = 0
  for file in files.values():
    problems += len(file.candidate_sets)
    candidates += sum(len(each.candidates) for each in file.candidate_sets)
  logging.info(
    'evaluate: %d candidates of %d problems in %.1f s (%.0f candidates/s); report in %s',
    candidates,
    problems,
    seconds,
    candidates / seconds,
    workdir,
  )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(evaluate)
