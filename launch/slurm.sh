#!/usr/bin/env bash
# One command on the GPUs of a SLURM cluster, one process for each GPU.
#
#   slurm.sh VERB --name=NAME [--dry_run] [-- COMMAND]
#
#   run     submits COMMAND: [--nodes=1] [--gpus_per_node=8] [--cpus_per_task=8] [--time=24:00:00]
#           [--partition=P] [--account=A] [--setup=FILE] [--wait]
#   status  what the queue says of it
#   logs    prints its log, NAME.log
#   delete  cancels it
#
# --setup is sourced first, all processes inherit what it exports: `module load cuda`, a venv.
# --wait ends when the job does, with its status. A job that is preempted or loses a node is put
# back into the queue by SLURM and runs the same command again. The programs find the other
# processes by SLURM's own variables. Run it on a login node, in a folder that all nodes see.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

name='' nodes=1 gpus_per_node=8 cpus_per_task=8 time='' partition='' account='' setup='' wait=''
dry_run=''

# No --gpus-per-task: jax gives process i the i-th GPU that it sees, so each must see all.
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
