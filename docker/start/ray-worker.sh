#!/usr/bin/env bash
# A worker node of a Ray cluster, in the foreground. Trials on it read store and credentials from this environment (AWS_*).
#
#   RAY_AUTH_TOKEN  required: the head's
#   S2L_HEAD        required: HOST:PORT of the head
#   S2L_BIND        127.0.0.1 for a head on this machine alone, else anything else                [127.0.0.1]
#   S2L_RAY_TEMP    sockets and logs, a short path; Ray opens this folder to all accounts         [/tmp/s2l-ray-UID/r]
#   S2L_CPUS        cores to give out                                                             [all]
#   S2L_RAY_FLAGS   more words for `ray start`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/listen.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/ray-temp.sh"
need RAY_AUTH_TOKEN "the head's token"
need S2L_HEAD "HOST:PORT of the head"
export RAY_AUTH_MODE=token
export RAY_enable_metrics_collection=${RAY_enable_metrics_collection:-0}

temp=$(ray_temp)
words=(--block "--address=$S2L_HEAD" "--temp-dir=$temp" --object-store-memory=200000000 --disable-usage-stats)
if is_loopback; then
  export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
  words+=("--node-ip-address=$S2L_BIND")
fi
[[ -z ${S2L_CPUS:-} ]] || words+=("--num-cpus=$S2L_CPUS")
read -ra more <<<"${S2L_RAY_FLAGS:-}"
exec ray start "${words[@]}" "${more[@]}"
