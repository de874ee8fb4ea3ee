# Sourced by the start scripts of Ray's nodes, after listen.sh: where Ray keeps sockets and logs.
# shellcheck shell=bash

# private FOLDER: makes the folder for this user alone; ends with exit code 2 when somebody else has it, or a link is in its place.
private() {
  mkdir -m 700 "$1" 2>/dev/null || true
  if [[ -L $1 || ! -d $1 || ! -O $1 ]]; then
    say "$1 cannot be made, or is not this user's own folder; set S2L_RAY_TEMP to a short path in a folder that is"
    exit 2
  fi
  chmod 700 "$1"
}

# ray_temp: where Ray keeps sockets and logs. Ray opens that folder to all accounts, so that it lies in one that is private. Not in TMPDIR or
# HOME, which may be long or on another machine: a socket's path has 107 bytes, and Ray takes 64 of them.
ray_temp() {
  if [[ -z ${S2L_RAY_TEMP:-} ]]; then
    private "/tmp/s2l-ray-$EUID"
  fi
  echo "${S2L_RAY_TEMP:-/tmp/s2l-ray-$EUID/r}"
}
