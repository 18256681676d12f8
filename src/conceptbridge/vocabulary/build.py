"""Build a site's vocabulary: every concept of its records in every state that it can take, each with its text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.disclosure.suppress import enough_sql
from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.sites.records import (
    AGE_BANDS,
    BIN_STATES,
    BINNED,
    MONTHS,
    RANGE_STATES,
    SEX_CONCEPTS,
    concept_key,
    first_of_each,
    in_order,
    is_local,
    joins_as_written,
    open_records,
    site_database,
)
from conceptbridge.vocabulary.states import PLACED

SCHEMA = pa.schema(
    [
        # concept and state; qualified by the site if the concept is local or unmapped
        ("key", pa.string()),
        ("concept_id", pa.int64()),
        ("vocabulary", pa.string()),
        ("concept_code", pa.string()),
        ("domain", pa.string()),
        ("name", pa.string()),  # null if neither a concept table nor a record names the concept
        ("named_by", pa.string()),  # concept | source
        ("state", pa.string()),
        ("text", pa.string()),  # null if there is no name
        ("records", pa.int64()),  # of the concept, in any state
        ("persons", pa.int64()),
        ("private", pa.bool_()),  # local or unmapped, and of fewer than min_cell_count persons: used nowhere
    ]
)


def token_key(concept: str, state: str) -> str:
    """Return SQL of a token's key, from SQL of its concept's key and of its state."""
    return f"({concept} || '|' || {state})"


def make_vocabulary(
    cdm: Path,
    site: str,
    texts: Mapping[str, str],
    roll_up: Mapping[str, Any],
    min_cell_count: int,
    out: Path,
    threads: int = 1,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Write the vocabulary of the typed tables in ``cdm`` to ``out`` (``SCHEMA``, ordered by key).

    ``texts`` has the templates ``present``, ``absent`` and ``other``, with {name} and {state} to fill in. With its
    ``states`` as slots, the text of a state that has a slot of its own is the concept's name alone. ``roll_up`` says
    which concepts stand for drugs and conditions. Out of core: one pass over the records in any order.
    """
    enough = enough_sql("persons", min_cell_count)
    with site_database(cdm, threads, out, memory_mb) as db:
        open_records(db, site, roll_up)
        with joins_as_written(db):
            _make_counts(db)
        db.execute(
            f"""
            CREATE TABLE concepts AS
            WITH counted AS (
                SELECT domain, concept_id, source, sum(records)::BIGINT AS records,
                       any_value(persons_of_concept) AS persons
                FROM counts GROUP BY ALL
            ), named AS (
                SELECT counted.*, c.vocabulary_id AS vocabulary, c.concept_code,
                       CASE WHEN concept_id <> 0 THEN nullif(trim(c.concept_name), '') END AS concept_name
                FROM counted LEFT JOIN concept c USING (concept_id)
            ), sourced AS (
                SELECT concept_id, domain, first(source ORDER BY n DESC, source) AS commonest
                FROM (SELECT concept_id, domain, source, count(*) AS n FROM records
                      WHERE source <> '' AND concept_id IN
                            (SELECT concept_id FROM named WHERE concept_name IS NULL AND concept_id <> 0)
                      -- a source text of few persons can be free text: it is not used as a name
                      GROUP BY ALL HAVING {enough_sql("count(DISTINCT person_id)", min_cell_count)})
                GROUP BY ALL
            )
            SELECT named.* REPLACE (coalesce(source, commonest) AS source), {concept_key(site)} AS concept
            FROM named LEFT JOIN sourced USING (concept_id, domain)
            -- a concept recorded in several domains is one concept, kept in its main domain
            QUALIFY row_number() OVER (PARTITION BY concept ORDER BY records DESC, domain) = 1
            """
        )
        db.execute(
            f"""
            CREATE TABLE states AS
            SELECT concept, state, bool_or(few) AS few FROM (
                SELECT concept, unnest(CASE
                           WHEN state = '{BINNED}' THEN {list(BIN_STATES)!r}
                           WHEN valued AND state IN {RANGE_STATES!r} THEN {list(RANGE_STATES)!r}
                           ELSE [state] END) AS state,
                       -- the name of a site's own value concept can also be free text
                       local_value AND NOT {enough} AS few
                FROM (SELECT {concept_key(site)} AS concept, state, valued, local_value, sum(persons) AS persons
                      FROM counts GROUP BY ALL))
            GROUP BY ALL
            """
        )
        name = "coalesce(concept_name, source)"
        named = db.sql(
            f"""
            SELECT {token_key("concept", "state")} AS key, concept_id, vocabulary, concept_code, domain, {name} AS name,
                   CASE WHEN concept_name IS NOT NULL THEN 'concept'
                        WHEN source IS NOT NULL THEN 'source' END AS named_by,
                   state, {_text(name, texts)} AS text, records, persons,
                   few OR (concept_id = 0 OR {is_local("concept_id")}) AND NOT {enough} AS private
            FROM concepts JOIN states USING (concept)
            UNION ALL {_demographics(texts)}
            ORDER BY key
            """
        )
        write_parquet(named.to_arrow_table().cast(SCHEMA), out)


def _make_counts(db: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``counts``: records and persons of each concept in each state, and the concept's persons."""
    concept = "concept_id, CASE WHEN concept_id = 0 THEN source ELSE '' END AS source"
    state = "state, value IS NOT NULL AS valued, local_value"
    no_state = "'present' AS state, false AS valued, false AS local_value"
    seen = " UNION ALL ".join(
        f"SELECT '{name}' AS domain, {concept}, {state if d.values else no_state}, count(*) AS records "
        f"FROM {name}_records GROUP BY ALL"
        for name, d in DOMAINS.items()
    )
    db.execute(
        f"""
        CREATE TABLE coded AS
        SELECT *, dense_rank() OVER (ORDER BY domain, stands_for, source, state, valued, local_value) - 1 AS code,
               dense_rank() OVER (ORDER BY domain, stands_for, source) - 1 AS concept
        FROM (SELECT seen.*, coalesce(ancestor, concept_id) AS stands_for
              FROM ({seen}) AS seen LEFT JOIN rolled USING (domain, concept_id))
        """
    )
    codes = db.sql("SELECT DISTINCT code, concept FROM coded ORDER BY code").to_arrow_table()
    concept_of, n = codes["concept"].to_numpy(), len(codes)
    persons, persons_of_concept = np.zeros(n, np.int64), np.zeros(n, np.int64)
    bits = n.bit_length()
    records = " UNION ALL ".join(
        f"SELECT person_id, code FROM (SELECT person_id, {concept}{f', {state}' if d.values else ''} "
        f"FROM {name}_records) JOIN (FROM coded WHERE domain = '{name}') "
        f"USING (concept_id, source{', state, valued, local_value' if d.values else ''})"
        for name, d in DOMAINS.items()
    )
    hits = f"""
        SELECT p.place * {1 << bits} + code FROM ({records})
        JOIN (SELECT person_id, row_number() OVER () - 1 AS place FROM person) p USING (person_id)
    """
    for (piece,) in in_order(db, hits, 1 << bits):
        piece = piece[first_of_each(piece)]
        code = piece & ((1 << bits) - 1)
        persons += np.bincount(code, minlength=n)
        pairs = np.sort(piece - code + concept_of[code])  # the bits of a person's place, then those of a concept
        persons_of_concept += np.bincount(pairs[first_of_each(pairs)] & ((1 << bits) - 1), minlength=n)
    counted = {"code": codes["code"], "persons": persons, "persons_of_concept": persons_of_concept[concept_of]}
    db.register("counted", pa.table(counted))
    db.execute(
        """
        CREATE TABLE counts AS
        SELECT domain, stands_for AS concept_id, nullif(source, '') AS source, state, valued, local_value,
               sum(records) AS records, any_value(persons) AS persons,
               any_value(persons_of_concept) AS persons_of_concept
        FROM coded JOIN counted USING (code) GROUP BY ALL
        """
    )


def _demographics(texts: Mapping[str, str]) -> str:
    tokens = [("sex", 0, "Sex", sex) for sex in SEX_CONCEPTS.values()] + [("age", 0, "Age", band) for band in AGE_BANDS]
    tokens += [("month", 0, "Month", month) for month in MONTHS]
    rows = ", ".join(f"('{concept}', {i}, '{name}', '{state}')" for concept, i, name, state in tokens)
    return f"""
        SELECT {token_key("concept", "state")}, concept_id, NULL, NULL, 'demographic', name, 'concept', state,
               {_text("name", texts)}, (SELECT count(*) FROM person), (SELECT count(*) FROM person), false
        FROM (VALUES {rows}) AS d(concept, concept_id, name, state)
    """


def _text(name: str, texts: Mapping[str, str]) -> str:
    def fill(template: str) -> str:
        return f"replace(replace('{template.replace(chr(39), chr(39) * 2)}', '{{name}}', {name}), '{{state}}', state)"

    if texts["states"] == "slots":
        return f"CASE WHEN state IN {PLACED!r} THEN {name} ELSE {fill(texts['other'])} END"
    return (
        f"CASE state WHEN 'present' THEN {fill(texts['present'])} WHEN 'absent' THEN {fill(texts['absent'])} "
        f"ELSE {fill(texts['other'])} END"
    )
