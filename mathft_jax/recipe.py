"""The paper's recipe: SSFT -> SCR -> SSFT (MTSF), with its baselines and controls.

  python -m mathft_jax.recipe --gin_file=recipes/tiny_cpu.gin

The ideas of the paper, and what they are compared with:

- SSFT: a generator is fine-tuned on step-by-step solutions; solution styles are compared.
- SCR: an evaluator is trained on the generator's graded candidates and re-ranks its test
  candidates; compared with the majority vote and with log-probabilities.
- MTSF: the evaluator's weights are fine-tuned on solutions again; compared with a control that is
  trained on solutions for as many steps.

Each stage writes to its own folder and returns at once if its output is complete. If the recipe is
stopped, the same command resumes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from etils import epath

from mathft_jax import measure as measure_lib
from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.data.examples import ExampleSource
from mathft_jax.data.problem_sources import ProblemSource
from mathft_jax.data.schema import Problem
from mathft_jax.distributed import processes
from mathft_jax.evaluation import evaluated_file
from mathft_jax.evaluation.report import paper_claims, paper_tables, tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
  """The programs of a recipe, which passes their work directory, inputs and seed.

  Without `ssft_again` the recipe stops after SCR, without `scr` after comparing solution styles.

  Attributes:
    ssft: `train`, for MLE on solutions.
    sample: `sample`, for N candidates of each training problem, to train evaluators on.
    grade: `grade`, for answers, correctness and clusters.
    sample_greedy: `sample`, for one greedy solution of each test problem (Pass@1).
    sample_test: `sample`, for N candidates of each test problem.
    evaluate: `evaluate`, for a report of one scored file.
    scr: by loss, `train` for an evaluator; if empty, the recipe stops after SSFT.
    ssft_again: `train`, the third stage, from an evaluator's weights; None: no MTSF.
    control: `train`, from the first stage's weights for the steps of scr + ssft_again; None: none.
    score: `score`, for S_cls of each candidate; None: generators are only measured by votes.
    score_by_likelihood: `score`, for log p(X|P) under the control; None omits that row.
  """

  ssft: BoundProgram
  sample: BoundProgram
  grade: BoundProgram
  sample_greedy: BoundProgram
  sample_test: BoundProgram
  evaluate: BoundProgram
  scr: Mapping[str, BoundProgram] = dataclasses.field(default_factory=dict)
  ssft_again: BoundProgram | None = None
  control: BoundProgram | None = None
  score: BoundProgram | None = None
  score_by_likelihood: BoundProgram | None = None

  def __post_init__(self):
    if self.control and not (self.scr and self.ssft_again):
      raise ValueError(
        'Stages.control is set, but `scr` or `ssft_again` is not. The control takes their steps: '
        'set both, or set control to None.'
      )


class TrainedModel(NamedTuple):
  """A checkpoint, and the name of its training run's folder."""

  name: str
  checkpoint: epath.Path

  @property
  def train_steps(self) -> int:
    return int(self.checkpoint.name)  # checkpoints are named after their steps


@dataclasses.dataclass(frozen=True)
class TrainedModels:
  """The models of one run of the recipe.

  Attributes:
    generators: by solution style, the first stage.
    evaluators: by loss, the second stage.
    mtsf: by loss, the generator of the third stage.
    controls: by loss, a generator trained for as many steps without an evaluator stage.
  """

  generators: dict[str, TrainedModel]
  evaluators: dict[str, TrainedModel]
  mtsf: dict[str, TrainedModel]
  controls: dict[str, TrainedModel]


def recipe(
  workdir: epath.PathLike,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: ProblemSource,
  solution_examples: Mapping[str, ExampleSource],
  main_style: str,
  rules: Sequence[evaluated_file.VotingRule],
  evaluator_examples: Mapping[str, ExampleSource] | None = None,
  compared_styles: Sequence[str] = ('terse', 'fine'),
  seeds: Sequence[int] = (0,),
  tables_name: str = 'tables',
) -> epath.Path:
  """Returns the path of tables.md: the paper's tables for one run, or for several seeds.

  Args:
    workdir: each stage writes to its own folder here; with several seeds, to one per seed.
    pretrained: the initial weights of the first stage.
    stages: the programs.
    problems: a source of problems; the evaluators are trained on the splits 'train' and
      'validation', all numbers in the tables are of the split 'test'.
    solution_examples: by solution style, the training examples of the generators.
    main_style: the style whose generator continues to SCR and MTSF.
    rules: the voting rules of the tables.
    evaluator_examples: by loss, the training examples of the evaluator; their field `candidates`
      is set by the recipe.
    compared_styles: a terse and a fine-grained style, whose difference is a claim of the paper.
    seeds: of whole runs. Training, sampling and candidate selection differ; problems do not.
    tables_name: of tables.md and tables.json; with other names, parts of the paper share a workdir.
  """
  workdir = epath.Path(workdir)
  _check_inputs(stages, solution_examples, main_style, evaluator_examples)
  results = {}
  for seed in seeds:
    run_dir = workdir / f'seed_{seed}' if len(seeds) > 1 else workdir
    models = train_all_models(
      run_dir,
      pretrained=pretrained,
      stages=stages,
      problems=problems,
      solution_examples=solution_examples,
      main_style=main_style,
      evaluator_examples=evaluator_examples or {},
      seed=seed,
    )
    test_set = TestSet(run_dir, stages, problems('test'), rules, seed)
    results[seed] = evaluate_all_models(
      test_set, models, main_style=main_style, compared_styles=compared_styles
    )
    _write_tables(run_dir / tables_name, {seed: results[seed]})
  if len(seeds) > 1:
    _write_tables(workdir / tables_name, results)
  return workdir / f'{tables_name}.md'


def _check_inputs(
  stages: Stages,
  solution_examples: Mapping[str, ExampleSource],
  main_style: str,
  evaluator_examples: Mapping[str, ExampleSource] | None,
) -> None:
  if main_style not in solution_examples:
    raise ValueError(
      f'main_style is {main_style!r}; wanted one of {list(solution_examples)}.'
    )
  losses = list(stages.scr)
  if set(losses) - set(evaluator_examples or {}):
    raise ValueError(
      f'evaluator_examples is {evaluator_examples}; wanted examples for each loss of {losses}.'
    )


def train_mtsf(
  workdir: epath.Path,
  loss: str,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: Sequence[Problem],
  solution_examples: ExampleSource,
  evaluator_examples: ExampleSource,
  main_style: str,
  seed: int,
) -> tuple[TrainedModel, TrainedModel, TrainedModel | None]:
  """Trains one set of weights as generator, as evaluator, and as generator again.

  Returns the three models; the last is None without `stages.ssft_again`.
  """
  generator = _train(
    stages.ssft,
    workdir / f'ssft_{main_style}',
    init_from=pretrained,
    examples=solution_examples,
    seed=seed,
  )
  candidates = stages.sample(
    workdir / 'candidates',
    checkpoint=generator.checkpoint,
    problems=problems,
    seed=seed,
  )
  graded = stages.grade(workdir / 'graded', candidates=candidates)
  evaluator = _train(
    stages.scr[loss],
    workdir / f'scr_{loss}',
    init_from=generator.checkpoint,
    examples=_set_candidates(evaluator_examples, graded),
    seed=seed,
  )
  if stages.ssft_again is None:
    return generator, evaluator, None
  mtsf = _train(
    stages.ssft_again,
    workdir / f'mtsf_{loss}',
    init_from=evaluator.checkpoint,
    examples=solution_examples,
    seed=seed,
  )
  return generator, evaluator, mtsf


def train_all_models(
  workdir: epath.Path,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: ProblemSource,
  solution_examples: Mapping[str, ExampleSource],
  main_style: str,
  evaluator_examples: Mapping[str, ExampleSource],
  seed: int,
) -> TrainedModels:
  """Trains SSFT in all styles, MTSF with each loss, and the controls.

  Runs that share a stage (the first stage, its candidates) use the same folder, so it runs once.
  """
  models = TrainedModels({}, {}, {}, {})
  for style, examples in solution_examples.items():
    models.generators[style] = _train(
      stages.ssft,
      workdir / f'ssft_{style}',
      init_from=pretrained,
      examples=examples,
      seed=seed,
    )
  for loss in stages.scr:
    generator, models.evaluators[loss], mtsf = train_mtsf(
      workdir,
      loss,
      pretrained=pretrained,
      stages=stages,
      problems=[*problems('train'), *problems('validation')],
      solution_examples=solution_examples[main_style],
      evaluator_examples=evaluator_examples[loss],
      main_style=main_style,
      seed=seed,
    )
    if mtsf is None:
      continue
    models.mtsf[loss] = mtsf
    if stages.control is not None:
      steps = models.evaluators[loss].train_steps + mtsf.train_steps
      models.controls[loss] = _train(
        stages.control,
        workdir / f'control_{steps}',
        init_from=generator.checkpoint,
        examples=solution_examples[main_style],
        train_steps=steps,
        seed=seed,
      )
  return models


def _train(
  train: BoundProgram, workdir: epath.Path, **inputs: Any
) -> TrainedModel:
  return TrainedModel(workdir.name, train(workdir, **inputs))


def _set_candidates(examples: Any, graded: epath.Path) -> Any:
  """Returns the examples with their field `candidates` set, also in the parts of a mixture."""
  names = {field.name for field in dataclasses.fields(examples)}
  if 'candidates' in names:
    return dataclasses.replace(examples, candidates=str(graded))
  if 'examples' in names:
    parts = tuple(_set_candidates(part, graded) for part in examples.examples)
    return dataclasses.replace(examples, examples=parts)
  return examples


@dataclasses.dataclass(frozen=True)
class TestSet:
  """The test problems of one run and the programs that evaluate a generator on them."""

  workdir: epath.Path
  stages: Stages
  problems: Sequence[Problem]
  rules: Sequence[evaluated_file.VotingRule]
  seed: int

  def evaluate(
    self,
    generator: TrainedModel,
    score: BoundProgram | None = None,
    evaluator: TrainedModel | None = None,
    evaluator_name: str = '',
  ) -> evaluated_file.EvaluatedFile:
    """Samples and grades a generator's candidates, scores them if `score` is given, and reports.

    Args:
      generator: the model that is sampled.
      score: the program `score`; None: the report has only votes.
      evaluator: the model for `score`.
      evaluator_name: of the folders of the scores and of the report.
    """
    folder = self.workdir / 'test' / generator.name
    candidates, greedy = measure_lib.sample_and_grade(
      folder,
      generator.checkpoint,
      self.problems,
      sample=self.stages.sample_test,
      sample_greedy=self.stages.sample_greedy,
      grade=self.stages.grade,
      seed=self.seed,
    )
    report = 'report_vote'
    if score is not None and evaluator is not None:
      report = f'report_{evaluator_name}'
      candidates = score(
        folder / f'scored_{evaluator_name}',
        checkpoint=evaluator.checkpoint,
        candidates=candidates,
      )
    self.stages.evaluate(
      folder / report, candidates=candidates, greedy_candidates=greedy
    )
    return evaluated_file.evaluate_file(candidates, self.rules, greedy)


def evaluate_all_models(
  test_set: TestSet,
  models: TrainedModels,
  *,
  main_style: str,
  compared_styles: Sequence[str],
) -> paper_claims.RecipeResults:
  """Evaluates every generator on the test problems, with the evaluators that the tables need."""
  stages, start = test_set.stages, models.generators[main_style]

  scored_by_control = None
  if models.controls and stages.score and stages.score_by_likelihood:
    control = next(iter(models.controls.values()))
    scored_by_control = test_set.evaluate(
      start, stages.score_by_likelihood, control, 'control'
    )
  generators, evaluators, mtsf, controls = {}, {}, {}, {}
  for style, generator in models.generators.items():
    generators[style] = test_set.evaluate(generator)
  for loss, evaluator in models.evaluators.items():
    inputs = stages.score, evaluator, loss
    if stages.score:
      evaluators[loss] = test_set.evaluate(start, *inputs)
    if loss in models.mtsf:
      mtsf[loss] = test_set.evaluate(models.mtsf[loss], *inputs)
    if loss in models.controls:
      controls[loss] = test_set.evaluate(models.controls[loss], *inputs)

  return paper_claims.RecipeResults(
    generators=generators,
    main_style=main_style,
    plain_style=compared_styles[0],
    fine_style=compared_styles[1],
    evaluators=evaluators,
    mtsf=mtsf,
    controls=controls,
    scored_by_control=scored_by_control,
  )


def _write_tables(
  stem: epath.Path, results: Mapping[int, paper_claims.RecipeResults]
) -> None:
  """Writes <stem>.md and <stem>.json and prints the tables, on the primary process."""

  def write() -> None:
    if len(results) > 1:
      made = paper_tables.make_tables_over_seeds(results)
    else:
      made = paper_tables.make_paper_tables(*results.values())
    print(tables.write_tables(stem, made), flush=True)

  processes.run_on_primary('recipe: tables', write)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(recipe)
