"""Which candidate each row decodes: each once, in groups that share few prompts."""

import random

import pytest

from mathft_jax.inference import row_schedule


def play(lengths, *, num_groups, rows_per_group, places=2):
  """Runs the schedule; `lengths[problem][sample]` in blocks. Returns (blocks, candidates, prompts).

  Checks that a row's place has its problem's prompt.
  """
  schedule = row_schedule.RowSchedule(
    num_problems=len(lengths),
    num_candidates=len(lengths[0]),
    num_groups=num_groups,
    rows_per_group=rows_per_group,
    places_per_group=places,
  )
  prompts, running, seen, num_prefilled, num_blocks = {}, {}, [], [], 0
  while not schedule.is_done():
    starts, candidates = schedule.fill()
    for start in starts:
      busy = [where for _, where, _ in running.values()]
      assert (start.group, start.place) not in busy
      prompts[start.group, start.place] = start.problem
      num_prefilled.append(start.problem)
    for each in candidates:
      where = each.row // rows_per_group, each.place
      assert each.row not in running and prompts[where] == each.problem
      running[each.row] = [lengths[each.problem][each.sample], where, each]
      seen.append((each.problem, each.sample))
    num_blocks += 1
    for row in list(running):
      running[row][0] -= 1
      if running[row][0] == 0:
        del running[row]
        schedule.end(row)
  return num_blocks, seen, num_prefilled


@pytest.mark.parametrize(
  'groups, rows, places, problems, samples',
  [(1, 4, 2, 9, 6), (3, 4, 2, 5, 10), (4, 1, 1, 6, 1), (8, 8, 2, 2, 64)],
)
def test_every_candidate_is_decoded_once(
  groups, rows, places, problems, samples
):
  rng = random.Random(0)
  lengths = [
    [rng.randint(1, 9) for _ in range(samples)] for _ in range(problems)
  ]
  _, seen, _ = play(
    lengths, num_groups=groups, rows_per_group=rows, places=places
  )
  wanted = [(p, s) for p in range(problems) for s in range(samples)]
  assert sorted(seen) == wanted


def test_rows_do_not_wait_for_the_slowest_candidate():
  # One of eight candidates is ten times as long as the others.
  lengths = [[10] + [1] * 7 for _ in range(8)]
  num_blocks, _, num_prefilled = play(lengths, num_groups=1, rows_per_group=8)
  # Whole problems one after the other take 80.
  assert num_blocks < 45
  assert sorted(num_prefilled) == list(range(8))


def test_groups_without_a_problem_take_candidates_of_others():
  lengths = [[1] * 64]
  num_blocks, _, num_prefilled = play(lengths, num_groups=4, rows_per_group=16)
  assert num_blocks == 1 and num_prefilled == [0] * 4
