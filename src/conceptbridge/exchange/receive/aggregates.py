"""Receive a site's aggregate results file: check it, and put its tables where the joint tables read them."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.egress.allowlist import CSV, TABLES, target_tables
from conceptbridge.exchange.package import read_package, strict_json

#: bytes of an unpacked table: far above any study's
MAX_TABLE_BYTES = 1 << 30
_OF_TASK = ("attrition.csv", "leaks.parquet", "splits.parquet", "tokens.parquet")


def receive_aggregates(
    file: Path, site: str, tasks: Sequence[str], names: Mapping[str, Sequence[str]], results: Path
) -> None:
    """Check a site's aggregate results file and write its tables below ``results``.

    ``names``: the study's embeddings, learners, strategies and sources; a table that names another one is rejected.
    Raises StudyError if the package is damaged, lacks a file or has one too many, or a table is not as declared.
    """
    with tempfile.TemporaryDirectory(dir=results) as temporary:
        folder = Path(temporary) / "aggregates"
        about = read_package(file, "results", folder)
        if about.get("site") != site:
            raise StudyError(f"{file}: is of another site; the config expects {site}")
        of_target = target_tables(about["study"]) if about.get("role") != "source" else []
        expected = set(_expected_files(site, tasks, of_target))
        actual = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if wrong := sorted(actual ^ expected):
            fault = "is missing" if wrong[0] in expected else "does not belong in an aggregate results file"
            raise StudyError(f"{file}: {wrong[0]}: {fault}")
        for name in sorted(expected):
            _check(folder / name, f"{file}: {name}", _allowed_names(name, site, names))
        for name in sorted(expected):
            (results / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, results / name)


def _expected_files(site: str, tasks: Sequence[str], of_target: Sequence[str]) -> Iterator[str]:
    """Yield the files of a site's aggregates, relative to the study's results; ``of_target`` are tables of a target."""
    for task in tasks:
        yield from (f"metrics/{task}/{site}/{table}.parquet" for table in of_target)
        yield from (f"tasks/{task}/{site}/{name}" for name in _OF_TASK)
    yield from (f"sites/{site}/{name}" for name in ("quality.json", "vocabulary.parquet"))


def _allowed_names(file: str, site: str, names: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return column -> the names that a file of the site may have in it; of a task's file also task and site."""
    kind, task, *_ = Path(file).parts
    return dict(names) if kind == "sites" else {**names, "task": [task], "target": [site], "site": [site]}


def _check(path: Path, where: str, names: Mapping[str, Sequence[str]]) -> None:
    if path.suffix == ".parquet":
        check_table(path, where, names)
    elif path.suffix == ".json":
        strict_json(path.read_bytes(), where)
    else:
        header = path.read_text(encoding="utf-8").splitlines()[:1]
        if header != [",".join(CSV["attrition"][1])]:
            raise StudyError(f"{where}: does not have the columns {', '.join(CSV['attrition'][1])}")


def check_table(path: Path, where: str, names: Mapping[str, Sequence[str]]) -> None:
    """Check a received table, declared by the name of its file; ``names`` are those that a column may have.

    Raises StudyError, which begins with ``where``.
    """
    try:
        file = pq.ParquetFile(path)
        groups = (file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        if sum(groups) > MAX_TABLE_BYTES:
            raise StudyError(f"{where}: is larger than {MAX_TABLE_BYTES >> 30} GiB when it is unpacked")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{where}: cannot be read as Parquet; ask for it again") from error
    if not table.schema.equals(TABLES[path.stem].schema, check_metadata=False):
        raise StudyError(f"{where}: does not have the columns of this version; ask for it again")
    for column in table.column_names:
        allowed = names.get(column.removeprefix("ref_").removeprefix("local_"))
        if allowed is not None and not set(table[column].unique().drop_null().to_pylist()) <= set(allowed):
            raise StudyError(f"{where}: {column}: has a name that this study does not have")
