#!/usr/bin/env bash
# Runs one command on the GPUs of a SLURM cluster, with one process per GPU.
#
#   slurm.sh VERB --name=NAME [--dry_run] [-- COMMAND]
#
#   run     submits COMMAND: [--nodes=1] [--gpus_per_node=8] [--cpus_per_task=8] [--time=24:00:00]
#           [--partition=P] [--account=A] [--setup=FILE] [--wait]
#   status  prints the job's state in the queue
#   logs    prints the log, NAME.log
#   delete  cancels the job
#
# --setup names a file to source first, such as `module load cuda` or a venv; all processes inherit
# its exports. --wait waits for the job and returns its status. SLURM requeues a job that is
# preempted or loses a node; it runs the same command again. The programs detect the other processes
# by SLURM's variables. Run this script on a login node, in a folder that all nodes share.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

name='' nodes=1 gpus_per_node=8 cpus_per_task=8 time='' partition='' account='' setup='' wait=''
dry_run=''

# No --gpus-per-task: process i of a node uses the i-th visible GPU, so all must be visible.
run() {
  local flags=("--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$gpus_per_node"
    "--gpus-per-node=$gpus_per_node" "--cpus-per-task=$cpus_per_task"
    "--output=$name.log" --open-mode=append --requeue)
  need_program
  [[ -z $setup || -f $setup ]] || die "$USAGE_ERROR" "--setup=$setup: no such file."
  [[ -z $time ]] || flags+=("--time=$time")
  [[ -z $partition ]] || flags+=("--partition=$partition")
  [[ -z $account ]] || flags+=("--account=$account")
  [[ -z $wait ]] || flags+=(--wait)
  call sbatch "${flags[@]}" "$here/slurm_job.sh" "$setup" "${program[@]}"
}

status() {
  call squeue "--name=$name" --me
}

logs() {
  call cat "$name.log"
}

delete() {
  call scancel "--name=$name" --me
}

verb=${1:-}
case $verb in
  run | status | logs | delete) shift ;;
  *)
    usage
    [[ $verb == --help || $verb == -h ]] || exit "$USAGE_ERROR"
    exit 0
    ;;
esac
read_flags 'name nodes gpus_per_node cpus_per_task time partition account setup' wait "$@"
need name
need_number nodes gpus_per_node cpus_per_task
"$verb"
