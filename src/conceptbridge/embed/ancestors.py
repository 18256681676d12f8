"""The table of a site's ancestors: which tokens each of its tokens is as well.

A token (concept, state) is also the token of each of its concept's ancestors, in the broad state (``states.BROAD``),
and that of its own concept in the broad state, so that a site's "very high" is another's "high". The keys are those
that such records have themselves: where a site records the ancestor, both are one token. Standard concepts have
the same keys everywhere; a local concept is nobody's ancestor, as it would mean nothing elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.embed.ancestors_file import SCHEMA
from conceptbridge.sites.memory import MEMORY_MB, database
from conceptbridge.sites.records import is_local
from conceptbridge.vocabulary.build import token_key
from conceptbridge.vocabulary.states import BROAD


def write_ancestors(vocabulary: Path, cdms: Sequence[Path], levels: int, site: str, out: Path) -> None:
    """Write what each token of a site's ``vocabulary`` is as well to ``out`` (``SCHEMA``, by key), the most general
    first: its concept's ancestors up to ``levels`` above it, by the typed concept_ancestor tables of the ``cdms``. A
    token that is nothing else has no row.

    Raises StudyError if these have no ancestor at all.
    """
    tables = ", ".join(literal(str(cdm / "concept_ancestor.parquet")) for cdm in cdms)
    broad = ", ".join(f"({literal(state)}, {literal(of)})" for state, of in BROAD.items())
    with database(1, MEMORY_MB, out.with_name(f".{out.name}.spill")) as db:
        db.execute(
            f"""
            CREATE TABLE tokens AS
            SELECT key, concept_id, coalesce(broad, state) AS state FROM read_parquet({literal(str(vocabulary))})
            LEFT JOIN (VALUES {broad}) AS b(state, broad) USING (state)
            WHERE NOT private AND concept_id <> 0
            """
        )
        db.execute(
            f"""
            CREATE TABLE pairs AS
            SELECT descendant_concept_id AS concept_id, ancestor_concept_id AS ancestor,
                   min(min_levels_of_separation) AS level
            FROM read_parquet([{tables}])
            WHERE min_levels_of_separation BETWEEN 1 AND {levels} AND NOT {is_local("ancestor_concept_id")}
                  AND ancestor_concept_id <> 0 AND descendant_concept_id IN (SELECT concept_id FROM tokens)
            GROUP BY ALL
            """
        )
        if not db.execute("SELECT count(*) FROM pairs").fetchall()[0][0] and db.execute(
            f"SELECT count(*) FROM (FROM read_parquet([{tables}]) LIMIT 1)"
        ).fetchall() == [(0,)]:
            raise StudyError(
                f"{site} has no concept_ancestor table, so no concept has an ancestor; add the table to its extract, "
                "or give the study a `vocabulary` (an Athena download), or leave out the embeddings with ancestors"
            )
        table = db.sql(
            f"""
            SELECT key, list(other ORDER BY level DESC, other) AS also FROM (
                SELECT key, {token_key("ancestor", "state")} AS other, level FROM tokens JOIN pairs USING (concept_id)
                UNION ALL
                SELECT key, {token_key("concept_id", "state")}, 0 FROM tokens WHERE NOT {is_local("concept_id")}
            ) WHERE other <> key GROUP BY key ORDER BY key
            """
        ).to_arrow_table()
    write_parquet(table.cast(SCHEMA), out)
