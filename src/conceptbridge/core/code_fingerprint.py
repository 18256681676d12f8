"""What the code of a command means: its rule runs again when that changes, and at no other change of a file.

The meaning of a script is that of itself and of all of this package's modules that it imports, directly or not: their
syntax trees without docstrings (a comment or the layout does not count), the bytes of the data files that they name,
and the versions of the packages that they compute with. Where a module of another package is imported by name, such as
a learner's, that package's modules count in the same way.
"""

import ast
import hashlib
import platform
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGE = "conceptbridge"
#: packages that this package makes numbers or figures with, by the name they are imported under; any other that it
#: imports (a bar, a schema) changes none
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

    ``modules``: full names of those that the script imports by name, which no ``import`` shows; of this package or of
    another. Of what another package imports all versions count: nobody here knows what computes.
    """
    files = code_files(script, modules)
    named = sorted((_name(file), _meaning(file)) for file in files)
    told = [f"{script.name} {hashlib.sha256(repr(named).encode()).hexdigest()[:16]}"]
    if versions:
        read = [file for file in files if file.suffix == ".py"]
        others = [file for file in read if not file.is_relative_to(_root()) and file.parent != script.parent]
        computing = {COMPUTING[name] for name in _packages(read) & COMPUTING.keys()}
        computing |= _packages(others) - COMPUTING.keys() - {PACKAGE} - sys.stdlib_module_names
        told += ["python {}.{}".format(*platform.python_version_tuple())]
        told += [f"{name} {known}" for name in sorted(computing) if (known := _version(name))]
    return ", ".join(told)


def code_files(script: Path, modules: Iterable[str] = ()) -> list[Path]:
    """The script first, then the modules that it or one of ``modules`` imports, and their data files: those of this
    package, and of the packages that ``modules`` are of.

    A file beside a module is its data file where a string of the module is the file's name.
    """
    packages = {PACKAGE, *(name.partition(".")[0] for name in modules)}
    found: set[Path] = set()
    waiting = [script, *(file for name in modules for file in _module_files(name, packages))]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            if file.suffix == ".py":
                read = _read(file)
                waiting += [needed for name in read.imports for needed in _module_files(name, packages)]
                waiting += [needed for name in read.relative_imports for needed in _beside(name, file)]
                if file.parent == script.parent:
                    waiting += [needed for name in read.imports for needed in _files_in(script.parent, name)]
                waiting += _data_files(file)
    return [script, *sorted(found - {script})]


class _Read(NamedTuple):
    """What a file of Python is asked."""

    meaning: str
    imports: frozenset[
        str
    ]  # the full names of all that it may import, at its top or later: modules, and what may be one
    relative_imports: frozenset[str]  # the same, each after as many dots as it has
    strings: frozenset[str]


# one walk, as every start of Snakemake reads all files
@cache
def _read(file: Path) -> _Read:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports: set[str] = set()
    relative: set[str] = set()
    strings: set[str] = set()
    never_run: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [one for one in body if not _is_string(one)]
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                never_run.update(map(id, body))
        elif id(node) in never_run:
            continue
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module, dots = f"{node.module}." if node.module else "", "." * node.level
            names = [node.module or "", *(module + alias.name for alias in node.names)]
            (relative if dots else imports).update(dots + name for name in names if name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    meant = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Read(meant, frozenset(imports), frozenset(relative), frozenset(strings))


def _is_string(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _meaning(file: Path) -> str:
    return _read(file).meaning if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _name(file: Path) -> str:
    """The file's name with the packages that it is in: code may lie elsewhere and mean the same."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return str(file.relative_to(folder))


def _packages(files: Iterable[Path]) -> set[str]:
    """The packages that files import, of whatever origin."""
    return {name.partition(".")[0] for file in files for name in _read(file).imports}


@cache
def _data_files(file: Path) -> tuple[Path, ...]:
    names = {s for s in _read(file).strings if "." in s and "/" not in s and len(s) < 100}
    return tuple(beside for name in names if (beside := file.parent / name).is_file() and beside != file)


def _module_files(name: str, packages: Collection[str]) -> Iterator[Path]:
    """The files that importing ``name`` runs, as far as they are of these ``packages``."""
    package = name.partition(".")[0]
    if package in packages:
        for folder in _folders(package):
            yield from _files_in(folder, name)


def _beside(name: str, file: Path) -> Iterator[Path]:
    """The files that a relative import of ``name`` in ``file`` runs, but for those that the file's own import ran."""
    within = name.lstrip(".")
    return _files_in(file.parents[len(name) - len(within) - 1], within)


def _files_in(folder: Path, name: str) -> Iterator[Path]:
    """The files in ``folder`` that importing ``name`` runs: of a module, and of the packages that it is in."""
    parts = name.split(".")
    files = [folder.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return (file for file in [*files, folder.joinpath(*parts).with_suffix(".py")] if file.is_file())


@cache
def _folders(package: str) -> tuple[Path, ...]:
    """Where a package or a module of that name lies: the folders that have it."""
    spec = find_spec(package)
    if spec is None:
        return ()
    places = list(spec.submodule_search_locations or []) or [spec.origin or ""]
    return tuple(Path(place).parent for place in places)


@cache
def _root() -> Path:
    (folder,) = _folders(PACKAGE)
    return folder / PACKAGE


@cache
def _version(package: str) -> str:
    """The version of a package that is installed under that name, empty for none."""
    try:
        # what is behind a plus is the build: a processor's or a GPU's
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""
