"""One list of dependencies: the conda environment asks for what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"duckdb": "python-duckdb", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def test_the_conda_environment_has_the_dependencies_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {f"python {project['requires-python']}"}
    for dependency in project["dependencies"]:
        name, versions = re.fullmatch(r"([\w-]+)(.*)", dependency).groups()  # type: ignore[union-attr]
        asked.add(f"{CONDA_NAMES.get(name, name)} {versions}")
    environment = yaml.safe_load((ROOT / "envs/conceptbridge.yaml").read_text(encoding="utf-8"))
    assert {entry for entry in environment["dependencies"] if isinstance(entry, str)} - {"pip"} == asked
