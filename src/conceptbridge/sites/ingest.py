"""Read an OMOP CDM extract into typed Parquet; every row is accounted for.

Rows stay in the order of their file, so the output has the same bytes on any number of threads.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import PythonUDFType
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_folder, write_json
from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.checks import (
    DAYS,
    KEYS,
    LAST_DAY,
    REPEATS,
    Repair,
    applies_sql,
    drops,
    fault,
    repairs,
    verdict_sql,
)
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.formats.format import MORE_FIELDS, Place, Source
from conceptbridge.sites.names import name_concepts
from conceptbridge.sites.quality import describe, note_numbers, note_visits
from conceptbridge.sites.repeats import find_repeats
from conceptbridge.sites.row_counts import Counts, count_rows
from conceptbridge.sites.source import open_source, rejected, typed
from conceptbridge.sites.typed import REJECTED, read_column

logger = logging.getLogger(__name__)

#: what DuckDB may hold; sorted ids and what it does not count come on top, 4 GiB in all
MEMORY = "2GB"

#: first the tables that tell the extract's last day and a row's person
_ORDER = ("cdm_source", "person", "observation_period")


@dataclass(frozen=True)
class Staged:
    """A table with typed columns: a relation with ``faults`` and ``position``, and the rows that were skipped."""

    source: Source
    relation: str
    skipped: dict[str, tuple[int, int]]


def ingest(
    extract: Path,
    cdm: Path,
    quality: Path,
    reading: Mapping[str, Any] | None = None,
    vocabulary: Path | None = None,
    threads: int = 1,
) -> None:
    """Read the CDM tables of ``extract`` and write each of ``cdm.TABLES`` to ``cdm/{table}.parquet``, all or none.

    ``reading`` has ``headerless``, ``cdm_version`` (of headerless files), ``on_error`` (drop or fail) and ``last_date``
    (ISO; the last day that a record can have, by default from cdm_source and observation_period). ``vocabulary`` is a
    folder downloaded from Athena: names for concepts that the extract does not name. A table that the extract lacks is
    written empty. ``quality`` counts every row that is dropped or repaired under one reason.

    Raises StudyError for what cannot be read correctly: a damaged file, ids that lost digits, dates whose day and
    month are unclear, a missing column, no person; with ``on_error: fail`` also for the first bad row.
    """
    tables = find_tables(extract)
    if "person" not in tables:
        raise StudyError(f"{extract}: has no person table (person.parquet, PERSON.csv, person.csv.gz ...)")
    cdm.parent.mkdir(parents=True, exist_ok=True)
    for leftover in cdm.parent.glob(f".{cdm.name}.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with atomic_folder(cdm) as folder:
        work = folder / "work"
        work.mkdir()
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": max(threads, 2),  # a single one cuts row groups elsewhere
            "memory_limit": MEMORY,
            "temp_directory": str(work / "spill"),
        }
        with duckdb.connect(config=config) as db:
            db.execute("SET TimeZone = 'UTC'")
            report = _Ingest(db, tables, folder, work, dict(reading or {})).run()
            report |= describe(db, folder, report["tables"], name_concepts(db, folder, vocabulary, work))
        shutil.rmtree(work)
    write_json(report, quality)


class _Ingest:
    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        tables: Mapping[str, Place],
        folder: Path,
        work: Path,
        reading: dict[str, Any],
    ) -> None:
        self.db, self.tables, self.folder, self.work, self.reading = db, tables, folder, work, reading
        self.fail = reading.get("on_error") == "fail"
        self.last: str | None = reading.get("last_date")
        self.staged: dict[str, Staged] = {}

    def run(self) -> dict[str, Any]:
        """Write every table and return the part of the report that counts rows."""
        if self.last is None:
            self.last = self._last_day()
        counts = {}
        for table in sorted(TABLES, key=lambda table: (table not in _ORDER, table == "concept")):
            counts[table] = self._ingest(table)
            logger.info("%s: written", table)
            if table == "person":
                self._make_persons(counts[table])
        notes = (note_visits(self.folder), note_numbers(self.db, self.folder))
        noted = {table: {reason: n for note in notes for reason, n in note.get(table, {}).items()} for table in TABLES}
        return {"tables": {table: vars(counts[table]) | {"noted": noted[table]} for table in TABLES}}

    def _ingest(self, table: str) -> Counts:
        target = self.folder / f"{table}.parquet"
        if table not in self.tables:
            columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in TABLES[table].items())
            self._write(f"SELECT {columns} LIMIT 0", target)
            return Counts()
        staged = self._stage(table)
        with _naming(staged.source.place, table):
            counts = self._judge(table, staged, target)
        for file in self.work.glob(f"{table}.*"):
            file.unlink()
        return counts

    def _stage(self, table: str) -> Staged:
        if table in self.staged:
            return self.staged.pop(table)
        place = self.tables[table]
        with _naming(place, table):
            source = open_source(self.db, table, place, self.work, self.reading)
            if source.position:
                return Staged(source, f"({typed(source)})", {})
            # text is read once, into a typed file
            file = self.work / f"{table}.typed.parquet"
            self.db.execute(
                f"COPY (SELECT * EXCLUDE position FROM ({typed(source)})) TO {literal(file)} "
                "(FORMAT parquet, COMPRESSION lz4_raw)"
            )
            relation = (
                f"(SELECT *, file_row_number AS position FROM read_parquet({literal(file)}, file_row_number=true))"
            )
            return Staged(source, relation, rejected(self.db, source) if source.layout else {})

    def _last_day(self) -> str | None:
        """Return the latest release date or end of an observation period; None without a release date."""
        released = self._latest("cdm_source", "source_release_date", "cdm_release_date")
        if released is None:
            return None
        return max(released, self._latest("observation_period", "observation_period_end_date") or released)

    def _latest(self, table: str, *columns: str) -> str | None:
        if table not in self.tables:
            return None
        staged = self.staged[table] = self._stage(table)
        latest = ", ".join(f"max({c}) FILTER ({c} <= DATE '{LAST_DAY}')" for c in columns)
        with _naming(staged.source.place, table):
            days = self.db.execute(f"SELECT {latest} FROM {staged.relation}").fetchall()[0]
        return max((day.isoformat() for day in days if day), default=None)

    def _judge(self, table: str, staged: Staged, target: Path) -> Counts:
        columns, place = TABLES[table], staged.source.place
        reasons, changes = drops(table, self.last), repairs(table, self.last)
        if staged.source.layout and staged.source.layout.surplus:
            reasons.insert(0, (MORE_FIELDS, f"{fault(len(columns))} = 1"))
        rows = staged.relation
        if table in DAYS:
            rows = f"(SELECT s.*, p.known, p.born FROM {rows} s LEFT JOIN persons p USING (person_id))"
        if find_repeats(self.db, table, staged.relation, rows, reasons):
            reasons += [
                (REPEATS, "position IN (SELECT position FROM repeats WHERE exact)"),
                (f"its {KEYS.get(table)} is another row's", "position IN (SELECT position FROM repeats)"),
            ]
        judged = f"(SELECT *, {verdict_sql(reasons)} AS verdict FROM {rows})"
        changed = "".join(f", count_if({applies_sql(change, changes)})" for change in changes)
        tallies = self.db.execute(
            f"SELECT verdict, faults, count(*){changed} FROM {judged} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        self._reject_values(table, staged.source, tallies)
        counts = count_rows(staged.source, staged.skipped, reasons, changes, tallies)
        if self.fail and counts.dropped:
            self._fail(staged, judged, reasons, counts)
        if not self.fail and counts.read and table != "concept":
            self._reject_unreadable(table, place, counts)
        self._copy(table, staged.relation, judged, counts.kept < counts.read, changes, target)
        return counts

    def _copy(
        self, table: str, relation: str, judged: str, dropping: bool, changes: list[Repair], target: Path
    ) -> None:
        """Write the kept rows, repaired, in the order of their file. A join would not keep that order."""
        values = []
        for column in TABLES[table]:
            cases = " ".join(f"WHEN {c.condition} THEN {c.value}" for c in changes if c.column == column)
            values.append(f"CASE {cases} ELSE {column} END AS {column}" if cases else column)
        query = f"SELECT {', '.join(values)}"
        if table == "observation_period":  # short, and its repairs need the joined person
            self._write(f"{query} FROM {judged} WHERE verdict = -1 ORDER BY position", target)
        elif dropping:
            dropped = self.db.execute(f"SELECT position FROM {judged} WHERE verdict >= 0 ORDER BY ALL").fetchnumpy()
            self._write_without(np.asarray(dropped["position"]), f"{query} FROM {relation}", target)
        else:
            self._write(f"{query} FROM {relation}", target)

    def _write_without(self, dropped: NDArray[Any], query: str, target: Path) -> None:
        dropped = np.append(dropped.astype(np.int64), np.iinfo(np.int64).max)

        def is_dropped(position: pa.ChunkedArray) -> pa.Array:
            asked = position.to_numpy()
            return pa.array(dropped[np.searchsorted(dropped, asked)] == asked)

        self.db.create_function("is_dropped", is_dropped, ["bigint"], "boolean", type=PythonUDFType.ARROW)
        self._write(f"{query} WHERE NOT is_dropped(position)", target)
        self.db.remove_function("is_dropped")

    def _write(self, query: str, target: Path) -> None:
        self.db.execute(f"COPY ({query}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)")

    def _make_persons(self, counts: Counts) -> None:
        """Make the table ``persons``: each person with the earliest day that they can have been born on."""
        if counts.kept == 0:
            raise StudyError(
                f"{self.tables['person']}: has no person with a person_id and a year_of_birth ({counts.read} rows "
                "read); is this the right file?"
            )
        born = (
            "coalesce(TRY(make_date(year_of_birth, month_of_birth, coalesce(day_of_birth, 1))), "
            "make_date(year_of_birth, coalesce(month_of_birth, 1), 1))"
        )
        file = literal(self.folder / "person.parquet")
        self.db.execute(f"CREATE TABLE persons AS SELECT person_id, {born} AS born, true AS known FROM {file}")

    def _reject_values(self, table: str, source: Source, tallies: list[Any]) -> None:
        """Raise StudyError for a value that cannot be read correctly."""
        seen = 0
        for _, faults, *_ in tallies:
            seen |= faults & (faults >> 1) & 0x5555555555555555
        for n, (column, kind) in enumerate(TABLES[table].items()):
            if not seen >> (2 * n) & 1:
                continue
            reading = read_column(*source.columns[column], kind)
            row, value = self.db.execute(
                f"""
                SELECT row, r FROM (SELECT *, {reading.verdict} AS verdict FROM (
                    SELECT *, {reading.value} AS v FROM (
                        SELECT row_number() OVER () AS row, {reading.raw} AS r FROM {source.relation})))
                WHERE verdict = {REJECTED} ORDER BY row LIMIT 1
                """
            ).fetchall()[0]
            at = f"{source.place}: row {row} of the data, column {column}"
            if kind == "DATE":
                raise StudyError(
                    f"{at}: this date has the day before the month ({_shape(value)}), so in other dates the two cannot "
                    "be told apart; export dates as YYYY-MM-DD"
                )
            raise StudyError(
                f"{at}: {_start(value)} went through a spreadsheet or a floating-point column and lost its last "
                "digits; export ids as whole numbers"
            )

    def _reject_unreadable(self, table: str, place: Place, counts: Counts) -> None:
        """Raise StudyError if a required column is readable in no row."""
        for reason, count in counts.dropped.items():
            if reason.endswith("cannot be read") and count == counts.read:
                raise StudyError(
                    f"{place}: {reason} in any row: the header does not match the columns; export {table} again"
                )

    def _fail(self, staged: Staged, judged: str, reasons: list[tuple[str, str]], counts: Counts) -> None:
        if staged.skipped:
            reason, (_, line) = next(iter(staged.skipped.items()))
            at = f"line {line}"
        else:
            verdict, position = self.db.execute(
                f"SELECT verdict, position FROM {judged} WHERE verdict >= 0 ORDER BY position LIMIT 1"
            ).fetchall()[0]
            reason, at = reasons[verdict][0], f"row {position + 1} of the data"
        raise StudyError(
            f"{staged.source.place}: {at} is bad: {reason}; correct the extract, or set `on_error: drop` for the site "
            "to drop such rows"
        )


def _shape(value: object) -> str:
    """Return the value with every digit as 9: a log must not hold dates."""
    return "".join("9" if c.isdigit() else c for c in str(value))


def _start(value: object) -> str:
    """Return the value, or only its first digits if it is long enough to be an id."""
    return str(value) if sum(c.isdigit() for c in str(value)) <= 6 else f"{str(value)[:4]}..."


@contextmanager
def _naming(place: Place, table: str) -> Iterator[None]:
    """Turn DuckDB's error about a file into one message that names the file."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        fault = str(error).splitlines()[0]
        raise StudyError(f"{place}: cannot be read as a {table} table: {fault}; copy or export it again") from error
