"""Name the concepts that a site uses: from its own concept table, else from an Athena download."""

from pathlib import Path

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import copy_as_parquet, literal
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.formats.format import Place
from conceptbridge.sites.wanted_rows import read_wanted

_VOCABULARY = ("concept", "concept_ancestor", "cdm_source")


def name_concepts(db: duckdb.DuckDBPyConnection, folder: Path, vocabulary: Path | None, work: Path) -> dict[str, int]:
    """Complete ``concept.parquet`` and ``concept_ancestor.parquet`` in ``folder`` from ``vocabulary``.

    The ancestors of the concepts that the typed tables in ``folder`` use are added to those that the extract has, whose
    own vocabulary need not be complete. The concepts in use and their ancestors are added, and what the extract leaves
    empty of its own concepts is filled in. Makes the table ``used`` of concept ids. Returns how many concepts in use
    there are, and who names them.

    Raises StudyError if the vocabulary has no concepts, or a value that cannot be read correctly.
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
    more = {"rows_of_the_vocabulary_skipped": 0}
    if "concept_ancestor" in places:
        more["ancestors_from_the_vocabulary"] = _add_ancestors(db, folder, places["concept_ancestor"], work, more)
    more["concepts_twice_in_the_vocabulary"] = _add_concepts(db, folder, places["concept"], work, more)
    counts["named_by_the_vocabulary"] = _named(db, folder) - own
    return counts | {name: count for name, count in more.items() if count}


def _add_ancestors(db: duckdb.DuckDBPyConnection, folder: Path, place: Place, work: Path, more: dict[str, int]) -> int:
    """Add the vocabulary's ancestors of the concepts in use where the extract has none of the pair; return how many."""
    skipped = read_wanted(db, "concept_ancestor", place, work, "descendant_concept_id IN (FROM used)")
    more["rows_of_the_vocabulary_skipped"] += skipped
    before, pair = _count(db, _file(folder, "concept_ancestor")), "ancestor_concept_id, descendant_concept_id"
    _rewrite(
        db,
        folder,
        "concept_ancestor",
        f"""
        FROM {_file(folder, "concept_ancestor")} UNION ALL
        SELECT {pair}, min(min_levels_of_separation) FROM wanted_concept_ancestor
        ANTI JOIN {_file(folder, "concept_ancestor")} USING ({pair}) GROUP BY {pair}
        ORDER BY ALL
        """,
    )
    return _count(db, _file(folder, "concept_ancestor")) - before


def _add_concepts(db: duckdb.DuckDBPyConnection, folder: Path, place: Place, work: Path, more: dict[str, int]) -> int:
    """Add the vocabulary's rows of the concepts in use and their ancestors; return how many were there twice."""
    known = _file(folder, "concept_ancestor")
    ancestors = f"SELECT ancestor_concept_id FROM {known} WHERE descendant_concept_id IN (FROM used)"
    db.execute(f"CREATE TABLE wanted AS FROM used UNION {ancestors}")
    skipped = read_wanted(db, "concept", place, work, "concept_id IN (FROM wanted)")
    more["rows_of_the_vocabulary_skipped"] += skipped
    columns = [column for column in TABLES["concept"] if column != "concept_id"]
    # of rows with one id the same one stays, in whatever order they are: one with a name, a standard one
    db.execute(
        f"""
        CREATE TABLE known AS SELECT concept_id, {", ".join(columns)} FROM wanted_concept
        QUALIFY row_number() OVER (PARTITION BY concept_id ORDER BY coalesce(trim(concept_name), '') = '',
                                   standard_concept IS DISTINCT FROM 'S', {", ".join(columns)}) = 1
        """
    )
    # without any, the extract's table does not say which of its concepts are standard
    (says,) = db.execute(f"SELECT count(standard_concept) FROM {_file(folder, 'concept')}").fetchall()[0]
    filled = ", ".join(
        f"e.{c}" if c == "standard_concept" and says else f"coalesce(nullif(trim(e.{c}), ''), f.{c}) AS {c}"
        for c in columns
    )
    _rewrite(
        db,
        folder,
        "concept",
        f"""
        SELECT e.concept_id, {filled} FROM {_file(folder, "concept")} e LEFT JOIN known f USING (concept_id)
        UNION ALL SELECT concept_id, {", ".join(columns)} FROM known
        ANTI JOIN {_file(folder, "concept")} USING (concept_id)
        ORDER BY concept_id
        """,
    )
    return _count(db, "wanted_concept") - _count(db, "known")


def _named(db: duckdb.DuckDBPyConnection, folder: Path) -> int:
    return _count(
        db, f"used SEMI JOIN (FROM {_file(folder, 'concept')} WHERE trim(concept_name) <> '') USING (concept_id)"
    )


def _rewrite(db: duckdb.DuckDBPyConnection, folder: Path, table: str, query: str) -> None:
    new = folder / f".{table}.parquet"
    copy_as_parquet(db, query, new)
    new.replace(folder / f"{table}.parquet")


def _count(db: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])


def _file(folder: Path, table: str) -> str:
    return f"read_parquet({literal(folder / f'{table}.parquet')})"
