"""Scores graded candidates with an evaluator's checkpoint.

  python -m mathft_jax.score --gin_file=programs/score.gin --gin.CHECKPOINT_PATH=runs/scr \
      --gin.CANDIDATES=runs/graded/graded.jsonl --gin.INFER_OUTPUT_DIR=runs/scored

Writes <workdir>/scored.jsonl. The score is S_cls = p(correct) / (p(correct) + p(incorrect)); its
log-odds are beside it. Each distinct text of a problem is scored once; several texts share a row
with their problem. With `top_clusters`, only the candidates of the largest clusters are scored.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Literal, get_args

from absl import logging
from etils import epath
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.config import vocabulary_size
from mathft_jax.data import label_word_branches, prompt_templates, schema
from mathft_jax.distributed import locked_folders, partitioning, processes
from mathft_jax.inference import (
  load_params,
  replica_groups,
  resumable_output,
  score_packing,
  scoring,
)
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress, stage_cost
from mathft_jax.storage import digests, local_and_remote_paths

# Losses after which a checkpoint is no evaluator; '': a published model.
GENERATOR_LOSSES = ('', 'Mle', 'SequenceContrast', 'Dpo')
Quantity = Literal['verdict', 'likelihood', 'log_prob']


@dataclasses.dataclass(frozen=True)
class _ScoreTask:
  """One problem: its candidates, the distinct texts to score, and token ids."""

  candidate_set: schema.CandidateSet
  prefix: Sequence[int]  # token ids of the problem
  texts: tuple[str, ...]
  tails: tuple[Sequence[int], ...]  # token ids of each text after the prefix

  def problem(self) -> score_packing.Problem:
    """The problem and its texts as token ids."""
    return score_packing.Problem(self.prefix, self.tails)

  def num_tokens(self) -> int:
    """Tokens of the problem and of all texts."""
    return len(self.prefix) + sum(map(len, self.tails))


def score(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  candidates: epath.PathLike,
  model: transformer.TransformerConfig,
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
  top_clusters: int | None = None,
  quantity: Quantity = 'verdict',
  batch_size: int = 16,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
) -> epath.Path:
  """Returns the path of `<workdir>/scored.jsonl`, at once if it is complete.

  Args:
    workdir: for the output, and for finished batches of a stopped run.
    checkpoint: of `train`, or a safetensors file.
    candidates: a candidate file; it must be graded if `top_clusters` is given.
    top_clusters: score only candidates of the K largest clusters (the paper's K is 8); None: all.
    quantity: 'verdict': S_cls; 'likelihood': p(X|P) under the checkpoint as a generator, divided by
      that of the most probable candidate of the problem. It is a control without an evaluator.
      'log_prob': writes log p(X|P) under the checkpoint to `log_prob`, and no scores;
      for DPO with a reference model that is not the sampler.
    batch_size: problems scored at once over all devices of all processes.
  """
  workdir, candidates = epath.Path(workdir), epath.Path(candidates)
  _check_arguments(quantity, top_clusters)
  vocabulary_size.check_vocabulary_size(vocabulary, model)
  fingerprint = prompt_templates.template_fingerprint(template, vocabulary)
  settings = {
    'checkpoint': local_and_remote_paths.relative_path(checkpoint, workdir),
    **checkpoints.describe_weights(checkpoint),
    'quantity': quantity,
    'top_clusters': top_clusters,
    'candidates': digests.content_digest([schema.read_bytes(candidates)]),
    **fingerprint,
  }
  job = resumable_output.BatchJob(workdir / 'scored.jsonl', settings)
  _warn_if_no_evaluator(checkpoint, quantity)
  if job.is_complete():
    return job.output

  tasks = _make_tasks(candidates, top_clusters, quantity, vocabulary, template)
  group = replica_groups.replica_group_of_this_process(partitioner, batch_size)
  words = None
  if quantity == 'verdict':
    words = prompt_templates.make_label_words(template, vocabulary)
  config = scoring.ScoreConfig(model, words, group.mesh, partitioner.rules)
  with locked_folders.hold(workdir, 'score'):
    with stage_cost.StageMeter(
      workdir, 'score', inputs=[checkpoint, candidates]
    ) as meter:
      params = _load_params(checkpoint, config, fingerprint)
      _score_tasks(
        job, group, config, params, tasks, batch_size, quantity, meter
      )
    output = job.finish([task.candidate_set.problem.id for task in tasks])
  _warn_if_no_evaluator(checkpoint, quantity)  # again: the log of a run is long
  return output


def _load_params(
  checkpoint: epath.PathLike,
  config: scoring.ScoreConfig,
  fingerprint: Mapping[str, str],
) -> transformer.Params:
  return load_params.load_inference_params(
    checkpoint,
    config.model,
    fingerprint=fingerprint,
    mesh=config.mesh,
    rules=config.rules,
  )


def _make_tasks(
  path: epath.Path,
  top_clusters: int | None,
  quantity: Quantity,
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
) -> list[_ScoreTask]:
  sets = schema.read_candidate_sets(path)
  _check_clusters(sets, top_clusters, path)
  tasks = [
    _make_task(each, top_clusters, quantity, vocabulary, template)
    for each in sets
  ]
  _log_savings(tasks, top_clusters)
  return tasks


def _make_task(
  candidate_set: schema.CandidateSet,
  top_clusters: int | None,
  quantity: Quantity,
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
) -> _ScoreTask:
  """The texts of one problem that are to be scored."""
  candidates = candidate_set.candidates
  indices = range(len(candidates))
  if top_clusters is not None:
    clusters = candidate_set.clusters()[:top_clusters]
    indices = sorted(index for cluster in clusters for index in cluster)

  first_by_text: dict[
    str, schema.Candidate
  ] = {}  # the first candidate with each text
  for index in reversed(indices):
    first_by_text[candidates[index].solution] = candidates[index]
  texts = tuple(reversed(first_by_text))

  problem = candidate_set.problem
  if quantity == 'verdict':
    prefix = prompt_templates.encode_evaluator_problem(
      template, vocabulary, problem
    )
    tails = [
      prompt_templates.encode_evaluator_solution(template, vocabulary, text)
      for text in texts
    ]
  else:
    prefix = prompt_templates.encode_prompt(template, vocabulary, problem)
    tails = [_sampled_ids(first_by_text[text], vocabulary) for text in texts]
  return _ScoreTask(candidate_set, prefix, texts, tuple(tails))


def _sampled_ids(
  candidate: schema.Candidate, vocabulary: prompt_templates.Vocabulary
) -> Sequence[int]:
  """The token ids of a candidate, with EOS unless it was cut at the length limit."""
  ids = prompt_templates.encode_solution(vocabulary, candidate.solution)
  return ids[:-1] if candidate.finished is False else ids


def _score_tasks(
  job: resumable_output.BatchJob,
  group: replica_groups.ReplicaGroup,
  config: scoring.ScoreConfig,
  params: transformer.Params,
  tasks: Sequence[_ScoreTask],
  batch_size: int,
  quantity: Quantity,
  meter: stage_cost.StageMeter,
) -> None:
  """Scores the group's part of the unfinished problems; problems of similar shape together."""
  finished = job.begin()

  def is_done(task: _ScoreTask) -> bool:
    return task.candidate_set.problem.id in finished

  without_texts = [
    task.candidate_set for task in tasks if not task.texts and not is_done(task)
  ]
  if without_texts and processes.is_primary():
    job.add(without_texts)

  tasks, row_lengths = _plan_rows(tasks, config.label_words)
  own_tasks = replica_groups.items_of_group(group, tasks, batch_size)
  compilations = progress.CompilationCounter()
  num_scored = 0
  if own_tasks:
    logging.info(
      '%s: %d problems; compiling, then scoring',
      group.log_name('score'),
      len(own_tasks),
    )
  with progress.ProgressBar(
    group.log_name('score'),
    total=len(own_tasks),
    unit='problems',
    done=sum(map(is_done, own_tasks)),
  ) as bar:
    for part in replica_groups.iter_group_batches(
      group, tasks, batch_size, is_done
    ):
      scores = _score_part(config, params, part, row_lengths)
      scored_sets = []
      for (_, task), scores_C in zip(part.new_items, scores, strict=True):
        scored_sets.append(_with_scores(quantity, task, scores_C))
        num_scored += len(task.candidate_set.candidates)
      if group.is_writer:
        job.add(scored_sets)
        for _, task in part.new_items:
          meter.add(tokens_in=task.num_tokens())

      speeds = {
        'compiling s': compilations.seconds,
        'candidates/s': num_scored / bar.seconds(),
      }
      bar.advance(
        len(part.new_items), compilations=compilations.count, **speeds
      )


def _plan_rows(
  tasks: Sequence[_ScoreTask], words: label_word_branches.LabelWords | None
) -> tuple[list[_ScoreTask], tuple[int, ...]]:
  """The tasks with texts, by their longest, so that a batch has few row lengths; row lengths."""
  tasks = [task for task in tasks if task.texts]
  if not tasks:
    return [], ()
  lengths = [
    score_packing.problem_lengths(task.problem(), words) for task in tasks
  ]
  order = sorted(range(len(tasks)), key=lambda index: lengths[index].longest)
  row_lengths = score_packing.choose_row_lengths(lengths)
  return [tasks[index] for index in order], row_lengths


def _score_part(
  config: scoring.ScoreConfig,
  params: transformer.Params,
  part: replica_groups.GroupBatch[_ScoreTask],
  row_lengths: tuple[int, ...],
) -> list[np.ndarray]:
  """Returns the scores of each new problem's texts."""
  problems = [task.problem() for _, task in part.new_items]
  return scoring.score_texts(config, params, problems, row_lengths=row_lengths)


def _with_scores(
  quantity: Quantity, task: _ScoreTask, scores_C: np.ndarray
) -> schema.CandidateSet:
  """The candidates of one problem with their scores."""
  values = [float(score) for score in scores_C]
  value_of_text = dict(zip(task.texts, values))
  largest = max(values)

  candidates = []
  for candidate in task.candidate_set.candidates:
    value = value_of_text.get(candidate.solution)
    score, log_odds = None, None
    if quantity == 'log_prob':
      candidates.append(dataclasses.replace(candidate, log_prob=value))
      continue
    if value is not None and quantity == 'likelihood':
      score = math.exp(value - largest)
    elif value is not None:
      score, log_odds = _sigmoid(value), value
    candidates.append(
      dataclasses.replace(candidate, score=score, log_odds=log_odds)
    )
  return dataclasses.replace(task.candidate_set, candidates=tuple(candidates))


def _sigmoid(log_odds: float) -> float:
  if log_odds >= 0:
    return 1 / (1 + math.exp(-log_odds))
  odds = math.exp(log_odds)  # math.exp(-log_odds) could overflow
  return odds / (1 + odds)


def _check_arguments(quantity: str, top_clusters: int | None) -> None:
  quantities = get_args(Quantity)
  if quantity not in quantities:
    raise ValueError(f'quantity is {quantity!r}; wanted one of {quantities}.')
  if top_clusters is not None and top_clusters < 1:
    raise ValueError(
      f'top_clusters is {top_clusters}; it must be at least 1, or None for all candidates.'
    )


def _warn_if_no_evaluator(
  checkpoint: epath.PathLike, quantity: Quantity
) -> None:
  """Logs a warning if S_cls is of a checkpoint whose last loss trains no evaluator."""
  if quantity != 'verdict':
    return
  try:
    metadata = checkpoints.read_metadata(checkpoint)
  except (ValueError, OSError):
    return  # if the output is complete, the checkpoint is not needed
  loss = checkpoints.last_loss(metadata)
  if loss not in GENERATOR_LOSSES or not processes.is_primary():
    return
  trained = f'was trained with {loss}' if loss else 'is a published model'
  logging.warning(
    'score: %s %s, so nothing says that it is an evaluator: S_cls may be no better than chance. '
    'Train an evaluator on graded candidates: --gin_file=stages/scr_xent.gin '
    '--gin.INITIAL_CHECKPOINT_PATH=%s --gin.CANDIDATES=<graded.jsonl>. For log p(X|P) of a '
    "generator set --gin.QUANTITY=log_prob or 'likelihood'.",
    checkpoint,
    trained,
    checkpoint,
  )


def _check_clusters(
  sets: Sequence[schema.CandidateSet],
  top_clusters: int | None,
  path: epath.Path,
) -> None:
  has_clusters = any(each.clusters() for each in sets)
  if top_clusters is not None and not has_clusters:
    raise ValueError(
      f'{path}: no candidate has a cluster, but top_clusters = {top_clusters} needs them. '
      'Run grade on this file first.'
    )


def _log_savings(tasks: Sequence[_ScoreTask], top_clusters: int | None) -> None:
  """Logs how many candidates are not scored separately, and why."""
  num_texts = num_candidates = num_chosen = 0
  for task in tasks:
    num_texts += len(task.texts)
    num_candidates += len(task.candidate_set.candidates)
    for candidate in task.candidate_set.candidates:
      num_chosen += candidate.solution in task.texts
  outside = ''
  if top_clusters is not None:
    num_outside = num_candidates - num_chosen
    outside = f', {num_outside} outside of the {top_clusters} largest clusters'
  logging.info(
    'score: %d texts for %d candidates; not scored separately: %d repeated texts%s',
    num_texts,
    num_candidates,
    num_chosen - num_texts,
    outside,
  )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(score)
