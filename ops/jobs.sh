#!/bin/sh
# Runs a command in /srv/pipeline, a volume that keeps DVC's cache and the branches of retrainings: the commit that this image
# was built from is checked out there, whatever was there before.
set -eu
[ -d /srv/pipeline/.git ] || git init --quiet --initial-branch=jobs /srv/pipeline
git -C /srv/pipeline fetch --quiet /repository HEAD
git -C /srv/pipeline checkout --quiet --force --detach FETCH_HEAD
cd /srv/pipeline
exec "$@"
