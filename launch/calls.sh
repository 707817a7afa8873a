# shellcheck shell=bash
# Functions of all launchers: flags, messages, and calls of other programs. Source this file.
# Written for bash 3.2 (macOS) and later.

# shellcheck disable=SC2034 # for the scripts that read this file
readonly USAGE_ERROR=2

# lost_process STATUS: whether a process exited because another one is lost: 75 by mathft_jax,
# 134 (SIGABRT) by jax itself.
lost_process() {
  [[ $1 == 75 || $1 == 134 ]]
}

program=() # the arguments after `--`: the command to launch

say() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# die STATUS MESSAGE
die() {
  local status=$1
  shift
  say "$*"
  exit "$status"
}

# Prints the comment at the top of the script.
usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Prints the arguments as one line that a POSIX shell reads as the same arguments.
quoted() {
  local line='' word
  local quote="'" escaped="'\\''"
  for word in "$@"; do
    case $word in
      '' | *[!A-Za-z0-9_./:=@%+,-]*) word=$quote${word//$quote/$escaped}$quote ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# read_flags NAMES SWITCHES ARGUMENTS...: sets a variable for each --name=value, `true` for each
# switch, and `program` to the arguments after `--`.
read_flags() {
  local names=" $1 " switches=" $2 dry_run " argument flag
  shift 2
  while [[ $# -gt 0 ]]; do
    argument=$1
    shift
    case $argument in
      --)
        program=("$@")
        return
        ;;
      --help | -h)
        usage
        exit 0
        ;;
    esac
    flag=${argument%%=*}
    flag=${flag#--}
    if [[ $argument == --*=* && $names == *" $flag "* ]]; then
      printf -v "$flag" '%s' "${argument#*=}"
    elif [[ $argument == --* && $argument != *=* && $switches == *" $flag "* ]]; then
      printf -v "$flag" true
    else
      die "$USAGE_ERROR" "unknown argument $(quoted "$argument"); wanted --name=value with a name" \
        "of:$names, or a switch of:$switches, then -- and the command. See --help."
    fi
  done
}

# need FLAG...: checks that each flag was given.
need() {
  local flag
  for flag in "$@"; do
    [[ -n ${!flag} ]] || die "$USAGE_ERROR" "--$flag=... is missing. See --help."
  done
}

# need_number FLAG...: checks that each flag is a whole number.
need_number() {
  local flag
  for flag in "$@"; do
    case ${!flag} in
      '' | *[!0-9]*) die "$USAGE_ERROR" "--$flag=$(quoted "${!flag}"); wanted a whole number." ;;
    esac
  done
}

need_program() {
  [[ ${#program[@]} -gt 0 ]] ||
    die "$USAGE_ERROR" 'no command; wanted -- python -m mathft_jax.<program> ... at the end.'
}

# Runs a command; with --dry_run prints it, ready to be pasted.
call() {
  if [[ -n ${dry_run:-} ]]; then
    quoted "$@"
    return
  fi
  command -v "$1" >/dev/null || die 127 "$1 is not installed, or not on PATH."
  say "+ $(quoted "$@")"
  "$@"
}

# Prints a comment between the commands of a dry run.
remark() {
  [[ -z ${dry_run:-} ]] || printf '# %s\n' "$*"
}
