"""tpu_vm.sh when machines are preempted, quota is missing, creation hangs, or a worker fails."""

import pytest

WHERE = (
  '--name=pod',
  '--zone=us-east5-a',
  '--type=v5p-128',
  '--poll_seconds=0',
)
COMMAND = ('--', 'python', '-m', 'mathft_jax.train', '--gin.NAME=a b')
RUN = 'worker.sh run '


@pytest.fixture
def pod(bench, checkout):
  bench.stub('gcloud')
  return bench


def story(pod):
  """What was asked of gcloud, without the looks at the state; `ssh` told as run or prepare."""
  told = []
  for call in pod.calls:
    verb = call[4]
    if verb == 'ssh':
      verb = 'run' if RUN in call[7] else 'install'
    if verb != 'describe':
      told.append(verb)
  return told


def keep(pod, *flags):
  return pod.run('tpu_vm.sh', 'keep', *WHERE, *flags, *COMMAND)


def test_keep_creates_prepares_runs_and_deletes_at_the_end(pod):
  pod.states('MISSING', 'READY')
  done = keep(pod, '--delete_at_end')
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['create', 'scp', 'install', 'run', 'delete']


def test_keep_takes_an_existing_tpu_as_it_is(pod):
  pod.states('READY')
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['scp', 'install', 'run']


def test_a_preempted_tpu_is_deleted_created_and_given_the_same_command(pod):
  pod.states('MISSING', 'READY', 'PREEMPTED', 'PREEMPTED', 'READY')
  pod.answer(RUN, status=255, times=1)
  done = keep(pod, '--spot')
  assert done.returncode == 0, done.stderr
  assert story(pod) == [
    'create',
    'scp',
    'install',
    'run',
    'delete',
    'create',
    'scp',
    'install',
    'run',
  ]
  first, second = [call for call in pod.calls if RUN in ' '.join(call)]
  assert first == second


def test_a_queued_resource_that_is_suspended_by_a_preemption_is_renewed(pod):
  pod.states(
    'MISSING',
    'WAITING_FOR_RESOURCES',
    'ACTIVE',
    'SUSPENDING',
    'SUSPENDING',
    'SUSPENDED',
    'PROVISIONING',
    'ACTIVE',
    of='queued-resources describe',
  )
  pod.states('READY')
  # A worker that lost its peers, not a broken program.
  pod.answer(RUN, status=1, times=1)
  done = keep(pod, '--queued', '--spot')
  assert done.returncode == 0, done.stderr
  assert story(pod) == [
    'create',
    'scp',
    'install',
    'run',
    'delete',
    'create',
    'scp',
    'install',
    'run',
  ]
  assert '--force' in pod.called('delete')[0]


def test_an_active_queued_resource_with_a_preempted_node_counts_as_preempted(
  pod,
):
  pod.states('ACTIVE', of='queued-resources describe')
  pod.states(
    'READY', 'PREEMPTED', 'PREEMPTED', 'READY', of='tpu-vm describe pod-0'
  )
  pod.states('READY', of='tpu-vm describe pod-1')
  pod.answer(RUN, status=255, times=1)
  done = keep(pod, '--queued', '--num_slices=2')
  assert done.returncode == 0, done.stderr
  once = ['scp', 'scp', 'install', 'install', 'run', 'run']
  assert story(pod) == [*once, 'delete', 'create', *once]


def test_a_failed_worker_of_a_healthy_tpu_ends_keep_with_its_status(pod):
  pod.states('READY')
  pod.answer(RUN, status=7)
  done = keep(pod)
  assert done.returncode == 7
  assert story(pod) == ['scp', 'install', 'run']
  assert 'logs --to=' in done.stderr


def test_a_lost_connection_is_made_again_without_touching_the_machines(pod):
  pod.states('READY')
  pod.answer(RUN, status=255, times=2)
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['scp', 'install', 'run', 'run', 'run']


@pytest.mark.parametrize('status', [75, 134])
def test_programs_that_lost_another_process_are_run_again(pod, status):
  pod.states('READY')
  pod.answer(RUN, status=status, times=1)
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['scp', 'install', 'run', 'run']


def test_keep_gives_up_after_max_attempts(pod):
  pod.states('READY')
  pod.answer(RUN, status=255)
  done = keep(pod, '--max_attempts=2')
  assert done.returncode == 6
  assert story(pod) == ['scp', 'install', 'run', 'run']


def test_a_machine_that_runs_the_command_already_is_left_as_it_is(pod):
  pod.states('READY')
  pod.answer('prepare', status=3)
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['scp', 'install', 'run']


def test_prepare_is_tried_three_times_and_a_failed_copy_installs_nothing(pod):
  pod.states('READY')
  pod.answer(' scp ', status=1)
  done = keep(pod)
  assert done.returncode == 1
  assert story(pod) == ['scp'] * 3


@pytest.mark.parametrize('verb', ['create', 'keep'])
def test_no_quota_ends_at_once_and_says_what_to_do(pod, verb):
  pod.states('MISSING')
  pod.answer(
    ' create ',
    status=1,
    err="ERROR: Quota limit 'TPUV5PPreemptible' has been exceeded. Limit: 0 in region us-east5.\n",
  )
  done = pod.run('tpu_vm.sh', verb, *WHERE, '--spot', *COMMAND)
  assert done.returncode == 5
  assert story(pod) == ['create']
  assert (
    'Quota limit' in done.stderr and 'no quota for v5p-128 spot' in done.stderr
  )


def test_a_queued_resource_that_fails_for_want_of_quota_says_so(pod):
  pod.answer('format=value', out='FAILED\n')
  pod.answer(
    'queued-resources describe',
    out='state: FAILED, error: Quota exceeded for TPUS\n',
  )
  done = pod.run('tpu_vm.sh', 'create', *WHERE, '--queued')
  assert done.returncode == 5
  assert 'Quota exceeded for TPUS' in done.stderr


def test_no_capacity_keeps_the_status_and_points_to_the_queue(pod):
  pod.answer(
    ' create ', status=1, err='ERROR: There is no more capacity in the zone\n'
  )
  done = pod.run('tpu_vm.sh', 'create', *WHERE)
  assert done.returncode == 1
  assert 'no more capacity' in done.stderr and '--queued' in done.stderr


def test_keep_asks_again_where_capacity_is_short(pod):
  pod.states(*['MISSING'] * 5, 'READY')
  pod.answer(
    ' create ',
    status=1,
    err='ERROR: There is no more capacity in the zone\n',
    times=2,
  )
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['create', 'create', 'create', 'scp', 'install', 'run']


def test_a_tpu_that_came_after_gcloud_gave_up_is_used(pod):
  pod.states('MISSING', 'READY')
  pod.answer(' create ', status=1, err='ERROR: timed out\n')
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['create', 'scp', 'install', 'run']


def test_keep_deletes_a_tpu_that_failed_to_come_before_it_asks_again(pod):
  pod.states('MISSING', 'FAILED', 'FAILED', 'FAILED', 'FAILED', 'READY')
  done = keep(pod)
  assert done.returncode == 0, done.stderr
  assert story(pod) == ['create', 'delete', 'create', 'scp', 'install', 'run']


def test_what_cannot_be_deleted_is_not_asked_for_again(pod):
  pod.states('PREEMPTED')
  pod.answer(' delete ', status=1, err='ERROR: busy\n')
  done = keep(pod, '--max_attempts=2')
  assert done.returncode == 6
  assert story(pod) == ['delete', 'delete']


def test_a_creation_that_takes_too_long_ends_and_says_what_state_it_is_in(pod):
  pod.states('WAITING_FOR_RESOURCES', of='queued-resources describe')
  done = pod.run('tpu_vm.sh', 'create', *WHERE, '--queued', '--wait_minutes=0')
  assert done.returncode == 4
  assert 'WAITING_FOR_RESOURCES after 0 minutes' in done.stderr
  assert not pod.called('delete')


def test_a_tpu_that_somebody_stopped_is_not_deleted(pod):
  pod.states('STOPPED')
  done = keep(pod)
  assert done.returncode == 1
  assert story(pod) == [] and 'start it or delete it' in done.stderr


def test_an_error_about_the_state_is_not_taken_for_a_missing_tpu(pod):
  pod.answer('describe', status=1, err='ERROR: PERMISSION_DENIED: no.\n')
  done = keep(pod)
  assert done.returncode == 1
  assert story(pod) == [] and 'PERMISSION_DENIED' in done.stderr


@pytest.mark.parametrize(
  'arguments, message',
  [
    (('run', '--name=pod', '--zone=z'), 'no command'),
    (('run', '--name=pod', '--', 'python'), '--zone=... is missing'),
    (
      ('run', '--name=pod', '--zonne=z', '--', 'python'),
      'unknown argument --zonne=z',
    ),
    (('create', '--name=pod', '--zone=z'), '--type=... is missing'),
    (('create', '--name=pod', '--zone=z', '--type=tpu7x-8'), 'gke.sh'),
    (
      ('create', '--name=pod', '--zone=z', '--type=v4-8', '--num_slices=2'),
      'needs --queued',
    ),
    (
      ('create', '--name=pod', '--zone=z', '--wait_minutes=1h'),
      'wanted a whole number',
    ),
    (('explode',), 'tpu_vm.sh VERB'),
  ],
)
def test_a_wrong_command_line_calls_nobody(pod, arguments, message):
  done = pod.run('tpu_vm.sh', *arguments)
  assert done.returncode == 2
  assert message in done.stderr + done.stdout
  assert pod.calls == []


def test_a_dry_run_prints_the_commands_and_calls_nobody(pod):
  done = keep(pod, '--dry_run', '--delete_at_end')
  assert done.returncode == 0, done.stderr
  lines = [
    line for line in done.stdout.splitlines() if not line.startswith('#')
  ]
  assert [line.split()[4] for line in lines] == [
    'create',
    'scp',
    'ssh',
    'ssh',
    'delete',
  ]
  assert pod.calls == []


def test_without_gcloud_it_says_so(bench):
  done = bench.run('tpu_vm.sh', 'run', *WHERE, *COMMAND)
  assert done.returncode == 127
  assert 'gcloud is not installed' in done.stderr
