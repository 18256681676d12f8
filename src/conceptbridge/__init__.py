"""Carry clinical prediction models between hospitals through the meaning of their concepts."""

from ast import ImportFrom, parse
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


# Every job of the workflow imports this package, so a public name is imported on first use. The names are in the stub
# beside this file: type checkers read them there, and a new name changes no job's code.
def __getattr__(name: str) -> Any:
    module = _public().get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if module == __name__:
        return import_module(f"{module}.{name}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_public()])


@cache
def _public() -> dict[str, str]:
    """Public name -> the module that it is imported from."""
    stub = parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = (node for node in stub.body if isinstance(node, ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}
