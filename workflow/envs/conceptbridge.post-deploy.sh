#!/usr/bin/env bash
# Snakemake runs this in the new environment; it copies conceptbridge.yaml elsewhere first, so that no relative path holds.
set -euo pipefail
python="$CONDA_PREFIX/bin/python"
if [ -f "$CONCEPTBRIDGE_HOME/pyproject.toml" ]; then
    "$python" -m pip install --quiet --no-deps --editable "$CONCEPTBRIDGE_HOME"
else # the workflow is part of an installed package: that one, and the folder that has its version
    package=$(dirname "$CONCEPTBRIDGE_HOME")
    ln -sfn "$package" "$package"-*.dist-info "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
fi
