#!/usr/bin/env bash
# An S3 server (SeaweedFS), in the foreground, with one bucket. Its S3 port asks for keys always; master, volume and filer listen on loopback.
# With another S2L_BIND, S3's own gRPC port (S2L_S3_PORT + 10000) goes along; all gRPC ports ask for a certificate that stays in the data folder.
#
#   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY         required: who may read and write
#   S2L_READ_ACCESS_KEY_ID, S2L_READ_SECRET_ACCESS_KEY   who may only read: dashboards          [nobody]
#   S2L_BUCKET                                                                                  [s2l]
#   S2L_SEAWEEDFS_DATA                                                                          [./seaweedfs]
#   S2L_BIND          address of the S3 port                                                    [127.0.0.1]
#   S2L_S3_PORT                                                                                 [8333]
#   S2L_MASTER_PORT, S2L_VOLUME_PORT, S2L_FILER_PORT   each takes its port + 10000 too          [9333, 8080, 8888]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/listen.sh"
need AWS_ACCESS_KEY_ID "the key's name, such as: openssl rand -hex 10"
need AWS_SECRET_ACCESS_KEY "the key, such as: openssl rand -hex 32"

data=${S2L_SEAWEEDFS_DATA:-$PWD/seaweedfs}
bucket=${S2L_BUCKET:-s2l}
s3=${S2L_S3_PORT:-8333} filer=${S2L_FILER_PORT:-8888}
umask 077
mkdir -p "$data/volumes"
data=$(cd "$data" && pwd)

identity() {
  printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' "$@"
}
# One that reads must list too; neither may make or remove buckets.
write=$(identity s2l "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "\"Read:$bucket\", \"Write:$bucket\", \"List:$bucket\", \"Tagging:$bucket\"")
read=""
if [[ -n ${S2L_READ_ACCESS_KEY_ID:-} ]]; then
  need S2L_READ_SECRET_ACCESS_KEY "the reader's key"
  read=", $(identity reader "$S2L_READ_ACCESS_KEY_ID" "$S2L_READ_SECRET_ACCESS_KEY" "\"Read:$bucket\", \"List:$bucket\"")"
fi
printf '{"identities": [%s%s]}\n' "$write" "$read" >"$data/s3.json"

# The last five bring it up in 3 s instead of 20, after a crash too.
words=(
  -logtostderr=true server -ip=127.0.0.1 -ip.bind=127.0.0.1 "-dir=$data/volumes"
  "-master.port=${S2L_MASTER_PORT:-9333}" "-volume.port=${S2L_VOLUME_PORT:-8080}" -filer "-filer.port=$filer"
  -s3 "-s3.port=$s3" "-s3.ip.bind=$S2L_BIND" "-s3.config=$data/s3.json" -s3.port.iceberg=0 -s3.port.lance=0
  -master.volumeSizeLimitMB=256 -volume.max=0 -master.telemetry=false
  -volume.preStopSeconds=1 -master.electionTimeout=1s -master.raftHashicorp -master.raftBootstrap=false
)
python -m cluster.services.certificates "$data" # without it, whoever reaches S3's gRPC port makes a key for himself
cd "$data" # where SeaweedFS looks for security.toml
weed "${words[@]}" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT

answers() { curl --silent --fail --output /dev/null --max-time 5 "$@"; }
until answers "http://127.0.0.1:$s3/status" && answers "http://127.0.0.1:$filer/?limit=1"; do
  kill -0 "$server" 2>/dev/null || { wait "$server"; exit $?; }
  sleep 1
done
answers "http://127.0.0.1:$filer/buckets/$bucket/" || answers --request POST "http://127.0.0.1:$filer/buckets/$bucket/"
say "bucket $bucket is there, S3 answers at $S2L_BIND:$s3"

code=0
while kill -0 "$server" 2>/dev/null; do
  code=0
  wait "$server" || code=$?
done
exit "$code"
