"""Grades candidates: final answers, correctness and clusters of equivalent answers.

  python -m mathft_jax.grade --gin_file=programs/grade.gin \
      --gin.CANDIDATES=runs/samples/candidates.jsonl --gin.INFER_OUTPUT_DIR=runs/graded

Input: jsonl of candidate sets. Earlier grades in it are replaced, and the differences are reported.

Output in the work directory:

- `graded.jsonl`: the candidate sets with `answer`, `how` it was found, `is_correct`, `cluster` and
  the `grader`;
- `graded.report.json`: grader, version, settings, counts, exceeded limits, and a table of agreement
  with each grader in `compare_with`;
- `disagreements.<grader>.jsonl`: the candidates on which that grader disagrees;
- `two_verdicts.jsonl`: the clusters of equivalent answers that the labels in the input split.

Output with the same settings is kept. Output of other candidates, or of another search for answers,
is an error. Output of another version of the grader is graded again, and so is input that was
written anew under the same path.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from absl import logging
from etils import epath

from mathft_jax import grading
from mathft_jax.data import answer_shares, label_conflicts, schema, thoughts
from mathft_jax.distributed import locked_folders, processes
from mathft_jax.grading import (
  candidate_grading,
  graded_parts,
  grader_agreement,
  other_graders,
  worker_pool,
)
from mathft_jax.monitoring import stage_cost
from mathft_jax.storage import atomic_files, run_config

Settings = Mapping[str, Any]


def grade(
  workdir: epath.PathLike,
  *,
  candidates: epath.PathLike,
  find_answers: str = 'auto',
  turn_markers: thoughts.TurnMarkers = thoughts.DEFAULT_MARKERS,
  compare_with: Sequence[str] = (),
  num_workers: int = 0,
  deadline_s: float = 5.0,
  memory_gib: float = 2.0,
) -> epath.Path:
  """Returns the path of the graded candidates, `<workdir>/graded.jsonl`.

  Args:
    workdir: output directory.
    candidates: jsonl of candidate sets, graded before or not. The reference is the problem's
      `answer`, else the final answer of its `solution`; without either `is_correct` is not set.
    find_answers: how final answers are found: 'announced' (boxes, headings, phrases),
      'last_number', 'last_line', or 'auto': announced, else the value of the final sentence.
    turn_markers: marks of thoughts and of the end of a turn; what they enclose does not count.
    compare_with: names of other graders, 'exact' or 'math-verify'.
    num_workers: worker processes that grade candidates, for each process of the run; 0 grades them
      in this process, where only the grader's own limits hold. Other graders always run in at least
      one worker.
    deadline_s: wall-clock seconds for one candidate in a worker, from its text to its key.
    memory_gib: address space of a worker in GiB.

  Raises:
    ValueError: the workdir has graded other candidates, or with another search for answers.
  """
  output = epath.Path(workdir) / 'graded.jsonl'
  limits = {}
  if num_workers:
    limits = {'deadline_s': deadline_s, 'memory_gib': memory_gib}
  search = grading.AnswerSearch(find_answers, turn_markers)
  settings = _settings(epath.Path(candidates), search, compare_with, limits)
  processes.run_on_primary(
    'grade: checked', lambda: _check_settings(output, settings)
  )
  if _is_complete(output, settings):
    run_config.keep_existing(workdir)
    return output

  sets = _read_input(candidates)
  memory_bytes = int(memory_gib * 2**30)
  with (
    locked_folders.hold(workdir, 'grade'),
    worker_pool.WorkerPool(max(num_workers, 1), memory_bytes) as pool,
    stage_cost.meter_on_host(workdir, 'grade', [candidates]),
  ):
    own_pool = pool if num_workers else None

    def grade_chunk(chunk: Sequence[schema.CandidateSet]) -> graded_parts.Part:
      return _grade_part(
        chunk, search, compare_with, pool, own_pool, deadline_s
      )

    run_config.begin_output(workdir)
    _grade_all(output, settings, sets, grade_chunk)
  return output


def _grade_all(
  output: epath.Path,
  settings: Settings,
  sets: Sequence[schema.CandidateSet],
  grade_chunk: graded_parts.GradeChunk,
) -> None:
  """Grades all sets and writes the output; more than one chunk of them by way of part files."""
  count, index = processes.process_count(), processes.process_index()
  if count == 1 and len(sets) <= graded_parts.CHUNK:
    _write_output(output, settings, sets, [grade_chunk(sets)])
    return

  folder = output.parent / f'{output.stem}.parts'
  parts = graded_parts.GradedParts(folder, settings, count)

  def merge() -> None:
    found = []
    for process in range(count):
      found.append(parts.read(process, len(sets[process::count])))
    _write_output(output, settings, sets, found)
    parts.delete()

  processes.run_on_primary('grade: begun', parts.begin)
  parts.grade(index, sets[index::count], grade_chunk)
  processes.wait_at_barrier('grade: made')
  processes.run_on_primary('grade: written', merge)


def _read_input(path: epath.PathLike) -> list[schema.CandidateSet]:
  """Returns the candidate sets; ValueError with file and line for text that is no UTF-8."""
  sets = schema.read_candidate_sets(path)
  for index, unit in enumerate(sets):
    texts = [unit.problem.question, unit.problem.solution]
    texts += [candidate.solution for candidate in unit.candidates]
    for number, text in enumerate(texts):
      try:
        text.encode('utf-8')
      except (UnicodeEncodeError, AttributeError) as error:
        where = [where for where, _ in schema.read_jsonl(path)][index]
        place = f'candidate {number - 2}' if number > 1 else 'problem'
        raise ValueError(
          f'{where}: {place}: a text that cannot be written as UTF-8 ({error}). Replace half of a '
          'surrogate pair, for example by text.encode("utf-16", "surrogatepass").decode("utf-16", '
          '"replace").'
        ) from error
  return sets


def _settings(
  candidates: epath.Path,
  search: grading.AnswerSearch,
  compare_with: Sequence[str],
  limits: Mapping[str, float],
) -> Settings:
  """Returns all that determines the output, including the content of the input."""
  versions = map(other_graders.installed_version, compare_with)
  return {
    'grader': grading.GRADER_NAME,
    'version': grading.GRADER_VERSION,
    'candidates': str(candidates),
    'search': json.loads(json.dumps(dataclasses.asdict(search))),
    'sha256': hashlib.sha256(schema.read_bytes(candidates)).hexdigest(),
    'compare_with': dict(zip(compare_with, versions)),
    'limits': limits,
  }


def _report_path(output: epath.Path) -> epath.Path:
  return output.parent / 'graded.report.json'


def _read_report(path: epath.Path) -> Mapping[str, Any]:
  """Returns the report of an earlier run; {} if there is none or the file is damaged."""
  if not path.exists():
    return {}
  try:
    report = json.loads(path.read_bytes())
  except ValueError as error:
    logging.warning(
      '%s is damaged; the candidates are graded again: %s', path, error
    )
    return {}
  return report if isinstance(report, dict) else {}


def _check_settings(output: epath.Path, settings: Settings) -> None:
  """Raises ValueError if the folder has grades of other candidates or of another search."""
  saved = _read_report(_report_path(output)).get('settings')
  if not isinstance(saved, dict) or not output.exists():
    return
  names = []
  has_other_content = saved.get('sha256') != settings['sha256']
  if has_other_content and saved.get('candidates') != settings['candidates']:
    names.append('candidates')
  if saved.get('search', settings['search']) != settings['search']:
    names.append('search')
  if names:
    there = {name: saved.get(name) for name in names}
    now = {name: settings[name] for name in names}
    raise ValueError(
      f'{output.parent} was created with other settings:\n  there: {there}\n  now:   {now}\n'
      'Use another folder (INFER_OUTPUT_DIR) for these settings, or delete this one.'
    )


def _is_complete(output: epath.Path, settings: Settings) -> bool:
  """Returns whether the output has these settings; the primary process decides for all."""
  complete = 'no'
  if processes.is_primary() and output.exists():
    report = _read_report(_report_path(output))
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    is_intact = report.get('output_sha256', digest) == digest
    if not is_intact:
      logging.warning('%s was cut or changed; it is graded again.', output)
    if is_intact and report.get('settings') == settings:
      complete = 'yes'
  return processes.broadcast_from_primary('grade: complete', complete) == 'yes'


def _grade_part(
  sets: Sequence[schema.CandidateSet],
  search: grading.AnswerSearch,
  compare_with: Sequence[str],
  pool: worker_pool.WorkerPool,
  parsing_pool: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> graded_parts.Part:
  """Grades candidate sets and compares the labels with other graders and the input.

  Other graders run in `pool`; answers are parsed in `parsing_pool`, or in this process without one.
  """
  num_earlier_hits = len(worker_pool.shared_pool_limit_hits())
  num_earlier_restarts = pool.counts['restarted']
  graded, counts = candidate_grading.grade_candidate_sets(
    sets, parsing_pool, deadline_s, search
  )
  labelled = grader_agreement.candidates_with_reference(graded)

  other_labels = {}
  for name in compare_with:
    other_labels[name] = grader_agreement.labels_of_other_grader(
      name, labelled, pool, deadline_s
    )
  input_labels = grader_agreement.candidates_with_reference(sets)
  other_labels[grader_agreement.INPUT_LABELS] = [
    candidate.is_correct for candidate in input_labels
  ]

  tables, disagreements = {}, {}
  for name, labels in other_labels.items():
    agreement = grader_agreement.compare_labels(name, labelled, labels)
    tables[name] = agreement.counts
    disagreements[name] = agreement.disagreements
  hits = [*pool.hits, *worker_pool.shared_pool_limit_hits()[num_earlier_hits:]]
  restarted = pool.counts['restarted'] - num_earlier_restarts
  if restarted:
    counts['workers that exited and were replaced'] = restarted
  hits += candidate_grading.limit_hits(graded)
  conflicts = label_conflicts.find_label_conflicts(
    graded, label_conflicts.labels_of(sets)
  )
  two_verdicts = list(map(dataclasses.asdict, conflicts))
  return graded_parts.Part(
    graded, counts, hits, tables, disagreements, two_verdicts
  )


def _write_output(
  output: epath.Path,
  settings: Settings,
  sets: Sequence[schema.CandidateSet],
  parts: Sequence[graded_parts.Part],
) -> None:
  """Merges the parts, writes the output and prints the report.

  Args:
    output: path of the graded candidates.
    settings: settings of the report.
    sets: the input.
    parts: one of each process; part i has the problems i, i + len(parts), ...
  """
  graded: list[Any] = [None] * len(sets)
  counts = collections.Counter()
  hits = set()
  two_verdicts = []
  for index, part in enumerate(parts):
    two_verdicts += part.two_verdicts
    graded[index :: len(parts)] = part.graded
    counts.update(part.counts)
    hits.update(map(tuple, part.limits))
  limits = collections.Counter(limit for limit, _ in hits)

  schema.write_jsonl(output, graded)
  shares = answer_shares.AnswerShares.of(graded)
  report = {
    'headline': _headline(shares, graded),
    'warnings': [*shares.warnings(), *_warn_of_two_verdicts(two_verdicts)],
    'grader': grading.GRADER_NAME,
    'version': grading.GRADER_VERSION,
    'settings': settings,
    'counts': dict(sorted(counts.items())),
    'limits': dict(sorted(limits.items())),
    'comparisons': _write_comparisons(output.parent, sets, parts),
    'output_sha256': hashlib.sha256(output.read_bytes()).hexdigest(),
  }
  if two_verdicts:
    schema.write_jsonl(output.parent / 'two_verdicts.jsonl', two_verdicts)
  text = json.dumps(report, indent=2) + '\n'
  atomic_files.write_text_atomically(_report_path(output), text)
  _print_report(report)


def _write_comparisons(
  workdir: epath.Path,
  sets: Sequence[schema.CandidateSet],
  parts: Sequence[graded_parts.Part],
) -> dict[str, dict[str, int]]:
  """Writes the disagreements of all parts and returns the agreement tables."""
  order = {unit.problem.id: index for index, unit in enumerate(sets)}
  tables = {}
  for name in parts[0].tables:
    counts = collections.Counter()
    records = []
    for part in parts:
      counts.update(part.tables[name])
      records.extend(part.disagreements[name])
    is_input = name == grader_agreement.INPUT_LABELS
    if is_input and set(counts) <= {grader_agreement.NO_RESULT}:
      continue  # the input has no labels
    tables[name] = dict(sorted(counts.items()))
    records.sort(key=lambda record: order[record['problem']])
    schema.write_jsonl(workdir / f'disagreements.{name}.jsonl', records)
  return tables


def _headline(
  shares: answer_shares.AnswerShares, graded: Sequence[schema.CandidateSet]
) -> str:
  """Returns accuracy, number of candidates and the shares of the methods in one line."""
  num_labelled = sum(shares.labelled.values())
  accuracy = 'no labels'
  if num_labelled:
    accuracy = f'{sum(shares.correct.values()) / num_labelled:.1%} correct'
  return f'{accuracy}; {shares.headline()}; {_cut_at_limit(graded)}'


def _cut_at_limit(graded: Sequence[schema.CandidateSet]) -> str:
  """Returns how many candidates were cut at the length limit."""
  num_cut = num_known = 0
  for unit in graded:
    for candidate in unit.candidates:
      num_known += candidate.finished is not None
      num_cut += candidate.finished is False
  if not num_known:
    return 'not known how many were cut'
  return f'{num_cut:,} cut at the length limit ({num_cut / num_known:.1%})'


def _warn_of_two_verdicts(conflicts: Sequence[Mapping[str, Any]]) -> list[str]:
  if not conflicts:
    return []
  first = conflicts[0]
  return [
    f'{len(conflicts)} clusters of equivalent answers have two verdicts in the input, the first in '
    f'problem {first["problem"]}: correct {list(first["correct"])[:3]}, wrong '
    f'{list(first["wrong"])[:3]}. See two_verdicts.jsonl.'
  ]


def _print_report(report: Mapping[str, Any]) -> None:
  """Prints the headline, what is unusual, and the comparisons with other graders.

  All counts are in graded.report.json.
  """
  grader = f'{report["grader"]} {report["version"]}'
  print(f'{grader}: {report["headline"]}')
  for warning in report['warnings']:
    print(f'WARNING: {warning}')
  for name, count in report['limits'].items():
    print(f'limit exceeded: {name}: {count}')
  versions = report['settings']['compare_with']
  for name, table in report['comparisons'].items():
    shown = f'{grader} and {name} {versions.get(name, "")}'.rstrip()
    counts = [f'{row} {count}' for row, count in table.items()]
    print(f'{shown}: {", ".join(counts)}')


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(grade)
