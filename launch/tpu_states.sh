# shellcheck shell=bash disable=SC2154 # the flags are tpu_vm.sh's
# States of a Cloud TPU, of a queued resource and of its nodes. Sourced by tpu_vm.sh.

readonly TIMED_OUT=4 NO_QUOTA=5

now='' meaning=''  # set by `look`
assumed=MISSING # the state in a dry run

# tpu VERB FLAGS...: calls gcloud for the VM or the queued resource.
tpu() {
  local verb=$1 kind=tpu-vm
  shift
  [[ -z $queued ]] || kind='queued-resources'
  call gcloud compute tpus "$kind" "$verb" "$name" "$@" "${where[@]}"
}

# Prints the software version of a TPU type: cloud.google.com/tpu/docs/runtimes
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

# describe KIND NAME FIELD: prints the field, or MISSING if there is no such resource. Other errors
# end the script.
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

# Prints the state. If a queued resource is ACTIVE, prints that of a node that is not READY.
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

# each_node FUNCTION ARGUMENTS...: calls the function with each node as the last argument, in
# parallel, because the programs of a slice wait for those of the others. Returns the status of one
# that failed.
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
  # shellcheck disable=SC2064,SC2086 # the current pids, one word each
  trap "kill $pids" INT TERM
  for pid in $pids; do
    wait "$pid" || status=$?
  done
  trap - INT TERM
  return "$status"
}

# Prints the number of machines of a node.
count_workers() {
  local addresses
  [[ -z $dry_run ]] || { echo 1 && return; }
  addresses=$(describe tpu-vm "$1" 'networkEndpoints[].ipAddress') || exit
  [[ $addresses != MISSING ]] || die 1 "there is no $1 in $zone."
  tr ';' '\n' <<<"$addresses" | grep -c .
}

# Prints up, absent, coming or dead. A state that a person chose, like STOPPED, is an error.
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

# Waits while the state is a transition, up to --wait_minutes.
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

# Ends the script with gcloud's reason.
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
