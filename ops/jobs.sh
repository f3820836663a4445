#!/bin/sh
# Runs a command in /work, a volume that keeps DVC's cache and the branches of retrainings: the commit that this image
# was built from is checked out there, whatever was there before.
set -eu
[ -d /work/.git ] || git init --quiet --initial-branch=jobs /work
git -C /work fetch --quiet /repository HEAD
git -C /work checkout --quiet --force --detach FETCH_HEAD
cd /work
exec "$@"
