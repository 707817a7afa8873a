"""candidates -> answers, correctness, clusters.

  python -m mathft_jax.grade --gin_file=programs/grade.gin ...

Writes `<workdir>/graded.jsonl` (the candidates with `answer`, `is_correct` and `cluster`) and beside
it `graded.report.json`: which grader and version, what it read, how often each limit was hit.
"""

import collections
import dataclasses
import hashlib
import json

from absl import logging
from etils import epath

from mathft_jax import grading
from mathft_jax import records


def grade(workdir: epath.PathLike, *, candidates: epath.PathLike) -> epath.Path:
  """Path of the graded candidates, `<workdir>/graded.jsonl`; at once when they are there already.

  Args:
    workdir: where the output goes.
    candidates: jsonl of candidate sets. The reference is the problem's `answer`, else the final
      answer of its `solution`; without either `is_correct` stays unset.
  """
  output = epath.Path(workdir) / 'graded.jsonl'
  report_path = output.parent / 'graded.report.json'
  settings = _settings(epath.Path(candidates))
  if output.exists() and report_path.exists():
    if json.loads(report_path.read_text())['settings'] == settings:
      return output
  counts: collections.Counter[str] = collections.Counter()
  sets = [grade_set(unit, counts) for unit in records.read_candidate_sets(candidates)]
  records.write_rows(output, sets)
  report = {'settings': settings, 'counts': dict(sorted(counts.items()))}
  report_path.write_text(json.dumps(report, indent=2) + '\n')
  logging.info('%s %s: %s', grading.GRADER, grading.VERSION, report['counts'])
  return output


def grade_set(unit: records.CandidateSet,
              counts: collections.Counter[str]) -> records.CandidateSet:
  """The set with answer, is_correct and cluster of every candidate; adds to `counts`."""
  reference = unit.problem.answer or grading.extract_answer(unit.problem.solution)
  found = [grading.find_answer(candidate.solution) for candidate in unit.candidates]
  answers = [answer.text if answer else None for answer in found]
  clusters = grading.cluster(answers)
  correct = [None if reference is None else
             answer is not None and grading.is_equivalent(reference, answer) for answer in answers]
  counts['problems'] += 1
  counts['problems without reference'] += reference is None
  counts['candidates'] += len(answers)
  counts['correct'] += sum(map(bool, correct))
  counts['clusters'] += len(set(clusters) - {None})
  counts.update(f'answer by {answer.how}' if answer else 'no answer' for answer in found)
  graded = tuple(
      dataclasses.replace(candidate, answer=answer, is_correct=is_correct, cluster=label)
      for candidate, answer, is_correct, label in zip(unit.candidates, answers, correct, clusters))
  return dataclasses.replace(unit, candidates=graded)


def _settings(candidates: epath.Path) -> dict[str, str]:
  """What decides the output: grader, version, and the content of the input."""
  digest = hashlib.sha256(candidates.read_bytes()).hexdigest()
  return {'grader': grading.GRADER, 'version': grading.VERSION, 'candidates': str(candidates),
          'sha256': digest}


if __name__ == '__main__':
  from mathft_jax import gin_utils
  gin_utils.run(grade)
