#!/usr/bin/env bash
# Starts each run of a sweep with a launcher.
#
#   sweep.sh --question=QUESTION --workdir=DIR [--dry_run] -- LAUNCHER... -- COMMAND
#
# QUESTION, DIR and COMMAND are those of `python -m mathft_jax.sweep`, which creates the runs and
# checks them on this machine first. LAUNCHER is one of the other scripts with its flags; {run} in
# them is replaced by the run's name:
#
#   sweep.sh --question=margin --workdir=gs://mine/margin -- \
#       launch/gke.sh run --cluster=c --zone=z --type=v6e-16 --image=i --name=margin-{run} -- \
#       python -m mathft_jax.rerank --gin_file=...
#
# Launchers that submit (gke.sh, slurm.sh) return at once, so their runs run in parallel; with the
# others they run one after another. A failed run is reported and does not stop the others; then the
# status is 1. Compare them with `python -m mathft_jax.sweep ... --collect`.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

question='' workdir='' dry_run=''
launcher=() base=()

# Splits `program` at its `--`.
split_program() {
  local word
  for word in ${program[@]+"${program[@]}"}; do
    if [[ ${#base[@]} -gt 0 ]]; then
      base+=("$word")
    elif [[ $word == -- ]]; then
      base=(--)
    else
      launcher+=("$word")
    fi
  done
  [[ ${#launcher[@]} -gt 0 && ${#base[@]} -gt 1 ]] ||
    die "$USAGE_ERROR" 'wanted -- LAUNCHER... -- COMMAND at the end. See --help.'
}

# launch COMMAND...: its last argument ends in /NAME of the run.
launch() {
  local run=${*: -1} word words=()
  run=${run##*/}
  run=$(tr '[:upper:]_.' '[:lower:]--' <<<"$run") # as Kubernetes wants names
  for word in "${launcher[@]}"; do
    words+=("${word//\{run\}/$run}")
  done
  [[ -z $dry_run ]] || words+=(--dry_run)
  "${words[@]}" -- "$@" </dev/null
}

read_flags 'question workdir' '' "$@"
need question workdir
split_program
commands=$(python -m mathft_jax.sweep "--question=$question" "--workdir=$workdir" \
  --print_commands "${base[@]}") || die "$?" 'the sweep does not assemble (see above).'
failed=''
while IFS= read -r line; do
  eval "words=($line)" # quoted for a shell by the sweep
  status=0
  launch "${words[@]}" || status=$?
  [[ $status -eq 0 ]] || failed="$failed ${words[*]: -1} (status $status)"
done <<<"$commands"
[[ -z $failed ]] || die 1 "failed:$failed"
