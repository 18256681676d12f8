"""Read an OMOP CDM extract into typed Parquet; every row is accounted for.

Rows stay in the order of their file, so the output has the same bytes on any number of threads.
"""

import logging
import shutil
from collections.abc import Collection, Mapping
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
from conceptbridge.core.sql import copy_as_parquet, literal
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.checks import (
    DAYS,
    KEYS,
    LAST_DAY,
    REPEATS,
    SHIFTED,
    Bounds,
    Repair,
    applies_sql,
    drops,
    fault,
    repairs,
    verdict_sql,
)
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.formats.format import MORE_FIELDS, Place, Source
from conceptbridge.sites.memory import MEMORY_MB, database
from conceptbridge.sites.names import name_concepts
from conceptbridge.sites.quality import describe, note_numbers, note_visits
from conceptbridge.sites.refused import naming, reject_lost, reject_values
from conceptbridge.sites.repeats import find_repeats
from conceptbridge.sites.row_counts import Counts, count_rows
from conceptbridge.sites.source import open_source, rejected, typed

logger = logging.getLogger(__name__)

_RELEASED = ("source_release_date", "cdm_release_date")
_SHIFTED = "its dates lie in the future: they were shifted, and the extract's last day is unknown"

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
    memory_mb: int = MEMORY_MB,
    wanted: Collection[str] = tuple(TABLES),
) -> None:
    """Read the CDM tables of ``extract`` and write each of ``cdm.TABLES`` to ``cdm/{table}.parquet``, all or none.

    ``reading`` has ``headerless``, ``cdm_version`` (of headerless files), ``on_error`` (drop or fail) and ``last_date``
    (ISO; the last day that a record can have, by default from cdm_source and observation_period). ``vocabulary`` is a
    folder downloaded from Athena: names for concepts that the extract does not name. A table that the extract lacks, or
    that is not ``wanted``, is written empty. ``quality`` counts every row that is dropped or repaired under one reason.

    Raises StudyError for what cannot be read correctly: a damaged file, ids that lost digits, dates whose day and
    month are unclear, a missing column, no person; with ``on_error: fail`` also for the first bad row.
    """
    tables = find_tables(extract, wanted)
    if "person" not in tables:
        raise StudyError(f"{extract}: has no person table (person.parquet, PERSON.csv, person.csv.gz ...)")
    cdm.parent.mkdir(parents=True, exist_ok=True)
    for leftover in cdm.parent.glob(f".{cdm.name}.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with atomic_folder(cdm) as folder:
        work = folder / "work"
        work.mkdir()
        with database(max(threads, 2), memory_mb, work / "spill") as db:  # a single thread cuts row groups elsewhere
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
        self.bounds = Bounds.until(reading.get("last_date"))
        self.staged: dict[str, Staged] = {}

    def run(self) -> dict[str, Any]:
        """Write every table and return the part of the report that counts rows."""
        if self.bounds.last is None:
            self.bounds = self._find_bounds()
        counts = {}
        for table in sorted(TABLES, key=lambda table: (table not in _ORDER, table == "concept")):
            counts[table] = self._ingest(table)
            logger.info("%s: written", table)
            if table == "person":
                self._make_persons(counts[table])
        notes = [note_visits(self.folder), note_numbers(self.db, self.folder)]
        if self.bounds.after == SHIFTED and counts["observation_period"].kept:
            notes.append({"observation_period": {_SHIFTED: counts["observation_period"].kept}})
        noted = {table: {reason: n for note in notes for reason, n in note.get(table, {}).items()} for table in TABLES}
        return {"tables": {table: vars(counts[table]) | {"noted": noted[table]} for table in TABLES}}

    def _ingest(self, table: str) -> Counts:
        target = self.folder / f"{table}.parquet"
        if table not in self.tables:
            columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in TABLES[table].items())
            self._write(f"SELECT {columns} LIMIT 0", target)
            return Counts()
        staged = self._stage(table)
        with naming(staged.source.place, table):
            counts = self._judge(table, staged, target)
        for file in self.work.glob(f"{table}.*"):
            file.unlink()
        return counts

    def _stage(self, table: str) -> Staged:
        if table in self.staged:
            return self.staged.pop(table)
        place = self.tables[table]
        with naming(place, table):
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

    def _find_bounds(self) -> Bounds:
        """The last day is the latest release date or end of an observation period; unknown without a release date.

        Where most observation periods begin after it, or in a future that no placeholder leaves, the extract's dates
        were shifted, and its last day is unknown.
        """
        self.staged["person"] = self._stage("person")  # what is wrong with it is told first
        released = self._days("cdm_source", *(f"max({c}) FILTER ({c} <= DATE '{LAST_DAY}')" for c in _RELEASED))
        last = max((day for day in released if day), default=None)
        start, end = (str(column) for column in DAYS["observation_period"])
        later = f"{start} > DATE '{last or LAST_DAY}'"
        found = self._days(
            "observation_period",
            f"max({end}) FILTER ({end} <= DATE '{LAST_DAY}')",
            f"count(*) FILTER ({later}) * 2 > count({start})",
            f"quantile_disc({start}, 0.9) FILTER ({later})",
        )
        end_day, shifted, late = found or (None, False, None)
        if shifted and late.year < 9000:
            return Bounds.shifted(late)
        return Bounds.until(max(last, end_day or last).isoformat() if last else None)

    def _days(self, table: str, *asked: str) -> tuple[Any, ...]:
        """Return what is asked of a table, as SQL; nothing if there is none."""
        if table not in self.tables:
            return ()
        staged = self.staged[table] = self._stage(table)
        with naming(staged.source.place, table):
            return tuple(self.db.execute(f"SELECT {', '.join(asked)} FROM {staged.relation}").fetchall()[0])

    def _judge(self, table: str, staged: Staged, target: Path) -> Counts:
        columns, place = TABLES[table], staged.source.place
        reasons, changes = drops(table, self.bounds), repairs(table, self.bounds)
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
        self._reject_values(staged.source, tallies)
        counts = count_rows(staged.source, staged.skipped, reasons, changes, tallies)
        if self.fail and counts.dropped:
            self._fail(staged, judged, reasons, counts)
        if counts.read and not counts.kept:
            reject_lost(table, place, counts.dropped)
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
        copy_as_parquet(self.db, query, target)

    def _make_persons(self, counts: Counts) -> None:
        """Make the table ``persons``: each person with the earliest day that they can have been born on."""
        if counts.read == 0:
            raise StudyError(f"{self.tables['person']}: has no rows; is this the right file?")
        born = (
            "coalesce(TRY(make_date(year_of_birth, month_of_birth, coalesce(day_of_birth, 1))), "
            "make_date(year_of_birth, coalesce(month_of_birth, 1), 1))"
        )
        file = literal(self.folder / "person.parquet")
        self.db.execute(f"CREATE TABLE persons AS SELECT person_id, {born} AS born, true AS known FROM {file}")

    def _reject_values(self, source: Source, tallies: list[Any]) -> None:
        """Raise StudyError for a value that cannot be read correctly."""
        seen = 0
        for _, faults, *_ in tallies:
            seen |= faults & (faults >> 1) & 0x5555555555555555
        reject_values(self.db, source, seen)

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
