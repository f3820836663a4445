#!/bin/sh
# Runs once, on an empty volume: each part that keeps something gets a database and a role of its own, of which its URL
# says name and password.
set -eu
for file in churn_log_url mlflow_backend_store_uri; do
  url=$(cat "/run/secrets/$file")
  database=${url##*/}
  account=${url#*://}
  account=${account%@*}
  psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
CREATE ROLE "${account%%:*}" LOGIN PASSWORD '${account#*:}';
CREATE DATABASE "$database" OWNER "${account%%:*}";
REVOKE ALL ON DATABASE "$database" FROM PUBLIC;
SQL
done
