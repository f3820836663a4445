#!/bin/sh
# Runs a command in /srv/pipeline, a volume that keeps DVC's cache and the branches of retrainings: the commit that this
# image was built from is checked out there, whatever was there before.
set -eu
cd /srv/pipeline
[ -d .git ] || git init --quiet --initial-branch=jobs
git fetch --quiet /repository HEAD
git checkout --quiet --force --detach FETCH_HEAD
exec "$@"
