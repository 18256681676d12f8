"""Read what a vocabulary says of its concepts' names: synonyms, what they map to, and their parents."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import ALL_TABLES, VOCABULARY_TABLES
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.memory import MEMORY_MB, database
from conceptbridge.sites.records import LOCAL
from conceptbridge.sites.wanted_rows import read_wanted

#: synonyms of a concept, and others that map to or from it, that are read at most: some drugs have thousands
MOST_PER_CONCEPT = 5
_TABLES = ("concept", "concept_ancestor", *VOCABULARY_TABLES)


class Terms(NamedTuple):
    """Chosen concepts and the names that belong to them; every list is in order.

    ``names`` has the name of each concept in the other parts. Of ``maps_to`` and ``parents`` the first is the source,
    or the child.
    """

    names: dict[int, str]
    concepts: list[int]
    synonyms: list[tuple[int, str]]
    maps_to: list[tuple[int, int]]
    parents: list[tuple[int, int]]
    #: rows that cannot be read
    skipped: int


def read_terms(
    vocabulary: Path, most: int, seed: int, sites: Sequence[Path] = (), threads: int = 1, memory_mb: int = MEMORY_MB
) -> Terms:
    """Read the terms of ``most`` concepts or fewer of an Athena download or an extract, chosen by a hash.

    ``sites``: vocabulary.parquet of sites, whose concepts alone are chosen. Local concepts (2,000,000,000 and above)
    are left out: a hospital may have written their names. A table that the vocabulary lacks gives no pair.

    Raises StudyError if there is no concept with a name, or a table cannot be read.
    """
    places = find_tables(vocabulary, _TABLES)
    if "concept" not in places:
        raise StudyError(
            f"{vocabulary}: has no concept table; give an unpacked Athena download, or an extract with one"
        )
    skipped = 0
    with (
        TemporaryDirectory(prefix="conceptbridge-") as folder,
        database(threads, memory_mb, Path(folder) / "spill") as db,
    ):

        def read(table: str, wanted: str) -> None:
            nonlocal skipped
            if table in places:
                skipped += read_wanted(db, table, places[table], Path(folder), wanted)
            else:
                columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in ALL_TABLES[table].items())
                db.execute(f"CREATE TABLE wanted_{table} AS SELECT {columns} LIMIT 0")

        read("concept", f"concept_id > 0 AND concept_id < {LOCAL} AND trim(concept_name) <> ''")
        db.execute(
            "CREATE TABLE names AS SELECT concept_id, min(trim(concept_name)) AS name FROM wanted_concept GROUP BY ALL"
        )
        db.execute("DROP TABLE wanted_concept")  # of a full download it is gigabytes
        _choose(db, vocabulary, most, seed, sites)
        chosen = "IN (FROM chosen)"
        read("concept_synonym", f"concept_id {chosen}")
        read(
            "concept_relationship",
            "concept_id_1 <> concept_id_2 AND coalesce(trim(invalid_reason), '') = '' AND "
            f"(relationship_id IN ('Is a', 'Maps to') AND concept_id_1 {chosen} "
            f"OR relationship_id = 'Maps to' AND concept_id_2 {chosen})",
        )
        read("concept_ancestor", f"descendant_concept_id {chosen} AND min_levels_of_separation = 1")
        synonyms, maps_to, parents = (db.execute(query).fetchall() for query in (_SYNONYMS, _MAPS_TO, _PARENTS))
        concepts = [one for (one,) in db.execute("FROM chosen ORDER BY ALL").fetchall()]
        used = {*concepts, *(one for pairs in (maps_to, parents) for pair in pairs for one in pair)}
        db.execute("CREATE TABLE used AS SELECT unnest($1)::BIGINT", [sorted(used)])
        names = dict(db.execute("FROM names WHERE concept_id IN (FROM used) ORDER BY concept_id").fetchall())
    return Terms(names, concepts, synonyms, maps_to, parents, skipped)


def _choose(db: duckdb.DuckDBPyConnection, vocabulary: Path, most: int, seed: int, sites: Sequence[Path]) -> None:
    """Make the table ``chosen`` of concept ids."""
    within = ""
    if sites:
        within = f"WHERE concept_id IN (SELECT concept_id FROM read_parquet([{', '.join(map(literal, sites))}]))"
    try:
        db.execute(
            f"CREATE TABLE chosen AS SELECT concept_id FROM names {within} "
            f"ORDER BY md5(concept_id || ' {seed}'), concept_id LIMIT {most}"
        )
    except (duckdb.IOException, duckdb.BinderException, duckdb.InvalidInputException) as error:
        files = ", ".join(map(str, sites))
        raise StudyError(
            f"{files}: cannot be read as vocabularies of sites ({str(error).splitlines()[0]}); give "
            "results/sites/SITE/vocabulary.parquet of a study that has run"
        ) from error
    if not db.execute("SELECT count(*) FROM chosen").fetchall()[0][0]:
        of = "that the sites use " if sites else ""
        raise StudyError(
            f"{vocabulary}: its concept table has no standard name {of}to learn from; give another vocabulary"
        )


_SYNONYMS = f"""
    SELECT DISTINCT concept_id, trim(concept_synonym_name) AS synonym FROM wanted_concept_synonym
    JOIN names USING (concept_id) WHERE lower(synonym) NOT IN ('', lower(name))
    QUALIFY dense_rank() OVER (PARTITION BY concept_id ORDER BY md5(synonym), synonym) <= {MOST_PER_CONCEPT}
    ORDER BY ALL
"""
_MAPS_TO = f"""
    SELECT source, target FROM (
        SELECT DISTINCT r.concept_id_1 AS source, r.concept_id_2 AS target
        FROM wanted_concept_relationship r
        JOIN names s ON s.concept_id = r.concept_id_1 JOIN names t ON t.concept_id = r.concept_id_2
        WHERE r.relationship_id = 'Maps to' AND lower(s.name) <> lower(t.name))
    QUALIFY row_number() OVER (PARTITION BY source ORDER BY md5(target::VARCHAR), target) <= {MOST_PER_CONCEPT}
        AND row_number() OVER (PARTITION BY target ORDER BY md5(source::VARCHAR), source) <= {MOST_PER_CONCEPT}
    ORDER BY ALL
"""
# of several parents the one with the fewest children says most
_PARENTS = """
    WITH listed AS (
        SELECT concept_id_1 AS child, concept_id_2 AS parent FROM wanted_concept_relationship
        WHERE relationship_id = 'Is a'
        UNION SELECT descendant_concept_id, ancestor_concept_id FROM wanted_concept_ancestor
    ), named AS (
        SELECT child, parent, count(*) OVER (PARTITION BY parent) AS children FROM listed
        JOIN names c ON c.concept_id = child JOIN names p ON p.concept_id = parent
        WHERE child <> parent AND lower(c.name) <> lower(p.name)
    )
    SELECT child, parent FROM named
    QUALIFY row_number() OVER (PARTITION BY child ORDER BY children, parent) = 1 ORDER BY ALL
"""
