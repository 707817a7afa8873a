#!/usr/bin/env bash
# Runs N processes of one program on this machine, each like a host of its own.
#
#   local.sh --processes=2 [--devices=4] [--gpus=1] [--port=PORT] [--dry_run] -- COMMAND
#
#   --processes  their number; each gets --coordinator_address, --process_count, --process_index
#   --devices    simulated CPU devices of each process
#   --gpus       GPUs of each process; process 0 gets the first ones
#   --port       the port of process 0; by default a free one
#
# If one process fails, the others are stopped. The status is that of the process that failed first.
# After SIGTERM (75), SIGINT (130) or SIGHUP (129) no process is left, also none that a process has
# started.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

processes=1 devices='' gpus='' port='' dry_run=''
pids=() # by index; '' after its end
started=()

# Chooses a free port below the range that systems use for outgoing connections.
choose_port() {
  port=$((20000 + RANDOM % 12000))
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((20000 + RANDOM % 12000)); done
}

# Sets `settings` to the environment of process $1, as NAME=VALUE words.
choose_settings() {
  local gpu visible=''
  settings=()
  if [[ -n $devices ]]; then
    settings+=(JAX_PLATFORMS=cpu "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }\
--xla_force_host_platform_device_count=$devices")
  fi
  if [[ -n $gpus ]]; then
    for ((gpu = $1 * gpus; gpu < ($1 + 1) * gpus; gpu++)); do
      visible=$visible${visible:+,}$gpu
    done
    settings+=("CUDA_VISIBLE_DEVICES=$visible")
  fi
}

# Sets `command` to the whole command of process $1.
choose_command() {
  choose_settings "$1"
  command=(env ${settings[@]+"${settings[@]}"} "${program[@]}")
  [[ $processes == 1 ]] || command+=("--coordinator_address=localhost:$port"
    "--process_count=$processes" "--process_index=$1")
}

start_all() {
  local index
  for ((index = 0; index < processes; index++)); do
    choose_command "$index"
    say "process $index: $(quoted "${command[@]}")"
    set -m # the process and all that it starts get a process group of their own
    "${command[@]}" > >(label "$index") 2>&1 </dev/null &
    set +m
    pids+=($!)
    started+=($!)
  done
}

label() {
  local line
  trap '' TERM INT HUP # the last lines of a process that is stopped
  while IFS= read -r line || [[ -n $line ]]; do printf '[%s] %s\n' "$1" "$line"; done
}

# Returns the status of the first process that fails, or 0 when all have finished. The status of a
# process that lost another one counts only if no other process failed.
watch() {
  local index status failed='' culprit left=$processes
  while [[ $left -gt 0 ]]; do
    sleep 0.2
    for ((index = 0; index < processes; index++)); do
      [[ -n ${pids[index]} ]] || continue
      ! kill -0 "${pids[index]}" 2>/dev/null || continue
      status=0
      wait "${pids[index]}" || status=$?
      pids[index]=''
      left=$((left - 1))
      if [[ $status -ne 0 ]] && { [[ -z $failed ]] || lost_process "$failed"; }; then
        failed=$status culprit=$index
      fi
    done
    if [[ -n $failed ]]; then
      say "process $culprit ended with status $failed; ending the others."
      return "$failed"
    fi
  done
}

# Sends $signals to the groups of all processes: the next one if a process still runs after
# $seconds_to_end (10, or 130 after TERM to this script: a training saves one checkpoint in 120 s),
# or what it has started 1 s after its end. More signals to this script change nothing.
end_all() {
  local signal group groups rest
  trap '' TERM INT HUP
  # A signal may come between the start of a process and its entry in `pids`.
  groups=" ${started[*]-} $(jobs -p | tr '\n' ' ')"
  for signal in $signals; do
    for group in $groups; do
      kill -s "$signal" -- "-$group" 2>/dev/null || true
    done
    rest=10
    for ((tenths = 0; tenths < 10 * seconds_to_end && rest > 0; tenths++)); do
      any_alive - "$groups" || return 0
      any_alive '' "$groups" || rest=$((rest - 1))
      sleep 0.1
    done
  done
}

# Ends all processes, then exits with status $1. A second signal that arrives while the first one is
# handled changes nothing.
stop() {
  [[ -z $stopping ]] || return 0
  stopping=1
  end_all
  trap - EXIT
  exit "$1"
}

# Whether one of these processes runs; with $1 = '-', whether one of their groups has a process.
any_alive() {
  local group
  for group in $2; do
    ! kill -0 -- "$1$group" 2>/dev/null || return 0
  done
  return 1
}

read_flags 'processes devices gpus port' '' "$@"
need_number processes ${devices:+devices} ${gpus:+gpus} ${port:+port}
need_program
[[ $processes -gt 0 ]] || die "$USAGE_ERROR" '--processes=0; wanted 1 or more.'
[[ -n $port ]] || choose_port
if [[ -n $dry_run ]]; then
  for ((index = 0; index < processes; index++)); do
    choose_command "$index"
    call "${command[@]}"
  done
  exit 0
fi
seconds_to_end=10 signals='TERM KILL' stopping=''
trap end_all EXIT
trap "signals='INT TERM KILL'; stop 130" INT
trap 'seconds_to_end=130; stop 129' HUP
trap 'seconds_to_end=130; stop 75' TERM # 75: run the same command again
start_all
watch
