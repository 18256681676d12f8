"""One list of dependencies: the conda environment asks for what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"duckdb": "python-duckdb", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def test_the_conda_environment_has_the_dependencies_of_the_package_and_of_its_extra_for_slurm() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {f"python {project['requires-python']}"}
    for dependency in project["dependencies"] + project["optional-dependencies"]["slurm"]:
        name, versions = re.fullmatch(r"([\w-]+)(.*)", dependency).groups()  # type: ignore[union-attr]
        asked.add(f"{CONDA_NAMES.get(name, name)} {versions}")
    environment = yaml.safe_load((ROOT / "workflow/envs/conceptbridge.yaml").read_text(encoding="utf-8"))
    assert set(environment["dependencies"]) - {"pip"} == asked
    assert len(environment["dependencies"]) == len(asked) + 1
