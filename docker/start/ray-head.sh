#!/usr/bin/env bash
# The head of a Ray cluster, in the foreground. Workers and drivers need the same RAY_AUTH_TOKEN.
#
#   RAY_AUTH_TOKEN  required: openssl rand -hex 32
#   S2L_BIND        127.0.0.1 (this machine alone), or 0.0.0.0 (every address)                    [127.0.0.1]
#   S2L_RAY_PORT    for workers and drivers                                                       [6379]
#   S2L_JOBS_PORT   for `s2l run --detach` and Ray's own pages                                    [8265]
#   S2L_RAY_TEMP    sockets and logs, a short path; Ray opens this folder to all accounts         [/tmp/s2l-ray-UID/r]
#   S2L_CPUS        cores to give out                                                             [all]
#   S2L_RAY_FLAGS   more words for `ray start`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/listen.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/ray-temp.sh"
need RAY_AUTH_TOKEN "the cluster's token, such as: openssl rand -hex 32"
export RAY_AUTH_MODE=token
export RAY_enable_metrics_collection=${RAY_enable_metrics_collection:-0} # its port asks for no token

temp=$(ray_temp)
words=(--head --block "--port=${S2L_RAY_PORT:-6379}" "--dashboard-host=$S2L_BIND" "--dashboard-port=${S2L_JOBS_PORT:-8265}")
if is_loopback; then
  export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # Ray's name for: the loopback address alone
  words+=("--node-ip-address=$S2L_BIND")
fi
words+=("--temp-dir=$temp" --object-store-memory=200000000 --disable-usage-stats)
[[ -z ${S2L_CPUS:-} ]] || words+=("--num-cpus=$S2L_CPUS")
read -ra more <<<"${S2L_RAY_FLAGS:-}"
exec python -m cluster.ray_silence start "${words[@]}" "${more[@]}" # `ray start` that asks no cloud where it is
