"""Tests of the recipe: inputs of each stage, shared stages, resuming, and tables."""

import dataclasses
import json
import random

from etils import epath
import pytest

from mathft_jax import grade, recipe
from mathft_jax.data import schema
from mathft_jax.evaluation import statistics, voting
from mathft_jax.evaluation.report import paper_claims

RULES = (
  voting.Majority(),
  voting.Rerank(),
  voting.Rerank(2),
  voting.WeightedVote(),
  voting.Oracle(),
)


@dataclasses.dataclass(frozen=True)
class Verdicts:
  """Stands in for the examples of an evaluator."""

  candidates: str = ''


@dataclasses.dataclass(frozen=True)
class Mixed:
  """Stands in for a mixture of them with others."""

  examples: tuple


def problems(split):
  return [
    schema.Problem(
      f'{split}/{i}',
      f'{i} + 1?',
      f'\\boxed{{{i + 1}}}',
      str(i + 1),
      split=split,
    )
    for i in range(80)
  ]


class Fakes:
  """Programs that write real files and log their calls; a better generator errs less."""

  def __init__(self, stop_before: str = ''):
    self.calls, self.stop_before = [], stop_before

  def _begin(self, what, workdir, **given):
    if self.stop_before and str(workdir).endswith(self.stop_before):
      raise KeyboardInterrupt(workdir)
    self.calls.append((what, workdir.name, given))

  def train(self, what, steps):
    def call(workdir, *, init_from, examples, seed, train_steps=steps):
      path = workdir / 'checkpoints' / str(train_steps)
      if not path.exists():
        self._begin(what, workdir, init_from=init_from, examples=examples)
        path.mkdir(parents=True)
      return path

    return call

  def sample(self, count):
    def call(workdir, *, checkpoint, problems, seed):
      path = workdir / 'candidates.jsonl'
      if path.exists():
        return path
      self._begin('sample', workdir, checkpoint=checkpoint)
      folder = epath.Path(checkpoint).parent.parent.name
      rng = random.Random(f'{folder} {count} {seed}')

      def solution(problem):
        return schema.Candidate(
          f'so \\boxed{{{int(problem.answer) + rng.choice([0, 0, 1, 2])}}}',
          log_prob=-rng.random(),
        )

      return schema.write_jsonl(
        path,
        [
          schema.CandidateSet(
            problem, tuple(solution(problem) for _ in range(count))
          )
          for problem in problems
        ],
      )

    return call

  def score(self, workdir, *, checkpoint, candidates):
    path = workdir / 'scored.jsonl'
    if path.exists():
      return path
    self._begin('score', workdir, checkpoint=checkpoint)
    sets = [
      dataclasses.replace(
        s,
        candidates=tuple(
          dataclasses.replace(c, score=0.9 if c.is_correct else 0.1)
          for c in s.candidates
        ),
      )
      for s in schema.read_candidate_sets(candidates)
    ]
    return schema.write_jsonl(path, sets)

  def stages(self):
    return recipe.Stages(
      ssft=self.train('ssft', 30),
      sample=self.sample(4),
      grade=grade.grade,
      scr={'margin': self.train('scr', 50), 'xent': self.train('scr', 50)},
      ssft_again=self.train('again', 10),
      control=self.train('control', 0),
      sample_greedy=self.sample(1),
      sample_test=self.sample(8),
      score=self.score,
      evaluate=lambda workdir, *, candidates, greedy_candidates: (
        workdir
      ),  # has tests of its own
      score_by_likelihood=self.score,
    )


def run(workdir, fakes, **changed):
  arguments = dict(
    pretrained='base',
    stages=fakes.stages(),
    problems=problems,
    solution_examples={'terse': 'terse solutions', 'fine': 'fine solutions'},
    main_style='fine',
    evaluator_examples={'margin': Verdicts(), 'xent': Mixed((Verdicts(),))},
    rules=RULES,
  )
  return recipe.recipe(epath.Path(workdir), **(arguments | changed))


def test_each_stage_starts_from_the_output_of_the_previous_stage(tmp_path):
  fakes = Fakes()
  run(tmp_path, fakes)
  trained = {
    name: given
    for what, name, given in fakes.calls
    if what in ('ssft', 'scr', 'again', 'control')
  }
  start = {name: given['init_from'] for name, given in trained.items()}
  assert start['ssft_fine'] == start['ssft_terse'] == 'base'
  assert (
    start['scr_margin']
    == start['scr_xent']
    == tmp_path / 'ssft_fine/checkpoints/30'
  )
  assert start['mtsf_xent'] == tmp_path / 'scr_xent/checkpoints/50'
  assert trained['mtsf_xent']['examples'] == 'fine solutions'
  graded = str(tmp_path / 'graded' / 'graded.jsonl')
  assert trained['scr_margin']['examples'] == Verdicts(graded)
  assert trained['scr_xent']['examples'] == Mixed((Verdicts(graded),))


def test_the_control_takes_the_steps_of_both_later_stages_from_the_same_start(
  tmp_path,
):
  fakes = Fakes()
  run(tmp_path, fakes)
  controls = [
    (name, given) for what, name, given in fakes.calls if what == 'control'
  ]
  assert [name for name, _ in controls] == ['control_60']
  assert controls[0][1]['init_from'] == tmp_path / 'ssft_fine/checkpoints/30'


def test_evaluators_learn_from_training_and_validation_problems_only(tmp_path):
  run(tmp_path, Fakes())
  seen = schema.read_candidate_sets(tmp_path / 'graded' / 'graded.jsonl')
  assert {each.problem.split for each in seen} == {'train', 'validation'}
  tested = schema.read_candidate_sets(
    tmp_path / 'test/ssft_fine/scored_margin/scored.jsonl'
  )
  assert {each.problem.split for each in tested} == {'test'}


def test_a_stopped_recipe_resumes_and_writes_the_same_tables(tmp_path):
  whole = run(tmp_path / 'whole', Fakes()).read_text()
  for stop in (
    'ssft_fine',
    'candidates',
    'mtsf_margin',
    'control_60',
    'scr_xent',
    'test/mtsf_xent/scored_xent',
  ):
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path / 'stopped', Fakes(stop))
  again = Fakes()
  assert run(tmp_path / 'stopped', again).read_text() == whole
  assert not [
    call
    for call in again.calls
    if call[0] in ('ssft', 'scr', 'again', 'control')
  ]


def test_a_perfect_evaluator_shows_and_equal_generators_do_not(tmp_path):
  text = run(tmp_path, Fakes()).read_text()
  rows = {
    line.split('|')[1].strip(): line
    for line in text.splitlines()
    if line.startswith('|')
  }
  assert 'shows' in rows['RR.All by margin - Maj1']
  assert 'does not show' in rows['Maj1@N: MTSF xent - control of equal steps']


def without(fakes, *names):
  none = {'scr': {}} | dict.fromkeys(set(names) - {'scr'})
  return dataclasses.replace(
    fakes.stages(), **{name: none[name] for name in names}
  )


SSFT_ALONE = ('scr', 'ssft_again', 'control', 'score')


@pytest.mark.parametrize(
  'missing, tables, claims',
  [
    (SSFT_ALONE, ['SSFT'], ['Maj1@N: SSFT fine - SSFT terse']),
    (
      ('ssft_again', 'control'),
      ['SSFT', 'SCR', 'Evaluators'],
      ['W.RR by xent - Maj1'],
    ),
    (('control', 'score'), ['SSFT', 'MTSF'], ['Maj1@N: MTSF xent - SSFT']),
    (
      ('score',),
      ['SSFT', 'MTSF'],
      ['Maj1@N: MTSF xent - control of equal steps'],
    ),
    (
      ('control',),
      ['SSFT', 'SCR', 'Evaluators', 'MTSF', 'MTSF + SCR'],
      ['W.RR by margin - Maj1'],
    ),
  ],
  ids=lambda value: '-'.join(value) if isinstance(value, tuple) else '',
)
def test_partial_recipes_write_the_tables_of_their_stages(
  tmp_path, capsys, missing, tables, claims
):
  fakes = Fakes()
  text = run(tmp_path, fakes, stages=without(fakes, *missing)).read_text()
  titles = [
    line[4:].split(':')[0]
    for line in text.splitlines()
    if line.startswith('### ')
  ]
  shown = [title.removesuffix(' (not in the paper)') for title in titles]
  assert [*dict.fromkeys(shown)] == [*tables, 'What shows and what does not']
  assert all(claim in text for claim in claims)
  *printed, last = capsys.readouterr().out.rstrip().splitlines()
  assert last == f'All tables: {tmp_path / "tables.md"}'
  shown = [line.startswith('What shows') for line in printed]
  assert shown.count(True) == titles.count('What shows and what does not')
  assert max(map(len, printed[shown.index(True) :])) <= 100
  assert '###' not in ''.join(printed)
  made = {what for what, _, _ in fakes.calls}
  gone = {'ssft_again': 'again'}
  assert not made & {gone.get(name, name) for name in missing}


def test_partial_recipes_share_stages(tmp_path):
  first, second = Fakes(), Fakes()
  styles = run(
    tmp_path,
    first,
    stages=without(first, *SSFT_ALONE),
    tables_name='tables_ssft',
  )
  before = styles.read_text()
  text = run(tmp_path, second).read_text()
  assert not [name for _, name, _ in second.calls if name.startswith('ssft_')]
  assert text == run(tmp_path / 'at_once', Fakes()).read_text()
  assert (
    styles.name == 'tables_ssft.md' and styles.read_text() == before != text
  )


def test_several_seeds_without_claims_give_one_table(tmp_path):
  fakes = Fakes()
  text = run(
    tmp_path,
    fakes,
    stages=without(fakes, *SSFT_ALONE),
    solution_examples={'fine': 'fine'},
    seeds=(0, 1),
  ).read_text()
  assert 'SSFT fine: Maj1@N' in text and 'What shows' not in text


def test_a_control_without_mtsf_is_an_error():
  with pytest.raises(ValueError, match='control'):
    without(Fakes(), 'scr')


@pytest.mark.slow
def test_tables_over_seeds_count_the_runs_where_a_claim_shows(
  tmp_path,
):
  text = run(tmp_path, Fakes(), seeds=(0, 1)).read_text()
  assert (tmp_path / 'seed_1' / 'tables.md').exists()
  line = next(
    line
    for line in text.splitlines()
    if line.startswith('| RR.All by margin - Maj1')
  )
  assert line.rstrip(' |').endswith('2 of 2')


def test_an_unknown_style_is_an_error_before_any_stage(tmp_path):
  fakes = Fakes()
  with pytest.raises(ValueError, match="main_style is 'long'"):
    run(tmp_path, fakes, main_style='long')
  assert not fakes.calls


@pytest.mark.parametrize(
  'low, high, p_adjusted, verdict',
  [
    (0.01, 0.2, 0.01, 'shows'),
    (0.01, 0.2, 0.06, 'unclear'),
    (-0.01, 0.2, 0.04, 'unclear'),
    (-0.01, 0.2, 0.3, 'does not show'),
    (-0.2, -0.01, 0.06, 'unclear'),
    (-0.2, -0.01, 0.01, 'reversed'),
  ],
)
def test_a_verdict_needs_interval_and_adjusted_p_value(
  low, high, p_adjusted, verdict
):
  difference = statistics.PairedDifference(
    (low + high) / 2, low, high, 9, 1, 0, 0.01, 'mcnemar'
  )
  found = paper_claims.Finding('a - b', 'SCR', difference, None, p_adjusted)
  assert found.verdict == verdict


def test_the_pre_trained_model_is_compared_with_the_tuned_one(tmp_path):
  fakes = Fakes()
  few_shot = recipe.FewShotStage(
    sample=fakes.sample(8), sample_greedy=fakes.sample(1)
  )
  stages = dataclasses.replace(
    fakes.stages(), few_shot={'terse': few_shot, 'fine': few_shot}
  )
  text = run(tmp_path, fakes, stages=stages).read_text()
  sampled = {
    str(given['checkpoint'])
    for what, _, given in fakes.calls
    if what == 'sample'
  }
  assert 'base' in sampled
  assert (tmp_path / 'test/few_shot_fine/graded/graded.jsonl').exists()
  for row in (
    'pre-trained, few-shot terse',
    'Maj1@N: SSFT fine - few-shot terse',
    'SCR margin RR.Top-2 - few-shot fine Maj1@N',
  ):
    assert f'| {row} ' in text


def test_curves_have_the_loss_and_the_accuracy_of_kept_checkpoints(tmp_path):
  fakes = Fakes()

  def ssft(workdir, *, init_from, examples, seed):
    for step in (10, 30):
      (workdir / 'checkpoints' / str(step)).mkdir(parents=True, exist_ok=True)
    lines = [
      {'step': step, 'split': split, 'loss': loss}
      for step, split, loss in (
        (10, 'train', 9.0),
        (10, 'validation', 2.0),
        (20, 'validation', 1.0),
        (30, 'validation', 1.5),
      )
    ]
    text = '\n'.join(json.dumps(line) for line in lines)
    (workdir / 'metrics.jsonl').write_text(text)
    return workdir / 'checkpoints' / '10'

  stages = dataclasses.replace(fakes.stages(), ssft=ssft)
  text = run(tmp_path, fakes, stages=stages, num_curve_problems=5).read_text()
  rows = [
    [cell.strip() for cell in line.split('|')[1:-1]]
    for line in text.splitlines()
    if line.startswith('| ssft_fine ')
  ]
  assert [(step, loss) for _, step, loss, *_ in rows] == [
    ('10', '2.0000'),
    ('20', '1.0000'),
    ('30', '1.5000'),
  ]
  sets = schema.read_candidate_sets(
    tmp_path / 'curves/ssft_fine/30/graded/graded.jsonl'
  )
  correct = sum(bool(each.candidates[0].is_correct) for each in sets)
  assert rows[2][3].split()[0] == f'{100 * correct / 5:.1f}'
  assert [row[4] for row in rows] == ['5', '-', '5']
  assert [row[5] for row in rows] == ['handed over', '', '']
