#!/usr/bin/env bash
# Makes docker/.env: random credentials for docker/compose.yaml, readable by you alone. One that is there stays as it is.
set -euo pipefail
file=${1:-$(dirname "${BASH_SOURCE[0]}")/.env}
if [[ -e $file ]]; then
  echo "make-env: $file is there already and stays; remove it for new credentials (services that hold the old ones must be made anew)" >&2
  exit 0
fi
umask 077
cat >"$file" <<END
# Credentials of docker/compose.yaml, made by docker/make-env.sh. Keep them out of version control.
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
S2L_WRITE_ACCESS_KEY_ID=S2L$(openssl rand -hex 8)
S2L_WRITE_SECRET_ACCESS_KEY=$(openssl rand -hex 24)
S2L_READ_ACCESS_KEY_ID=S2LREAD$(openssl rand -hex 8)
S2L_READ_SECRET_ACCESS_KEY=$(openssl rand -hex 24)
MLFLOW_AUTH_ADMIN_USERNAME=admin
MLFLOW_AUTH_ADMIN_PASSWORD=$(openssl rand -hex 16)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(openssl rand -hex 32)
POSTGRES_PASSWORD=$(openssl rand -hex 24)
END
echo "make-env: wrote $file" >&2
