"""Nothing leaves a site that has not been looked at: every file of a package is read, by its type, before it is sent.

A file, table, column or key that is not declared (``declared``) is refused; so is a value that the site keeps to itself
(``private``), and a count under the minimum, told outright or left over from those that are told. The message names
file, column and kind of the finding, never the value.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import has_small_step, is_small
from conceptbridge.exchange.egress.allowlist import COUNTS, CSV, DOCUMENTS, PROSE, SETTINGS, TABLES, Table
from conceptbridge.exchange.egress.residual_counts import check_margins
from conceptbridge.exchange.egress.site_secrets import Private, read_private
from conceptbridge.exchange.egress.weights import check_arrays, check_lightgbm_text, model_fields

__all__ = ["Leaving", "Private", "check_about", "check_egress", "read_private"]

#: what a column of persons or rows would be called
_ROW_LEVEL = re.compile(r"(^|_)(person|subject|patient|visit|row|encounter|mrn|birth|date|datetime)(_|$)|_id$", re.I)

#: a standard or local concept's number at the head of a token's key, which can look like a date or an id
_CONCEPT = re.compile(r"^([^/|]*/)?\d+\|")
_PACKED = re.compile(r"data:[^,\"'\s]*,([A-Za-z0-9+/=]*)")
_FEW = "counts under min_cell_count"


@dataclass
class Leaving:
    """A file that leaves: its path in the package, what it is, rows and columns of a table, the smallest count that is
    not 0, and the texts in it: all of them (``texts``), and those of the site's own concepts (``local``)."""

    file: str
    about: str
    rows: int | None = None
    columns: list[str] = field(default_factory=list)
    smallest: int | None = None
    texts: int = 0
    local: list[str] = field(default_factory=list)


def check_egress(folder: Path, private: Private, learner: str | None = None) -> list[Leaving]:
    """Read every file below ``folder`` and return what leaves, in the order of their paths.

    ``learner`` says whose models are among them, which decides what arrays and fields they may have; None: any
    learner's.

    Raises StudyError at the first thing that must not leave: a file of another type or name than those declared, an
    undeclared column or key, a person or visit id, a date that is not in the config, values of single rows, a count
    under min_cell_count, a text of few persons, a path or name of this machine.
    """
    leaving = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or (not path.is_file() and not path.is_dir()):
            raise StudyError(f"{path}: is no plain file; only files can be looked at")
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            _refuse(name, "its path", private.finding(name), "give the folder another name")
            found = Leaving(name, "")
            _reader(path, name, learner)(path, found, private)
            leaving.append(found)
    check_margins(folder, private.min_cell_count)
    return leaving


def check_about(about: Mapping[str, Any], private: Private) -> None:
    """Look at what a package's manifest says of it, keys and values. Raises StudyError as ``check_egress`` does."""
    _check_values("the manifest", about, "about", private)


def _reader(path: Path, name: str, learner: str | None) -> Any:
    readers = {
        ".parquet": _parquet,
        ".csv": _csv,
        ".json": partial(_json, learner=learner),
        ".safetensors": partial(_safetensors, learner=learner),
        ".txt": partial(_text, learner=learner),
        **dict.fromkeys(PROSE, _prose),
    }
    if path.suffix not in readers:
        raise StudyError(
            f"{name}: a file of the type {path.suffix or 'without ending'!r} is not looked into, and does not leave; "
            f"known types: {', '.join(sorted(readers))}"
        )
    return readers[path.suffix]


def _refuse(file: str, where: str, finding: str | None, mend: str) -> None:
    if finding is not None:
        raise StudyError(f"{file}: {where} holds {finding}, which must not leave the site; {mend}")


# -- tables


def _parquet(path: Path, found: Leaving, private: Private) -> None:
    try:
        read = pq.ParquetFile(path)
        table = read.read()
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{found.file}: cannot be read as Parquet, so it is not sent") from error
    declared = _declared_table(path.stem, table.column_names, found.file)
    beside = set(read.metadata.metadata or {}) - {b"ARROW:schema"}
    if beside or table.schema.metadata or any(one.metadata for one in table.schema):
        raise StudyError(f"{found.file}: has metadata beside its columns, which are not declared; write it without")
    for one in table.schema:
        if one.type != declared.schema.field(one.name).type:
            raise StudyError(
                f"{found.file}: the column {one.name} has the type {one.type}, not "
                f"{declared.schema.field(one.name).type} as declared; write it as declared"
            )
    found.about = declared.about
    _check_table(table, declared, found, private)


def _csv(path: Path, found: Leaving, private: Private) -> None:
    if path.stem not in CSV:
        raise StudyError(f"{found.file}: no CSV of this name may leave; known: {', '.join(CSV)}")
    about, columns = CSV[path.stem]
    options = pacsv.ConvertOptions(
        column_types={name: pa.int64() if name in COUNTS else pa.string() for name in columns},
        strings_can_be_null=True,
    )
    try:
        table = pacsv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{found.file}: is no CSV with the columns {', '.join(columns)}; it is not sent") from error
    schema = pa.schema([(name, pa.int64() if name in COUNTS else pa.string()) for name in columns])
    declared = Table(about, schema, ("step",))
    _undeclared(table.column_names, declared, found.file)
    found.about = about
    _check_table(table, declared, found, private)
    _check_steps(table, found.file, private.min_cell_count)


def _declared_table(stem: str, columns: Sequence[str], file: str) -> Table:
    if stem not in TABLES:
        _undeclared(columns, Table("", pa.schema([]), ()), file, f"no table {stem!r} may leave")
        raise StudyError(f"{file}: no table {stem!r} may leave; known: {', '.join(TABLES)}")
    _undeclared(columns, TABLES[stem], file)
    return TABLES[stem]


def _undeclared(columns: Sequence[str], declared: Table, file: str, why: str = "") -> None:
    """Refuse columns that the table does not declare; those named like ids, dates or rows first, as what they are."""
    unknown = [name for name in columns if name not in declared.schema.names]
    for name in unknown:
        if _ROW_LEVEL.search(name):
            raise StudyError(f"{file}: the column {name} is one of persons, visits, rows or dates; leave it out")
    if unknown:
        why = why or "the table does not declare it, so nobody knows what is in it"
        raise StudyError(f"{file}: the column {unknown[0]}: {why}; leave it out")


def _check_table(table: pa.Table, declared: Table, found: Leaving, private: Private) -> None:
    found.rows, found.columns = len(table), table.column_names
    for name in table.column_names:
        column, kind = table[name], table.schema.field(name).type
        if pa.types.is_string(kind):
            _check_strings(column, name, declared, found.file, private)
        elif pa.types.is_integer(kind) and name in COUNTS:
            found.smallest = _least_of(found.smallest, _check_counts(column, name, found.file, private.min_cell_count))
        if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and name not in SETTINGS:
            numbers = column.drop_null().to_numpy()
            if name not in declared.concepts and private.holds_id(numbers):
                _refuse(found.file, f"the column {name}", "a person or visit id", "leave these values out")
    if {"key", "text"} <= set(table.column_names):
        texts = dict(zip(table["text"].to_pylist(), table["key"].to_pylist(), strict=True))
        found.texts, found.local = len(texts), [str(text) for text, key in texts.items() if _is_local(key)]
    key = [name for name in declared.key if name in table.column_names]
    if len(table) and len(table.select(key).group_by(key).aggregate([])) < len(table):
        raise StudyError(
            f"{found.file}: several rows have the same {', '.join(key)}, as values of single rows would; "
            "one row each may leave"
        )


def _check_strings(column: pa.ChunkedArray, name: str, declared: Table, file: str, private: Private) -> None:
    for value in column.unique().drop_null().to_pylist():
        # a concept's number may be somebody's, too
        told = _CONCEPT.sub("", value) if name in declared.concepts else value
        _refuse(file, f"the column {name}", private.finding(told), "leave that value out")


def _check_counts(column: pa.ChunkedArray, name: str, file: str, min_cell_count: int) -> int | None:
    counts = column.drop_null().to_numpy()
    if (counts < 0).any() or is_small(counts, min_cell_count).any():
        raise StudyError(f"{file}: the column {name} has {_FEW} ({min_cell_count}); blank them")
    shown = counts[counts > 0]
    return int(shown.min()) if len(shown) else None


def _check_steps(table: pa.Table, file: str, min_cell_count: int) -> None:
    """A falling chain of counts: what a step took away is a count, too, and so are the rows without the event."""
    columns = {name: table[name].to_pylist() for name in ("persons", "rows", "events")}
    columns["rows without the event"] = [
        None if rows is None or events is None else rows - events
        for rows, events in zip(columns["rows"], columns["events"], strict=True)
    ]
    for name, counts in columns.items():
        if has_small_step(counts, min_cell_count):
            raise StudyError(
                f"{file}: {name}: {_FEW} ({min_cell_count}) are left over from one step to the next; blank them"
            )


def _is_local(key: str) -> bool:
    """Whether a token's key is qualified by its site: a local or an unmapped concept."""
    return "/" in key.partition("|")[0]


def _least_of(one: int | None, other: int | None) -> int | None:
    return min((n for n in (one, other) if n is not None), default=None)


# -- documents


def _json(path: Path, found: Leaving, private: Private, learner: str | None) -> None:
    if path.stem not in DOCUMENTS:
        raise StudyError(f"{found.file}: no JSON document of this name may leave; known: {', '.join(DOCUMENTS)}")
    found.about, keys, free = DOCUMENTS[path.stem]
    if path.stem == "model":
        keys |= model_fields(learner)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise StudyError(f"{found.file}: cannot be read as JSON, so it is not sent") from error
    for at, key in _keys(value, free):
        if key not in keys:
            kind = " is one of persons, visits, rows or dates" if _ROW_LEVEL.search(key) else " is not declared"
            raise StudyError(f"{found.file}: the key {at}{kind}; leave it out")
    _check_values(found.file, value, "", private)
    found.smallest = _check_document_counts(found.file, value, private.min_cell_count)
    names = value.get("space", {}).get("names") if isinstance(value, dict) else None
    if isinstance(names, list):
        found.texts = len(names)
        found.local = [str(name) for name in names if _is_local(str(name))]
    tokens = value.get("tokens") if isinstance(value, dict) else None
    if isinstance(tokens, list):
        found.rows = found.texts = len(tokens)
        found.local = [str(one["text"]) for one in tokens if _is_local(one["key"])]


def _keys(value: Any, free: frozenset[str], at: str = "") -> Iterator[tuple[str, str]]:
    """Every key at every depth, with where it stands; below a free key, those of its members."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{at}.{key}" if at else str(key)
            yield here, str(key)
            if key in free and isinstance(item, dict):
                for name, member in item.items():
                    yield from _keys(member, free, f"{here}.{name}")
            else:
                yield from _keys(item, free, here)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item, free, at)


def _check_values(file: str, value: Any, at: str, private: Private) -> None:
    """Look at every key and every value; no list of numbers may be as long as a cohort."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{at}.{key}" if at else str(key)
            _refuse(file, f"a key below {at or 'the top'}", private.finding(str(key)), "leave it out")
            _check_values(file, item, where, private)
    elif isinstance(value, list):
        numbers = [item for item in value if isinstance(item, (int, float)) and not isinstance(item, bool)]
        if len(numbers) == len(value) and len(value) in private.lengths:
            _refuse(file, at, "as many numbers as a cohort has rows", "values of single rows stay at the site")
        for item in value:
            _check_values(file, item, at, private)
    elif isinstance(value, str):
        told = _CONCEPT.sub("", value) if at.rpartition(".")[2] in ("key", "names") else value
        _refuse(file, at, private.finding(told), "leave it out")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and at.rpartition(".")[2] not in SETTINGS:
        number = np.array([value], dtype=np.int64 if isinstance(value, int) and abs(value) < 2**63 else np.float64)
        if not _is_concept(at) and private.holds_id(number):
            _refuse(file, at, "a person or visit id", "leave it out")


def _is_concept(at: str) -> bool:
    return at.rpartition(".")[2] in ("concepts", "exclude", "visits", "condition", "concept_id", "names")


def _check_document_counts(file: str, value: Any, min_cell_count: int) -> int | None:
    smallest: int | None = None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key in COUNTS and isinstance(item, (int, float)) and not isinstance(item, bool):
            if is_small(item, min_cell_count):
                raise StudyError(f"{file}: {key} is one of the {_FEW} ({min_cell_count}); blank it")
            smallest = _least_of(smallest, int(item) or None)
        smallest = _least_of(smallest, _check_document_counts(file, item, min_cell_count))
    if isinstance(value, dict):
        for rows, events in (("rows", "events"), ("train_rows", "train_events")):
            n, k = value.get(rows), value.get(events)
            if isinstance(n, int) and isinstance(k, int) and is_small(n - k, min_cell_count):
                raise StudyError(
                    f"{file}: {rows} less {events} is one of the {_FEW} ({min_cell_count}); blank {events}"
                )
    return smallest


# -- weights


def _safetensors(path: Path, found: Leaving, private: Private, learner: str | None) -> None:
    found.about = "weights of a model"
    found.columns = check_arrays(path, found.file, private, learner)


def _text(path: Path, found: Leaving, private: Private, learner: str | None) -> None:
    found.about = "a LightGBM model"
    check_lightgbm_text(path, found.file, private, learner)


# -- texts


def _prose(path: Path, found: Leaving, private: Private) -> None:
    found.about = PROSE[path.suffix]
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise StudyError(f"{found.file}: is no UTF-8 text, so it is not sent") from error
    for number, line in enumerate(text.splitlines(), 1):
        _refuse(found.file, f"line {number}", private.finding(line), "write it without")
        for packed in _PACKED.findall(line):
            try:
                inside = base64.b64decode(packed, validate=True).decode("utf-8")
            except ValueError as error:  # a picture in pixels can hold anything
                raise StudyError(f"{found.file}: line {number} holds data that cannot be looked into") from error
            _refuse(found.file, f"what is packed into line {number}", private.finding(inside), "write it without")
