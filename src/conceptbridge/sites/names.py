"""Name the concepts that a site uses: from its own concept table, else from an Athena download."""

from pathlib import Path

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.source import open_source, rejected, typed

_VOCABULARY = ("concept", "concept_ancestor", "cdm_source")


def name_concepts(db: duckdb.DuckDBPyConnection, folder: Path, vocabulary: Path | None, work: Path) -> dict[str, int]:
    """Complete ``concept.parquet`` and, if it is empty, ``concept_ancestor.parquet`` in ``folder`` from ``vocabulary``.

    The concepts that the typed tables in ``folder`` use are added, and their ancestors; empty names are filled in.
    Makes the table ``used`` of concept ids. Returns how many concepts in use there are, and who names them.
    """
    uses = " UNION ".join(
        f"SELECT DISTINCT {column} AS concept_id FROM {_file(folder, table)}"
        for table, columns in TABLES.items()
        if table not in _VOCABULARY
        for column in columns
        if column.endswith("concept_id")
    )
    db.execute(f"CREATE TABLE used AS SELECT concept_id FROM ({uses}) WHERE concept_id <> 0")
    own = _named(db, folder)
    counts = {"concepts_in_use": _count(db, "used"), "named_by_the_extract": own}
    if vocabulary is None:
        return counts
    places = find_tables(vocabulary)
    if "concept" not in places:
        raise StudyError(f"{vocabulary}: has no CONCEPT.csv; give the folder of an unpacked Athena download")
    source = open_source(db, "concept", places["concept"], work, {})
    columns = ", ".join(TABLES["concept"])
    db.execute(f"CREATE TABLE downloaded AS SELECT {columns} FROM ({typed(source)}) SEMI JOIN used USING (concept_id)")
    skipped = sum(count for count, _ in rejected(db, source).values()) if source.layout else 0
    filled = ", ".join(
        "coalesce(nullif(trim(e.concept_name), ''), f.concept_name) AS concept_name"
        if column == "concept_name"
        else f"e.{column}"
        for column in TABLES["concept"]
    )
    _rewrite(
        db,
        folder,
        "concept",
        f"""
        SELECT {filled} FROM {_file(folder, "concept")} e LEFT JOIN downloaded f USING (concept_id)
        UNION ALL SELECT {columns} FROM downloaded ANTI JOIN {_file(folder, "concept")} USING (concept_id)
        ORDER BY concept_id
        """,
    )
    if "concept_ancestor" in places and not _count(db, _file(folder, "concept_ancestor")):
        ancestors = open_source(db, "concept_ancestor", places["concept_ancestor"], work, {})
        columns = ", ".join(TABLES["concept_ancestor"])
        _rewrite(
            db,
            folder,
            "concept_ancestor",
            f"""
            SELECT {columns} FROM ({typed(ancestors)}) SEMI JOIN used ON descendant_concept_id = used.concept_id
            ORDER BY ALL
            """,
        )
        skipped += sum(count for count, _ in rejected(db, ancestors).values()) if ancestors.layout else 0
    counts["named_by_the_vocabulary"] = _named(db, folder) - own
    if skipped:
        counts["rows_of_the_vocabulary_skipped"] = skipped
    return counts


def _named(db: duckdb.DuckDBPyConnection, folder: Path) -> int:
    return _count(
        db, f"used SEMI JOIN (FROM {_file(folder, 'concept')} WHERE trim(concept_name) <> '') USING (concept_id)"
    )


def _rewrite(db: duckdb.DuckDBPyConnection, folder: Path, table: str, query: str) -> None:
    new = folder / f".{table}.parquet"
    db.execute(f"COPY ({query}) TO {literal(new)} (FORMAT parquet, COMPRESSION zstd)")
    new.replace(folder / f"{table}.parquet")


def _count(db: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])


def _file(folder: Path, table: str) -> str:
    return f"read_parquet({literal(folder / f'{table}.parquet')})"
