#!/usr/bin/env bash
# Snakemake runs this in the new environment; it copies conceptbridge.yaml elsewhere first, so that no relative path holds.
set -euo pipefail
"$CONDA_PREFIX/bin/python" -m pip install --quiet --no-deps --editable "$CONCEPTBRIDGE_HOME"
