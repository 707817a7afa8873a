"""Python API for notebooks; every name is available as `mathft_jax.<name>`.

  import mathft_jax as mf

  problems = mf.read_problems('test.jsonl')
  generator = mf.load('runs/ssft')
  evaluator = mf.load('runs/scr')

  graded = mf.grade_candidates(generator.sample(problems, n=16))
  scored = evaluator.score(graded)
  print(mf.report(scored))

The functions call the programs `sample`, `grade`, `score` and `evaluate`, so results are those of
the command line. With a `workdir`, files are kept and interrupted work resumes; without one, a
temporary directory is used.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import io
import json
import tempfile

from etils import epath

from mathft_jax import checkpoints
from mathft_jax import evaluate as evaluate_program
from mathft_jax import grade as grade_program
from mathft_jax import sample as sample_program
from mathft_jax import score as score_program
from mathft_jax.data import (
  problem_mapping,
  problem_sources,
  prompt_templates,
  published_templates,
  schema,
  vocabularies,
)
from mathft_jax.data.problem_mapping import ProblemMapping as ProblemMapping
from mathft_jax.data.prompt_templates import Template
from mathft_jax.data.schema import Candidate, CandidateSet, Problem
from mathft_jax.data.vocabularies import (
  TokenizerVocabulary as TokenizerVocabulary,
)
from mathft_jax.dials import dial_problems
from mathft_jax.evaluation import voting
from mathft_jax.evaluation.report import terminal
from mathft_jax.evaluation.report.stored_numbers import JsonObject
from mathft_jax.evaluation.voting import Majority as Majority
from mathft_jax.evaluation.voting import Oracle as Oracle
from mathft_jax.evaluation.voting import Rerank as Rerank
from mathft_jax.evaluation.voting import WeightedVote as WeightedVote
from mathft_jax.inference import checkpoint_prompts, sampling
from mathft_jax.models import transformer


@dataclasses.dataclass(frozen=True)
class Model:
  """A generator or an evaluator: a checkpoint with its tokenizer and its prompts.

  Attributes:
    checkpoint: a work directory, a step of it, a safetensors file or a Hugging Face folder.
    config: the Transformer's configuration.
    vocabulary: text to token ids and back.
    template: the prompts.
  """

  checkpoint: epath.Path
  config: transformer.TransformerConfig
  vocabulary: prompt_templates.Vocabulary
  template: Template

  def sample(
    self,
    problems: Sequence[Problem],
    *,
    n: int = 64,
    temperature: float = 0.9,
    top_p: float = 0.95,
    max_tokens: int = 512,
    batch_size: int = 16,
    seed: int = 0,
    workdir: epath.PathLike | None = None,
  ) -> list[CandidateSet]:
    """Returns `n` candidate solutions of each problem; the defaults are the paper's.

    Args:
      problems: problems with different ids.
      n: candidates per problem; with temperature 0 they are all the greedy solution.
      temperature: softmax temperature; 0 decodes greedily.
      top_p: probability mass of nucleus sampling.
      max_tokens: maximum tokens of a candidate, EOS included.
      batch_size: batch_size * n candidates are decoded at once; no text depends on it.
      seed: random seed.
      workdir: directory of the output; interrupted work resumes there.
    """
    method = sampling.Greedy()
    if temperature:
      method = sampling.Nucleus(p=top_p, temperature=temperature)
    with _directory(workdir) as folder:
      path = sample_program.sample(
        folder,
        checkpoint=self.checkpoint,
        problems=problems,
        model=self.config,
        vocabulary=self.vocabulary,
        template=self.template,
        method=method,
        num_decodes=n,
        max_decode_length=max_tokens,
        batch_size=batch_size,
        seed=seed,
      )
      return schema.read_candidate_sets(path)

  def score(
    self,
    graded: Sequence[CandidateSet],
    *,
    top_clusters: int | None = None,
    batch_size: int = 16,
    workdir: epath.PathLike | None = None,
  ) -> list[CandidateSet]:
    """Returns the candidates with S_cls in [0, 1] as `score`: this model is the evaluator.

    Args:
      graded: candidates with clusters, as `grade_candidates` returns them.
      top_clusters: score only members of the K largest clusters; None scores all.
      batch_size: problems scored at once.
      workdir: directory of the output; interrupted work resumes there.
    """
    with _directory(workdir) as folder:
      path = score_program.score(
        folder,
        checkpoint=self.checkpoint,
        candidates=_written(folder, graded),
        model=self.config,
        vocabulary=self.vocabulary,
        template=self.template,
        top_clusters=top_clusters,
        batch_size=batch_size,
      )
      return schema.read_candidate_sets(path)


@dataclasses.dataclass(frozen=True)
class Report:
  """Accuracies of all voting rules with intervals.

  `print` shows the headline and the main table; `print(report.markdown)` shows everything, as a
  notebook does.

  Attributes:
    markdown: the whole report as text.
    html: the report as a self-contained page.
    contents: everything in it as a dictionary (docs/report.md).
  """

  markdown: str
  html: str = dataclasses.field(repr=False)
  contents: JsonObject = dataclasses.field(repr=False)

  def __str__(self) -> str:
    return terminal.summary_text(self.contents)

  def _repr_markdown_(self) -> str:
    return self.markdown


def load(
  checkpoint: epath.PathLike,
  *,
  vocabulary: prompt_templates.Vocabulary | None = None,
  template: Template | None = None,
) -> Model:
  """Opens a checkpoint of `train` or a Hugging Face folder.

  Args:
    checkpoint: a work directory, a step of it, a safetensors file, or a Hugging Face folder.
    vocabulary: by default that of the checkpoint, with the tokenizer in its work directory, or the
      tokenizer in the Hugging Face folder.
    template: the prompts; by default those that the checkpoint was trained with.

  Raises:
    ValueError: if the checkpoint does not exist or its tokenizer must be given.
  """
  is_saved = checkpoint_prompts.read_prompts(checkpoint) is not None
  metadata = checkpoints.read_metadata(checkpoint)
  fingerprint = metadata.get('fingerprint') or {}
  if vocabulary is None and is_saved:
    vocabulary = checkpoint_prompts.load_vocabulary(checkpoint)
  elif vocabulary is None:
    vocabulary = _vocabulary(epath.Path(checkpoint), fingerprint)
  if template is None and is_saved:
    template = checkpoint_prompts.load_template(checkpoint)
  elif template is None:
    template = prompt_templates.template_from_fingerprint(fingerprint)
  return Model(
    checkpoint=epath.Path(checkpoint),
    config=checkpoints.load_model_config(checkpoint),
    vocabulary=vocabulary,
    template=template,
  )


def read_problems(
  path: epath.PathLike,
  split: str = 'test',
  mapping: problem_mapping.ProblemMapping = problem_mapping.DEFAULT_MAPPING,
) -> list[Problem]:
  """Reads problems from a file of any format; docs/data.md lists formats and fields.

  Args:
    path: a file, a glob or a folder; `{split}` in it is replaced.
    split: the split to read; records without a split belong to any.
    mapping: names of the fields, filters, form of the answer.
  """
  source = problem_sources.JsonlProblems(
    str(path), append_answer=False, mapping=mapping, default_split=split
  )
  return list(source(split))


def read_candidates(path: epath.PathLike) -> list[CandidateSet]:
  """Reads a candidate file, also one sampled by another engine (docs/report.md)."""
  return schema.read_candidate_sets(path)


def write_candidates(
  path: epath.PathLike, candidate_sets: Sequence[CandidateSet]
) -> None:
  """Writes a candidate file that every program reads."""
  schema.write_jsonl(path, candidate_sets)


def grade_candidates(
  candidate_sets: Sequence[CandidateSet],
  *,
  workdir: epath.PathLike | None = None,
) -> list[CandidateSet]:
  """Returns the candidates with `answer`, `is_correct` and `cluster`.

  Args:
    candidate_sets: sampled candidates.
    workdir: directory of the output; by default temporary.
  """
  with _directory(workdir) as folder:
    with contextlib.redirect_stdout(io.StringIO()):  # the table of `grade`
      path = grade_program.grade(
        folder, candidates=_written(folder, candidate_sets)
      )
    return schema.read_candidate_sets(path)


def select(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> list[Candidate | None]:
  """Returns the candidate that a voting rule chooses for each problem.

  Args:
    candidate_sets: graded candidates; scored ones for `Rerank` and `WeightedVote`.
    rule: e.g. `Majority()` (Maj1), `Rerank()` (RR.All) or `WeightedVote(top_clusters=8)`.
  """
  return [rule(candidate_set) for candidate_set in candidate_sets]


def report(
  candidate_sets: Sequence[CandidateSet],
  *,
  rules: Sequence[voting.VotingRule] | None = None,
  workdir: epath.PathLike | None = None,
) -> Report:
  """Returns the report of graded or scored candidates: Maj1@N, Pass@N, re-ranking, with intervals.

  Args:
    candidate_sets: graded candidates; rules that need scores are left out where there are none.
    rules: voting rules; by default all of the paper's.
    workdir: directory of report.md, report.html, report.json and plots; by default temporary.
  """
  with _directory(workdir) as folder:
    path = evaluate_program.evaluate(
      folder,
      candidates={'candidates': _written(folder, candidate_sets)},
      rules=rules or voting.paper_rules(),
      print_tables=False,
      # A temporary folder has no telling name, and its pages cannot be opened later.
      title='Report' if workdir is None else '',
      browse_candidates=workdir is not None,
    )
    return Report(
      markdown=path.with_name('report.md').read_text(),
      html=path.with_name('report.html').read_text(),
      contents=json.loads(path.read_text()),
    )


def _vocabulary(
  checkpoint: epath.Path, fingerprint: Mapping[str, str]
) -> prompt_templates.Vocabulary:
  """The vocabulary of a published or older checkpoint; ValueError if it is not known."""
  known = fingerprint.get('vocabulary')
  for vocabulary in (
    dial_problems.dial_vocabulary(),
    vocabularies.ByteVocabulary(),
  ):
    if vocabulary.fingerprint() == known:
      return vocabulary

  if checkpoints.is_huggingface_checkpoint(checkpoint):
    return published_templates.load_vocabulary(checkpoint, chat=False)
  raise ValueError(
    f'{checkpoint} does not contain its tokenizer ({known or "no metadata"}); pass '
    "vocabulary=mf.TokenizerVocabulary('<tokenizer.json>', eos=..., pad=...)."
  )


def _written(
  folder: epath.Path, candidate_sets: Sequence[CandidateSet]
) -> epath.Path:
  """The path of an input file for a program."""
  path = folder / 'input.jsonl'
  write_candidates(path, candidate_sets)
  return path


@contextlib.contextmanager
def _directory(workdir: epath.PathLike | None) -> Iterator[epath.Path]:
  """A work directory, temporary by default."""
  if workdir is None:
    with tempfile.TemporaryDirectory(prefix='mathft_jax_') as folder:
      yield epath.Path(folder)
  else:
    epath.Path(workdir).mkdir(parents=True, exist_ok=True)
    yield epath.Path(workdir)
