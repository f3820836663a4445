#!/bin/sh
# Writes what the parts of compose.yaml ask each other for into files beside it, random where it is a password; a file
# that is there stays as it is.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
# the folder keeps others of this machine out; a container gets single files of it, and reads them as its own user
chmod 700 secrets
cd secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep() {
  [ -e "$1" ] && return
  printf '%s' "$2" >".$1"
  chmod 444 ".$1"
  mv ".$1" "$1"
  echo "ops/secrets/$1"
}

keep postgres_password "$(random)"
keep churn_log_url "postgresql://churn:$(random)@postgres:5432/churn"
keep mlflow_backend_store_uri "postgresql+psycopg://mlflow:$(random)@postgres:5432/mlflow"
keep grafana_admin_password "$(random)"
keep churn_admin_key "$(random)"
# none: the service is open to whoever reaches its port; else keys with commas between them
keep churn_api_keys ""
