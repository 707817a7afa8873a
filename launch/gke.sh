#!/usr/bin/env bash
# Runs one command on TPUs of a GKE cluster with XPK.
#
#   gke.sh VERB --cluster=CLUSTER --zone=ZONE [--project=PROJECT] --name=NAME [--dry_run]
#          [-- COMMAND]
#
#   image   builds and pushes --image=REGISTRY/NAME:TAG from this folder (launch/Dockerfile)
#   run     submits COMMAND for --type=v5p-128 with --image [--num_slices=1] [--max_restarts=50]
#           [--env=NAME=VALUE] [--wait]
#   wait    waits until the run ends
#   status  prints the state of the run
#   logs    prints the logs of all its containers
#   delete  deletes the run
#
# Create the cluster with `xpk cluster create`. The cluster restarts a preempted or evicted run with
# the same COMMAND. It does not restart a run that fails by itself (statuses 1 to 126). The status
# of `wait` and `run --wait` is 0, or 125 if the run failed.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/calls.sh
. "$here/calls.sh"

cluster='' zone='' project='' name='' type='' image='' env='' wait='' dry_run=''
num_slices=1 max_restarts=50

# --image is a docker tag.
image() {
  need image
  call docker build "--tag=$image" "--file=$here/Dockerfile" "$here/.."
  call docker push "$image"
}

run() {
  local command
  need type image
  need_program
  need_name
  command=$(quoted "${program[@]}")
  [[ $command != *$'\n'* ]] ||
    die "$USAGE_ERROR" 'a line break in the command: XPK would break its own file there.'
  set -- "--command=$command" "--tpu-type=$type" "--num-slices=$num_slices" \
    "--docker-image=$image" "--max-restarts=$max_restarts"
  [[ -z $env ]] || set -- "$@" "--env=$env"
  call xpk workload create "--workload=$name" "${where[@]}" "$@"
  [[ -z $wait ]] || wait
}

wait() {
  need_name
  call xpk workload list "${where[@]}" "--wait-for-job-completion=$name"
}

status() {
  need_name
  call xpk workload list "${where[@]}" "--filter-by-job=$name"
}

# Each XPK command configures kubectl for the cluster.
logs() {
  need_name
  call kubectl logs "--selector=xpk.google.com/workload=$name" --all-containers --prefix \
    --tail=-1 --max-log-requests=1024
}

delete() {
  need_name
  call xpk workload delete "--workload=$name" "${where[@]}" --force
}

# Checks a name by the rules of Kubernetes; XPK's own limit is 40 characters.
need_name() {
  need name
  [[ $name =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ && ${#name} -lt 40 ]] ||
    die "$USAGE_ERROR" "--name=$name; wanted fewer than 40 of a-z, 0-9 and -, a letter first."
}

verb=${1:-}
case $verb in
  image | run | wait | status | logs | delete) shift ;;
  *)
    usage
    [[ $verb == --help || $verb == -h ]] || exit "$USAGE_ERROR"
    exit 0
    ;;
esac
read_flags 'cluster zone project name type image env num_slices max_restarts' wait "$@"
need_number num_slices max_restarts
where=("--cluster=$cluster" "--zone=$zone" ${project:+"--project=$project"})
[[ $verb == image ]] || need cluster zone
"$verb"
