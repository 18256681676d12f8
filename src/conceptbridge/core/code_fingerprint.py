"""What the code of a command means: its rule runs again when that changes, and at no other change of a file.

The meaning of a script is that of itself and of all of this package's modules that it imports, directly or not: their
syntax trees without docstrings (a comment or the layout does not count), the bytes of the data files that they name,
and the versions of the packages that they compute with.
"""

import ast
import hashlib
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = "conceptbridge"
#: packages that make numbers or figures, by the name they are imported under; any other (a bar, a schema) changes none
COMPUTING = {
    "duckdb": "duckdb",
    "h5py": "h5py",
    "lightgbm": "lightgbm",
    "matplotlib": "matplotlib",
    "numba": "numba",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "transformers": "transformers",
}


def fingerprint(script: Path, modules: Iterable[str] = (), versions: bool = True) -> str:
    """The meaning of a script in one line: a hash of its code and, with ``versions``, what Python and packages it has.

    ``modules``: full names of those that the script imports by name, which no ``import`` shows.
    """
    files = code_files(script, modules)
    named = sorted((_name(file, script.parent), _meaning(file)) for file in files)
    told = [f"{script.name} {hashlib.sha256(repr(named).encode()).hexdigest()[:16]}"]
    if versions:
        imported = {name.partition(".")[0] for file in files if file.suffix == ".py" for name in _imports(file)}
        told += ["python {}.{}".format(*platform.python_version_tuple())]
        told += [f"{name} {_version(name)}" for name in sorted(COMPUTING[name] for name in imported & COMPUTING.keys())]
    return ", ".join(told)


def code_files(script: Path, modules: Iterable[str] = ()) -> list[Path]:
    """The script first, then the modules of this package that it or one of ``modules`` imports, and their data files.

    A file beside a module is its data file where a string of the module is the file's name.
    """
    found: set[Path] = set()
    waiting = [script]
    for name in modules:
        waiting += list(_module_files(name, script.parent)) or _elsewhere(name)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            if file.suffix == ".py":
                waiting += [needed for name in _imports(file) for needed in _module_files(name, file.parent)]
                waiting += _data_files(file)
    return [script, *sorted(found - {script})]


class _Read(NamedTuple):
    """What a file of Python is asked."""

    meaning: str
    imports: frozenset[str]
    strings: frozenset[str]


# one walk, as every start of Snakemake reads all files
@cache
def _read(file: Path) -> _Read:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports: set[str] = set()
    strings: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [one for one in body if not _is_string(one)]
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0 or not file.is_relative_to(_root()), f"{file}: a relative import"
            imports.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    meant = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Read(meant, frozenset(imports), frozenset(strings))


def _is_string(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _meaning(file: Path) -> str:
    return _read(file).meaning if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()


def _name(file: Path, scripts: Path) -> str:
    """The file's name beside the script, or within the package: code may lie elsewhere and mean the same."""
    beside = file.parent == scripts or not file.is_relative_to(_root())
    return file.name if beside else str(file.relative_to(_root()))


def _imports(file: Path) -> frozenset[str]:
    """The full names of all that a file may import, at its top or later: modules, and what may be one."""
    return _read(file).imports


@cache
def _data_files(file: Path) -> tuple[Path, ...]:
    names = {s for s in _read(file).strings if "." in s and "/" not in s and len(s) < 100}
    return tuple(beside for name in names if (beside := file.parent / name).is_file() and beside != file)


def _module_files(name: str, folder: Path) -> Iterator[Path]:
    """The files that importing ``name`` runs, as far as they are this package's or the script's neighbours."""
    if name.split(".")[0] == PACKAGE:
        parts = name.split(".")[1:]
        files = [_root().joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
        files += [_root().joinpath(*parts).with_suffix(".py")] if parts else []
    else:
        files = [] if (folder / "__init__.py").exists() else [folder / f"{name}.py"]
    return (file for file in files if file.is_file())


def _elsewhere(name: str) -> list[Path]:
    """The file of a module that another package has registered; what that imports of its own package is not seen."""
    spec = find_spec(name)
    return [Path(spec.origin)] if spec and spec.origin and spec.origin.endswith(".py") else []


@cache
def _root() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@cache
def _version(package: str) -> str:
    # what is behind a plus is the build: a processor's or a GPU's
    return version(package).partition("+")[0]
