"""Graded candidates and an evaluator's checkpoint in, a score of each candidate out.

  python -m mathft_jax.score --gin_file=models/tiny.gin --gin_file=programs/score.gin \
      --gin.CHECKPOINT_PATH=runs/scr --gin.CANDIDATES=runs/graded/graded.jsonl \
      --gin.INFER_OUTPUT_DIR=runs/scored

Writes <workdir>/scored.jsonl. The score is S_cls = p(correct) / (p(correct) + p(incorrect)). Each
problem is read once, each distinct text of it is scored once, and with `top_clusters` only the
candidates of the largest clusters are.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from absl import logging
from etils import epath
import numpy as np

from mathft_jax.data import prompt_templates, schema
from mathft_jax.distributed import partitioning, processes
from mathft_jax.inference import (
  batch_jobs,
  load_params,
  replica_groups,
  scoring,
)
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress
from mathft_jax.storage import remote_paths

QUANTITIES = ('verdict', 'likelihood')


@dataclasses.dataclass(frozen=True)
class _Work:
  """One problem: its candidates, the texts to score, their tokens after the prefix."""

  candidate_set: schema.CandidateSet
  prefix: Sequence[int]
  texts: tuple[str, ...]
  tails: tuple[Sequence[int], ...]

  def shape(self) -> tuple[int, int, int]:
    """(copies, prefix length, row length), rounded so that there are few."""
    longest = max(map(len, self.tails), default=1) + 1
    return (
      batch_jobs.round_up_to_power_of_two(len(self.tails), 4),
      batch_jobs.round_up_to_power_of_two(len(self.prefix)),
      batch_jobs.round_up_to_power_of_two(longest),
    )


def score(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  candidates: epath.PathLike,
  model: transformer.TransformerConfig,
  vocabulary: Any,
  template: prompt_templates.Template,
  top_clusters: int | None = None,
  quantity: str = 'verdict',
  batch_size: int = 16,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
) -> epath.Path:
  """The path of `<workdir>/scored.jsonl`, at once when it is there already.

  Args:
    workdir: where the output goes, and finished batches of an interrupted run.
    checkpoint: of `train`, or a safetensors file.
    candidates: a file of candidates; graded, if `top_clusters` is given.
    top_clusters: score only the members of the so many largest clusters of each problem (the
      paper's K is 8); None: all candidates.
    quantity: 'verdict': S_cls; 'likelihood': p(X|P) under the checkpoint as a generator, divided by
      that of the problem's most probable candidate, a control that needs no evaluator.
    batch_size: problems scored at once over all devices of all processes.
  """
  workdir, candidates = epath.Path(workdir), epath.Path(candidates)
  if quantity not in QUANTITIES or (
    top_clusters is not None and top_clusters < 1
  ):
    raise ValueError(
      f'quantity is {quantity!r}, top_clusters {top_clusters}; wanted one of '
      f'{QUANTITIES}, and at least 1 or None.'
    )
  job = batch_jobs.BatchJob(
    workdir / 'scored.jsonl',
    {
      'checkpoint': remote_paths.relative_path(checkpoint, workdir),
      'quantity': quantity,
      'top_clusters': top_clusters,
      'candidates': batch_jobs.content_digest([candidates.read_bytes()]),
      **prompt_templates.template_fingerprint(template, vocabulary),
    },
  )
  if job.is_complete():
    return job.output
  group = replica_groups.replica_group_of_this_process(partitioner, batch_size)
  plan = scoring.ScoreConfig(
    model,
    prompt_templates.encode_label_words(template, vocabulary).token_ids
    if quantity == 'verdict'
    else None,
    group.mesh,
    partitioner.rules,
  )
  params = load_params.load_inference_params(
    checkpoint,
    model,
    fingerprint=prompt_templates.template_fingerprint(template, vocabulary),
    mesh=group.mesh,
    rules=partitioner.rules,
  )
  sets = schema.read_candidate_sets(candidates)
  _check_clusters(sets, top_clusters, candidates)
  work = [
    _work(each, top_clusters, quantity, vocabulary, template) for each in sets
  ]
  _say_savings(work, top_clusters)
  _score_all(job, group, plan, params, work, batch_size)
  return job.finish([each.problem.id for each in sets])


def _work(
  each: schema.CandidateSet,
  top_clusters: int | None,
  quantity: str,
  vocabulary: Any,
  template: prompt_templates.Template,
) -> _Work:
  """What is to be scored of one problem."""
  chosen = (
    range(len(each.candidates))
    if top_clusters is None
    else sorted(
      index for cluster in each.clusters()[:top_clusters] for index in cluster
    )
  )
  first = {
    each.candidates[index].solution: each.candidates[index]
    for index in reversed(chosen)
  }
  texts = tuple(reversed(first))
  if quantity == 'verdict':
    prefix = prompt_templates.encode_evaluator_problem(
      template, vocabulary, each.problem
    )
    tails = [
      prompt_templates.encode_evaluator_solution(template, vocabulary, text)
      for text in texts
    ]
  else:
    prefix = prompt_templates.encode_prompt(template, vocabulary, each.problem)
    tails = [_sampled_ids(first[text], vocabulary) for text in texts]
  return _Work(each, prefix, texts, tuple(tails))


def _sampled_ids(candidate: schema.Candidate, vocabulary: Any) -> Sequence[int]:
  """The tokens whose probability is that of the candidate; EOS only where it ended by itself."""
  ids = prompt_templates.encode_solution(vocabulary, candidate.solution)
  return ids[:-1] if candidate.finished is False else ids


def _score_all(
  job: batch_jobs.BatchJob,
  group: replica_groups.ReplicaGroup,
  plan: scoring.ScoreConfig,
  params: Any,
  work: Sequence[_Work],
  batch_size: int,
) -> None:
  """Scores what the job lacks of the group's part, problems of like shape together."""
  finished = job.begin()
  is_done = lambda each: each.candidate_set.problem.id in finished
  nothing = [
    each.candidate_set for each in work if not each.texts and not is_done(each)
  ]
  if nothing and processes.is_primary():
    job.add(nothing)
  order = sorted((each for each in work if each.texts), key=_Work.shape)
  mine = replica_groups.items_of_group(group, order, batch_size)
  watch, scored = progress.CompilationCounter(), 0
  with progress.ProgressBar(
    group.log_name('score'),
    total=len(mine),
    unit='problems',
    done=sum(map(is_done, mine)),
  ) as bar:
    for share in replica_groups.iter_group_batches(
      group, order, batch_size, is_done
    ):
      scores_PC = _score(plan, params, share)
      if group.is_writer:
        job.add(
          [_scored(plan, each, scores_PC[row]) for row, each in share.new]
        )
      scored += sum(len(each.candidate_set.candidates) for _, each in share.new)
      bar.advance(
        len(share.new),
        compilations=watch.count,
        **{
          'compiling s': watch.seconds,
          'candidates/s': scored / bar.seconds(),
        },
      )


def _score(
  plan: scoring.ScoreConfig, params: Any, share: replica_groups.GroupBatch
) -> np.ndarray:
  """[P, C]: the scores of a group's rows, in the shape of the whole batch."""
  copies, prefix_length, length = map(
    max, zip(*(each.shape() for each in share.batch))
  )
  rows = scoring.make_score_inputs(
    [each.prefix for each in share.rows],
    [each.tails for each in share.rows],
    num_prefixes=len(share.rows),
    num_candidates=copies,
    prefix_length=prefix_length,
    length=length,
  )
  return scoring.score_candidates(plan, params, rows)


def _scored(
  plan: scoring.ScoreConfig, work: _Work, scores_C: np.ndarray
) -> schema.CandidateSet:
  """One problem with its scores."""
  values = list(map(float, scores_C[: len(work.texts)]))
  if plan.label_words is None:
    values = [math.exp(value - max(values)) for value in values]
  by_text = dict(zip(work.texts, values))
  return dataclasses.replace(
    work.candidate_set,
    candidates=tuple(
      dataclasses.replace(candidate, score=by_text.get(candidate.solution))
      for candidate in work.candidate_set.candidates
    ),
  )


def _check_clusters(
  sets: Sequence[schema.CandidateSet],
  top_clusters: int | None,
  path: epath.Path,
) -> None:
  if top_clusters is not None and not any(each.clusters() for each in sets):
    raise ValueError(
      f'{path}: no candidate has a cluster, and top_clusters = {top_clusters} needs '
      'them; run grade on the file first.'
    )


def _say_savings(work: Sequence[_Work], top_clusters: int | None) -> None:
  """How many candidates need no pass of their own, and why."""
  total = sum(len(each.candidate_set.candidates) for each in work)
  texts = sum(len(each.texts) for each in work)
  chosen = sum(
    sum(c.solution in set(each.texts) for c in each.candidate_set.candidates)
    for each in work
  )
  logging.info(
    'score: %d texts for %d candidates; saved: %d that are repeated, %d outside of the '
    '%s largest clusters',
    texts,
    total,
    chosen - texts,
    total - chosen,
    top_clusters,
  )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(score)
