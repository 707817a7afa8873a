"""candidates -> answers, correctness, clusters.

  python -m mathft_jax.grade --gin_file=programs/grade.gin \
      --gin.CANDIDATES=runs/samples/candidates.jsonl --gin.INFER_OUTPUT_DIR=runs/graded

Writes `<workdir>/graded.jsonl`, the candidates with `answer`, `is_correct` and `cluster` and the name
and version of the grader, and beside it `graded.report.json`: grader and version, what was read,
counts, every limit that was hit. Grades that the input already has are replaced; how they differ is
reported. With other graders named in `compare_with` the report has a table for each, and
`disagreements.<grader>.jsonl` has the answers on which the two disagree. Output of another version of
the grader is graded again.
"""

import collections
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from etils import epath

from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.distributed import processes
from mathft_jax.grading import other_graders, worker_pool
from mathft_jax.storage import atomic_files

PREVIOUS = (
  'previous'  # the name under which the input's own labels are compared
)
SILENT = 'no verdict of theirs'

KeyOf = Callable[[str | None], Hashable | None]
Pair = tuple[str, str | None]  # reference and answer
Verdicts = Mapping[Pair, bool | None]  # None where a limit was hit


def grade(
  workdir: epath.PathLike,
  *,
  candidates: epath.PathLike,
  compare_with: Sequence[str] = (),
  workers: int = 0,
  deadline_s: float = 5.0,
  memory_gib: float = 2.0,
) -> epath.Path:
  """Path of the graded candidates, `<workdir>/graded.jsonl`; at once when they are there already.

  Args:
    workdir: where the output goes.
    candidates: jsonl of candidate sets, graded before or not. The reference is the problem's
      `answer`, else the final answer of its `solution`; without either `is_correct` stays unset.
    compare_with: names of other graders, 'exact' or 'math-verify'.
    workers: processes that read the answers, for each process of the run, each answer under the
      limits below; 0 reads them here, where the grader's own limits hold. Other graders always run
      in one worker or more.
    deadline_s: wall-clock seconds an answer may take in a worker, from when its work starts.
    memory_gib: address space of a worker.
  """
  output = epath.Path(workdir) / 'graded.jsonl'
  settings = _settings(
    epath.Path(candidates), compare_with, workers, deadline_s, memory_gib
  )
  if _is_complete(output, settings):
    return output
  sets = schema.read_candidate_sets(candidates)
  mine = sets[processes.process_index() :: processes.process_count()]
  part = _part(mine, compare_with, workers, deadline_s, int(memory_gib * 2**30))
  _gather(part, output, lambda parts: _write(output, settings, sets, parts))
  return output


@dataclasses.dataclass(frozen=True)
class Part:
  """What one process has found out about its problems."""

  graded: Sequence[schema.CandidateSet]
  counts: Mapping[str, int]
  limits: Sequence[Sequence[str]]  # pairs of a limit and the item that hit it
  tables: Mapping[str, Mapping[str, int]]  # by other grader
  disagreements: Mapping[str, Sequence[Mapping[str, Any]]]


def _report_path(output: epath.Path) -> epath.Path:
  return output.parent / 'graded.report.json'


def _is_complete(output: epath.Path, settings: Mapping[str, Any]) -> bool:
  """Whether the output was made with these settings; the first process looks, for all."""
  report = _report_path(output)
  found = (
    processes.is_primary()
    and output.exists()
    and report.exists()
    and (json.loads(report.read_text())['settings'] == settings)
  )
  return (
    processes.broadcast_from_primary(
      'grade: complete', 'yes' if found else 'no'
    )
    == 'yes'
  )


def _part(
  sets: Sequence[schema.CandidateSet],
  compare_with: Sequence[str],
  workers: int,
  deadline_s: float,
  memory_bytes: int,
) -> Part:
  """The problems graded, and compared with other graders."""
  earlier = len(worker_pool.shared_pool_limit_hits())
  with worker_pool.WorkerPool(max(workers, 1), memory_bytes) as readers:
    found, key_of = _read_answers(
      sets, readers if workers else None, deadline_s
    )
    graded = [
      _graded(unit, answers, key_of) for unit, answers in zip(sets, found)
    ]
    verdicts = {
      name: _verdicts(name, graded, readers, deadline_s)
      for name in compare_with
    }
    limits = [*readers.hits, *worker_pool.shared_pool_limit_hits()[earlier:]]
  return Part(
    graded, _counts(graded, found), limits, *_compare(sets, graded, verdicts)
  )


def _gather(
  part: Part, output: epath.Path, write: Callable[[Sequence[Part]], None]
) -> None:
  """Lets the first process `write` with the parts of all; they come to it as files."""
  if processes.process_count() == 1:
    return write([part])
  folder = output.parent / f'{output.stem}.parts'
  processes.run_on_primary(
    'grade: begun', lambda: folder.rmtree() if folder.exists() else None
  )
  own = f'{processes.process_index():04d}'
  rest = {
    name: getattr(part, name)
    for name in ('counts', 'limits', 'tables', 'disagreements')
  }
  schema.write_jsonl(folder / f'{own}.jsonl', part.graded)
  schema.write_jsonl(folder / f'{own}.part.jsonl', [rest])
  processes.wait_at_barrier('grade: made')

  def merge():
    names = [f'{index:04d}' for index in range(processes.process_count())]
    processes.wait_until_visible(
      lambda: all((folder / f'{name}.part.jsonl').exists() for name in names)
    )
    rows = {
      name: next(schema.read_jsonl(folder / f'{name}.part.jsonl'))[1]
      for name in names
    }
    write(
      [
        Part(schema.read_candidate_sets(folder / f'{name}.jsonl'), **rows[name])
        for name in names
      ]
    )
    folder.rmtree()

  processes.run_on_primary('grade: written', merge)


def _write(
  output: epath.Path,
  settings: Mapping[str, Any],
  sets: Sequence[schema.CandidateSet],
  parts: Sequence[Part],
) -> None:
  """Writes and shows what the parts say together; part i has every problem i + n * len(parts)."""
  graded: list[Any] = [None] * len(sets)
  counts: collections.Counter[str] = collections.Counter()
  for index, part in enumerate(parts):
    graded[index :: len(parts)] = part.graded
    counts.update(part.counts)
  limits = collections.Counter(
    limit for limit, _ in {tuple(hit) for part in parts for hit in part.limits}
  )
  report = {
    'grader': grading.GRADER_NAME,
    'version': grading.GRADER_VERSION,
    'settings': settings,
    'counts': dict(sorted(counts.items())),
    'limits': dict(sorted(limits.items())),
    'comparisons': _comparisons(output.parent, sets, parts),
  }
  schema.write_jsonl(output, graded)
  atomic_files.write_text_atomically(
    _report_path(output), json.dumps(report, indent=2) + '\n'
  )
  _show(report)


def _comparisons(
  workdir: epath.Path,
  sets: Sequence[schema.CandidateSet],
  parts: Sequence[Part],
) -> dict[str, dict[str, int]]:
  """The tables of all parts as one; writes the disagreements."""
  place = {unit.problem.id: number for number, unit in enumerate(sets)}
  tables = {}
  for name in parts[0].tables:
    counts: collections.Counter[str] = collections.Counter()
    for part in parts:
      counts.update(part.tables[name])
    if name == PREVIOUS and set(counts) <= {SILENT}:
      continue
    tables[name] = dict(sorted(counts.items()))
    rows = [row for part in parts for row in part.disagreements[name]]
    schema.write_jsonl(
      workdir / f'disagreements.{name}.jsonl',
      sorted(rows, key=lambda row: place[row['problem']]),
    )
  return tables


def _settings(
  candidates: epath.Path,
  compare_with: Sequence[str],
  workers: int,
  deadline_s: float,
  memory_gib: float,
) -> dict[str, Any]:
  """What decides the output: grader, version, limits, and the content of the input."""
  return {
    'grader': grading.GRADER_NAME,
    'version': grading.GRADER_VERSION,
    'candidates': str(candidates),
    'sha256': hashlib.sha256(candidates.read_bytes()).hexdigest(),
    'compare_with': {
      name: other_graders.installed_version(name) for name in compare_with
    },
    'limits': {'deadline_s': deadline_s, 'memory_gib': memory_gib}
    if workers
    else {},
  }


Found = list[grading.FinalAnswer | None]


def _read_answers(
  sets: Sequence[schema.CandidateSet],
  readers: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> tuple[list[Found], KeyOf]:
  """The final answers of all candidates, and the function that knows their keys."""
  found = [
    [
      grading.find_final_answer(candidate.solution)
      for candidate in unit.candidates
    ]
    for unit in sets
  ]
  if readers is None:
    return found, grading.answer_key
  texts = {answer.text for answers in found for answer in answers if answer}
  texts |= {
    reference
    for unit in sets
    if (reference := _reference(unit.problem)) is not None
  }
  ordered = sorted(texts)
  results = readers.map(grading.answer_key, ordered, deadline_s)
  keys = {text: result.value for text, result in zip(ordered, results)}
  return found, lambda answer: None if answer is None else keys[answer]


def _reference(problem: schema.Problem) -> str | None:
  return problem.answer or grading.extract_answer(problem.solution)


def _graded(
  unit: schema.CandidateSet, found: Found, key_of: KeyOf
) -> schema.CandidateSet:
  """The set with answer, is_correct and cluster of every candidate."""
  reference = _reference(unit.problem)
  wanted = key_of(reference)
  answers = [answer.text if answer else None for answer in found]
  keys = [key_of(answer) for answer in answers]
  candidates = tuple(
    dataclasses.replace(
      candidate,
      answer=answer,
      cluster=label,
      is_correct=None
      if reference is None
      else key is not None and key == wanted,
    )
    for candidate, answer, key, label in zip(
      unit.candidates, answers, keys, grading.cluster_labels(keys)
    )
  )
  return dataclasses.replace(
    unit,
    candidates=candidates,
    grader=f'{grading.GRADER_NAME} {grading.GRADER_VERSION}',
  )


def _counts(
  graded: Sequence[schema.CandidateSet], found: Sequence[Found]
) -> dict[str, int]:
  counts: collections.Counter[str] = collections.Counter(problems=len(graded))
  for unit, answers in zip(graded, found):
    counts['problems without reference'] += _reference(unit.problem) is None
    counts['candidates'] += len(answers)
    counts['correct'] += sum(
      bool(candidate.is_correct) for candidate in unit.candidates
    )
    counts['clusters'] += len(unit.clusters())
    counts['answers that cannot be read'] += sum(
      candidate.answer is not None and candidate.cluster is None
      for candidate in unit.candidates
    )
    counts.update(
      f'answer by {answer.method}' if answer else 'no answer'
      for answer in answers
    )
  return counts


def _pairs(
  sets: Sequence[schema.CandidateSet],
) -> Iterator[tuple[Pair, schema.CandidateSet, int]]:
  """Reference and answer of every candidate of a problem that has a reference; its set and index."""
  for unit in sets:
    reference = _reference(unit.problem)
    for index, candidate in enumerate(unit.candidates):
      if reference is not None:
        yield (reference, candidate.answer), unit, index


def _verdicts(
  name: str,
  graded: Sequence[schema.CandidateSet],
  readers: worker_pool.WorkerPool,
  deadline_s: float,
) -> Verdicts:
  """What another grader says of each pair of reference and answer; no answer is wrong."""
  pairs = sorted({pair for pair, _, _ in _pairs(graded) if pair[1] is not None})
  results = readers.map(other_graders.OTHER_GRADERS[name], pairs, deadline_s)
  verdicts = {
    pair: None if result.limit else result.value
    for pair, result in zip(pairs, results)
  }
  return collections.defaultdict(bool, verdicts)


def _compare(
  before: Sequence[schema.CandidateSet],
  graded: Sequence[schema.CandidateSet],
  verdicts: Mapping[str, Verdicts],
) -> tuple[dict[str, Mapping[str, int]], dict[str, list[dict[str, Any]]]]:
  """Tables of agreement with other graders and the input's own labels, and the disagreements."""
  labels = {
    name: [theirs[pair] for pair, _, _ in _pairs(graded)]
    for name, theirs in verdicts.items()
  }
  old = {unit.problem.id: unit.candidates for unit in before}
  labels[PREVIOUS] = [
    old[unit.problem.id][index].is_correct for _, unit, index in _pairs(graded)
  ]
  tables, disagreements = {}, {}
  for name, theirs in labels.items():
    rows, counts = [], collections.Counter()
    for (pair, unit, index), label in zip(_pairs(graded), theirs):
      ours = unit.candidates[index].is_correct
      counts[_cell(ours, label)] += 1
      if label is not None and label != ours:
        rows.append(
          {
            'problem': unit.problem.id,
            'candidate': index,
            'reference': pair[0],
            'answer': pair[1],
            f'{grading.GRADER_NAME} {grading.GRADER_VERSION}': ours,
            name: label,
          }
        )
    tables[name], disagreements[name] = counts, rows
  return tables, disagreements


def _cell(ours: bool | None, theirs: bool | None) -> str:
  if theirs is None:
    return SILENT
  if ours == theirs:
    return 'both correct' if ours else 'both wrong'
  return 'correct for us only' if ours else 'correct for them only'


def _show(report: Mapping[str, Any]) -> None:
  """Prints the report as Markdown."""
  print(f'{report["grader"]} {report["version"]}\n')
  for name, count in [
    *report['counts'].items(),
    *(
      (f'limit hit: {name}', count) for name, count in report['limits'].items()
    ),
  ]:
    print(f'| {name} | {count} |')
  for name, table in report['comparisons'].items():
    version = report['settings']['compare_with'].get(name, '')
    print(
      f'\n{report["grader"]} {report["version"]} and {name} {version}'.rstrip()
    )
    for cell, count in table.items():
      print(f'| {cell} | {count} |')


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(grade)
