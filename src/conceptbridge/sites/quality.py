"""Describe what a site's tables hold, as counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from conceptbridge.core.read_parquet import read_table
from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import DOMAINS, TABLES, Domain
from conceptbridge.sites.records import (
    ANY_VISIT,
    LOCAL,
    NO_VISIT,
    bound,
    records_status,
    usable_range,
    visit_types,
)

#: domains of events; devices are kept, but no task uses them yet
_EVENTS = DOMAINS | {
    "device": Domain("device_exposure", "device_concept_id", "device_exposure_start_date", "device_source_value")
}
_VISITS = {
    9201: "inpatient visit",
    9202: "outpatient visit",
    9203: "emergency visit",
    262: "emergency and inpatient visit",
}
#: kinds of visits that no concept names
_OTHER_VISITS = {
    ANY_VISIT: "all visits",
    NO_VISIT: "no visit",
    0: "visits without a concept",
    LOCAL: "the site's own types",
}
_QUANTILES = (0.01, 0.5, 0.99)


def describe(
    db: duckdb.DuckDBPyConnection, folder: Path, tables: dict[str, Any], names: Mapping[str, int]
) -> dict[str, Any]:
    """Return persons, visits and events of the typed tables in ``folder``; note oddities of kept rows in ``tables``.

    ``condition_status`` says for each type of visit how many diagnoses there are, the share of them with a known
    status, and whether that counts as recorded. Shares are of a domain's rows: unmapped (concept 0), named by a concept
    table, known by the source's text alone. Years are quantiles (1, 50 and 99 %) of the rows' dates.
    """
    concepts = f"read_parquet({literal(folder / 'concept.parquet')})"
    db.execute(
        f"CREATE TABLE named AS SELECT concept_id FROM {concepts} WHERE concept_id <> 0 AND trim(concept_name) <> ''"
    )
    events: dict[str, Any] = {}
    for domain, d in _EVENTS.items():
        rows = tables[d.table]["kept"]
        if not rows:
            continue
        file = literal(folder / f"{d.table}.parquet")
        counts = db.execute(
            f"""
            SELECT coalesce(sum(n) FILTER (id = 0), 0), coalesce(sum(n) FILTER (id <> 0 AND known IS NULL), 0),
                   coalesce(sum(n) FILTER (known IS NULL AND has_source), 0)
            FROM (SELECT coalesce({d.concept}, 0) AS id, coalesce(trim({d.source}) <> '', false) AS has_source,
                         count(*) AS n
                  FROM read_parquet({file}) GROUP BY ALL)
            LEFT JOIN (SELECT concept_id AS id, true AS known FROM named) USING (id)
            """
        ).fetchall()
        unmapped, unnamed, by_source = (int(n) for n in counts[0])
        years = db.execute(
            f"SELECT year({d.date}), count(*) FROM read_parquet({file}) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        events[domain] = {
            "rows": rows,
            "unmapped_share": round(unmapped / rows, 6),
            "named_share": round(1 - (unmapped + unnamed) / rows, 6),
            "named_by_source_share": round(by_source / rows, 6),
            "years": _quantiles(years),
        }
        noted = tables[d.table]["noted"]
        for reason, count in (("its concept is 0", unmapped), ("its concept has no name", unnamed)):
            if count:
                noted[reason] = count
    empty = db.execute(f"SELECT count(*) FROM {concepts} WHERE coalesce(trim(concept_name), '') = ''").fetchall()[0][0]
    if empty:
        tables["concept"]["noted"]["its name is empty"] = empty
    status = _condition_status(db, folder, concepts)
    persons, visits = (tables[table]["kept"] for table in ("person", "visit_occurrence"))
    return {"persons": persons, "visits": visits, "events": events, "condition_status": status, "names": dict(names)}


def _condition_status(db: duckdb.DuckDBPyConnection, folder: Path, concepts: str) -> dict[str, dict[str, Any]]:
    files = (literal(folder / f"{name}.parquet") for name in ("condition_occurrence", "visit_occurrence"))
    types = visit_types(db, *(f"read_parquet({file})" for file in files))
    named = f"SELECT concept_id, concept_name FROM {concepts} WHERE concept_id IN ({', '.join(map(str, [0, *types]))})"
    names = _VISITS | {concept: name for concept, name in db.execute(named).fetchall() if concept > 0 and name}
    names |= _OTHER_VISITS
    return {
        names.get(kind, f"visit concept {kind}"): {
            "rows": rows,
            "status_share": round(known / rows, 6),
            "status_recorded": records_status(rows, known),
        }
        for kind, (rows, known) in types.items()
    }


def note_visits(folder: Path) -> dict[str, dict[str, int]]:
    """Return table -> how many of its rows refer to a visit that is not in the visit table."""
    visits = read_table(folder / "visit_occurrence.parquet", columns=["visit_occurrence_id"])
    known = np.sort(visits["visit_occurrence_id"].to_numpy())
    noted: dict[str, dict[str, int]] = {}
    for table, columns in TABLES.items():
        if table == "visit_occurrence" or "visit_occurrence_id" not in columns:
            continue
        absent = 0
        # DuckDB's join probes a hash table of all visits at random, which is several times slower
        for batch in pq.ParquetFile(folder / f"{table}.parquet").iter_batches(1 << 20, columns=["visit_occurrence_id"]):
            ids = batch.columns[0].drop_null().to_numpy()
            # records of a visit mostly follow each other, so each run is looked up once
            first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]) if len(ids) else ids)
            times, ids = np.diff(np.append(first, len(ids))), ids[first]
            index = np.minimum(np.searchsorted(known, ids), len(known) - 1)
            absent += int(times[(ids != 0) & ((known[index] != ids) if len(known) else True)].sum())
        if absent:
            noted[table] = {"its visit is not in the visit table": absent}
    return noted


def note_numbers(db: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, dict[str, int]]:
    """Return table -> how many of its numbers are bounds, and how many of their reference ranges cannot be right."""
    noted: dict[str, dict[str, int]] = {}
    for table in (d.table for d in DOMAINS.values() if d.values and "range_low" in TABLES[d.table]):
        of_number = "value_as_number IS NOT NULL AND (range_low IS NOT NULL OR range_high IS NOT NULL)"
        bounds, ranges = db.execute(
            f"SELECT count({bound(table)}), count(*) FILTER ({of_number} AND NOT ({usable_range(table)})) "
            f"FROM read_parquet({literal(folder / f'{table}.parquet')})"
        ).fetchall()[0]
        counts = {
            "its number is a bound (<, <=, >, >=), not a value": int(bounds),
            "its reference range cannot be right (0 alone, or not in order): not used": int(ranges),
        }
        if found := {reason: count for reason, count in counts.items() if count}:
            noted[table] = found
    return noted


def _quantiles(years: list[tuple[int, int]]) -> list[int]:
    so_far = np.cumsum([rows for _, rows in years])
    return [years[int(np.searchsorted(so_far, share * so_far[-1]))][0] for share in _QUANTILES]
