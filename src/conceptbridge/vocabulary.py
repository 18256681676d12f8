"""A site's vocabulary: every concept of its records in every state that they could take, with the text of each."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from conceptbridge.files import write_parquet
from conceptbridge.records import AGE_BANDS, BIN_STATES, BINNED, LOCAL, RANGE_STATES, SEX_CONCEPTS, open_site

SCHEMA = pa.schema(
    [
        (
            "key",
            pa.string(),
        ),  # concept and state; qualified by the site where the concept is local or unmapped
        ("concept_id", pa.int64()),
        ("vocabulary", pa.string()),
        ("domain", pa.string()),
        ("name", pa.string()),  # null where neither a concept table nor a record names the concept
        ("named_by", pa.string()),  # concept | source
        ("state", pa.string()),
        ("text", pa.string()),  # null where there is no name
        ("records", pa.int64()),  # of the concept, in any state
        ("persons", pa.int64()),
        ("private", pa.bool_()),  # local or unmapped, and of fewer than min_cell_count persons: used nowhere
    ]
)


def token_key(concept: str, state: str) -> str:
    """SQL of a token's key, from SQL of its concept's key and of its state."""
    return f"({concept} || '|' || {state})"


def make_vocabulary(
    cdm: Path, site: str, texts: Mapping[str, str], min_cell_count: int, out: Path, threads: int = 1
) -> None:
    """Write the vocabulary of the typed tables in ``cdm`` to ``out`` (``SCHEMA``, ordered by key).

    ``texts`` has the templates ``present``, ``absent`` and ``other``, with {name} and {state} to fill in.
    """
    with duckdb.connect(config={"threads": threads}) as db:
        open_site(db, cdm, site)
        db.execute(
            """
            CREATE TABLE concepts AS
            WITH counted AS (
                SELECT concept, domain, concept_id, count(*) AS records, count(DISTINCT person_id) AS persons
                FROM records GROUP BY ALL
            ), sourced AS (
                SELECT concept, domain, source FROM records WHERE source <> ''
                GROUP BY concept, domain, source
                QUALIFY row_number() OVER (PARTITION BY concept, domain ORDER BY count(*) DESC, source) = 1
            )
            SELECT counted.*, sourced.source, c.vocabulary_id AS vocabulary,
                   CASE WHEN concept_id <> 0 THEN nullif(trim(c.concept_name), '') END AS concept_name
            FROM counted LEFT JOIN sourced USING (concept, domain) LEFT JOIN concept c USING (concept_id)
            -- a concept recorded in several domains is one concept: its main domain is kept
            QUALIFY row_number() OVER (PARTITION BY concept ORDER BY records DESC, domain) = 1
            """
        )
        db.execute(
            f"""
            CREATE TABLE states AS
            SELECT DISTINCT concept, unnest(CASE
                WHEN state = '{BINNED}' THEN {list(BIN_STATES)!r}
                WHEN value IS NOT NULL AND state IN {RANGE_STATES!r} THEN {list(RANGE_STATES)!r}
                ELSE [state] END) AS state
            FROM (SELECT DISTINCT concept, state, CASE WHEN value IS NULL THEN NULL ELSE 0 END AS value FROM records)
            """
        )
        name = "coalesce(concept_name, source)"
        named = db.sql(
            f"""
            SELECT {token_key("concept", "state")} AS key, concept_id, vocabulary, domain, {name} AS name,
                   CASE WHEN concept_name IS NOT NULL THEN 'concept'
                        WHEN source IS NOT NULL THEN 'source' END AS named_by,
                   state, {_text(name, texts)} AS text, records, persons,
                   (concept_id = 0 OR concept_id >= {LOCAL}) AND persons < {min_cell_count} AS private
            FROM concepts JOIN states USING (concept)
            UNION ALL {_demographics(texts)}
            ORDER BY key
            """
        )
        write_parquet(named.to_arrow_table().cast(SCHEMA), out)


def _demographics(texts: Mapping[str, str]) -> str:
    tokens = [("sex", 0, "Sex", sex) for sex in SEX_CONCEPTS.values()] + [("age", 0, "Age", band) for band in AGE_BANDS]
    rows = ", ".join(f"('{concept}', {i}, '{name}', '{state}')" for concept, i, name, state in tokens)
    return f"""
        SELECT {token_key("concept", "state")}, concept_id, NULL, 'demographic', name, 'concept', state,
               {_text("name", texts)}, (SELECT count(*) FROM person), (SELECT count(*) FROM person), false
        FROM (VALUES {rows}) AS d(concept, concept_id, name, state)
    """


def _text(name: str, texts: Mapping[str, str]) -> str:
    def fill(template: str) -> str:
        return f"replace(replace('{template.replace(chr(39), chr(39) * 2)}', '{{name}}', {name}), '{{state}}', state)"

    return (
        f"CASE state WHEN 'present' THEN {fill(texts['present'])} WHEN 'absent' THEN {fill(texts['absent'])} "
        f"ELSE {fill(texts['other'])} END"
    )
