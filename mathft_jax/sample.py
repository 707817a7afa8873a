"""Samples N candidate solutions of each problem from a checkpoint.

  python -m mathft_jax.sample --gin_file=programs/sample.gin --gin_file=data/math.gin \
      --gin.CHECKPOINT_PATH=runs/ssft --gin.INFER_OUTPUT_DIR=runs/samples

Writes <workdir>/candidates.jsonl (its fields: docs/report.md). Each candidate has its own random
key, from the seed, the problem's id and the sample index. Therefore its text does not depend on
other problems, order or restarts. A stopped run resumes.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

from absl import logging
from etils import epath

from mathft_jax import checkpoints
from mathft_jax.config import vocabulary_size
from mathft_jax.data import prompt_templates, schema
from mathft_jax.distributed import locked_folders, partitioning
from mathft_jax.inference import (
  decode_caches,
  decode_config,
  decoding,
  load_params,
  prefill,
  replica_groups,
  resumable_output,
)
from mathft_jax.inference.sampling import SamplingMethod
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress, stage_cost
from mathft_jax.storage import digests, local_and_remote_paths

Problems = (
  Sequence[schema.Problem]
  | Callable[[str], Sequence[schema.Problem]]
  | str
  | epath.Path
)


def sample(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: Problems,
  model: transformer.TransformerConfig,
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
  method: SamplingMethod,
  max_decode_length: int,
  split: str = 'test',
  num_decodes: int = 64,
  first_sample: int = 0,
  batch_size: int = 16,
  seed: int = 0,
  unroll_layers: bool = True,
  partitioner: partitioning.Partitioner = partitioning.Partitioner(),
) -> epath.Path:
  """Returns the path of `<workdir>/candidates.jsonl`, at once if it is complete.

  Args:
    checkpoint: of `train`, or a safetensors file.
    problems: a list, a source that is called with `split`, or the path of a problem file.
    method: of `inference.sampling`; the paper uses Nucleus(p=0.95, temperature=0.9).
    max_decode_length: tokens of a candidate at most, EOS included.
    num_decodes, first_sample: N candidates of each problem, and the number of the first of them.
    batch_size: batch_size * num_decodes candidates are decoded at once; texts do not depend on it.
    unroll_layers: decode layer by layer, not by a scan: faster on a CPU, slower to compile.
  """
  settings = _settings(method, num_decodes, max_decode_length, seed, vocabulary)
  settings |= _start_settings(checkpoint, workdir, first_sample)
  output = epath.Path(workdir) / 'candidates.jsonl'
  problems = _read_problems(problems, split)
  fingerprint = prompt_templates.template_fingerprint(template, vocabulary)
  if resumable_output.is_output_of(output, settings | fingerprint, problems):
    return output  # without tokenizing the prompts
  prompts = _encode_prompts(problems, template, vocabulary)
  settings['problems'] = _digest(prompts)
  job = resumable_output.BatchJob(output, settings | fingerprint)
  if job.is_complete():
    return output
  group = replica_groups.replica_group_of_this_process(partitioner, batch_size)
  config = _make_decode_config(
    model,
    vocabulary,
    method,
    num_decodes,
    max_decode_length,
    prompts,
    group,
    partitioner.rules,
    unroll_layers,
  )
  samples = range(first_sample, first_sample + num_decodes)
  with locked_folders.hold(workdir, 'sample'):
    with stage_cost.StageMeter(workdir, 'sample', inputs=[checkpoint]) as meter:
      params = _load_params(checkpoint, config, fingerprint)
      sampler = _Sampler(config, params, samples, seed, vocabulary, template)
      sampler.run(job, group, problems, prompts, meter)
    return job.finish([problem.id for problem in problems])


def _settings(
  method: SamplingMethod,
  num_decodes: int,
  max_decode_length: int,
  seed: int,
  vocabulary: prompt_templates.Vocabulary,
) -> dict[str, object]:
  """The settings that determine the candidates, other than the checkpoint and the prompts."""
  settings: dict[str, object] = {
    'method': repr(method),
    'num_decodes': num_decodes,
    'max_decode_length': max_decode_length,
    'seed': seed,
  }
  if len(vocabulary.end_ids) > 1:
    settings['end_ids'] = list(vocabulary.end_ids)
  return settings


def _start_settings(
  checkpoint: epath.PathLike, workdir: epath.PathLike, first_sample: int
) -> dict[str, object]:
  path = local_and_remote_paths.relative_path(checkpoint, workdir)
  settings = {'checkpoint': path, **checkpoints.describe_weights(checkpoint)}
  if first_sample > 0:  # 0 is not written, as in work directories of before
    settings['first_sample'] = first_sample
  return settings


def _make_decode_config(
  model: transformer.TransformerConfig,
  vocabulary: prompt_templates.Vocabulary,
  method: SamplingMethod,
  num_decodes: int,
  max_decode_length: int,
  prompts: Sequence[prefill.Prompt],
  group: replica_groups.ReplicaGroup,
  rules: partitioning.AxisRules,
  unroll_layers: bool,
) -> decode_config.DecodeConfig:
  vocabulary_size.check_vocabulary_size(vocabulary, model)
  num_rows = group.items_per_batch * num_decodes
  mesh = group.mesh
  return decode_config.DecodeConfig(
    model=model,
    method=method,
    num_rows=num_rows,
    rows_per_group=decode_config.rows_per_group(num_rows, num_decodes, mesh),
    prompt_slots=decode_config.prompt_slots(
      max(len(each.ids) for each in prompts)
    ),
    max_decode_length=max_decode_length,
    end_ids=vocabulary.end_ids,
    vocab_size=vocabulary.vocab_size,
    mesh=mesh,
    rules=rules,
    stacked=not unroll_layers,
  )


def _load_params(
  checkpoint: epath.PathLike,
  config: decode_config.DecodeConfig,
  fingerprint: Mapping[str, str],
) -> transformer.Params:
  params = load_params.load_inference_params(
    checkpoint,
    config.model,
    fingerprint=fingerprint,
    mesh=config.mesh,
    rules=config.rules,
  )
  if config.stacked:
    return params
  return transformer.unstack_layers(config.model, params, donate=True)


@dataclasses.dataclass(frozen=True)
class _Sampler:
  """Samples candidates of prompts."""

  config: decode_config.DecodeConfig
  params: transformer.Params
  samples: range  # numbers of the candidates of each prompt
  seed: int
  vocabulary: prompt_templates.Vocabulary
  template: prompt_templates.Template

  def run(
    self,
    job: resumable_output.BatchJob,
    group: replica_groups.ReplicaGroup,
    problems: Sequence[schema.Problem],
    prompts: Sequence[prefill.Prompt],
    meter: stage_cost.StageMeter,
  ) -> None:
    """Samples the group's part of the unfinished problems."""
    finished = job.begin()
    unfinished = [
      (problem, prompt)
      for problem, prompt in zip(problems, prompts)
      if problem.id not in finished
    ]
    own = unfinished[group.index :: group.count]
    if not own:
      return
    logging.info(
      '%s: %d rows, KV cache %.2f GiB per device; compiling, then sampling',
      group.log_name('sample'),
      self.config.num_rows,
      decode_caches.cache_bytes_per_device(self.config) / 2**30,
    )
    sets: list[schema.CandidateSet] = []
    try:
      for candidate_set in self._sample(own, group, meter):
        sets.append(candidate_set)
        if len(sets) >= group.items_per_batch:
          self._add(job, group, sets)
    finally:  # also what is finished when the run is stopped
      self._add(job, group, sets)

  def _add(
    self,
    job: resumable_output.BatchJob,
    group: replica_groups.ReplicaGroup,
    sets: list[schema.CandidateSet],
  ) -> None:
    """Writes the sets and empties the list."""
    if sets and group.is_writer:
      job.add(sets)
    sets.clear()

  def _sample(
    self,
    own: Sequence[tuple[schema.Problem, prefill.Prompt]],
    group: replica_groups.ReplicaGroup,
    meter: stage_cost.StageMeter,
  ) -> Iterator[schema.CandidateSet]:
    """Yields the candidates of each problem when all of them have ended."""
    prompts = [prompt for _, prompt in own]
    found: dict[int, list[decoding.DecodedCandidate]] = {}
    counts = _Counts()
    with progress.ProgressBar(
      group.log_name('sample'),
      total=len(own),
      unit='problems',
      seconds_between_lines=30,
    ) as bar:
      for block in decoding.decode(
        self.config,
        self.params,
        prompts,
        num_candidates=len(self.samples),
        seed=self.seed,
        first_sample=self.samples.start,
      ):
        counts.add(block)
        if counts.num_blocks == 1:
          bar.note(f'{group.log_name("sample")}: {counts.first_line()}')
        bar.advance(0, **counts.numbers(bar.seconds()))
        if group.is_writer:
          meter.add(tokens_out=block.num_tokens)
        for candidate in block.ended:
          candidates = found.setdefault(candidate.prompt, [])
          candidates.append(candidate)
          if len(candidates) == len(self.samples):
            del found[candidate.prompt]
            problem, prompt = own[candidate.prompt]
            if group.is_writer:
              meter.add(tokens_in=len(prompt.ids))
            yield make_candidate_set(
              problem, candidates, self.vocabulary, self.template
            )
            bar.advance(1, **counts.numbers(bar.seconds()))


class _Counts:
  """Counts for the progress bar."""

  def __init__(self):
    self._compilations = progress.CompilationCounter()
    self._tokens = self._row_steps = self._candidates = self._started = 0
    self.num_blocks = 0

  def add(self, block: decoding.Block) -> None:
    self._tokens += block.num_tokens
    self._row_steps += block.num_row_steps
    self._candidates += len(block.ended)
    self._started = block.num_started
    self.num_blocks += 1

  def first_line(self) -> str:
    """What is logged after the first block, in which almost all programs are compiled."""
    return f'{self._started} problems started; {self._compilations.describe()}'

  def numbers(self, seconds: float) -> dict[str, float]:
    return {
      'started': self._started,
      'compilations': self._compilations.count,
      'compiling s': self._compilations.seconds,
      'tokens/s': self._tokens / seconds,
      'candidates/s': self._candidates / seconds,
      'rows in use': self._tokens / self._row_steps,
    }


def make_candidate_set(
  problem: schema.Problem,
  decoded: Sequence[decoding.DecodedCandidate],
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
) -> schema.CandidateSet:
  """The record of one problem with its candidates, in the order of their sample indices.

  After demonstrations, models may continue with another problem. Such a candidate is cut there and
  has no token ids and no log-probability.
  """
  candidates = []
  for each in sorted(decoded, key=lambda each: each.sample):
    length = len(each.tokens) - each.finished  # without its end
    ids = tuple(map(int, each.tokens[:length]))
    text = vocabulary.decode(ids)
    solution = prompt_templates.truncate_at_next_problem(template, text)
    if solution != text:
      candidate = schema.Candidate(solution=solution, finished=True)
    else:
      candidate = schema.Candidate(
        solution=text,
        token_ids=ids,
        finished=each.finished,
        log_prob=each.log_prob,
      )
    candidates.append(candidate)
  return schema.CandidateSet(problem, tuple(candidates))


def _encode_prompts(
  problems: Sequence[schema.Problem],
  template: prompt_templates.Template,
  vocabulary: prompt_templates.Vocabulary,
) -> list[prefill.Prompt]:
  prompts = []
  for problem in problems:
    ids = prompt_templates.encode_prompt(template, vocabulary, problem)
    prompts.append(prefill.Prompt(problem.id, ids))
  return prompts


def _digest(prompts: Sequence[prefill.Prompt]) -> str:
  return digests.content_digest(
    (prompt.problem_id, prompt.ids) for prompt in prompts
  )


def _read_problems(problems: Problems, split: str) -> list[schema.Problem]:
  """The problems. Raises ValueError if there are none, or if two have the same id."""
  if isinstance(problems, str | epath.Path):
    found = schema.read_problems(problems)
  elif callable(problems):
    found = [
      dataclasses.replace(problem, split=problem.split or split)
      for problem in problems(split)
    ]
  else:
    found = list(problems)

  counts = collections.Counter(problem.id for problem in found)
  repeated = sorted(name for name, count in counts.items() if count > 1)
  if repeated or not found:
    raise ValueError(
      f'Found {len(found)} problems; ids that are used more than once: {repeated[:5]}. Wanted at '
      'least one problem, each with its own id.'
    )
  return found


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(sample)
