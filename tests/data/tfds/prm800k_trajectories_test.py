from collections import Counter
import json

import pytest

from mathft_jax.data.tfds import prm800k_trajectories, splits

Selection = prm800k_trajectories.Selection


def completion(text, rating=1):
  return {'text': text, 'rating': rating, 'flagged': None}


def released(
  steps, *, finish='solution', problem='What is 1+1?', answer='2', control=False
):
  """A release record; a step is (chosen index or human text, completions)."""
  labelled = []
  for chosen, completions in steps:
    human = (
      None
      if isinstance(chosen, int) or chosen is None
      else {
        'text': chosen,
        'rating': None,
        'source': 'human',
        'flagged': False,
        'corrected_rating': None,
      }
    )
    labelled.append(
      {
        'completions': completions,
        'human_completion': human,
        'chosen_completion': chosen if isinstance(chosen, int) else None,
      }
    )
  return {
    'labeler': 'someone',
    'timestamp': '2023-01-22T04:34:27.052924',
    'generation': None,
    'is_quality_control_question': control,
    'is_initial_screening_question': False,
    'question': {'problem': problem, 'ground_truth_answer': answer},
    'label': {'steps': labelled, 'total_time': 1, 'finish_reason': finish},
  }


FINISHED = released(
  [
    (1, [completion('No.', -1), completion('Add them.', 0)]),
    (0, [completion('It is 2.\n\n# Answer\n\n2')]),
  ]
)
ERROR = released(
  [(0, [completion('Add.')]), (None, [completion('3', -1)])],
  finish='found_error',
)
HUMAN = released(
  [
    ('By hand.', [completion('No.', -1)]),
    (0, [completion('So 2.\n\n# Answer\n\n2')]),
  ]
)
CONTROL = released([(0, [completion('Two.\n\n# Answer\n\n2')])], control=True)
OTHER = released([(0, [completion('Done.\n\n# Answer\n\n2.0')])])
DOUBTFUL = released(
  [(0, [completion('Hm.', None)]), (0, [completion('2\n\n# Answer\n\n2', 0)])]
)


@pytest.fixture
def folder(tmp_path):
  def write(**files):
    (tmp_path / 'prm800k').mkdir()
    for name, rows in files.items():
      text = ''.join(json.dumps(row) + '\n' for row in rows)
      (tmp_path / 'prm800k' / f'{name}.jsonl').write_text(text)
    return tmp_path

  return write


def texts(problems):
  return [problem.solution.split('\n')[0] for problem in problems]


def test_a_solution_is_the_chosen_steps_and_the_boxed_answer(folder):
  (problem,) = prm800k_trajectories.read_selected_solutions(
    folder(phase1_train=[FINISHED]), Selection()
  )
  assert (
    problem.solution == 'Add them.\nIt is 2.\nThe final answer is $\\boxed{2}$.'
  )
  assert (problem.question, problem.answer) == ('What is 1+1?', '2')
  assert problem.id == 'prm800k/phase1_train/1'


@pytest.mark.parametrize(
  'selection, expected',
  [
    (Selection(), ['Add them.', 'By hand.', 'Two.', 'Done.']),
    (Selection(human_steps=False), ['Add them.', 'Two.', 'Done.']),
    (Selection(quality_control=False), ['Add them.', 'By hand.', 'Done.']),
    (Selection(same_answer=True), ['Add them.', 'By hand.', 'Two.']),
    (Selection(step_ratings=[1]), ['By hand.', 'Two.', 'Done.']),
    (Selection(step_ratings=[0, 1, None], last_ratings=[0]), ['Hm.']),
    (Selection(per_problem=2), ['Add them.', 'By hand.']),
  ],
)
def test_every_field_of_the_selection_has_an_effect(
  folder, selection, expected
):
  rows = [FINISHED, ERROR, HUMAN, CONTROL, OTHER, DOUBTFUL]
  assert (
    texts(
      prm800k_trajectories.read_selected_solutions(
        folder(phase1_train=rows), selection
      )
    )
    == expected
  )


def test_phases_select_files(folder):
  path = folder(
    phase1_train=[FINISHED], phase2_train=[HUMAN], phase2_test=[CONTROL]
  )
  assert texts(
    prm800k_trajectories.read_selected_solutions(path, Selection())
  ) == [
    'Add them.',
    'By hand.',
    'Two.',
  ]
  assert texts(
    prm800k_trajectories.read_selected_solutions(path, Selection(phases=[2]))
  ) == [
    'By hand.',
    'Two.',
  ]


def test_a_repeated_solution_is_used_once(folder):
  path = folder(phase1_train=[FINISHED, FINISHED], phase2_train=[FINISHED])
  assert (
    len(prm800k_trajectories.read_selected_solutions(path, Selection())) == 1
  )


def test_a_solution_of_a_test_problem_is_test_whatever_file_it_is_in(
  folder, monkeypatch
):
  monkeypatch.setattr(
    splits,
    'load_math500_digests',
    lambda: {splits.question_digest('What  is 1+1?'): 'test/x'},
  )
  rows = [
    FINISHED,
    released([(0, [completion('4\n\n# Answer\n\n4')])], problem='What is 2+2?'),
  ]
  made = prm800k_trajectories.read_selected_solutions(
    folder(phase1_train=rows), Selection()
  )
  assert made[0].split == 'test' and made[1].split != 'test'


def test_release_files_are_preferred_to_substitutes(folder):
  joined = {
    'problem': 'Q?',
    'steps': ['Joined.'],
    'pred_answer': '1',
    'answer': '1',
  }
  path = folder(
    phase1_train=[FINISHED],
    phase1_train_solutions=[joined],
    phase1_test_solutions=[joined],
  )
  assert texts(
    prm800k_trajectories.read_selected_solutions(path, Selection())
  ) == [
    'Add them.',
    'Joined.',
  ]


def test_a_labelling_session_without_metadata_is_read(folder):
  def said(text, **more):
    return {
      'text': text,
      'rating': 1,
      'human': False,
      'chosen': False,
      'answer': None,
      **more,
    }

  session = {
    'problem': 'Q?',
    'answer': None,
    'steps': [
      {'completions': [said('No.'), said('Yes.', chosen=True)]},
      {'completions': [said('Nothing chosen.')]},
      {
        'completions': [
          said('End.', chosen=True, answer='7', rating=None, human=True)
        ]
      },
    ],
  }
  given_up = {**session, 'steps': session['steps'][:1]}
  (problem,) = prm800k_trajectories.read_selected_solutions(
    folder(phase1_train_trajectories=[session, given_up]), Selection()
  )
  assert problem.solution == 'Yes.\nEnd.\nThe final answer is $\\boxed{7}$.'
  assert problem.answer == '7'


def test_a_joined_solution_with_an_error_is_not_selected(folder):
  row = {
    'problem': 'Q?',
    'steps': ['A.', 'B.\n\n# Answer\n\n1'],
    'answer': '1',
    'first_error_step': 2,
    'finish_reason': 'found_error',
  }
  right = {**row, 'first_error_step': None, 'finish_reason': 'solution'}
  assert (
    len(
      prm800k_trajectories.read_selected_solutions(
        folder(phase2_sample100=[row, right]), Selection()
      )
    )
    == 1
  )


def test_the_error_for_another_form_has_file_and_line(folder):
  with pytest.raises(
    ValueError, match=r'phase1_train.jsonl:2: not a PRM800K record \(KeyError'
  ):
    prm800k_trajectories.read_selected_solutions(
      folder(phase1_train=[FINISHED, {'text': 'x'}]), Selection()
    )


def test_the_error_for_an_empty_folder_says_what_to_download(tmp_path):
  with pytest.raises(ValueError, match='openai/prm800k'):
    prm800k_trajectories.read_selected_solutions(tmp_path, Selection())


def test_the_real_phase_1_gives_its_finished_solutions(shared_data):
  made = prm800k_trajectories.read_selected_solutions(
    shared_data, Selection(phases=(1,))
  )
  counts = Counter(problem.split for problem in made)
  assert (counts['train'] + counts['validation'], counts['test']) == (808, 90)
  assert all(
    problem.solution.endswith('}$.') and problem.answer for problem in made
  )


def test_the_real_trajectories_and_their_joined_solutions_agree(
  shared_data, tmp_path
):
  (tmp_path / 'prm800k').mkdir()
  for name in ('phase1_train_solutions', 'phase1_test_solutions'):
    name = f'prm800k/{name}.jsonl.gz'
    (tmp_path / name).write_bytes((shared_data / name).read_bytes())
  selection = Selection(phases=(1,))
  joined = prm800k_trajectories.read_selected_solutions(tmp_path, selection)
  from_sessions = prm800k_trajectories.read_selected_solutions(
    shared_data, selection
  )
  assert {(p.question, p.solution) for p in joined} == {
    (p.question, p.solution) for p in from_sessions
  }
