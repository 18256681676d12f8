"""The packages of docs/extending.md, taken from the page as they stand there."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiny_study import ROOT

PAGE = ROOT / "docs/extending.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a line of the page's table: base class, entry points, folder, dict and its file
_ROW = re.compile(r"^\| [\w ]+ \| `[\w.]+` \| `([\w.]+)` \| `([\w/]+)` \| `(\w+)` of `([\w/.]+)` \|$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """One example: a module, its pyproject.toml, and what a study says to use it."""

    module: str
    code: str
    project: str
    study: dict[str, Any]

    @property
    def entry_point(self) -> tuple[str, str, str]:
        """Its only entry point: group, name and ``module:class``."""
        ((group, points),) = tomllib.loads(self.project)["project"]["entry-points"].items()
        ((name, value),) = points.items()
        return group, name, value


def packages() -> list[Package]:
    """The examples, in the page's order: a section with code is one."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = _BLOCK.findall(section)
        if blocks:
            assert [language for language, _ in blocks] == ["python", "toml", "yaml"], section[:40]
            code, project, study = (text for _, text in blocks)
            (module,) = re.findall(r"`(\w+)\.py`:\n\n```python", section)
            found.append(Package(module, code, project, yaml.safe_load(study)))
    return found


def homes() -> dict[str, tuple[str, str, str]]:
    """Where the page's table puts the library's own, by group of entry points: folder of the file, dict, its file."""
    return {group: (folder, name, file) for group, folder, name, file in _ROW.findall(PAGE.read_text(encoding="utf-8"))}


def install(found: list[Package], folder: Path) -> Path:
    """Build the packages with pip, each in a folder of its two files; return the folder that they are installed in."""
    for one in found:
        source = folder / "source" / one.module
        source.mkdir(parents=True)
        (source / f"{one.module}.py").write_text(one.code, encoding="utf-8")
        (source / "pyproject.toml").write_text(one.project, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    sources = sorted((folder / "source").iterdir())
    subprocess.run([*pip, "--target", folder / "installed", *sources], check=True)
    return folder / "installed"


def add_to_library(found: list[Package], library: Path) -> None:
    """Make the packages part of a copy of the library, as the page says: a file, and a line in a dict."""
    for one in found:
        group, name, value = one.entry_point
        folder, registry, file = homes()[group]
        module, own = one.module.removeprefix("conceptbridge_"), value.partition(":")[2]
        (library / folder / f"{module}.py").write_text(one.code, encoding="utf-8")
        text = (library / file).read_text(encoding="utf-8")
        before, opened, after = text.partition(f"\n{registry} = Registry(")
        body, closed, rest = after.partition("\n    },")
        line = f'\n        "{name}": "conceptbridge.{folder.replace("/", ".")}{module}:{own}",'
        assert opened and closed, f"{file} has no {registry}"
        (library / file).write_text(before + opened + body + line + closed + rest, encoding="utf-8")
