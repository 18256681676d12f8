#!/usr/bin/env bash
# Snakemake runs this in the new environment; it copies conceptbridge.yaml elsewhere first, so that no relative path holds.
set -euo pipefail
python="$CONDA_PREFIX/bin/python"
if [ -f "$CONCEPTBRIDGE_HOME/pyproject.toml" ]; then
    "$python" -m pip install --quiet --no-deps --editable "$CONCEPTBRIDGE_HOME"
else  # an installed package, which has the workflow in it
    ln -sfn "$CONCEPTBRIDGE_HOME" "$("$python" -c 'import site; print(site.getsitepackages()[0])')/conceptbridge"
fi
