# shellcheck shell=bash disable=SC2154 # the flags are tpu_vm.sh's
# The states of a Cloud TPU, of a queued resource and of its nodes; sourced by tpu_vm.sh.

readonly TIMED_OUT=4 NO_QUOTA=5

now='' meaning=''  # what `look` saw
assumed=MISSING # what a dry run takes the state for

# tpu VERB FLAGS...: of the VM, or of the queued resource.
tpu() {
  local verb=$1 kind=tpu-vm
  shift
  [[ -z $queued ]] || kind='queued-resources'
  call gcloud compute tpus "$kind" "$verb" "$name" "$@" "${where[@]}"
}

# The published software of a TPU's type: cloud.google.com/tpu/docs/runtimes
software_of() {
  case $1 in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    *) die "$USAGE_ERROR" "--type=$1 is not known here; wanted v5p-128, v6e-16, v5litepod-16," \
      'v4-32, ..., or --version=SOFTWARE with another. TPU7x comes through GKE: gke.sh.' ;;
  esac
}

# describe KIND NAME FIELD: the field, MISSING where there is no such thing; other errors end it.
describe() {
  local found
  if found=$(gcloud compute tpus "$1" describe "$2" "--format=value($3)" "${where[@]}" 2>&1); then
    printf '%s\n' "$found" | tail -n 1
  elif grep -qiE 'NOT_FOUND|not found' <<<"$found"; then
    echo MISSING
  else
    printf '%s\n' "$found" >&2
    die 1 "gcloud could not say what state $2 is in (see above)."
  fi
}

# The state, of the worst node when a queued resource still says ACTIVE of preempted ones.
state() {
  local now node
  [[ -z $dry_run ]] || { echo "$assumed" && return; }
  command -v gcloud >/dev/null || die 127 'gcloud is not installed, or not on PATH.'
  if [[ -z $queued ]]; then
    describe tpu-vm "$name" state
    return
  fi
  now=$(describe queued-resources "$name" state.state) || exit
  if [[ $now == ACTIVE ]]; then
    for node in $(nodes); do
      now=$(describe tpu-vm "$node" state) || exit
      [[ $now == READY ]] || break
    done
    [[ $now != MISSING ]] || now=PREEMPTED
  fi
  echo "$now"
}

nodes() {
  local index
  if [[ $num_slices == 1 ]]; then
    echo "$name"
    return
  fi
  for ((index = 0; index < num_slices; index++)); do echo "$name-$index"; done
}

# each_node FUNCTION ARGUMENTS...: called with each node as the last argument, for all at once,
# because no slice's programs go on without the others'; the status of one that failed.
each_node() {
  local node pid pids='' status=0
  if [[ $num_slices == 1 || -n $dry_run ]]; then
    for node in $(nodes); do "$@" "$node" || return; done
    return
  fi
  for node in $(nodes); do
    "$@" "$node" &
    pids="$pids $!"
  done
  # shellcheck disable=SC2064,SC2086 # the numbers of now, one word each
  trap "kill $pids" INT TERM
  for pid in $pids; do
    wait "$pid" || status=$?
  done
  trap - INT TERM
  return "$status"
}

# How many machines a node has.
count_workers() {
  local addresses
  [[ -z $dry_run ]] || { echo 1 && return; }
  addresses=$(describe tpu-vm "$1" 'networkEndpoints[].ipAddress') || exit
  [[ $addresses != MISSING ]] || die 1 "there is no $1 in $zone."
  tr ';' '\n' <<<"$addresses" | grep -c .
}

# up, absent, coming or dead; a state that somebody chose, like STOPPED, is theirs to end.
meaning_of() {
  case $1 in
    READY | ACTIVE) echo up ;;
    MISSING) echo absent ;;
    PREEMPTED | TERMINATED | FAILED | SUSPENDED) echo dead ;;
    STOPPED | STOPPING | HIDDEN | HIDING | UNHIDING)
      die 1 "$name is $1: start it or delete it."
      ;;
    *) echo coming ;;
  esac
}

# Sets `now` to the state and `meaning` to what it means.
look() {
  now=$(state) || exit
  meaning=$(meaning_of "$now") || exit
}

# Looks until it is no longer on its way from one state to another; not for ever.
settle() {
  local deadline=$((SECONDS + wait_minutes * 60))
  look
  while [[ $meaning == coming ]]; do
    [[ $SECONDS -lt $deadline ]] || die "$TIMED_OUT" "$name is $now after $wait_minutes minutes" \
      '(--wait_minutes). It stays in line: keep waits on, delete takes it back.'
    say "$name is $now; looking again in $poll_seconds seconds."
    sleep "$poll_seconds"
    look
  done
}

# Ends the launcher with the reason that gcloud gives.
will_not_come() {
  local reason
  reason=$(tpu describe 2>&1) || true
  printf '%s\n' "$reason" >&2
  ! grep -qi quota <<<"$reason" || no_quota
  die 1 "$name is $now, so it will not come (see above). delete it before another try."
}

no_quota() {
  die "$NO_QUOTA" "no quota for $type${spot:+ spot} in $zone: waiting does not help. Ask for" \
    'quota (spot and on-demand differ), or take another --zone or --type.'
}

status() {
  if [[ -n $queued ]]; then
    tpu describe '--format=value(state.state)'
  else
    tpu describe '--format=value(state)'
  fi
}
