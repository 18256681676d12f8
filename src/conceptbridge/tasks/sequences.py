"""Make the sequences: for each prediction the tokens of its predictor window, in time order."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_file, write_parquet
from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.sites.records import (
    AGE_BANDS,
    BIN_CUTS,
    BIN_STATES,
    BINNED,
    NO_VISIT,
    VISIT_TYPE,
    concept_key,
    first_of_each,
    in_order,
    joins_as_written,
    open_records,
    records_status,
    site_database,
    visit_types,
)
from conceptbridge.tasks.events import make_concepts
from conceptbridge.vocabulary.build import token_key

TOKENS = pa.schema(
    [
        ("token", pa.int32()),  # position in this table; means nothing in another one
        ("key", pa.string()),
        ("text", pa.string()),
        ("concept_id", pa.int64()),
        ("state", pa.string()),
        ("domain", pa.string()),
        ("rows", pa.int64()),  # training rows that hold it
        ("persons", pa.int64()),  # whose they are; null in the tokens of another site
        # if the state is a bin: its bounds for each unit, fitted on training rows
        ("bins", pa.list_(pa.struct([("unit", pa.string()), ("lower", pa.float64()), ("upper", pa.float64())]))),
    ]
)
SEQUENCES = pa.schema([("row_id", pa.int64()), ("tokens", pa.list_(pa.int32())), ("days", pa.list_(pa.int16()))])

#: condition statuses given when a visit ends: discharge, primary and secondary discharge, final diagnosis
DISCHARGE = (32896, 32903, 32909, 4230359)


def make_sequences(
    cdm: Path,
    site: str,
    vocabulary: Path,
    cohort: Path,
    task: Mapping[str, Any],
    roll_up: Mapping[str, Any],
    tokens: Path,
    sequences: Path,
    threads: int = 1,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Write the task's ``tokens`` (``TOKENS``, by key) and ``sequences`` (``SEQUENCES``, one per cohort row).

    Days count from the index date, so they are 0 or less. Left out are the outcome's concepts and their descendants
    (as a concept and as a value), late diagnoses of a visit that is still open at the index (``_late``: nobody knew
    them at the index), private tokens, and values without a reference range if training rows have fewer than
    ``min_values`` of them. A token counts once per day, or only on its first day in the window; of a longer sequence
    the most recent ``max_tokens`` stay.

    Out of core: one pass over the records in any order; their codes are sorted, and listed piece by piece.
    """
    predictors = task["predictors"]
    with site_database(cdm, threads, sequences, memory_mb) as db, joins_as_written(db):
        open_records(db, site, roll_up)
        vocab = _make_codes(db, vocabulary, task)
        _make_rows(db, cohort, predictors["days"])
        _make_cuts(db, predictors["domains"], task["min_values"])
        query = _query(db, site, task)
        counter = _Counter(db, len(vocab), predictors)
        with tempfile.TemporaryDirectory(dir=sequences.parent, prefix=".sequences.") as folder:
            draft = Path(folder) / "draft.arrow"
            with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, SEQUENCES) as writer:
                for hits in in_order(db, query, counter.width):
                    writer.write_table(counter.count(hits, int(hits[-1] // counter.width) + 1))
                if counter.done < counter.rows:  # rows without any hit
                    writer.write_table(counter.count(np.empty(0, np.int64), counter.rows))
            token_of = np.cumsum(counter.used, dtype=np.int32) - 1
            _write_sequences(draft, token_of, sequences)
        table = _token_table(db, site, vocab, counter)
    write_parquet(table, tokens)


class _Counter:
    """Turns hits into sequences, and counts the rows that hold each token."""

    def __init__(self, db: duckdb.DuckDBPyConnection, codes: int, predictors: Mapping[str, Any]) -> None:
        rows = db.sql("SELECT training, person_id FROM rows ORDER BY row").to_arrow_table()
        self.training, self.person = rows["training"].to_numpy(), rows["person_id"].to_numpy()
        self.rows, self.done = len(self.training), 0
        self.codes, self.days = max(codes, 1), 1 - predictors["days"][0]
        self.width = self.days * self.codes
        self.first_only = predictors["occurrence"] == "first"
        self.max_tokens = int(predictors["max_tokens"])
        self.used = np.zeros(codes, bool)
        self.training_rows = np.zeros(codes, np.int64)
        self.training_persons = np.zeros(codes, np.int64)
        # the person of the last rows that were counted, and the codes that they hold
        self.last, self.last_holds = -1, np.zeros(codes, bool)

    def count(self, hits: NDArray[np.int64], end: int) -> pa.Table:
        """Return the sequences of the next rows up to ``end``, with codes of the vocabulary in place of tokens.

        A hit is one number, (row * days + day) * codes + code, so numbers in order are rows, days and tokens in order.
        """
        rows = np.arange(self.done, end)
        row_day, code = np.divmod(hits[first_of_each(hits)], self.codes)
        row, day = np.divmod(row_day, self.days)
        if self.first_only:
            # hits are in the order of days, so that the first of a row and code is the earliest
            _, kept = np.unique(row * self.codes + code, return_index=True)
            kept.sort()
            row, day, code = row[kept], day[kept], code[kept]
        index = row - self.done
        ends = np.searchsorted(row, rows, side="right")
        recent = ends[index] - np.arange(len(row)) <= self.max_tokens
        row, index, day, code = row[recent], index[recent], day[recent], code[recent]
        self.done = end
        self.used[code] = True
        pairs = np.sort((index * self.codes + code)[self.training[row]])
        self.training_rows += np.bincount(pairs[first_of_each(pairs)] % self.codes, minlength=len(self.training_rows))
        self._count_persons(self.person[row[self.training[row]]], code[self.training[row]])
        offsets = pa.array(np.searchsorted(index, np.arange(len(rows) + 1)), pa.int32())
        return pa.table(
            [
                pa.array(rows, pa.int64()),
                pa.ListArray.from_arrays(offsets, pa.array(code, pa.int32())),
                pa.ListArray.from_arrays(offsets, pa.array(day - (self.days - 1), pa.int16())),
            ],
            schema=SEQUENCES,
        )

    def _count_persons(self, person: NDArray[np.int64], code: NDArray[np.integer]) -> None:
        """Count the persons of training rows that hold each code; a person's rows follow one another."""
        if not len(person):
            return
        people, number = np.unique(person, return_inverse=True)
        who, held = np.divmod(np.unique(number * self.codes + code), self.codes)
        again = (people[who] == self.last) & self.last_holds[held]
        self.training_persons += np.bincount(held[~again], minlength=len(self.training_persons))
        if people[-1] != self.last or len(people) > 1:
            self.last, self.last_holds = int(people[-1]), np.zeros_like(self.last_holds)
        self.last_holds[held[who == len(people) - 1]] = True


def _make_codes(db: duckdb.DuckDBPyConnection, vocabulary: Path, task: Mapping[str, Any]) -> pa.Table:
    """Make the tables that turn a record's concept and state into a code, and return the codes' tokens in order.

    ``mapped`` (domain, concept_id, state, code) and ``unmapped`` (concept, state, code) leave out private tokens and
    the outcome's concepts (``hidden``). A rolled-up concept has the codes of its ancestors.
    """
    db.read_parquet(str(vocabulary)).create_view("site_vocabulary")
    db.execute(
        """
        CREATE TABLE vocab AS
        SELECT row_number() OVER (ORDER BY key) - 1 AS code, key, text, concept_id, state, domain
        FROM site_vocabulary WHERE NOT private
        """
    )
    outcome = task["outcome"] if task["guards"]["outcome_concepts"] else task["outcome"] | {"concepts": []}
    make_concepts(db, "hidden", outcome)
    domains = ", ".join(f"'{name}'" for name in DOMAINS)
    db.execute(
        f"""
        CREATE TABLE mapped AS
        SELECT d.domain, v.concept_id, v.state, v.code
        FROM vocab v, (SELECT unnest([{domains}]) AS domain) d
        WHERE v.concept_id <> 0 AND v.concept_id NOT IN (FROM hidden)
          AND (d.domain, v.concept_id) NOT IN (SELECT (domain, concept_id) FROM rolled)
        UNION ALL
        SELECT r.domain, r.concept_id, v.state, v.code
        FROM rolled r JOIN vocab v ON v.concept_id = r.ancestor
        WHERE r.concept_id NOT IN (FROM hidden) AND r.ancestor NOT IN (FROM hidden)
        """
    )
    db.execute(
        """
        CREATE TABLE unmapped AS SELECT left(key, length(key) - length(state) - 1) AS concept, domain, state, code
        FROM vocab WHERE concept_id = 0 AND domain <> 'demographic'
        """
    )
    return db.sql("SELECT key, text, concept_id, state, domain FROM vocab ORDER BY code").to_arrow_table()


def _make_rows(db: duckdb.DuckDBPyConnection, cohort: Path, days: tuple[int, int]) -> None:
    first, last = days
    db.read_parquet(str(cohort)).create_view("cohort")
    db.execute(
        f"""
        CREATE TABLE rows AS
        SELECT row_id AS row, person_id, index_date, index_date + {first} AS first, index_date + {last} AS last,
               split = 'train' AS training, sex, age
        FROM cohort ORDER BY row_id
        """
    )


def _make_cuts(db: duckdb.DuckDBPyConnection, domains: list[str], min_values: int) -> None:
    """Fit the bins of values without a reference range, on the training rows' windows, each unit by itself.

    Out of core: the database sorts the values, and only those next to a cut are kept.
    """
    key = "concept_id, domain, source, unit"
    own = "CASE WHEN concept_id = 0 THEN {0} ELSE '' END AS {0}"
    values = " UNION ALL ".join(
        f"SELECT concept_id, {own.format('domain')}, {own.format('source')}, unit, value "
        f"FROM {domain}_records v JOIN rows c ON c.person_id = v.person_id AND v.date BETWEEN c.first AND c.last "
        f"WHERE c.training AND state = '{BINNED}'"
        for domain in domains
        if domain in DOMAINS and DOMAINS[domain].values
    )
    empty = "SELECT 0 AS concept_id, '' AS domain, '' AS source, '' AS unit, 0.0 AS value WHERE false"
    db.execute(
        f"""
        CREATE TABLE binned AS SELECT {key}, row_number() OVER (ORDER BY {key}) - 1 AS place, n
        FROM (SELECT {key}, count(*) AS n FROM ({values or empty}) GROUP BY ALL HAVING n >= {min_values})
        """
    )
    n = db.sql("SELECT n FROM binned ORDER BY place").to_arrow_table()["n"].to_numpy()
    at = np.multiply.outer(n - 1, np.array(BIN_CUTS))
    below = np.floor(at).astype(np.int64) + (np.cumsum(n) - n)[:, None]
    above = below + (at > np.floor(at))
    wanted = np.unique([below, above])
    neighbours, seen = np.empty(len(wanted)), 0
    ordered = f"SELECT value FROM ({values or empty}) JOIN binned USING ({key}) ORDER BY place, value"
    for batch in db.sql(ordered).to_arrow_reader(1 << 20):
        here = slice(*np.searchsorted(wanted, [seen, seen + len(batch)]))
        neighbours[here] = batch.columns[0].to_numpy()[wanted[here] - seen]
        seen += len(batch)
    low, high = (neighbours[np.searchsorted(wanted, positions)] for positions in (below, above))
    cuts = low + (high - low) * (at - np.floor(at))
    db.register("cut_at", pa.table({"place": np.arange(len(n)), "cuts": pa.array(list(cuts), pa.list_(pa.float64()))}))
    db.execute(f"CREATE TABLE cuts AS SELECT {key}, cuts FROM binned JOIN cut_at USING (place)")


def _query(db: duckdb.DuckDBPyConnection, site: str, task: Mapping[str, Any]) -> str:
    """Return SQL of the hits of all rows."""
    predictors = task["predictors"]
    days = 1 - predictors["days"][0]
    (codes,) = db.execute("SELECT greatest(count(*), 1) FROM vocab").fetchall()[0]
    hit = f"((c.row * {days} + date_diff('day', c.index_date, r.date) + {days - 1}) * {codes} + k.code)"
    window = "c.person_id = r.person_id AND r.date BETWEEN c.first AND c.last"
    parts = ["SELECT 0::BIGINT AS hit WHERE false"]
    for domain in (name for name in predictors["domains"] if name in DOMAINS):
        for kind, key in (("mapped", "k.concept_id = r.concept_id"), ("unmapped", "k.concept = r.concept")):
            (known,) = db.execute(f"SELECT count(*) FROM {kind} WHERE domain = '{domain}'").fetchall()[0]
            if not known:
                continue
            # states are compared only if there can be several
            valued = DOMAINS[domain].values
            db.execute(
                f"CREATE TABLE {domain}_{kind} AS SELECT * EXCLUDE domain FROM {kind} WHERE domain = '{domain}'"
                + ("" if valued else " AND state = 'present'")
            )
            part = (
                f"SELECT {hit} AS hit FROM ({_records(domain, kind, site)}) r JOIN rows c ON {window} "
                f"JOIN {domain}_{kind} k ON {key}" + (" AND k.state = r.state" if valued else "")
            )
            if domain == "condition":
                late = _late(db, task["guards"]["open_visit"])
                parts += [f"{part} WHERE NOT ({late})", f"{part} {_VISIT} WHERE {late} AND {_CLOSED}"]
            else:
                parts.append(part)
    if "demographic" in predictors["domains"]:
        band = " ".join(f"WHEN age BETWEEN {low} AND {high} THEN '{name}'" for name, (low, high) in AGE_BANDS.items())
        for key in (token_key("'age'", f"CASE {band} END"), token_key("'sex'", "sex")):
            parts.append(
                f"SELECT (c.row * {days} + {days - 1}) * {codes} + k.code FROM rows c JOIN vocab k ON k.key = {key}"
            )
    return " UNION ALL ".join(parts)


def _late(db: duckdb.DuckDBPyConnection, guard: str) -> str:
    """Return SQL of the diagnoses (r) that may have been made later than they are dated.

    With the guard ``discharge`` these are discharge diagnoses; where visits of a type record no status, all of them.
    """
    if guard != "discharge":
        return "true" if guard == "all" else "false"
    types = visit_types(db, "condition_occurrence", "visit_occurrence")
    silent = [kind for kind, counts in types.items() if not records_status(*counts)]
    if len(silent) == len(types):
        return "true"
    late = f"coalesce(condition_status, 0) IN {DISCHARGE}"
    if not silent:
        return late
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE silent_visits AS SELECT visit_occurrence_id FROM visit_occurrence v
        WHERE visit_occurrence_id IS NOT NULL AND {VISIT_TYPE} IN ({", ".join(map(str, silent))})
        """
    )
    parts = [late, "coalesce(r.visit_id IN (FROM silent_visits), false)"]
    if NO_VISIT in silent:
        parts.append("coalesce(r.visit_id NOT IN (SELECT visit_occurrence_id FROM visit_occurrence), true)")
    return f"({' OR '.join(parts)})"


def _records(domain: str, kind: str, site: str) -> str:
    """Return SQL of the mapped or unmapped records of a domain, values in their bins."""
    if kind == "mapped":
        records, cut = (
            f"SELECT * FROM {domain}_records WHERE concept_id <> 0",
            "b.concept_id = r.concept_id",
        )
    else:
        records = f"SELECT *, {concept_key(site)} AS concept FROM {domain}_records WHERE concept_id = 0"
        cut = "b.domain = r.domain AND b.source = r.source"
    if not DOMAINS[domain].values:
        return records
    bins = " ".join(f"WHEN value <= cuts[{n}] THEN '{BIN_STATES[n - 1]}'" for n in range(1, len(BIN_CUTS) + 1))
    return f"""
        SELECT r.* REPLACE (CASE WHEN r.state <> '{BINNED}' THEN r.state WHEN b.cuts IS NULL THEN NULL
                                 {bins} ELSE '{BIN_STATES[-1]}' END AS state)
        FROM ({records}) r LEFT JOIN cuts b ON {cut} AND b.unit = r.unit
        WHERE coalesce(r.value_concept, 0) NOT IN (FROM hidden)
    """


_VISIT = """LEFT JOIN visit_occurrence v
            ON v.visit_occurrence_id = r.visit_id AND v.person_id = r.person_id"""
#: the record's visit ended before the index; a record without a visit counts as its own visit
_CLOSED = "coalesce(v.visit_end_date, v.visit_start_date, r.date) < c.index_date AND r.date < c.index_date"


def _write_sequences(draft: Path, token_of: NDArray[np.int32], sequences: Path) -> None:
    """Write the drafted sequences with tokens in place of codes."""
    with (
        atomic_file(sequences) as temporary,
        pa.memory_map(str(draft)) as source,
        pq.ParquetWriter(temporary, SEQUENCES, compression="zstd") as writer,
    ):
        reader = pa.ipc.open_file(source)
        for n in range(reader.num_record_batches):
            batch = reader.get_batch(n)
            codes = batch["tokens"].flatten().to_numpy()
            tokens = pa.ListArray.from_arrays(batch["tokens"].offsets, pa.array(token_of[codes], pa.int32()))
            writer.write_batch(pa.record_batch([batch["row_id"], tokens, batch["days"]], schema=SEQUENCES))


def _token_table(db: duckdb.DuckDBPyConnection, site: str, vocab: pa.Table, counter: _Counter) -> pa.Table:
    columns = {name: vocab[name] for name in vocab.column_names}
    db.register(
        "used",
        pa.table({**columns, "rows": counter.training_rows, "persons": counter.training_persons}).filter(
            pa.array(counter.used)
        ),
    )
    bins = [
        f"SELECT {concept_key(site)} AS concept, '{state}' AS state, unit, {f'cuts[{n}]' if n else 'NULL'} AS lower, "
        f"{f'cuts[{n + 1}]' if n < len(BIN_CUTS) else 'NULL'} AS upper FROM cuts"
        for n, state in enumerate(BIN_STATES)
    ]
    result = db.sql(
        f"""
        SELECT (row_number() OVER (ORDER BY key) - 1)::INTEGER AS token,
               key, text, concept_id, state, domain, rows, persons, bins
        FROM used LEFT JOIN (
            SELECT {token_key("concept", "state")} AS key,
                   list({{'unit': unit, 'lower': lower, 'upper': upper}} ORDER BY unit) AS bins
            FROM ({" UNION ALL ".join(bins)}) GROUP BY ALL) USING (key)
        ORDER BY key
        """
    )
    return result.to_arrow_table().cast(TOKENS)
