#!/usr/bin/env bash
# Runs a command with the environment and the workspace of the image.
set -e
source /ws/.venv/bin/activate
source /ws/install/setup.bash
exec "$@"
