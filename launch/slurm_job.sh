#!/usr/bin/env bash
# The batch script of slurm.sh: slurm_job.sh SETUP COMMAND...; SETUP is a file to source, or ''.

set -euo pipefail

setup=$1
shift
if [[ -n $setup ]]; then
  set +u # scripts of module systems often use unset variables
  # shellcheck source=/dev/null
  . "$setup"
  set -u
fi
echo "$(date): job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, start ${SLURM_RESTART_COUNT:-0}"
# srun does not inherit the job's --cpus-per-task.
exec srun --kill-on-bad-exit=1 --label "--cpus-per-task=${SLURM_CPUS_PER_TASK:-1}" "$@"
