"""Check a table that leaves: its columns are declared, its values are no secrets, no row stands for one person."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import has_small_step, is_small
from conceptbridge.exchange.egress.allowlist import COUNTS, CSV, HOSPITAL_TEXTS, ROW_LEVEL, SETTINGS, TABLES, Table
from conceptbridge.exchange.egress.released_file import FEW, ReleasedFile, reject
from conceptbridge.exchange.egress.site_secrets import SiteSecrets


def check_parquet(path: Path, file: ReleasedFile, secrets: SiteSecrets) -> None:
    """Check a Parquet table against its declaration. Raises StudyError."""
    try:
        parquet = pq.ParquetFile(path)
        table = parquet.read()
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{file.file}: cannot be read as Parquet, so it is not sent") from error
    declared = _declared_table(path.stem, table.column_names, file.file)
    extra = set(parquet.metadata.metadata or {}) - {b"ARROW:schema"}
    if extra or table.schema.metadata or any(column.metadata for column in table.schema):
        raise StudyError(f"{file.file}: has metadata that is not declared; write the table without metadata")
    for column in table.schema:
        if column.type != declared.schema.field(column.name).type:
            raise StudyError(
                f"{file.file}: the column {column.name} has the type {column.type}, expected "
                f"{declared.schema.field(column.name).type}; write it as declared"
            )
    _check_table(table, declared, file, secrets)


def check_csv(path: Path, file: ReleasedFile, secrets: SiteSecrets) -> None:
    """Check a CSV table of inclusion steps against its declaration. Raises StudyError."""
    if path.stem not in CSV:
        raise StudyError(f"{file.file}: no CSV file of this name may leave; known: {', '.join(CSV)}")
    about, columns = CSV[path.stem]
    schema = pa.schema([(name, pa.int64() if name in COUNTS else pa.string()) for name in columns])
    options = pacsv.ConvertOptions(column_types=schema, strings_can_be_null=True)
    try:
        table = pacsv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise StudyError(
            f"{file.file}: cannot be read as CSV with the columns {', '.join(columns)}, so it is not sent"
        ) from error
    declared = Table(about, schema, ("step",))
    _check_columns(table.column_names, declared, file.file)
    _check_table(table, declared, file, secrets)
    _check_steps(table, file.file, secrets.min_cell_count)


def _declared_table(stem: str, columns: Sequence[str], file: str) -> Table:
    if stem not in TABLES:
        _check_columns(columns, Table("", pa.schema([]), ()), file, f"no table {stem!r} may leave")
        raise StudyError(f"{file}: no table {stem!r} may leave; known: {', '.join(TABLES)}")
    _check_columns(columns, TABLES[stem], file)
    return TABLES[stem]


def _check_columns(columns: Sequence[str], declared: Table, file: str, reason: str = "") -> None:
    """Reject columns that the table does not declare; those named like ids, dates or rows first, as what they are."""
    unknown = [name for name in columns if name not in declared.schema.names]
    for name in unknown:
        if ROW_LEVEL.search(name):
            raise StudyError(f"{file}: the column {name} names persons, visits, rows or dates; leave it out")
    if unknown:
        reason = reason or "the table does not declare it, so nobody knows what it holds"
        raise StudyError(f"{file}: the column {unknown[0]}: {reason}; leave it out")


def _check_table(table: pa.Table, declared: Table, file: ReleasedFile, secrets: SiteSecrets) -> None:
    file.about, file.rows, file.columns = declared.about, len(table), table.column_names
    for name in table.column_names:
        column, kind = table[name], table.schema.field(name).type
        if pa.types.is_string(kind):
            _check_strings(column, name, declared, file.file, secrets)
        elif pa.types.is_integer(kind) and name in COUNTS:
            _check_counts(column, name, file, secrets.min_cell_count)
        if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and name not in SETTINGS:
            numbers = column.drop_null().to_numpy()
            if name not in declared.concepts and secrets.holds_id(numbers):
                reject(file.file, f"the column {name}", "a person or visit id", "leave these values out")
    if {"key", "text"} <= set(table.column_names):
        file.note_texts(dict(zip(table["text"].to_pylist(), table["key"].to_pylist(), strict=True)).items())
    key = [name for name in declared.key if name in table.column_names]
    if len(table) and len(table.select(key).group_by(key).aggregate([])) < len(table):
        raise StudyError(
            f"{file.file}: duplicate rows for {', '.join(key)}: this looks like patient-level data. "
            "Aggregate to one row per key."
        )


def _check_strings(column: pa.ChunkedArray, name: str, declared: Table, file: str, secrets: SiteSecrets) -> None:
    for value in column.unique().drop_null().to_pylist():
        in_key = name in declared.concepts
        finding = secrets.finding_in_key(value) if in_key else secrets.finding(value, name not in HOSPITAL_TEXTS)
        reject(file, f"the column {name}", finding, "leave that value out")


def _check_counts(column: pa.ChunkedArray, name: str, file: ReleasedFile, min_cell_count: int) -> None:
    counts = column.drop_null().to_numpy()
    if (counts < 0).any() or is_small(counts, min_cell_count).any():
        raise StudyError(f"{file.file}: the column {name} has {FEW} ({min_cell_count}); blank them")
    if (counts > 0).any():
        file.note_count(int(counts[counts > 0].min()))


def _check_steps(table: pa.Table, file: str, min_cell_count: int) -> None:
    """Reject a falling chain of counts where a step takes few away, or few of the rows without the event."""
    columns = {name: table[name].to_pylist() for name in ("persons", "rows", "events")}
    columns["rows without the event"] = [
        None if rows is None or events is None else rows - events
        for rows, events in zip(columns["rows"], columns["events"], strict=True)
    ]
    for name, counts in columns.items():
        if has_small_step(counts, min_cell_count):
            raise StudyError(f"{file}: {name}: {FEW} ({min_cell_count}) are left over between two steps; blank them")
