"""tpu_vm.sh against a stub of gcloud: the calls it makes, and what it does when they fail."""

import shlex
import subprocess

import pytest

WHERE = ('--name=pod', '--zone=us-east5-a')
TYPE = '--type=v5p-128'
QUICK = ('--poll_seconds=0',)
ALIVE = [
  '--ssh-flag=-oServerAliveInterval=30',
  '--ssh-flag=-oServerAliveCountMax=4',
]
TWO_MACHINES = """#!/bin/bash
# gcloud for a TPU of two machines, which are two homes: scp copies, ssh runs what a shell reads.
case $4 in
  describe) echo READY ;;
  scp) for home in machine-0 machine-1; do mkdir -p $home && cp "$5" "$home/${6#*:}"; done ;;
  ssh)
    HOME=$PWD/machine-0 sh -c "cd && ${7#--command=}" & first=$!
    HOME=$PWD/machine-1 sh -c "cd && ${7#--command=}" || status=$?
    wait $first || exit
    exit ${status:-0}
    ;;
esac
"""
COMMAND = [
  'python',
  '-m',
  'mathft_jax.train',
  '--gin_file=a.gin',
  '--gin.NAME=a b',
  "--gin.TASK='it''s'",
  '--gin.PATH=$HOME/*;`id`',
  '--gin.SIZES=(1, 2)',
  '',
  'two\nlines',
  'é  x',
]


def vm(verb, *arguments):
  return ['gcloud', 'compute', 'tpus', 'tpu-vm', verb, *arguments]


def queued(verb, *arguments):
  return ['gcloud', 'compute', 'tpus', 'queued-resources', verb, *arguments]


@pytest.fixture
def pod(bench):
  bench.stub('gcloud')
  return bench


def verbs(pod):
  """What was asked of gcloud, without the looks at the state."""
  return [call[4] for call in pod.calls if call[4] != 'describe']


def test_create_asks_for_the_type_with_its_published_software_and_waits(pod):
  pod.states('CREATING', 'READY')
  done = pod.run(
    'tpu_vm.sh', 'create', *WHERE, '--project=ours', TYPE, '--spot', *QUICK
  )
  assert done.returncode == 0, done.stderr
  assert pod.called('create') == [
    vm(
      'create',
      'pod',
      '--accelerator-type=v5p-128',
      '--spot',
      '--version=v2-alpha-tpuv5',
      '--zone=us-east5-a',
      '--project=ours',
    )
  ]
  assert len(pod.called('describe')) == 2


@pytest.mark.parametrize(
  'type_, software',
  [
    ('v6e-16', 'v2-alpha-tpuv6e'),
    ('v5litepod-16', 'v2-alpha-tpuv5-lite'),
    ('v4-32', 'tpu-ubuntu2204-base'),
  ],
)
def test_each_type_gets_its_own_software(pod, type_, software):
  done = pod.run('tpu_vm.sh', 'create', *WHERE, f'--type={type_}', '--dry_run')
  assert f'--version={software}' in shlex.split(done.stdout, comments=True)


def test_a_queued_resource_is_named_like_its_node_and_slices_are_counted(pod):
  pod.states('WAITING_FOR_RESOURCES', 'ACTIVE', of='queued-resources describe')
  pod.states('READY')
  done = pod.run('tpu_vm.sh', 'create', *WHERE, TYPE, '--queued', *QUICK)
  assert done.returncode == 0, done.stderr
  done = pod.run(
    'tpu_vm.sh', 'create', *WHERE, TYPE, '--queued', '--num_slices=3', *QUICK
  )
  assert done.returncode == 0, done.stderr
  one, three = pod.called('create')
  assert one == queued(
    'create',
    'pod',
    '--accelerator-type=v5p-128',
    '--runtime-version=v2-alpha-tpuv5',
    '--node-id=pod',
    '--zone=us-east5-a',
  )
  assert three[6:9] == [
    '--accelerator-type=v5p-128',
    '--runtime-version=v2-alpha-tpuv5',
    '--node-count=3',
  ]
  assert [call[5] for call in pod.called('tpu-vm', 'describe')] == [
    'pod',
    'pod-0',
    'pod-1',
    'pod-2',
  ]


def test_a_command_reaches_the_machines_word_for_word(pod):
  done = pod.run('tpu_vm.sh', 'run', *WHERE, '--', *COMMAND)
  assert done.returncode == 0, done.stderr
  (call,) = pod.calls
  assert call[:7] == vm('ssh', 'pod', '--worker=all')
  assert call[8:] == [*ALIVE, '--zone=us-east5-a']
  on_the_machine = (
    call[7]
    .removeprefix('--command=')
    .replace('bash mathft_jax/launch/worker.sh run', r"printf '%s\0'", 1)
  )
  for shell in ('bash', 'sh'):  # whichever is the login shell
    read = subprocess.run(
      [shell, '-c', on_the_machine], capture_output=True, check=True
    )
    assert read.stdout.decode().split('\0')[:-1] == COMMAND


def test_keep_installs_and_runs_on_each_machine_what_was_typed(pod, checkout):
  pod.stub('python3')  # pip, uv
  (pod.folder / 'bin' / 'gcloud').write_text(TWO_MACHINES)
  words = [word for word in COMMAND if word != 'two\nlines']
  flags = (*WHERE, TYPE, *QUICK)
  done = pod.run('tpu_vm.sh', 'keep', *flags, '--', 'printf', '%s\n', *words)
  assert done.returncode == 0, done.stderr
  for machine in ('machine-0', 'machine-1'):
    home = pod.folder / machine
    assert (home / 'mathft_jax_run' / 'log').read_text().split('\n')[
      :-1
    ] == words
    assert (home / 'mathft_jax' / 'setup.py').exists()
  assert len(pod.called('--editable')) == 2
  fails = 'test $HOME != ' + str(pod.folder / 'machine-1')
  assert (
    pod.run('tpu_vm.sh', 'keep', *flags, '--', 'sh', '-c', fails).returncode
    == 1
  )


def test_run_ends_with_the_status_of_the_command(pod):
  pod.answer(' ssh ', status=42)
  assert pod.run('tpu_vm.sh', 'run', *WHERE, '--', *COMMAND).returncode == 42


def test_prepare_copies_what_git_does_not_ignore_and_installs_it(pod, checkout):
  done = pod.run('tpu_vm.sh', 'prepare', *WHERE, '--extras=tpu,data')
  assert done.returncode == 0, done.stderr
  copy, install = pod.calls
  assert copy[:5] == vm('scp') and copy[6:] == [
    'pod:mathft_jax.tar.gz',
    '--worker=all',
    '--zone=us-east5-a',
  ]
  assert 'mathft_jax/launch/worker.sh prepare tpu,data; fi' in install[7]
  assert not list(pod.folder.glob('tmp.*'))  # the archive is gone


def test_the_archive_holds_the_launchers_and_no_ignored_files(pod, checkout):
  (pod.folder / 'bin' / 'gcloud').write_text(
    '#!/bin/bash\n[[ $4 != scp ]] || tar -tzf "$5" >list\n'
  )
  done = pod.run('tpu_vm.sh', 'prepare', *WHERE)
  assert done.returncode == 0, done.stderr
  names = (pod.folder / 'list').read_text().splitlines()
  assert {
    'launch/worker.sh',
    'setup.py',
    'gin_configs/recipes/tiny_cpu.gin',
  } <= set(names)
  assert not any(
    '__pycache__' in name or name.startswith('.git/') for name in names
  )


def test_slices_run_the_command_at_once_and_one_that_fails_gives_the_status(
  pod,
):
  pod.answer(' ssh pod-1 ', status=9)
  done = pod.run(
    'tpu_vm.sh', 'run', *WHERE, '--queued', '--num_slices=3', '--', *COMMAND
  )
  assert done.returncode == 9
  assert sorted(call[5] for call in pod.calls) == ['pod-0', 'pod-1', 'pod-2']
  assert len({call[7] for call in pod.calls}) == 1


def test_logs_of_all_machines_come_into_a_folder(pod):
  pod.answer('describe', out='10.0.0.1;10.0.0.2\n')
  pod.answer('worker=1', out='the second\n')
  done = pod.run('tpu_vm.sh', 'logs', *WHERE, '--to=some logs')
  assert done.returncode == 0, done.stderr
  assert (pod.folder / 'some logs' / 'pod-worker-0.log').read_text() == ''
  assert (
    pod.folder / 'some logs' / 'pod-worker-1.log'
  ).read_text() == 'the second\n'
  assert pod.calls[0] == vm(
    'describe',
    'pod',
    '--format=value(networkEndpoints[].ipAddress)',
    '--zone=us-east5-a',
  )
  assert pod.calls[2] == vm(
    'ssh',
    'pod',
    '--worker=1',
    '--command=bash mathft_jax/launch/worker.sh logs',
    '--zone=us-east5-a',
  )


def test_logs_of_a_tpu_that_is_not_there_are_an_error(pod):
  pod.states('MISSING')
  assert pod.run('tpu_vm.sh', 'logs', *WHERE, '--to=logs').returncode == 1


def test_stop_status_and_delete(pod):
  pod.answer('describe', out='READY\n')
  for verb in ('stop', 'status', 'delete'):
    done = pod.run('tpu_vm.sh', verb, *WHERE)
    assert done.returncode == 0, done.stderr
  assert pod.run('tpu_vm.sh', 'delete', *WHERE, '--queued').returncode == 0
  stop, status, delete, delete_queued = pod.calls
  assert stop[7] == '--command=bash mathft_jax/launch/worker.sh stop'
  assert status == vm(
    'describe', 'pod', '--format=value(state)', '--zone=us-east5-a'
  )
  assert delete == vm('delete', 'pod', '--quiet', '--zone=us-east5-a')
  assert delete_queued == queued(
    'delete', 'pod', '--force', '--quiet', '--zone=us-east5-a'
  )
