"""The paper's recipe: SSFT -> SCR -> SSFT, and everything it must be compared with.

  python -m mathft_jax.recipe --gin_file=recipes/tiny_cpu.gin

Every stage leaves its output in a folder of its own and returns at once when that is complete:
running the same command again after any stop goes on where it stopped.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
from typing import Any

from etils import epath

from mathft_jax import measure as measure_lib
from mathft_jax.data import examples as examples_lib
from mathft_jax.data import problem_sources
from mathft_jax.distributed import processes
from mathft_jax.evaluation import evaluated_file
from mathft_jax.evaluation.report import paper_tables, tables

BoundProgram = Callable[
  ..., epath.Path
]  # a program with all bound but what is handed over
Solutions = examples_lib.ExampleSource
Problems = problem_sources.ProblemSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
  """The programs, each with everything bound but its workdir, its input and the seed.

  A part of the paper is a recipe without some of them: only `ssft` for the solution styles, no
  `ssft_again` for SCR alone.

  Attributes:
    ssft: train, MLE on solutions.
    sample: N candidates of training problems, which the evaluators learn from.
    grade: answers, correctness, clusters.
    scr: by loss, train an evaluator; none: the recipe ends with SSFT.
    ssft_again: train, the third stage, from an evaluator's weights; None: no MTSF.
    control: train, from the first stage's weights, for the steps of scr + ssft_again; None: none.
    sample_greedy: one greedy solution of each test problem (Pass@1).
    sample_test: N candidates of test problems.
    score: S_cls of each candidate; None: every generator is measured by votes alone.
    score_by_likelihood: the same by log p(X|P) under the control; None leaves that row out.
    evaluate: a report of one scored file.
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
        'Stages: `control` takes the steps of `scr` and `ssft_again`; wanted both, or no control.'
      )


@dataclasses.dataclass(frozen=True)
class TrainedCheckpoints:
  """What the trainings of one run hand over."""

  generators: dict[str, epath.Path]  # by solution style
  evaluators: dict[str, epath.Path]  # by loss
  mtsf: dict[str, epath.Path]  # by loss: the generator of the third stage
  controls: dict[str, epath.Path]  # by loss: as many steps, no evaluator


def recipe(
  workdir: epath.PathLike,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: Problems,
  solution_examples: Mapping[str, Solutions],
  main_style: str,
  rules: Sequence[Any],
  evaluator_examples: Mapping[str, Any] | None = None,
  compared_styles: Sequence[str] = ('terse', 'fine'),
  seeds: Sequence[int] = (0,),
  tables_name: str = 'tables',
) -> epath.Path:
  """The path of tables.md: the paper's tables for one run, or for several seeds.

  Args:
    workdir: one folder per stage goes here; per seed and stage with several seeds.
    pretrained: the weights that the first stage starts from.
    stages: the programs.
    problems: a source of problems; splits 'train' and 'validation' make the evaluators' data, 'test'
      every number in the tables.
    solution_examples: by name, the examples of each solution style to compare.
    main_style: the one of them that goes on to be an evaluator.
    rules: the voting rules of the tables.
    evaluator_examples: by loss, how the evaluators' examples are drawn from graded candidates.
    compared_styles: a plain and a fine-grained style, whose difference is one of the paper's claims.
    seeds: of whole runs; training, sampling and draws differ, the problems are the same.
    tables_name: of tables.md and tables.json; with one each, parts of the paper share a workdir.
  """
  workdir, evaluator_examples = (
    epath.Path(workdir),
    {loss: (evaluator_examples or {}).get(loss) for loss in stages.scr},
  )
  if main_style not in solution_examples or None in evaluator_examples.values():
    raise ValueError(
      f'main_style is {main_style!r}; wanted one of {list(solution_examples)}. '
      f'evaluator_examples is {evaluator_examples}; wanted examples for each loss of '
      f'{list(stages.scr)}.'
    )
  runs = {}
  for seed in seeds:
    folder = workdir / f'seed_{seed}' if len(seeds) > 1 else workdir
    trained = train_all_models(
      folder,
      pretrained=pretrained,
      stages=stages,
      problems=problems,
      solution_examples=solution_examples,
      main_style=main_style,
      evaluator_examples=evaluator_examples,
      seed=seed,
    )
    runs[seed] = evaluate_all_models(
      folder,
      trained,
      stages=stages,
      problems=problems('test'),
      rules=rules,
      main_style=main_style,
      compared_styles=compared_styles,
      seed=seed,
    )
    _write_tables(
      folder / tables_name, lambda: paper_tables.make_paper_tables(runs[seed])
    )
  if len(seeds) > 1:
    _write_tables(
      workdir / tables_name, lambda: paper_tables.make_tables_over_seeds(runs)
    )
  return workdir / f'{tables_name}.md'


def train_mtsf(
  workdir: epath.Path,
  loss: str,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: Sequence[Any],
  solution_examples: Solutions,
  evaluator_examples: Any,
  main_style: str,
  seed: int,
) -> tuple[epath.Path, epath.Path, epath.Path | None]:
  """SSFT -> SCR -> SSFT: one set of weights, a generator, an evaluator, a generator again."""
  generator = stages.ssft(
    workdir / f'ssft_{main_style}',
    init_from=pretrained,
    examples=solution_examples,
    seed=seed,
  )
  candidates = stages.sample(
    workdir / 'candidates', checkpoint=generator, problems=problems, seed=seed
  )
  graded = stages.grade(workdir / 'graded', candidates=candidates)
  evaluator = stages.scr[loss](
    workdir / f'scr_{loss}',
    init_from=generator,
    seed=seed,
    examples=_from_candidates(evaluator_examples, graded),
  )
  again = stages.ssft_again and stages.ssft_again(
    workdir / f'mtsf_{loss}',
    init_from=evaluator,
    examples=solution_examples,
    seed=seed,
  )
  return generator, evaluator, again


def train_all_models(
  workdir: epath.Path,
  *,
  pretrained: epath.PathLike,
  stages: Stages,
  problems: Problems,
  solution_examples: Mapping[str, Solutions],
  main_style: str,
  evaluator_examples: Mapping[str, Any],
  seed: int,
) -> TrainedCheckpoints:
  """MTSF with each loss, SSFT in the other styles, and the control without an evaluator.

  What two of them share (the first stage, its candidates) has one folder and is made once.
  """
  trained = TrainedCheckpoints({}, {}, {}, {})
  for name, examples in solution_examples.items():
    trained.generators[name] = stages.ssft(
      workdir / f'ssft_{name}',
      init_from=pretrained,
      examples=examples,
      seed=seed,
    )
  for loss in stages.scr:
    generator, trained.evaluators[loss], again = train_mtsf(
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
    if again is None:
      continue
    trained.mtsf[loss] = again
    if stages.control is None:
      continue
    steps = _steps(trained.evaluators[loss]) + _steps(again)
    trained.controls[loss] = stages.control(
      workdir / f'control_{steps}',
      init_from=generator,
      examples=solution_examples[main_style],
      train_steps=steps,
      seed=seed,
    )
  return trained


def evaluate_all_models(
  workdir: epath.Path,
  trained: TrainedCheckpoints,
  *,
  stages: Stages,
  problems: Sequence[Any],
  rules: Sequence[Any],
  main_style: str,
  compared_styles: Sequence[str],
  seed: int,
) -> paper_tables.RecipeResults:
  """Every generator's test candidates, by the evaluators that the tables need."""

  def test(
    name: str,
    generator: epath.Path,
    judge: str | None = None,
    evaluator: epath.Path | None = None,
    score: BoundProgram | None = None,
  ) -> evaluated_file.EvaluatedFile:
    folder = workdir / 'test' / name
    graded, greedy = measure_lib.sample_and_grade(
      folder,
      generator,
      problems,
      sample=stages.sample_test,
      sample_greedy=stages.sample_greedy,
      grade=stages.grade,
      seed=seed,
    )
    if score is None:
      judge = None
    else:
      graded = score(
        folder / f'scored_{judge}', checkpoint=evaluator, candidates=graded
      )
    stages.evaluate(
      folder / f'report_{judge or "vote"}',
      candidates=graded,
      greedy_candidates=greedy,
    )
    return evaluated_file.evaluate_file(graded, rules, greedy)

  losses, start = trained.evaluators, trained.generators[main_style]
  by_control = None
  if trained.controls and stages.score and stages.score_by_likelihood:
    by_control = test(
      f'ssft_{main_style}',
      start,
      'control',
      next(iter(trained.controls.values())),
      stages.score_by_likelihood,
    )
  return paper_tables.RecipeResults(
    styles={
      name: test(f'ssft_{name}', path)
      for name, path in trained.generators.items()
    },
    style=main_style,
    plain_style=compared_styles[0],
    fine_style=compared_styles[1],
    by_control=by_control,
    evaluators={
      loss: test(f'ssft_{main_style}', start, loss, losses[loss], stages.score)
      for loss in (losses if stages.score else ())
    },
    mtsf={
      loss: test(f'mtsf_{loss}', path, loss, losses[loss], stages.score)
      for loss, path in trained.mtsf.items()
    },
    controls={
      loss: test(
        path.parent.parent.name, path, loss, losses[loss], stages.score
      )
      for loss, path in trained.controls.items()
    },
  )


def _from_candidates(examples: Any, graded: epath.Path) -> Any:
  """The examples with their field `candidates` filled in, at any depth of a mixture."""
  names = {field.name for field in dataclasses.fields(examples)}
  if 'candidates' in names:
    return dataclasses.replace(examples, candidates=str(graded))
  if 'examples' in names:
    return dataclasses.replace(
      examples,
      examples=tuple(
        _from_candidates(each, graded) for each in examples.examples
      ),
    )
  return examples


def _steps(checkpoint: epath.Path) -> int:
  """Steps of the training that handed this checkpoint over."""
  return int(checkpoint.name)


def _write_tables(
  stem: epath.Path, make: Callable[[], Sequence[tables.Table]]
) -> None:
  """<stem>.md and <stem>.json, and the tables on the terminal, by the first process."""

  def write():
    made = make()
    text = '\n'.join(map(tables.table_to_markdown, made))
    (stem.parent / f'{stem.name}.md').write_text(text)
    (stem.parent / f'{stem.name}.json').write_text(
      json.dumps(
        [dataclasses.asdict(table) for table in made],
        indent=1,
        ensure_ascii=False,
      )
      + '\n'
    )
    print(text, flush=True)

  processes.run_on_primary('recipe: tables', write)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(recipe)
