"""Which files of the library a command runs: the code inputs of its rule, computed from its imports."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "conceptbridge"


def code_files(script: Path) -> list[Path]:
    """The script first, then this package's modules that it imports (directly or not) and the data files they name.

    A module counts as imported, too, where a string is its full name, and a data file counts as named where a string is
    the name of a file beside the module.
    """
    found: dict[Path, None] = {}
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = None
            if file.suffix == ".py":
                waiting.extend(_needed(file))
    return [script, *sorted(path for path in found if path != script)]


@cache
def _needed(file: Path) -> tuple[Path, ...]:
    needed: list[Path] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 100:
            beside = file.parent / node.value
            if node.value.startswith(f"{PACKAGE}."):
                names = [node.value]
            elif "/" not in node.value and "." in node.value and beside.is_file() and beside != file:
                needed.append(beside)
        for name in names:
            needed.extend(_module_files(name, file.parent))
    return tuple(needed)


def _module_files(name: str, folder: Path) -> list[Path]:
    if name.split(".")[0] != PACKAGE:
        sibling = folder / f"{name}.py"  # a script's own neighbour
        return [sibling] if sibling.is_file() and not (folder / "__init__.py").exists() else []
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    parts = name.split(".")[1:]
    files = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    if parts:
        files.append(root.joinpath(*parts).with_suffix(".py"))
    return [file for file in files if file.is_file()]
