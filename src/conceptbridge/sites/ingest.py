"""An OMOP CDM extract becomes typed Parquet, every row accounted for.

Rows stay in the order of their file, so that the output is the same bytes on any number of threads.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from conceptbridge.sites.checks import DAYS, KEYS, LAST_DAY, OWN_IDS, REPEATS, Repair, drops, fault, repairs
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.formats.format import MORE_FIELDS, Place, Source
from conceptbridge.sites.names import name_concepts
from conceptbridge.sites.quality import describe, note_visits
from conceptbridge.sites.source import open_source, rejected, typed
from conceptbridge.sites.typed import REFUSED, REPAIRED, UNREADABLE, read_column

logger = logging.getLogger(__name__)

#: what DuckDB may hold; sorted ids (_IDS of 8 bytes) and what it does not count come on top, 4 GiB in all
MEMORY = "2GB"
_IDS = 1 << 26
_MASK = (1 << 62) - 1

#: what the extract's last day and a row's person are known from comes first
_ORDER = ("cdm_source", "person", "observation_period")


@dataclass
class Counts:
    """What became of a table's rows."""

    file: str | None = None
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Staged:
    """A table whose columns have their types: a relation with ``faults`` and ``position``, and the rows skipped."""

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
    (ISO; the last day that a record can bear, else known from cdm_source and observation_period). ``vocabulary`` is
    a folder downloaded from Athena: names for concepts that the extract does not name. A table that the extract
    lacks is written empty. Every row that is dropped or repaired is counted in ``quality`` under one reason.

    Raises StudyError for what cannot be read right: a damaged file, ids that lost digits, dates of which day and
    month are unclear, a missing column, no person; with ``on_error: fail`` also for the first bad row.
    """
    tables = find_tables(extract)
    if "person" not in tables:
        raise StudyError(f"{extract}: no person table (person.parquet, PERSON.csv, person.csv.gz ...) is in it")
    cdm.parent.mkdir(parents=True, exist_ok=True)
    for left in cdm.parent.glob(f".{cdm.name}.*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with atomic_folder(cdm) as folder:
        work = folder / "work"
        work.mkdir()
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": max(threads, 2),  # one alone cuts row groups elsewhere
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
        """Write every table; return the part of the report that counts rows."""
        if self.last is None:
            self.last = self._last_day()
        counts = {}
        for table in sorted(TABLES, key=lambda table: (table not in _ORDER, table == "concept")):
            counts[table] = self._ingest(table)
            logger.info("%s: written", table)
            if table == "person":
                self._know_persons(counts[table])
        visits = self.folder / "visit_occurrence.parquet"
        noted = note_visits(self.db, self.folder, visits)
        report = {}
        for table in TABLES:
            report[table] = vars(counts[table]) | {"noted": noted.get(table, {})}
        return {"tables": report}

    def _ingest(self, table: str) -> Counts:
        target = self.folder / f"{table}.parquet"
        if table not in self.tables:
            columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in TABLES[table].items())
            self._write(f"SELECT {columns} LIMIT 0", target)
            return Counts()
        staged = self._stage(table)
        with _told(staged.source.place, table):
            counts = self._judge(table, staged, target)
        for file in self.work.glob(f"{table}.*"):
            file.unlink()
        return counts

    def _stage(self, table: str) -> Staged:
        if table in self.staged:
            return self.staged.pop(table)
        place = self.tables[table]
        with _told(place, table):
            source = open_source(self.db, table, place, self.work, self.reading)
            if source.position:
                return Staged(source, f"({typed(source)})", {})
            # text is read once; what it says stays beside it, typed
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
        """The latest of the extract's release dates and its observation periods' ends; None without the first."""
        released = self._latest("cdm_source", "source_release_date", "cdm_release_date")
        if released is None:
            return None
        return max(released, self._latest("observation_period", "observation_period_end_date") or released)

    def _latest(self, table: str, *columns: str) -> str | None:
        if table not in self.tables:
            return None
        staged = self.staged[table] = self._stage(table)
        latest = ", ".join(f"max({c}) FILTER ({c} <= DATE '{LAST_DAY}')" for c in columns)
        with _told(staged.source.place, table):
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
        repeats = self._find_repeats(table, staged.relation, rows, reasons)
        if repeats:
            reasons += [
                (REPEATS, "position IN (SELECT position FROM repeats WHERE exact)"),
                (f"its {KEYS.get(table)} is another row's", "position IN (SELECT position FROM repeats)"),
            ]
        judged = f"(SELECT *, {_verdict(reasons)} AS verdict FROM {rows})"
        tally = ", ".join([f"count_if({_applies(c, changes)})" for c in changes])
        found = self.db.execute(
            f"SELECT verdict, faults, count(*){', ' + tally if tally else ''} FROM {judged} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        self._refuse(table, staged.source, found)
        counts = _count(table, staged, reasons, changes, found)
        if self.fail and counts.dropped:
            self._fail(staged, judged, reasons, counts)
        if not self.fail and counts.read and table != "concept":
            self._refuse_all(table, place, counts)
        self._copy(table, staged.relation, judged, counts.kept < counts.read, changes, target)
        return counts

    def _copy(
        self, table: str, relation: str, judged: str, dropping: bool, changes: list[Repair], target: Path
    ) -> None:
        """Write the kept rows, repaired, in the order of their file; joins, of all operators, do not keep it."""
        values = []
        for column in TABLES[table]:
            cases = " ".join(f"WHEN {c.condition} THEN {c.value}" for c in changes if c.column == column)
            values.append(f"CASE {cases} ELSE {column} END AS {column}" if cases else column)
        query = f"SELECT {', '.join(values)}"
        if table == "observation_period":  # short, and repaired by what is known of the person
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

    def _know_persons(self, counts: Counts) -> None:
        if counts.kept == 0:
            raise StudyError(
                f"{self.tables['person']}: no person with a person_id and a year_of_birth is in this table "
                f"({counts.read} rows read): is it the right file?"
            )
        # the earliest day that a person can have been born
        born = (
            "coalesce(TRY(make_date(year_of_birth, month_of_birth, coalesce(day_of_birth, 1))), "
            "make_date(year_of_birth, coalesce(month_of_birth, 1), 1))"
        )
        file = literal(self.folder / "person.parquet")
        self.db.execute(f"CREATE TABLE persons AS SELECT person_id, {born} AS born, true AS known FROM {file}")

    def _find_repeats(self, table: str, relation: str, rows: str, reasons: list[tuple[str, str]]) -> bool:
        """Make the table ``repeats``: positions of rows that say again what an earlier kept one says."""
        columns = ", ".join(TABLES[table])
        own = OWN_IDS.get(table)
        total, with_id = (
            int(n) for n in self.db.execute(f"SELECT count(*), count({own or 'NULL'}) FROM {relation}").fetchall()[0]
        )
        # without an id of their own rows are compared by a hash first
        by = own if own and with_id == total else f"(hash({columns}) >> 1)::BIGINT"
        again = list(self._repeated(relation, by, total))
        if not again:
            return False
        key = KEYS.get(table)
        self.db.register("again", {"id": np.concatenate(again)})
        self.db.execute(
            f"""
            CREATE OR REPLACE TABLE repeats AS
            WITH candidates AS (
                SELECT * FROM (SELECT *, {_verdict(reasons)} AS verdict FROM {rows})
                WHERE verdict = -1 AND {by} IN (SELECT id FROM again)
            ), told AS (
                SELECT position, {key or "NULL"} AS key,
                       row_number() OVER (PARTITION BY {columns} ORDER BY position) > 1 AS exact
                FROM candidates
            )
            SELECT position, true AS exact FROM told WHERE exact
            UNION ALL
            SELECT position, false FROM told WHERE NOT exact AND key IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY position) > 1
            """
        )
        self.db.unregister("again")
        return bool(self.db.execute("SELECT count(*) FROM repeats").fetchall()[0][0])

    def _repeated(self, relation: str, by: str, total: int) -> Iterator[NDArray[Any]]:
        """Values that occur more than once; of a long table one slice of the values at a time."""
        slices = -(-total // _IDS)
        for part in range(slices):
            query = (
                f"FROM {relation}" if slices == 1 else f"FROM {relation} WHERE (({by}) & {_MASK}) % {slices} = {part}"
            )
            size = total if slices == 1 else int(self.db.execute(f"SELECT count(*) {query}").fetchall()[0][0])
            values, end = np.empty(size, dtype=np.int64), 0
            for batch in self.db.sql(f"SELECT {by} {query}").to_arrow_reader(1 << 20):
                values[end : end + len(batch)] = batch.columns[0].to_numpy()
                end += len(batch)
            if not np.all(values[1:] > values[:-1]):
                values.sort()
                yield np.unique(values[1:][values[1:] == values[:-1]])

    def _refuse(self, table: str, source: Source, found: list[Any]) -> None:
        """Raise StudyError for a value that cannot be read right."""
        seen = 0
        for _, faults, *_ in found:
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
                WHERE verdict = {REFUSED} ORDER BY row LIMIT 1
                """
            ).fetchall()[0]
            if kind == "DATE":
                raise StudyError(
                    f"{source.place}: row {row} of the data, column {column}: a date with the day before the month "
                    f"({_shape(value)}), so that in others the two cannot be told apart; export dates as YYYY-MM-DD"
                )
            raise StudyError(
                f"{source.place}: row {row} of the data, column {column}: {_start(value)} is a number that went "
                "through a spreadsheet or a floating-point column, and its last digits are lost; export ids as whole "
                "numbers"
            )

    def _refuse_all(self, table: str, place: Place, counts: Counts) -> None:
        """Raise StudyError when no row at all has a readable value in a column that it cannot do without."""
        for reason, count in counts.dropped.items():
            if reason.endswith("cannot be read") and count == counts.read:
                raise StudyError(
                    f"{place}: {reason} in any row: the header does not fit what stands below it; export {table} again"
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
            f"{staged.source.place}: {at} is bad: {reason}; correct the extract, or say `on_error: drop` for the "
            "site to go on without such rows"
        )


def _count(
    table: str, staged: Staged, reasons: list[tuple[str, str]], changes: list[Repair], found: list[Any]
) -> Counts:
    counts = Counts(file=staged.source.place.name)
    counts.dropped = {reason: count for reason, (count, _) in staged.skipped.items()}
    counts.read = sum(counts.dropped.values())
    for verdict, faults, rows, *changed in found:
        counts.read += rows
        if verdict >= 0:
            _add(counts.dropped, reasons[verdict][0], rows)
            continue
        counts.kept += rows
        for change, times in zip(changes, changed, strict=True):
            _add(counts.repaired, change.reason, times)
        for n, column in enumerate(TABLES[table]):
            said = faults >> (2 * n) & 3
            if said == UNREADABLE:
                _add(counts.repaired, f"{column} cannot be read: left empty", rows)
            if said == REPAIRED:
                _add(counts.repaired, f"{column} is a decimal number: read as the whole one", rows)
    source = staged.source
    if source.layout and source.layout.surplus:
        unsure = [f"c{n}" for n, name in enumerate(source.layout.columns) if not name]
        _add(
            counts.repaired,
            "it has more fields than the header, the last of them empty: they were left out"
            + (", and so were columns whose place is in doubt" if unsure else ""),
            counts.kept,
        )
    for column, said_so in source.repaired.items():
        _add(counts.repaired, f"{column} has the header {said_so}", counts.kept)
    return counts


def _add(counts: dict[str, int], reason: str, rows: int) -> None:
    if rows:
        counts[reason] = counts.get(reason, 0) + rows


def _verdict(reasons: list[tuple[str, str]]) -> str:
    cases = " ".join(f"WHEN {condition} THEN {n}" for n, (_, condition) in enumerate(reasons))
    return f"CASE {cases} ELSE -1 END" if cases else "-1"


def _applies(change: Repair, changes: list[Repair]) -> str:
    """The condition of a repair, without the rows in which an earlier one of the same column comes first."""
    earlier = [c.condition for c in changes[: changes.index(change)] if c.column == change.column]
    return " AND ".join([f"({change.condition})", *(f"({condition}) IS NOT TRUE" for condition in earlier)])


def _shape(value: object) -> str:
    """The value with every digit a 9: a date is nobody's business in a log."""
    return "".join("9" if c.isdigit() else c for c in str(value))


def _start(value: object) -> str:
    """The value, or its first digits where it has so many that they could be somebody's id."""
    return str(value) if sum(c.isdigit() for c in str(value)) <= 6 else f"{str(value)[:4]}..."


@contextmanager
def _told(place: Place, table: str) -> Iterator[None]:
    """Turn DuckDB's complaint about a file into one message."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        fault = str(error).splitlines()[0]
        raise StudyError(f"{place}: cannot be read as a {table} table: {fault}; copy or export it again") from error
