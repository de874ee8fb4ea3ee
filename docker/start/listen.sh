# Sourced by the start scripts: where a service listens, and that it asks for credentials when others can reach it.
# shellcheck shell=bash

# S2L_BIND is the address to listen on: 127.0.0.1 unless told otherwise.
S2L_BIND=${S2L_BIND:-127.0.0.1}

say() { echo "$(basename "$0" .sh): $*" >&2; }

# need NAME WHAT: ends with exit code 2 when the variable is empty.
need() {
  if [[ -z ${!1:-} ]]; then
    say "$1 is empty; set it to $2"
    exit 2
  fi
}

is_loopback() { [[ $S2L_BIND == 127.* || $S2L_BIND == localhost ]]; }

# Nothing phones home.
export RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/ MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true HF_HUB_DISABLE_TELEMETRY=1

# A node that comes up while the machine is busy may take longer than Ray's 30 s.
export RAY_raylet_start_wait_time_s=${RAY_raylet_start_wait_time_s:-120}

# Trials keep what they work on in TMPDIR; it may name a folder of the data volume that is not there yet.
mkdir -p "${TMPDIR:-/tmp}"
