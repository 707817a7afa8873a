"""The paper's recipe: SSFT -> SCR -> SSFT (MTSF), with its baselines and controls.

  python -m mathft_jax.recipe --gin_file=recipes/tiny_cpu.gin

The ideas of the paper, and what they are compared with:

- SSFT: a generator is fine-tuned on step-by-step solutions; solution styles are compared, also
  with the pre-trained model and demonstrations in its prompt (few-shot).
- SCR: an evaluator is trained on the generator's graded candidates and re-ranks its test
  candidates; compared with the majority vote and with log-probabilities.
- MTSF: the evaluator's weights are fine-tuned on solutions again; compared with a control that is
  trained on solutions for as many steps.

Each stage writes to its own folder and returns at once if its output is complete. If the recipe is
stopped, the same command resumes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from absl import logging
from etils import epath

from mathft_jax import measure as measure_lib
from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.config.recipe_stages import (
  FewShotStage,
  Stages,
  TrainedModel,
  TrainedModels,
)
from mathft_jax.data.examples import ExampleSource, with_candidates
from mathft_jax.data.problem_sources import ProblemSource
from mathft_jax.data.schema import Problem
from mathft_jax.distributed import processes
from mathft_jax.evaluation import evaluated_file, rule_results
from mathft_jax.evaluation.report import (
  paper_claims,
  paper_tables,
  stage_cost_table,
  tables,
  terminal,
  training_curves,
)
from mathft_jax.monitoring import progress


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
  num_curve_problems: int | None = None,
) -> epath.Path:
  """Returns the path of tables.md: the paper's tables for one run, or for several seeds.

  Args:
    workdir: each stage writes to its own folder here; with several seeds, to one per seed.
    pretrained: the initial weights of the first stage.
    problems: a source of problems; the evaluators are trained on the splits 'train' and
      'validation', all numbers in the tables are of the split 'test'.
    solution_examples: by solution style, the examples of the generators.
    main_style: the style whose generator continues to SCR and MTSF.
    evaluator_examples: by loss, for the evaluator; the recipe sets their field `candidates`.
    compared_styles: a terse and a fine-grained style, whose difference is a claim of the paper.
    seeds: of whole runs; problems are the same.
    tables_name: of tables.md and tables.json; with other names, parts of the paper share a workdir.
    num_curve_problems: validation problems for the greedy accuracy of kept checkpoints, or None.
  """
  workdir = epath.Path(workdir)
  compilations = progress.CompilationCounter()
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
      test_set,
      models,
      pretrained=pretrained,
      main_style=main_style,
      compared_styles=compared_styles,
      curve_problems=problems('validation')[: num_curve_problems or 0],
    )
    _write_tables(run_dir / tables_name, {seed: results[seed]})
  if len(seeds) > 1:
    _write_tables(workdir / tables_name, results)
  logging.info('recipe: %s', compilations.describe())
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
    examples=with_candidates(evaluator_examples, graded),
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


@dataclasses.dataclass(frozen=True)
class TestSet:
  """The test problems of one run and the programs that evaluate a generator on them."""

  workdir: epath.Path
  stages: Stages
  problems: Sequence[Problem]
  rules: Sequence[evaluated_file.VotingRule]
  seed: int

  def evaluate_few_shot(
    self, style: str, stage: FewShotStage, pretrained: epath.PathLike
  ) -> evaluated_file.EvaluatedFile:
    """Samples the pre-trained model with demonstrations, grades and reports."""
    folder = self.workdir / 'test' / f'few_shot_{style}'
    candidates, greedy = measure_lib.sample_and_grade(
      folder,
      pretrained,
      self.problems,
      sample=stage.sample,
      sample_greedy=stage.sample_greedy,
      grade=self.stages.grade,
      seed=self.seed,
    )
    self.stages.evaluate(
      folder / 'report_vote', candidates=candidates, greedy_candidates=greedy
    )
    return evaluated_file.evaluate_file(candidates, self.rules, greedy)

  def training_curve(
    self, model: TrainedModel, problems: Sequence[Problem]
  ) -> training_curves.TrainingCurve:
    """Returns the losses of a training run, and the greedy accuracy of each kept checkpoint."""
    losses = training_curves.read_validation_losses(self.workdir / model.name)
    greedy = {}
    for step in sorted(losses) if problems else []:
      checkpoint = model.checkpoint.parent / str(step)
      if not checkpoint.exists():
        continue
      folder = self.workdir / 'curves' / model.name / str(step)
      candidates = self.stages.sample_greedy(
        folder / 'greedy',
        checkpoint=checkpoint,
        problems=problems,
        seed=self.seed,
      )
      graded = self.stages.grade(folder / 'graded', candidates=candidates)
      sets, _ = evaluated_file.read_gradable_sets_and_notes(graded)
      greedy[step] = rule_results.greedy_correctness(sets, sets)
    return training_curves.TrainingCurve(
      model.name, model.train_steps, losses, greedy
    )

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
  pretrained: epath.PathLike,
  main_style: str,
  compared_styles: Sequence[str],
  curve_problems: Sequence[Problem] = (),
) -> paper_claims.RecipeResults:
  """Evaluates every generator on the test problems, with the evaluators that the tables need."""
  stages, start = test_set.stages, models.generators[main_style]

  few_shot = {}
  for style, stage in stages.few_shot.items():
    few_shot[style] = test_set.evaluate_few_shot(style, stage, pretrained)
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

  curves = []
  for model in models.all_distinct():
    curve = test_set.training_curve(model, curve_problems)
    if curve.losses:
      curves.append(curve)

  return paper_claims.RecipeResults(
    generators=generators,
    few_shot=few_shot,
    curves=curves,
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
  """Writes <stem>.md and <stem>.json and prints what shows, on the primary process."""

  def write() -> None:
    made = paper_tables.make_tables(results)
    stage_cost_table.write_stage_table(stem.parent)
    tables.write_tables(stem, made)
    for table in paper_tables.select_findings(made):
      terminal.print_table(table)
    print(f'All tables: {stem}.md', flush=True)

  processes.run_on_primary('recipe: tables', write)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(recipe)
