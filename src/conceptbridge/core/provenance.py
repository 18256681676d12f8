"""Record what a run used: packages, embeddings, config and, if there is one, the commit of the working tree."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: the packages that results depend on
PACKAGES = (
    "conceptbridge",
    "snakemake",
    "duckdb",
    "pyarrow",
    "numpy",
    "torch",
    "transformers",
    "sentence-transformers",
    "lightgbm",
    "scikit-learn",
)


def provenance(
    config: Mapping[str, Any],
    origins: Mapping[str, str],
    fingerprints: Mapping[str, str],
    simulated: bool,
    tree: Path,
) -> dict[str, Any]:
    """Return the versions, the embeddings' fingerprints and the config of a run, and the commit of the folder ``tree``.

    ``origins``: the file or folder of each site; only its name is recorded. Other paths on this machine are left out.
    """
    shown = {key: value for key, value in config.items() if key not in ("data", "embedding_cache", "results")}
    sites = {site: {"extract": Path(file).name} for site, file in origins.items()}
    return {
        "simulated": simulated,
        "commit": _commit(tree),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "embeddings": dict(fingerprints),
        "config": shown | {"sites": sites},
    }


def _commit(tree: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
