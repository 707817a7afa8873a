"""Problems and a checkpoint in, N candidate solutions of each problem out.

  python -m mathft_jax.sample --gin_file=models/tiny.gin --gin_file=data/math.gin \
      --gin_file=programs/sample.gin --gin.CHECKPOINT_PATH=runs/ssft --gin.INFER_OUTPUT_DIR=runs/samples

Writes <workdir>/candidates.jsonl (docs/report.md says what is in it). Each candidate has a random key
of its own, made from the seed, the problem's id and its number: the text does not depend on batches,
order or restarts. A stopped run goes on where it stopped.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from etils import epath
import numpy as np

from mathft_jax.data import prompt_templates, schema
from mathft_jax.distributed import partitioning
from mathft_jax.inference import (
  batch_jobs,
  decoding,
  load_params,
  replica_groups,
)
from mathft_jax.inference.sampling import SamplingMethod
from mathft_jax.models import transformer
from mathft_jax.monitoring import progress
from mathft_jax.storage import remote_paths


def sample(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: Sequence[schema.Problem]
  | Callable[[str], Sequence[schema.Problem]]
  | str,
  model: transformer.TransformerConfig,
  vocabulary: Any,
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
  """The path of `<workdir>/candidates.jsonl`, at once when it is there already.

  Args:
    workdir: where the output goes, and finished batches of an interrupted run.
    checkpoint: of `train`, or a safetensors file.
    problems: a list, a source that is asked for `split`, or the path of a file of problems.
    method: of `inference.sampling`; the paper's is Nucleus(p=0.95, temperature=0.9).
    max_decode_length: tokens of a candidate at most, EOS included; longer ones are cut there.
    num_decodes: candidates of each problem, N.
    batch_size: problems decoded at once over all devices of all processes, batch_size x num_decodes
      rows; no text depends on it.
    unroll_layers: decode layer by layer instead of scanning over a stack of them; faster (in two
      thirds of the time on a CPU), but takes longer to compile for deep models.
  """
  workdir, problems = epath.Path(workdir), _problems(problems, split)
  prompt_ids = [
    prompt_templates.encode_prompt(template, vocabulary, problem)
    for problem in problems
  ]
  job = batch_jobs.BatchJob(
    workdir / 'candidates.jsonl',
    {
      'checkpoint': remote_paths.relative_path(checkpoint, workdir),
      'method': repr(method),
      'num_decodes': num_decodes,
      'max_decode_length': max_decode_length,
      'seed': seed,
      'problems': batch_jobs.content_digest(
        zip([problem.id for problem in problems], prompt_ids)
      ),
      **prompt_templates.template_fingerprint(template, vocabulary),
    },
  )
  if job.is_complete():
    return job.output
  group = replica_groups.replica_group_of_this_process(partitioner, batch_size)
  plan = decoding.DecodeConfig(
    model=model,
    method=method,
    num_candidates=num_decodes,
    max_decode_length=max_decode_length,
    eos_id=vocabulary.eos_id,
    vocab_size=vocabulary.vocab_size,
    mesh=group.mesh,
    rules=partitioner.rules,
  )
  params = load_params.load_inference_params(
    checkpoint,
    model,
    fingerprint=prompt_templates.template_fingerprint(template, vocabulary),
    mesh=plan.mesh,
    rules=partitioner.rules,
  )
  if unroll_layers:
    params = transformer.unstack_layers(params, donate=True)
  _decode_all(
    job,
    group,
    plan,
    params,
    problems,
    prompt_ids,
    vocabulary,
    template,
    batch_size,
    seed,
  )
  return job.finish([problem.id for problem in problems])


def _decode_all(
  job: batch_jobs.BatchJob,
  group: replica_groups.ReplicaGroup,
  plan: decoding.DecodeConfig,
  params: Any,
  problems: Sequence[schema.Problem],
  prompt_ids: Sequence[Sequence[int]],
  vocabulary: Any,
  template: prompt_templates.Template,
  batch_size: int,
  seed: int,
) -> None:
  """Decodes what the job lacks of the group's part, prompts of like length together."""
  finished = job.begin()
  is_done = lambda i: problems[i].id in finished
  order = sorted(range(len(problems)), key=lambda i: (len(prompt_ids[i]), i))
  mine = replica_groups.items_of_group(group, order, batch_size)
  watch, tokens, candidates = progress.CompilationCounter(), 0, 0
  with progress.ProgressBar(
    group.log_name('sample'),
    total=len(mine),
    unit='problems',
    done=sum(map(is_done, mine)),
  ) as bar:
    for share in replica_groups.iter_group_batches(
      group, order, batch_size, is_done
    ):
      longest = max(len(prompt_ids[i]) for i in share.batch)
      samples = _decode(
        plan,
        params,
        [problems[i] for i in share.rows],
        [prompt_ids[i] for i in share.rows],
        batch_jobs.round_up_to_power_of_two(longest),
        seed,
      )
      if group.is_writer:
        job.add(
          [
            make_candidate_set(
              problems[i], samples, row, plan, vocabulary, template
            )
            for row, i in share.new
          ]
        )
      tokens += int(samples.lengths_PC[[row for row, _ in share.new]].sum())
      candidates += len(share.new) * plan.num_candidates
      bar.advance(
        len(share.new),
        compilations=watch.count,
        **{
          'compiling s': watch.seconds,
          'tokens/s': tokens / bar.seconds(),
          'candidates/s': candidates / bar.seconds(),
        },
      )


def _decode(
  plan: decoding.DecodeConfig,
  params: Any,
  problems: Sequence[schema.Problem],
  prompt_ids: Sequence[Sequence[int]],
  slots: int,
  seed: int,
) -> decoding.Samples:
  """The candidates of these rows, with prompts padded to `slots` tokens."""
  lengths_P = np.array(list(map(len, prompt_ids)), np.int32)
  prompts_PS = np.zeros((len(problems), slots), np.int32)
  for row, ids in enumerate(prompt_ids):
    prompts_PS[row, : len(ids)] = ids
  samples_PC = np.tile(np.arange(plan.num_candidates), (len(problems), 1))
  keys_PC = decoding.candidate_prng_keys(
    seed, [problem.id for problem in problems], samples_PC
  )
  return decoding.decode(plan, params, prompts_PS, lengths_P, keys_PC)


def make_candidate_set(
  problem: schema.Problem,
  samples: decoding.Samples,
  row: int,
  plan: decoding.DecodeConfig,
  vocabulary: Any,
  template: prompt_templates.Template,
) -> schema.CandidateSet:
  """One problem's candidates as records.

  One that went on with a further problem, as models do after demonstrations, is cut there and keeps
  neither the tokens nor the log-probability of the whole.
  """
  candidates = []
  for c in range(plan.num_candidates):
    finished = bool(samples.finished_PC[row, c])
    length = int(samples.lengths_PC[row, c]) - finished  # without EOS
    ids = tuple(map(int, samples.tokens_PCU[row, c, :length]))
    text = vocabulary.decode(ids)
    own = prompt_templates.truncate_at_next_problem(template, text)
    if own != text:
      candidates.append(schema.Candidate(solution=own, finished=True))
      continue
    candidates.append(
      schema.Candidate(
        solution=text,
        token_ids=ids,
        finished=finished,
        log_prob=float(samples.log_probs_PC[row, c]),
      )
    )
  return schema.CandidateSet(problem, tuple(candidates))


def _problems(problems: Any, split: str) -> list[schema.Problem]:
  """The problems that are meant; ValueError for none, or for ids that come twice."""
  if isinstance(problems, str | epath.Path):
    found = schema.read_problems(problems)
  elif callable(problems):
    found = [
      dataclasses.replace(problem, split=problem.split or split)
      for problem in problems(split)
    ]
  else:
    found = list(problems)
  ids = [problem.id for problem in found]
  twice = (
    sorted({each for each in ids if ids.count(each) > 1})
    if len(set(ids)) < len(ids)
    else []
  )
  if twice or not found:
    raise ValueError(
      f'{len(found)} problems, of which these ids come twice: {twice[:5]}; wanted at '
      'least one problem, each with an id of its own.'
    )
  return found


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(sample)
