"""What a run was made of: packages, embeddings, config and, where there is one, the commit of the working tree."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: the packages that numbers depend on
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
    """Versions, embeddings' fingerprints and the config of a run; ``tree`` is the folder whose commit is told.

    ``origins``: the file or folder of each site, told by its name alone. Other paths on this machine are left out.
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
        asked = subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
