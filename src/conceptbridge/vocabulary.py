"""A site's vocabulary: every concept of its records in every state that they could take, with the text of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from conceptbridge.files import write_parquet
from conceptbridge.records import (
    AGE_BANDS,
    BIN_STATES,
    BINNED,
    LOCAL,
    RANGE_STATES,
    SEX_CONCEPTS,
    concept_key,
    count_records,
    open_records,
    person_ranges,
    site_database,
)
from conceptbridge.sites.cdm import DOMAINS

SCHEMA = pa.schema(
    [
        # concept and state; qualified by the site where the concept is local or unmapped
        ("key", pa.string()),
        ("concept_id", pa.int64()),
        ("vocabulary", pa.string()),
        ("concept_code", pa.string()),
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
    cdm: Path,
    site: str,
    texts: Mapping[str, str],
    roll_up: Mapping[str, Any],
    min_cell_count: int,
    out: Path,
    threads: int = 1,
) -> None:
    """Write the vocabulary of the typed tables in ``cdm`` to ``out`` (``SCHEMA``, ordered by key).

    ``texts`` has the templates ``present``, ``absent`` and ``other``, with {name} and {state} to fill in; ``roll_up``
    says which concepts stand for drugs and conditions. Out of core: persons are counted range by range.
    """
    with site_database(cdm, threads, out) as db:
        open_records(db, site, roll_up)
        db.execute(
            """
            CREATE TABLE counts (domain VARCHAR, concept_id BIGINT, source VARCHAR, state VARCHAR, valued BOOLEAN,
                                 local_value BOOLEAN, records BIGINT, persons BIGINT, persons_of_concept BIGINT)
            """
        )
        for first, last in person_ranges(db, "person", count_records(db)):
            for domain in DOMAINS:
                db.execute(_counts(domain, first, last))
        db.execute(
            f"""
            CREATE TABLE concepts AS
            WITH counted AS (
                SELECT domain, concept_id, source, sum(records)::BIGINT AS records,
                       sum(persons_of_concept)::BIGINT AS persons
                FROM counts WHERE state IS NULL GROUP BY ALL
            ), named AS (
                SELECT counted.*, c.vocabulary_id AS vocabulary, c.concept_code,
                       CASE WHEN concept_id <> 0 THEN nullif(trim(c.concept_name), '') END AS concept_name
                FROM counted LEFT JOIN concept c USING (concept_id)
            ), sourced AS (
                SELECT concept_id, domain, first(source ORDER BY n DESC, source) AS commonest
                FROM (SELECT concept_id, domain, source, count(*) AS n FROM records
                      WHERE source <> '' AND concept_id IN
                            (SELECT concept_id FROM named WHERE concept_name IS NULL AND concept_id <> 0)
                      -- what few persons' records say can be free text: it names nothing
                      GROUP BY ALL HAVING count(DISTINCT person_id) >= {min_cell_count})
                GROUP BY ALL
            )
            SELECT named.* REPLACE (coalesce(source, commonest) AS source), {concept_key(site)} AS concept
            FROM named LEFT JOIN sourced USING (concept_id, domain)
            -- a concept recorded in several domains is one concept: its main domain is kept
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
                       -- the name of a site's own value concept can carry free text, too
                       local_value AND persons < {min_cell_count} AS few
                FROM (SELECT {concept_key(site)} AS concept, state, valued, local_value, sum(persons) AS persons
                      FROM counts WHERE state IS NOT NULL GROUP BY ALL))
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
                   few OR (concept_id = 0 OR concept_id >= {LOCAL}) AND persons < {min_cell_count} AS private
            FROM concepts JOIN states USING (concept)
            UNION ALL {_demographics(texts)}
            ORDER BY key
            """
        )
        write_parquet(named.to_arrow_table().cast(SCHEMA), out)


def _counts(domain: str, first: int, last: int) -> str:
    """SQL that adds to ``counts`` what persons ``first`` to ``last`` have: a row a state, and one a concept."""
    state = "state, value IS NOT NULL, local_value" if DOMAINS[domain].values else "'present', false, false"
    return f"""
        INSERT INTO counts
        WITH own (concept_id, source, person_id, state, valued, local_value, records) AS (
            SELECT concept_id, CASE WHEN concept_id = 0 THEN source END, person_id, {state}, count(*)
            FROM {domain}_records WHERE person_id BETWEEN {first} AND {last} GROUP BY ALL
        ), stood_for AS (
            SELECT own.* REPLACE (coalesce(ancestor, concept_id) AS concept_id)
            FROM own LEFT JOIN (FROM rolled WHERE domain = '{domain}') USING (concept_id)
        )
        SELECT '{domain}', concept_id, source, state, valued, local_value, sum(records),
               count(DISTINCT person_id), NULL FROM stood_for GROUP BY ALL
        UNION ALL
        SELECT '{domain}', concept_id, source, NULL, NULL, NULL, sum(records), NULL, count(DISTINCT person_id)
        FROM stood_for GROUP BY ALL
    """


def _demographics(texts: Mapping[str, str]) -> str:
    tokens = [("sex", 0, "Sex", sex) for sex in SEX_CONCEPTS.values()] + [("age", 0, "Age", band) for band in AGE_BANDS]
    rows = ", ".join(f"('{concept}', {i}, '{name}', '{state}')" for concept, i, name, state in tokens)
    return f"""
        SELECT {token_key("concept", "state")}, concept_id, NULL, NULL, 'demographic', name, 'concept', state,
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
