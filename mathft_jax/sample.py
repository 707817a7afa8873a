"""Samples N candidate solutions of each problem from a checkpoint.

  python -m mathft_jax.sample --gin_file=models/tiny.gin --gin_file=data/math.gin \
      --gin_file=programs/sample.gin --gin.CHECKPOINT_PATH=runs/ssft \
      --gin.INFER_OUTPUT_DIR=runs/samples

Writes <workdir>/candidates.jsonl (its fields: docs/report.md). Each candidate has its own random
key, from the seed, the problem's id and the sample index. Therefore its text does not depend on
batches, order or restarts. A stopped run resumes.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses

from etils import epath
import numpy as np

from mathft_jax.config import vocabulary_size
from mathft_jax.data import prompt_templates, schema
from mathft_jax.distributed import locked_folders, partitioning
from mathft_jax.inference import (
  decoding,
  load_params,
  replica_groups,
  resumable_output,
)
from mathft_jax.inference.sampling import SamplingMethod
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress
from mathft_jax.storage import digests, local_and_remote_paths

Problems = (
  Sequence[schema.Problem]
  | Callable[[str], Sequence[schema.Problem]]
  | str
  | epath.Path
)


@dataclasses.dataclass(frozen=True)
class _Prompt:
  """A problem and the token ids of its prompt."""

  problem: schema.Problem
  ids: Sequence[int]


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
    num_decodes: candidates of each problem, N.
    batch_size: problems decoded at once over all devices; the texts do not depend on it.
    unroll_layers: decode layer by layer, not by a scan: faster on a CPU, slower to compile.
  """
  settings = _end_settings(vocabulary) | {
    'checkpoint': local_and_remote_paths.relative_path(checkpoint, workdir),
    'method': repr(method),
    'num_decodes': num_decodes,
    'max_decode_length': max_decode_length,
    'seed': seed,
  }
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
    group,
    partitioner,
  )
  params = _load_params(checkpoint, config, fingerprint, unroll_layers)
  sampler = _Sampler(config, params, seed, vocabulary, template)
  with locked_folders.hold(workdir, 'sample'):
    sampler.run(job, group, prompts, batch_size)
    return job.finish([problem.id for problem in problems])


def _end_settings(
  vocabulary: prompt_templates.Vocabulary,
) -> dict[str, object]:
  """Returns the end tokens if there are others than EOS; settings of older outputs have none."""
  if len(vocabulary.end_ids) == 1:
    return {}
  return {'end_ids': list(vocabulary.end_ids)}


def _make_decode_config(
  model: transformer.TransformerConfig,
  vocabulary: prompt_templates.Vocabulary,
  method: SamplingMethod,
  num_decodes: int,
  max_decode_length: int,
  group: replica_groups.ReplicaGroup,
  partitioner: partitioning.Partitioner,
) -> decoding.DecodeConfig:
  vocabulary_size.check_vocabulary_size(vocabulary, model)
  return decoding.DecodeConfig(
    model=model,
    method=method,
    num_candidates=num_decodes,
    max_decode_length=max_decode_length,
    end_ids=vocabulary.end_ids,
    vocab_size=vocabulary.vocab_size,
    mesh=group.mesh,
    rules=partitioner.rules,
  )


def _load_params(
  checkpoint: epath.PathLike,
  config: decoding.DecodeConfig,
  fingerprint: Mapping[str, str],
  unroll_layers: bool,
) -> transformer.Params:
  params = load_params.load_inference_params(
    checkpoint,
    config.model,
    fingerprint=fingerprint,
    mesh=config.mesh,
    rules=config.rules,
  )
  if unroll_layers:
    return transformer.unstack_layers(params, donate=True)
  return params


@dataclasses.dataclass(frozen=True)
class _Sampler:
  """Samples candidates of prompts."""

  config: decoding.DecodeConfig
  params: transformer.Params
  seed: int
  vocabulary: prompt_templates.Vocabulary
  template: prompt_templates.Template

  def run(
    self,
    job: resumable_output.BatchJob,
    group: replica_groups.ReplicaGroup,
    prompts: Sequence[_Prompt],
    batch_size: int,
  ) -> None:
    """Samples the group's part of the unfinished prompts; prompts of similar length together."""
    finished = job.begin()

    def is_done(prompt: _Prompt) -> bool:
      return prompt.problem.id in finished

    prompts = sorted(prompts, key=lambda prompt: len(prompt.ids))
    own_prompts = replica_groups.items_of_group(group, prompts, batch_size)
    compilations = progress.CompilationCounter()
    num_tokens = num_candidates = 0
    with progress.ProgressBar(
      group.log_name('sample'),
      total=len(own_prompts),
      unit='problems',
      done=sum(map(is_done, own_prompts)),
    ) as bar:
      for part in replica_groups.iter_group_batches(
        group, prompts, batch_size, is_done
      ):
        samples = self._sample_part(part)
        if group.is_writer:
          job.add(self._to_candidate_sets(part, samples))

        for row, _ in part.new_items:
          num_tokens += int(samples.lengths_PC[row].sum())
        num_candidates += len(part.new_items) * self.config.num_candidates
        speeds = {
          'compiling s': compilations.seconds,
          'tokens/s': num_tokens / bar.seconds(),
          'candidates/s': num_candidates / bar.seconds(),
        }
        bar.advance(
          len(part.new_items), compilations=compilations.count, **speeds
        )

  def _sample_part(
    self, part: replica_groups.GroupBatch[_Prompt]
  ) -> decoding.Samples:
    """Samples candidates of a group's prompts, padded to the longest of the whole batch."""
    prompts = part.padded_items
    longest = max(len(prompt.ids) for prompt in part.all_items)
    slots = resumable_output.round_up_to_power_of_two(longest)
    prompts_PS = np.zeros((len(prompts), slots), np.int32)
    lengths_P = np.zeros(len(prompts), np.int32)
    for p, prompt in enumerate(prompts):
      lengths_P[p] = len(prompt.ids)
      prompts_PS[p, : len(prompt.ids)] = prompt.ids

    num_candidates = self.config.num_candidates
    samples_PC = np.tile(np.arange(num_candidates), (len(prompts), 1))
    problem_ids = [prompt.problem.id for prompt in prompts]
    keys_PC = decoding.candidate_prng_keys(self.seed, problem_ids, samples_PC)
    return decoding.decode(
      self.config, self.params, prompts_PS, lengths_P, keys_PC
    )

  def _to_candidate_sets(
    self,
    part: replica_groups.GroupBatch[_Prompt],
    samples: decoding.Samples,
  ) -> list[schema.CandidateSet]:
    return [
      make_candidate_set(
        prompt.problem, samples, row, self.vocabulary, self.template
      )
      for row, prompt in part.new_items
    ]


def make_candidate_set(
  problem: schema.Problem,
  samples: decoding.Samples,
  row: int,
  vocabulary: prompt_templates.Vocabulary,
  template: prompt_templates.Template,
) -> schema.CandidateSet:
  """The record of one problem with its candidates, from row `row` of the samples.

  After demonstrations, models may continue with another problem. Such a candidate is cut there and
  has no token ids and no log-probability.
  """
  candidates = []
  for c, token_row in enumerate(samples.tokens_PCU[row]):
    finished = bool(samples.finished_PC[row, c])
    length = int(samples.lengths_PC[row, c]) - finished  # without its end
    ids = tuple(map(int, token_row[:length]))
    text = vocabulary.decode(ids)
    solution = prompt_templates.truncate_at_next_problem(template, text)
    if solution != text:
      candidate = schema.Candidate(solution=solution, finished=True)
    else:
      candidate = schema.Candidate(
        solution=text,
        token_ids=ids,
        finished=finished,
        log_prob=float(samples.log_probs_PC[row, c]),
      )
    candidates.append(candidate)
  return schema.CandidateSet(problem, tuple(candidates))


def _encode_prompts(
  problems: Sequence[schema.Problem],
  template: prompt_templates.Template,
  vocabulary: prompt_templates.Vocabulary,
) -> list[_Prompt]:
  prompts = []
  for problem in problems:
    ids = prompt_templates.encode_prompt(template, vocabulary, problem)
    prompts.append(_Prompt(problem, ids))
  return prompts


def _digest(prompts: Sequence[_Prompt]) -> str:
  return digests.content_digest(
    (prompt.problem.id, prompt.ids) for prompt in prompts
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
