"""gke.sh, slurm.sh and sweep.sh against stubs of xpk, docker, kubectl, sbatch, srun and python."""

import pathlib
import shlex

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
CLUSTER = ('--cluster=c', '--zone=us-east5-a', '--name=run-1')
TYPE = ('--type=v5p-128', '--image=gcr.io/ours/mathft:1')
COMMAND = [
  'python',
  '-m',
  'mathft_jax.train',
  '--gin.NAME=a b',
  "--gin.X='q'",
  '--gin.Y=$HOME',
]


@pytest.fixture
def cluster(bench):
  bench.stub('xpk', 'docker', 'kubectl', 'sbatch', 'srun', 'squeue', 'scancel')
  return bench


def test_gke_submits_the_command_so_that_a_shell_reads_it_word_for_word(
  cluster,
):
  done = cluster.run(
    'gke.sh',
    'run',
    *CLUSTER,
    *TYPE,
    '--project=p',
    '--num_slices=2',
    '--env=A=b c',
    '--',
    *COMMAND,
  )
  assert done.returncode == 0, done.stderr
  (call,) = cluster.calls
  command = call.pop(7)
  assert call == [
    'xpk',
    'workload',
    'create',
    '--workload=run-1',
    '--cluster=c',
    '--zone=us-east5-a',
    '--project=p',
    '--tpu-type=v5p-128',
    '--num-slices=2',
    '--docker-image=gcr.io/ours/mathft:1',
    '--max-restarts=50',
    '--env=A=b c',
  ]
  assert shlex.split(command.removeprefix('--command=')) == COMMAND


def test_gke_waits_for_the_end_and_passes_its_status_on(cluster):
  cluster.answer('wait-for-job-completion=run-1', status=125)
  assert (
    cluster.run(
      'gke.sh', 'run', *CLUSTER, *TYPE, '--wait', '--', *COMMAND
    ).returncode
    == 125
  )
  assert [call[2] for call in cluster.calls] == ['create', 'list']


def test_gke_does_not_wait_for_what_was_not_created(cluster):
  cluster.answer('workload create', status=1, err='quota\n')
  done = cluster.run('gke.sh', 'run', *CLUSTER, *TYPE, '--wait', '--', *COMMAND)
  assert done.returncode == 1 and 'quota' in done.stderr
  assert len(cluster.calls) == 1


def test_gke_image_status_logs_and_delete(cluster):
  for verb in ('image', 'status', 'logs', 'delete'):
    done = cluster.run('gke.sh', verb, *CLUSTER, *TYPE)
    assert done.returncode == 0, done.stderr
  build, push, status, logs, delete = cluster.calls
  assert build[:3] == ['docker', 'build', '--tag=gcr.io/ours/mathft:1']
  assert build[3].endswith('/launch/Dockerfile')
  assert push == ['docker', 'push', 'gcr.io/ours/mathft:1']
  assert (
    status[1:3] == ['workload', 'list']
    and status[-1] == '--filter-by-job=run-1'
  )
  assert logs[:3] == [
    'kubectl',
    'logs',
    '--selector=xpk.google.com/workload=run-1',
  ]
  assert (
    delete[1:4] == ['workload', 'delete', '--workload=run-1']
    and delete[-1] == '--force'
  )


def test_gke_does_not_push_an_image_that_was_not_built(cluster):
  cluster.answer('docker build', status=3)
  assert cluster.run('gke.sh', 'image', *TYPE).returncode == 3
  assert len(cluster.calls) == 1


@pytest.mark.parametrize(
  'arguments, message',
  [
    ((*CLUSTER, '--type=v5p-8', '--', 'x'), '--image'),
    (
      ('--cluster=c', '--zone=z', '--name=Run_1', *TYPE, '--', 'x'),
      'a letter first',
    ),
    ((*CLUSTER, *TYPE, '--', 'two\nlines'), 'line break'),
    ((*CLUSTER, *TYPE), 'no command'),
  ],
)
def test_gke_refuses_what_would_fail_later(cluster, arguments, message):
  done = cluster.run('gke.sh', 'run', *arguments)
  assert done.returncode == 2 and message in done.stderr
  assert cluster.calls == []


def test_slurm_asks_for_a_process_per_gpu_and_passes_the_words_on(cluster):
  (cluster.folder / 'set up.sh').write_text('')
  done = cluster.run(
    'slurm.sh',
    'run',
    '--name=run',
    '--nodes=4',
    '--gpus_per_node=2',
    '--time=1:00:00',
    '--partition=p',
    '--account=a',
    '--setup=set up.sh',
    '--wait',
    '--',
    *COMMAND,
  )
  assert done.returncode == 0, done.stderr
  (call,) = cluster.calls
  job = next(
    index for index, word in enumerate(call) if word.endswith('slurm_job.sh')
  )
  assert call[:job] == [
    'sbatch',
    '--job-name=run',
    '--nodes=4',
    '--ntasks-per-node=2',
    '--gpus-per-node=2',
    '--cpus-per-task=8',
    '--output=run.log',
    '--open-mode=append',
    '--requeue',
    '--time=1:00:00',
    '--partition=p',
    '--account=a',
    '--wait',
  ]
  assert call[job + 1 :] == ['set up.sh', *COMMAND]


def test_slurm_passes_the_status_of_sbatch_on(cluster):
  cluster.answer('sbatch', status=4, err='sbatch: error: QOSMaxGRESPerUser\n')
  done = cluster.run('slurm.sh', 'run', '--name=run', '--', *COMMAND)
  assert done.returncode == 4 and 'QOSMaxGRESPerUser' in done.stderr


def test_slurm_status_logs_and_delete(cluster):
  (cluster.folder / 'run.log').write_text('lines\n')
  assert cluster.run('slurm.sh', 'logs', '--name=run').stdout == 'lines\n'
  assert cluster.run('slurm.sh', 'status', '--name=run').returncode == 0
  assert cluster.run('slurm.sh', 'delete', '--name=run').returncode == 0
  assert cluster.calls == [
    ['squeue', '--name=run', '--me'],
    ['scancel', '--name=run', '--me'],
  ]
  assert (
    cluster.run(
      'slurm.sh', 'run', '--name=run', '--setup=no', '--', 'x'
    ).returncode
    == 2
  )


def test_the_job_sources_the_setup_and_runs_the_words_on_all_nodes(cluster):
  (cluster.folder / 'setup.sh').write_text(
    '[[ -z $UNSET ]]; export FROM_SETUP=1; alias srun=no\n'
  )
  job = {
    'SLURM_JOB_ID': '7',
    'SLURM_JOB_NODELIST': 'n[1-2]',
    'SLURM_CPUS_PER_TASK': '8',
  }
  cluster.answer('srun', status=5)
  done = cluster.run('slurm_job.sh', './setup.sh', *COMMAND, **job)
  assert done.returncode == 5
  assert 'job 7 on n[1-2], start 0' in done.stdout
  assert cluster.run('slurm_job.sh', '', *COMMAND, **job).returncode == 5
  call = [
    'srun',
    '--kill-on-bad-exit=1',
    '--label',
    '--cpus-per-task=8',
    *COMMAND,
  ]
  assert cluster.calls == [call, call]


PLANNED = [
  [
    *COMMAND,
    '--gin_file=sweeps/margin/0.5.gin',
    '--gin.rerank.rerank.workdir=w/m/0.5',
  ],
  [
    *COMMAND,
    '--gin_file=sweeps/margin/1.gin',
    '--gin.rerank.rerank.workdir=w/m/1',
  ],
]
SWEEP = ('--question=margin', '--workdir=w/m')


@pytest.fixture
def swept(cluster):
  cluster.stub('python')
  cluster.answer(
    'mathft_jax.sweep', out=''.join(f'{shlex.join(line)}\n' for line in PLANNED)
  )
  return cluster


def through(swept, *flags):
  launcher = [
    'bash',
    str(LAUNCH / 'gke.sh'),
    'run',
    '--cluster=c',
    '--zone=z',
    *TYPE,
    '--name=margin-{run}',
  ]
  return swept.run('sweep.sh', *SWEEP, *flags, '--', *launcher, '--', *COMMAND)


def test_a_sweep_gives_each_run_to_the_launcher_with_a_name_of_its_own(swept):
  done = through(swept)
  assert done.returncode == 0, done.stderr
  ask, *submitted = swept.calls
  assert ask == [
    'python',
    '-m',
    'mathft_jax.sweep',
    *SWEEP,
    '--print_commands',
    '--',
    *COMMAND,
  ]
  assert [call[3] for call in submitted] == [
    '--workload=margin-0-5',
    '--workload=margin-1',
  ]
  commands = [
    next(word for word in call if word.startswith('--command='))
    for call in submitted
  ]
  assert [
    shlex.split(command.removeprefix('--command=')) for command in commands
  ] == PLANNED


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(swept):
  swept.answer('margin-0-5', status=6)
  done = through(swept)
  assert done.returncode == 1
  assert (
    len(swept.called('create')) == 2
    and 'workdir=w/m/0.5 (status 6)' in done.stderr
  )


def test_a_sweep_that_does_not_assemble_submits_nothing(cluster):
  cluster.stub('python')
  cluster.answer('mathft_jax.sweep', status=2, err='sweep: No question\n')
  done = through(cluster)
  assert done.returncode == 2 and 'No question' in done.stderr
  assert [call[0] for call in cluster.calls] == ['python']


def test_a_dry_run_of_a_sweep_prints_what_the_launcher_would_call(swept):
  done = through(swept, '--dry_run')
  assert done.returncode == 0, done.stderr
  assert [shlex.split(line)[:3] for line in done.stdout.splitlines()] == [
    ['xpk', 'workload', 'create']
  ] * 2
  assert len(swept.calls) == 1


@pytest.mark.parametrize(
  'words',
  [(), ('--', 'gke.sh'), ('--', 'gke.sh', '--'), ('--', '--', 'python')],
)
def test_a_sweep_without_launcher_or_command_says_what_is_wanted(
  cluster, words
):
  done = cluster.run('sweep.sh', *SWEEP, *words)
  assert done.returncode == 2 and 'LAUNCHER... -- COMMAND' in done.stderr
