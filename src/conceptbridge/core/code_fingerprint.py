"""Fingerprint the code behind a rule: the rule re-runs when the fingerprint changes, and only then.

The fingerprint covers a script and all modules of this package that it imports, directly or not: their syntax trees
without docstrings (comments and layout do not count), the bytes of the data files that they name, and the versions of
the packages that they compute with. Where a module of another package is imported by name, such as a learner's, that
package's modules count in the same way.
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
#: import name -> distribution, of the packages that compute numbers or draw figures; other imports (a progress bar, a
#: schema) change no result
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
    """One line: a hash of a script's code and, with ``versions``, the versions of Python and of its packages.

    ``modules``: full names of modules, of this package or another, that the script imports by name, so that no
    ``import`` statement shows them. If a module belongs to another package, the versions of all packages that it
    imports count, since we cannot tell which of them compute.
    """
    files = code_files(script, modules)
    hashes = sorted((_name(file), _meaning(file)) for file in files)
    parts = [f"{script.name} {hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]}"]
    if versions:
        python_files = [file for file in files if file.suffix == ".py"]
        others = [file for file in python_files if not file.is_relative_to(_root()) and file.parent != script.parent]
        computing = {COMPUTING[name] for name in _packages(python_files) & COMPUTING.keys()}
        computing |= _packages(others) - COMPUTING.keys() - {PACKAGE} - sys.stdlib_module_names
        parts += ["python {}.{}".format(*platform.python_version_tuple())]
        parts += [f"{name} {known}" for name in sorted(computing) if (known := _version(name))]
    return ", ".join(parts)


def code_files(script: Path, modules: Iterable[str] = ()) -> list[Path]:
    """List the script first, then the modules that it or one of ``modules`` imports, and their data files.

    Only modules of this package and of the packages of ``modules`` are listed. A file beside a module is its data file
    if a string in the module is the file's name.
    """
    packages = {PACKAGE, *(name.partition(".")[0] for name in modules)}
    result: set[Path] = set()
    waiting = [script, *(file for name in modules for file in _module_files(name, packages))]
    while waiting:
        file = waiting.pop()
        if file not in result:
            result.add(file)
            if file.suffix == ".py":
                read = _read(file)
                waiting += [needed for name in read.imports for needed in _module_files(name, packages)]
                waiting += [needed for name in read.relative_imports for needed in _beside(name, file)]
                if file.parent == script.parent:
                    waiting += [needed for name in read.imports for needed in _files_in(script.parent, name)]
                waiting += _data_files(file)
    return [script, *sorted(result - {script})]


class _Read(NamedTuple):
    """What we need from one Python file."""

    meaning: str
    #: full names of everything it may import, at its top or later: modules, and names that may be modules
    imports: frozenset[str]
    #: the same for relative imports, with their leading dots
    relative_imports: frozenset[str]
    strings: frozenset[str]


# one walk per file: every start of Snakemake reads all files
@cache
def _read(file: Path) -> _Read:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports: set[str] = set()
    relative: set[str] = set()
    strings: set[str] = set()
    never_run: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _is_string(statement)]
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
    meaning = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Read(meaning, frozenset(imports), frozenset(relative), frozenset(strings))


def _is_string(node: ast.AST) -> bool:
    """Whether a statement is just a string, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _meaning(file: Path) -> str:
    return _read(file).meaning if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _name(file: Path) -> str:
    """The file's path from its top-level package on: the same code elsewhere on disk has the same fingerprint."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return str(file.relative_to(folder))


def _packages(files: Iterable[Path]) -> set[str]:
    """The top-level packages that files import, from anywhere."""
    return {name.partition(".")[0] for file in files for name in _read(file).imports}


@cache
def _data_files(file: Path) -> tuple[Path, ...]:
    names = {s for s in _read(file).strings if "." in s and "/" not in s and len(s) < 100}
    return tuple(beside for name in names if (beside := file.parent / name).is_file() and beside != file)


def _module_files(name: str, packages: Collection[str]) -> Iterator[Path]:
    """The files of these ``packages`` that importing ``name`` runs."""
    package = name.partition(".")[0]
    if package in packages:
        for folder in _folders(package):
            yield from _files_in(folder, name)


def _beside(name: str, file: Path) -> tuple[Path, ...]:
    """The files that a relative import of ``name`` in ``file`` runs, except those that importing ``file`` ran."""
    within = name.lstrip(".")
    return _files_in(file.parents[len(name) - len(within) - 1], within)


@cache  # the files of a folder are those that were there when the run was planned
def _files_in(folder: Path, name: str) -> tuple[Path, ...]:
    """The files in ``folder`` that importing ``name`` runs: the module's, and those of its parent packages."""
    parts = name.split(".")
    files = [folder.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return tuple(file for file in [*files, folder.joinpath(*parts).with_suffix(".py")] if file.is_file())


@cache
def _folders(package: str) -> tuple[Path, ...]:
    """The folders that contain a package or module of that name."""
    spec = find_spec(package)
    if spec is None:
        return ()
    locations = list(spec.submodule_search_locations or []) or [spec.origin or ""]
    return tuple(Path(location).parent for location in locations)


@cache
def _root() -> Path:
    (folder,) = _folders(PACKAGE)
    return folder / PACKAGE


@cache
def _version(package: str) -> str:
    """The version of the installed package of that name, or an empty string."""
    try:
        # what follows a plus is the build, for a CPU or a GPU
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ""
