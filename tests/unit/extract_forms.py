"""The same extract in every form, for tests: other Parquet writers, CSV, DuckDB, SQLite with three kinds of dates."""

import sqlite3
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

DATES: dict[str, Callable[[date], Any]] = {
    "text": lambda day: day.isoformat(),
    "integer": lambda day: int(f"{day:%Y%m%d}"),
    "real": lambda day: float(f"{day:%Y%m%d}"),
}
FORMS = ("required", "small groups", "csv", "duckdb", *(f"sqlite {kind}" for kind in DATES))


def write_form(tables: list[Path], form: str, folder: Path) -> Path:
    """Write Parquet ``tables`` in this form below ``folder``; return the extract."""
    folder.mkdir(parents=True)
    if form == "duckdb":
        with duckdb.connect(str(folder / "extract.duckdb")) as db:
            for file in tables:
                db.execute(f"CREATE TABLE {file.stem} AS FROM '{file}'")
        return folder / "extract.duckdb"
    if form.startswith("sqlite"):
        with sqlite3.connect(folder / "extract.sqlite") as base:
            for file in tables:
                _to_sqlite(base, file, DATES[form.split()[1]])
        base.close()
        return folder / "extract.sqlite"
    for file in tables:
        table = pq.read_table(file)
        if form == "csv":
            duckdb.sql(f"COPY (FROM '{file}') TO '{folder / file.stem}.csv' (HEADER)")
        elif form == "small groups":
            pq.write_table(table, folder / file.name, row_group_size=1000, use_dictionary=False)
        else:
            fields = [pa.field(f.name, f.type, nullable=table[f.name].null_count > 0) for f in table.schema]
            pq.write_table(table.cast(pa.schema(fields)), folder / file.name, compression="gzip")
    return folder


def _to_sqlite(base: sqlite3.Connection, file: Path, write: Callable[[date], Any]) -> None:
    table = pq.read_table(file)
    base.execute(f"CREATE TABLE {file.stem} ({', '.join(table.column_names)})")

    def value(one: Any) -> Any:
        one = one.date() if isinstance(one, datetime) else one
        return write(one) if isinstance(one, date) else one

    rows = ([value(one) for one in row.values()] for row in table.to_pylist())
    base.executemany(f"INSERT INTO {file.stem} VALUES ({', '.join('?' * table.num_columns)})", rows)
