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
    MONTHS,
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
from conceptbridge.tasks.values import (
    AGE_SCALE,
    BINS,
    SCALES,
    bins_by_token,
    fit_scales,
    scaled_records,
    scales_by_concept,
)
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
        ("bins", BINS),  # if the state is a bin: its bounds for each unit, fitted on training rows
        ("scales", SCALES),  # how the concept's values are standardised, for each unit, fitted on training rows
    ]
)
SEQUENCES = pa.schema(
    [
        ("row_id", pa.int64()),
        ("tokens", pa.list_(pa.int32())),
        ("days", pa.list_(pa.int16())),
        ("values", pa.list_(pa.float32())),  # standardised, the mean of the day's; null where there is none
    ]
)

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
    the most recent ``max_tokens`` stay. A token's value is the mean of its day's numbers, each standardised by the
    concept's ``scales`` for its unit and clipped (``MAX_VALUE``), with ``predictors.values``.

    Out of core: one pass over the records in any order; their codes are sorted, and listed piece by piece.
    """
    predictors = task["predictors"]
    with site_database(cdm, threads, sequences, memory_mb) as db, joins_as_written(db):
        open_records(db, site, roll_up)
        vocab = _make_codes(db, vocabulary, task)
        _make_rows(db, cohort, predictors["days"])
        fit_scales(db, predictors["domains"], task["min_values"], predictors["values"])
        counter = _Counter(db, len(vocab), predictors)
        query = _query(db, site, task, counter)
        with tempfile.TemporaryDirectory(dir=sequences.parent, prefix=".sequences.") as folder:
            draft = Path(folder) / "draft.arrow"
            with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, SEQUENCES) as writer:
                for hits, *values in in_order(db, query, counter.width):
                    writer.write_table(counter.count(hits, (int(hits[-1]) // counter.width) + 1, *values))
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
        self.training = rows["training"].to_numpy()
        self.number = np.cumsum(first_of_each(rows["person_id"].to_numpy()))  # a person's rows follow one another
        self.rows, self.done = len(self.training), 0
        self.days = 1 - predictors["days"][0]
        self.day_bits, self.code_bits = _bits(self.days), _bits(codes)
        self.width = 1 << (self.day_bits + self.code_bits)
        self.first_only = predictors["occurrence"] == "first"
        self.max_tokens = int(predictors["max_tokens"])
        self.used = np.zeros(codes, bool)
        self.training_rows = np.zeros(codes, np.int64)
        self.training_persons = np.zeros(codes, np.int64)
        # the person of the last rows that were counted, and the codes that they hold
        self.last, self.last_holds = -1, np.zeros(codes, bool)

    def count(self, hits: NDArray[np.int64], end: int, values: NDArray[np.float32] | None = None) -> pa.Table:
        """Return the sequences of the next rows up to ``end``, with codes of the vocabulary in place of tokens.

        A hit is one number whose bits are those of row, day and code, so numbers in order are rows, days and tokens in
        order. ``values`` are those of the hits, NaN without one.
        """
        rows = np.arange(self.done, end)
        first = first_of_each(hits)
        value = np.full(first.sum(), np.nan) if values is None else _means(first, values)
        hits = hits[first]
        row, code = hits >> (self.day_bits + self.code_bits), hits & ((1 << self.code_bits) - 1)
        day = (hits >> self.code_bits) & ((1 << self.day_bits) - 1)
        if self.first_only:
            # hits are in the order of days, so that the first of a row and code is the earliest
            _, kept = np.unique(row << self.code_bits | code, return_index=True)
            kept.sort()
            row, day, code, value = row[kept], day[kept], code[kept], value[kept]
        index = row - self.done
        ends = np.cumsum(lengths := np.bincount(index, minlength=len(rows)))
        if lengths.max() > self.max_tokens:
            recent = ends[index] - np.arange(len(row)) <= self.max_tokens
            row, index, day, code, value = row[recent], index[recent], day[recent], code[recent], value[recent]
            ends = np.cumsum(np.minimum(lengths, self.max_tokens))
        self.done = end
        self.used[code] = True
        training = self.training[row]
        row, held = row[training], code[training]
        self.training_rows += self._count(row << self.code_bits | held)
        self._count_persons(row, held)
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.table(
            [
                pa.array(rows, pa.int64()),
                pa.ListArray.from_arrays(offsets, pa.array(code, pa.int32())),
                pa.ListArray.from_arrays(offsets, pa.array(day - (self.days - 1), pa.int16())),
                pa.ListArray.from_arrays(offsets, pa.array(value, pa.float32(), mask=np.isnan(value))),
            ],
            schema=SEQUENCES,
        )

    def _count(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the distinct ``pairs`` (another number's bits, then a code's) of each code."""
        pairs = np.sort(pairs)
        held = pairs[first_of_each(pairs)] & ((1 << self.code_bits) - 1)
        return np.bincount(held, minlength=len(self.used))

    def _count_persons(self, row: NDArray[np.int64], code: NDArray[np.integer]) -> None:
        """Count the persons of training rows that hold each code; a person's rows follow one another."""
        if not len(row):
            return
        number = self.number[row]
        self.training_persons += self._count(number << self.code_bits | code)
        again = np.zeros_like(self.last_holds)
        again[code[number == self.last]] = True
        self.training_persons -= again & self.last_holds
        if number[-1] != self.last:
            self.last, self.last_holds = int(number[-1]), np.zeros_like(self.last_holds)
        self.last_holds[code[number == self.last]] = True


def _bits(numbers: int) -> int:
    """Return how many bits the numbers below this one have."""
    return max(numbers - 1, 0).bit_length()


def _means(first: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean of each group of ``values`` without NaN, NaN for none; ``first`` says where a group begins."""
    valued = np.flatnonzero(~np.isnan(values))
    group, groups = np.cumsum(first)[valued] - 1, np.count_nonzero(first)
    sums = np.bincount(group, weights=values[valued], minlength=groups)
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = sums / np.bincount(group, minlength=groups)
    return result


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
    outcome = task["outcome"] if task["guards"]["outcome_concepts"] else task["outcome"] | {"concepts": [], "codes": []}
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


def _query(db: duckdb.DuckDBPyConnection, site: str, task: Mapping[str, Any], counter: _Counter) -> str:
    """Return SQL of the hits of all rows, each with its value if the task has ``predictors.values``."""
    predictors = task["predictors"]
    last = -predictors["days"][0]
    days, codes = 1 << counter.day_bits, 1 << counter.code_bits
    hit = f"((c.row * {days} + date_diff('day', c.index_date, r.date) + {last}) * {codes} + k.code)"
    window = "c.person_id = r.person_id AND r.date BETWEEN c.first AND c.last"
    parts = ["SELECT 0::BIGINT AS hit, 0::FLOAT AS value WHERE false"]
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
            records = _records(domain, kind, site)
            part = (
                f"SELECT {hit}, {'r.scaled' if valued else 'NULL'}::FLOAT "
                f"FROM ({scaled_records(records, kind == 'mapped') if valued else records}) r "
                f"JOIN rows c ON {window} JOIN {domain}_{kind} k ON {key}"
                + (" AND k.state = r.state" if valued else "")
            )
            if domain == "condition":
                late = _late(db, task["guards"]["open_visit"])
                parts += [f"{part} WHERE NOT ({late})", f"{part} {_VISIT} WHERE {late} AND {_CLOSED}"]
            else:
                parts.append(part)
    of_row = []
    if "demographic" in predictors["domains"]:
        band = " ".join(f"WHEN age BETWEEN {low} AND {high} THEN '{name}'" for name, (low, high) in AGE_BANDS.items())
        center, spread = AGE_SCALE
        years = f"((c.age - {center}) / {spread})::FLOAT"
        of_row += [(token_key("'age'", f"CASE {band} END"), years), (token_key("'sex'", "sex"), "NULL::FLOAT")]
    if "season" in predictors["domains"]:
        month = f"({list(MONTHS)!r})[month(c.index_date)]"
        of_row.append((token_key("'month'", month), "NULL::FLOAT"))
    for key, value in of_row:
        parts.append(
            f"SELECT (c.row * {days} + {last}) * {codes} + k.code, {value} FROM rows c JOIN vocab k ON k.key = {key}"
        )
    return f"SELECT hit{', value' if predictors['values'] else ''} FROM ({' UNION ALL '.join(parts)})"


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
    """Return SQL of the mapped or unmapped records of a domain."""
    if kind == "mapped":
        return f"SELECT * FROM {domain}_records WHERE concept_id <> 0"
    return f"SELECT *, {concept_key(site)} AS concept FROM {domain}_records WHERE concept_id = 0"


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
            columns = [batch["row_id"], tokens, batch["days"], batch["values"]]
            writer.write_batch(pa.record_batch(columns, schema=SEQUENCES))


def _token_table(db: duckdb.DuckDBPyConnection, site: str, vocab: pa.Table, counter: _Counter) -> pa.Table:
    columns = {name: vocab[name] for name in vocab.column_names}
    db.register(
        "used",
        pa.table({**columns, "rows": counter.training_rows, "persons": counter.training_persons}).filter(
            pa.array(counter.used)
        ),
    )
    result = db.sql(
        f"""
        SELECT (row_number() OVER (ORDER BY key) - 1)::INTEGER AS token,
               key, text, concept_id, state, domain, rows, persons, bins, scales
        FROM used LEFT JOIN ({bins_by_token(site)}) USING (key)
        LEFT JOIN ({scales_by_concept(site)}) s ON s.concept = left(key, length(key) - length(state) - 1)
        ORDER BY key
        """
    )
    return result.to_arrow_table().cast(TOKENS)
