#!/usr/bin/env bash
# Runs on each machine of a TPU, called by tpu_vm.sh; Linux only.
#
#   worker.sh prepare [EXTRAS]   installs this folder's project into ~/mathft_jax_env
#   worker.sh run COMMAND...     starts the command, shows its log and returns its status
#   worker.sh stop               stops the command
#   worker.sh logs               prints the logs of all commands so far
#   worker.sh running            status 0 while a command runs
#
# The command continues after a lost connection; the same `run` then shows its log again.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

readonly BUSY=3 PYTHON_VERSION=3.12
readonly MARK=mathft_jax_worker # the name of the process that waits for the command
project=$(cd "$here/.." && pwd)
environment=$HOME/mathft_jax_env
state=$HOME/mathft_jax_run

prepare() {
  local extras=${1:-tpu}
  # The system's Python on TPU VMs (3.10) is older than this project wants.
  python3 -m pip install --quiet --user --upgrade uv
  [[ -x $environment/bin/python ]] || python3 -m uv venv --python "$PYTHON_VERSION" "$environment"
  python3 -m uv pip install --python "$environment/bin/python" --editable "${project}[$extras]"
}

# Returns 0 while the last command runs. A pid reused after a reboot does not count.
running() {
  [[ -f $state/pid ]] && grep -qs "$MARK" "/proc/$(cat "$state/pid")/cmdline" || return 1
}

run() {
  [[ $# -gt 0 ]] || die "$USAGE_ERROR" 'run: no command.'
  mkdir -p "$state"
  if ! running; then
    start "$@"
  elif [[ $(cat "$state/command") == "$(quoted "$@")" ]]; then
    say 'this command runs already: following it.'
  else
    die "$BUSY" "another command runs here: $(cat "$state/command"). Stop it, or wait for it."
  fi
  tail --lines=+1 --follow --sleep-interval=0.2 --pid="$(cat "$state/pid")" "$state/log"
  [[ -f $state/status ]] || die 1 'the command was killed, by the kernel (memory?) or by stop.'
  return "$(cat "$state/status")"
}

start() {
  [[ ! -f $state/log ]] || mv "$state/log" "$state/log.$(date +%Y%m%d-%H%M%S).$$"
  rm -f "$state/status"
  : >"$state/log" # must exist before tail reads it
  quoted "$@" >"$state/command"
  cd "$project"
  # shellcheck disable=SC2016 # the waiting process expands these
  PATH=$environment/bin:$PATH setsid nohup bash -c '
    status=0
    "${@:2}" || status=$?
    echo "$status" >"$1/status.part" && mv "$1/status.part" "$1/status"
    ' "$MARK" "$state" "$@" >>"$state/log" 2>&1 </dev/null &
  echo "$!" >"$state/pid"
}

stop() {
  local pid
  running || { say 'nothing runs.' && return; }
  pid=$(cat "$state/pid") # of the waiting process, which leads its own process group
  kill -TERM -- "-$pid"
  for _ in {1..130}; do # a training saves a checkpoint within 120 s
    kill -0 -- "-$pid" 2>/dev/null || return 0
    sleep 1
  done
  kill -KILL -- "-$pid"
}

logs() {
  local log
  for log in "$state"/log.* "$state/log"; do
    [[ ! -f $log ]] || cat "$log"
  done
}

verb=${1:-}
case $verb in
  prepare | run | stop | logs | running)
    shift
    "$verb" "$@"
    ;;
  *)
    usage
    exit "$USAGE_ERROR"
    ;;
esac
