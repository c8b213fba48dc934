#!/usr/bin/env bash
# BirdCLEF 2025 from nothing to a submission: download → convert → train → export → bundle → submission.csv
#
#   bash rock_that_bird.sh "0"          all of it on GPU 0 (Kaggle's credentials, about 600 GB, days)
#   bash rock_that_bird.sh --dry-run    what it would do
#   bash rock_that_bird.sh --sample     all of it in minutes on a miniature competition, without a GPU
#
# A run that was stopped goes on when the same command is run again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

if [[ -x "$here/.venv/bin/dawnchorus" ]]; then
    dawnchorus="$here/.venv/bin/dawnchorus"
elif command -v dawnchorus > /dev/null; then
    dawnchorus=dawnchorus
else
    make --no-print-directory --directory "$here" setup
    dawnchorus="$here/.venv/bin/dawnchorus"
fi
exec "$dawnchorus" rock-that-bird --checkout "$here" "$@"
