"""What is known of each prediction at its index: the tokens of its predictor window, in time order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from conceptbridge.files import write_parquet
from conceptbridge.records import AGE_BANDS, BIN_CUTS, BIN_STATES, BINNED, descendants, open_site
from conceptbridge.vocabulary import token_key

TOKENS = pa.schema(
    [
        ("token", pa.int32()),  # position in this table, and in this table alone
        ("key", pa.string()),
        ("text", pa.string()),
        ("concept_id", pa.int64()),
        ("state", pa.string()),
        ("domain", pa.string()),
        ("rows", pa.int64()),  # training rows that hold it
        # where the state is a bin: its bounds a unit, fitted on training rows
        (
            "bins",
            pa.list_(pa.struct([("unit_concept_id", pa.int64()), ("lower", pa.float64()), ("upper", pa.float64())])),
        ),
    ]
)
SEQUENCES = pa.schema([("row_id", pa.int64()), ("tokens", pa.list_(pa.int32())), ("days", pa.list_(pa.int16()))])

#: condition statuses that are given when a visit ends: discharge, primary and secondary discharge, final diagnosis
DISCHARGE = (32896, 32903, 32909, 4230359)


def make_sequences(
    cdm: Path,
    site: str,
    vocabulary: Path,
    cohort: Path,
    task: Mapping[str, Any],
    tokens: Path,
    sequences: Path,
    threads: int = 1,
) -> None:
    """Write the task's ``tokens`` (``TOKENS``, ordered by key) and ``sequences`` (``SEQUENCES``, one a cohort row).

    Days count from the index date, so they are 0 or less. Left out are the outcome's concepts and their descendants,
    diagnoses given at discharge on the index day (nobody knew them at the index), private tokens, and values without
    a reference range where training rows have fewer than ``min_rows`` of them. A token counts once a day; of a longer
    sequence the most recent ``max_tokens`` stay.
    """
    with duckdb.connect(config={"threads": threads}) as db:
        open_site(db, cdm, site)
        db.read_parquet(str(vocabulary)).create_view("vocabulary")
        db.read_parquet(str(cohort)).create_view("cohort")
        predictors, outcome = task["predictors"], task["outcome"]
        first, last = predictors["days"]
        hidden = descendants(db, outcome["concepts"], outcome["descendants"])
        db.execute(
            f"""
            CREATE TABLE hits AS
            SELECT c.row_id, c.split = 'train' AS training, date_diff('day', c.index_date, r.date) AS day,
                   r.concept, r.state, r.value, r.unit_concept_id
            FROM cohort c JOIN records r
              ON r.person_id = c.person_id AND r.date BETWEEN c.index_date + {first} AND c.index_date + {last}
            WHERE list_contains($domains, r.domain) AND NOT list_contains($hidden, r.concept_id)
              AND NOT (r.date = c.index_date AND coalesce(r.condition_status, 0) IN {DISCHARGE})
            """,
            {"domains": predictors["domains"], "hidden": hidden},
        )
        db.execute(
            f"""
            CREATE TABLE cuts AS
            SELECT concept, unit_concept_id, quantile_cont(value, {list(BIN_CUTS)}) AS cuts
            FROM hits WHERE state = '{BINNED}' AND training GROUP BY ALL HAVING count(*) >= {task["min_rows"]}
            """
        )
        bin_of = " ".join(f"WHEN value <= cuts[{n}] THEN '{BIN_STATES[n - 1]}'" for n in range(1, len(BIN_CUTS) + 1))
        db.execute(
            f"""
            CREATE TABLE used AS
            SELECT DISTINCT row_id, training, day::SMALLINT AS day, v.key FROM (
                SELECT row_id, training, day, {token_key("concept", "state")} AS key FROM hits WHERE state <> '{BINNED}'
                UNION ALL
                SELECT row_id, training, day, {token_key("concept", f"CASE {bin_of} ELSE '{BIN_STATES[-1]}' END")}
                FROM hits JOIN cuts USING (concept, unit_concept_id) WHERE state = '{BINNED}'
                {_demographics() if "demographic" in predictors["domains"] else ""}
            ) JOIN vocabulary v USING (key) WHERE NOT v.private
            """
        )
        db.execute(
            """
            CREATE TABLE tokens AS
            SELECT (row_number() OVER (ORDER BY key) - 1)::INTEGER AS token,
                   key, v.text, v.concept_id, v.state, v.domain, rows
            FROM (SELECT key, count(DISTINCT CASE WHEN training THEN row_id END) AS rows FROM used GROUP BY key)
            JOIN vocabulary v USING (key)
            """
        )
        made = db.sql(f"SELECT t.*, b.bins FROM tokens t LEFT JOIN ({_bins()}) b USING (key) ORDER BY token")
        token_table = made.to_arrow_table().cast(TOKENS)
        longest = predictors["max_tokens"]
        made = db.sql(
            f"""
            SELECT c.row_id, coalesce(s.tokens, []) AS tokens, coalesce(s.days, []) AS days FROM cohort c LEFT JOIN (
                SELECT row_id, list(token ORDER BY day, token) AS tokens, list(day ORDER BY day, token) AS days
                FROM (SELECT row_id, day, token FROM used JOIN tokens USING (key)
                      QUALIFY row_number() OVER (PARTITION BY row_id ORDER BY day DESC, token DESC) <= {longest})
                GROUP BY row_id) s USING (row_id)
            ORDER BY c.row_id
            """
        )
        sequence_table = made.to_arrow_table().cast(SEQUENCES)
    write_parquet(token_table, tokens)
    write_parquet(sequence_table, sequences)


def _demographics() -> str:
    band = " ".join(f"WHEN age BETWEEN {low} AND {high} THEN '{name}'" for name, (low, high) in AGE_BANDS.items())
    return f"""
        UNION ALL SELECT row_id, split = 'train', 0, {token_key("'age'", f"CASE {band} END")} FROM cohort
        UNION ALL SELECT row_id, split = 'train', 0, {token_key("'sex'", "sex")} FROM cohort
    """


def _bins() -> str:
    parts = []
    for n, state in enumerate(BIN_STATES):
        lower = f"cuts[{n}]" if n else "NULL"
        upper = f"cuts[{n + 1}]" if n < len(BIN_CUTS) else "NULL"
        parts.append(
            f"SELECT concept, '{state}' AS state, unit_concept_id, {lower} AS lower, {upper} AS upper FROM cuts"
        )
    return f"""
        SELECT {token_key("concept", "state")} AS key,
               list({{'unit_concept_id': unit_concept_id, 'lower': lower, 'upper': upper}}
                    ORDER BY unit_concept_id) AS bins
        FROM ({" UNION ALL ".join(parts)}) GROUP BY key
    """
