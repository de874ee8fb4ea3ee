#!/usr/bin/env bash
# An MLflow tracking server, in the foreground. When others can reach it, it asks for a name and a password (basic-auth).
#
#   S2L_MLFLOW_DATA     artifacts, and the databases where none is named                          [./mlflow]
#   S2L_MLFLOW_BACKEND  database URI; postgresql+psycopg2://USER@HOST/NAME, the password in PGPASSWORD
#                                                                                                 [SQLite in S2L_MLFLOW_DATA]
#   S2L_BIND            address to listen on; another than loopback needs the three below         [127.0.0.1]
#   S2L_MLFLOW_PORT                                                                               [5000]
#   S2L_MLFLOW_WORKERS  processes that answer                                                     [2]
#   MLFLOW_AUTH_ADMIN_USERNAME, MLFLOW_AUTH_ADMIN_PASSWORD   the first user; clients give it as MLFLOW_TRACKING_USERNAME, _PASSWORD
#   MLFLOW_FLASK_SERVER_SECRET_KEY   one for all workers: openssl rand -hex 32
#   MLFLOW_SERVER_ALLOWED_HOSTS      Host headers to answer, as mlflow:*,localhost:*              [localhost and private addresses]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/listen.sh"

data=${S2L_MLFLOW_DATA:-$PWD/mlflow}
umask 077
mkdir -p "$data"
words=(
  "--host=$S2L_BIND" "--port=${S2L_MLFLOW_PORT:-5000}" "--workers=${S2L_MLFLOW_WORKERS:-2}"
  "--backend-store-uri=${S2L_MLFLOW_BACKEND:-sqlite:///$data/mlflow.db}"
  "--artifacts-destination=$data/artifacts" --serve-artifacts
)
if ! is_loopback || [[ -n ${MLFLOW_AUTH_ADMIN_PASSWORD:-} ]]; then
  need MLFLOW_AUTH_ADMIN_USERNAME "the first user's name"
  need MLFLOW_AUTH_ADMIN_PASSWORD "that user's password, twelve characters or more"
  need MLFLOW_FLASK_SERVER_SECRET_KEY "a random text, such as: openssl rand -hex 32"
  # The password stays in the environment; this file holds none. That it was right is remembered for a minute: hashing it anew at every
  # request, which is the default, costs more than the request.
  printf '%s\n' '[mlflow]' 'default_permission = READ' "database_uri = sqlite:///$data/users.db" 'auth_cache_ttl_seconds = 60' >"$data/auth.ini"
  export MLFLOW_AUTH_CONFIG_PATH=$data/auth.ini
  words+=(--app-name=basic-auth)
fi
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # 5 processes instead of 13
cd "$data"
exec mlflow server "${words[@]}"
