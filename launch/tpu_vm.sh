#!/usr/bin/env bash
# Runs one command on all machines of a Cloud TPU with gcloud.
#
#   tpu_vm.sh VERB --name=NAME --zone=ZONE [--project=PROJECT] [--queued] [--dry_run] [-- COMMAND]
#
#   create   requests --type=v5p-128 and waits until it is ready [--spot] [--version=SOFTWARE]
#   prepare  copies this folder's files and installs them on every machine [--extras=tpu,data]
#   run      runs COMMAND on every machine and returns its status; after a lost connection, the
#            same `run` shows the log of the same command again
#   stop     stops the command
#   logs     downloads the logs of all machines to --to=FOLDER
#   status   prints the state of the TPU
#   delete   deletes it
#   keep     creates and prepares the TPU if needed and runs COMMAND; recreates a preempted TPU,
#            also while capacity is short, and runs the same COMMAND again until it ends by itself
#
# An existing TPU needs no `create`. With --queued the TPU is a queued resource of that name,
# with --num_slices=N slices. With --dry_run the commands are printed and none is run.
#   --wait_minutes=60  --poll_seconds=30    how long to wait for a TPU, and the interval
#   --max_attempts=100  --delete_at_end     for keep
# The status is that of COMMAND, or 2: wrong flags, 3: another command runs there, 4: waited too
# long, 5: no quota, 6: preempted too often, 255: lost connection, else gcloud's.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"
# shellcheck source=launch/tpu_states.sh
. "$here/tpu_states.sh"

readonly BUSY=3 GAVE_UP=6 LOST_CONNECTION=255

name='' zone='' project='' type='' version='' extras=tpu to='' spot='' queued='' dry_run=''
num_slices=1 wait_minutes=60 poll_seconds=30 max_attempts=100 delete_at_end=''

create() {
  local flags=("--accelerator-type=$type")
  need type
  [[ -n $version ]] || version=$(software_of "$type") || exit
  [[ -z $spot ]] || flags+=(--spot)
  if [[ -z $queued ]]; then
    [[ $num_slices == 1 ]] || die "$USAGE_ERROR" "--num_slices=$num_slices needs --queued."
    flags+=("--version=$version")
  elif [[ $num_slices == 1 ]]; then
    flags+=("--runtime-version=$version" "--node-id=$name")
  else
    flags+=("--runtime-version=$version" "--node-count=$num_slices" "--node-prefix=$name")
  fi
  ask_for_it "${flags[@]}"
  remark "waits until $name is READY or ACTIVE"
  assumed=READY
  settle
  [[ $meaning == up ]] || will_not_come
}

ask_for_it() {
  local answer status=0
  if [[ -n $dry_run ]]; then
    tpu create "$@"
    return
  fi
  answer=$(mktemp)
  tpu create "$@" 2>&1 | tee "$answer" >&2 || status=$?
  if [[ $status -ne 0 ]] && grep -qiE 'quota' "$answer"; then
    rm -f "$answer"
    no_quota
  fi
  rm -f "$answer"
  [[ $status -eq 0 ]] || die "$status" "$name was not created (see gcloud's message above)." \
    'Where capacity is short, --queued waits in line for it.'
}

prepare() {
  local archive status=0
  archive=ARCHIVE
  remark "ARCHIVE: the files of $(cd "$here/.." && pwd) that git does not ignore"
  [[ -n $dry_run ]] || archive=$(mktemp)
  pack "$archive" && each_node copy "$archive" && each_node run_on "$(unpack_command)" || status=$?
  [[ -n $dry_run ]] || rm -f "$archive"
  return "$status"
}

# Packs the files that git tracks or would add, with uncommitted edits.
pack() {
  [[ -z $dry_run ]] || return 0
  git -C "$here/.." ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
      [[ ! -f $here/../$file ]] || printf '%s\0' "$file"
    done | COPYFILE_DISABLE=1 tar -czf "$1" -C "$here/.." --null -T -
}

# Does not change files while a command runs.
unpack_command() {
  local worker='bash mathft_jax/launch/worker.sh'
  echo "if $worker running 2>/dev/null; then echo 'A command runs here: nothing is changed.';" \
    "exit $BUSY; else mkdir -p mathft_jax && tar -xzf mathft_jax.tar.gz -C mathft_jax &&" \
    "$worker prepare $(quoted "$extras"); fi"
}

run() {
  need_program
  each_node run_on "bash mathft_jax/launch/worker.sh run $(quoted "${program[@]}")"
}

stop() {
  each_node run_on 'bash mathft_jax/launch/worker.sh stop'
}

# One file per machine, one after another: --output-directory of gcloud 528 writes elsewhere.
logs() {
  local node worker workers
  need to
  call mkdir -p "$to"
  for node in $(nodes); do
    workers=$(count_workers "$node") || exit
    for ((worker = 0; worker < workers; worker++)); do
      remark "into $to/$node-worker-$worker.log"
      call gcloud compute tpus tpu-vm ssh "$node" "--worker=$worker" \
        '--command=bash mathft_jax/launch/worker.sh logs' "${where[@]}" |
        if [[ -n $dry_run ]]; then cat; else cat >"$to/$node-worker-$worker.log"; fi
    done
  done
}

# copy FILE NODE: copies a file to all machines of a node.
copy() {
  call gcloud compute tpus tpu-vm scp "$1" "$2:mathft_jax.tar.gz" --worker=all "${where[@]}"
}

# run_on COMMAND NODE: runs a shell command on all machines of a node. A lost machine is noticed
# within two minutes. After a lost connection gcloud starts the command again, up to ten times, so
# it must be a command that may be started twice.
run_on() {
  call gcloud compute tpus tpu-vm ssh "$2" --worker=all "--command=$1" \
    --ssh-flag=-oServerAliveInterval=30 --ssh-flag=-oServerAliveCountMax=4 "${where[@]}"
}

delete() {
  if [[ -n $queued ]]; then tpu delete --force --quiet; else tpu delete --quiet; fi
}

keep() {
  local attempt status started prepared=''
  need type
  need_program
  remark "what is done when $name is not there; when it is preempted: delete, and from the top"
  for ((attempt = 1; attempt <= max_attempts; attempt++)); do
    status=0
    started=''
    make_ready && started=true && run || status=$?
    [[ $status -ne 0 ]] || break
    sleep "$poll_seconds" # a preemption shows in the state only after a while
    look
    if [[ -n $started && $meaning == up && $status -ne $LOST_CONNECTION ]] &&
      ! lost_process "$status"; then
      die "$status" "the command failed with status $status and $name is well, so running it" \
        'again would not help. Its machines say why: logs --to=FOLDER.'
    fi
    say "attempt $attempt of $max_attempts ended with status $status; $name is $now."
  done
  [[ $status -eq 0 ]] || die "$GAVE_UP" "gave up after $max_attempts attempts."
  [[ -z $delete_at_end ]] || delete
}

# Creates and prepares the TPU if needed. Fails if there is no capacity. `prepared` is a variable of
# the caller.
make_ready() {
  local status=0
  settle
  if [[ $meaning == dead ]]; then
    say "$name is $now: deleting it, it would count against the quota."
    delete || return
  fi
  if [[ $meaning != up ]]; then
    prepared=''
    (create) || status=$?
    case $status in
      0) ;;
      "$USAGE_ERROR" | "$TIMED_OUT" | "$NO_QUOTA") exit "$status" ;;
      *) return "$status" ;;
    esac
  fi
  [[ -n $prepared ]] || prepare_soon
  prepared=true
}

# Tries again, because ssh may not be ready at once. Machines that run the command are prepared.
prepare_soon() {
  local try status
  for try in 1 2 3; do
    status=0
    prepare || status=$?
    [[ $status -ne 0 && $status -ne $BUSY ]] || return 0
    say "prepare: try $try of 3 ended with status $status."
    sleep "$poll_seconds"
  done
  die "$status" "$name could not be prepared (see above)."
}

verb=${1:-}
case $verb in
  create | prepare | run | stop | logs | status | delete | keep) shift ;;
  *)
    usage
    [[ $verb == --help || $verb == -h ]] || exit "$USAGE_ERROR"
    exit 0
    ;;
esac
read_flags "name zone project type version extras to num_slices wait_minutes poll_seconds \
max_attempts" 'queued spot delete_at_end' "$@"
need name zone
need_number num_slices wait_minutes poll_seconds max_attempts
where=("--zone=$zone" ${project:+"--project=$project"})
"$verb"
