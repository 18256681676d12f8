"""Say what the concept sets of a task match at a site: concepts, descendants, records and persons, and what is odd."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from conceptbridge.disclosure.suppress import is_small
from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.records import LOCAL
from conceptbridge.tasks.concepts import concept_items
from conceptbridge.tasks.events import coded_items

PARTS = ("index", "outcome")
#: concepts of a set that are listed one by one
LISTED = 20
_NO_ANCESTORS = (
    "has no concept_ancestor table, so no descendant of {sets} is found, and none of the outcome's is kept from the "
    "predictors; name every concept, or give the study a `vocabulary`"
)


def resolve_sets(db: duckdb.DuckDBPyConnection, task: Mapping[str, Any], min_cell_count: int) -> dict[str, Any]:
    """Return what each set of ``task`` matches in ``db``: those of ``index``, ``outcome``, and the ``visits`` of each.

    Of a set: ``concepts`` and ``descendants`` (how many), ``records`` and ``persons`` (about; null if under
    ``min_cell_count``), ``items`` (id, name, standard, descendants), and ``warnings``, sentences that follow the name
    of the site. ``events`` says whether there is any event of the part, as its values, visits and file ask for it. Call
    it when the tables ``starts`` and ``outcomes`` are made.
    """
    told: dict[str, Any] = {}
    for part, events in zip(PARTS, ("starts", "outcomes"), strict=True):
        spec = task[part]
        (count,) = db.execute(f"SELECT count(*) FROM {events}").fetchall()[0]
        own_label = part == "outcome" and spec["domain"] == "cohort" and spec["file"] is None
        told[part] = {"domain": spec["domain"], "events": count > 0 or own_label, "warnings": []}
        if (spec["concepts"] or spec["codes"]) and spec["domain"] not in ("cohort", "death"):
            told[part] |= _set(db, part, spec, spec["domain"], min_cell_count, events)
        if spec["visits"]:
            visits = {"concepts": spec["visits"], "codes": [], "descendants": True, "exclude": []}
            told[f"{part}.visits"] = _set(db, f"{part}.visits", visits, "visit", min_cell_count) | {"events": True}
        if not told[part]["events"]:
            told[part]["warnings"].append(_why_none(part, spec, told[part].get("records")))
    (ancestors,) = db.execute("SELECT count(*) FROM (FROM concept_ancestor LIMIT 1)").fetchall()[0]
    blind = [_key(part) for part in told if told[part].pop("descends", False)]
    if blind and not ancestors:
        told["index"]["warnings"].append(_NO_ANCESTORS.format(sets=" and ".join(blind)))
    return told


def _set(
    db: duckdb.DuckDBPyConnection,
    part: str,
    spec: Mapping[str, Any],
    domain: str,
    min_cell_count: int,
    events: str = "",
) -> dict[str, Any]:
    """Return what a set matches; ``events`` is the table of the events that it makes."""
    items = concept_items(spec) if spec["concepts"] else []
    db.execute(
        "CREATE OR REPLACE TEMP TABLE asked (place BIGINT, concept_id BIGINT, descendants BOOLEAN, excluded BOOLEAN)"
    )
    if items:
        rows = ", ".join(f"({n}, {i.concept_id}, {i.descendants}, {i.excluded})" for n, i in enumerate(items))
        db.execute(f"INSERT INTO asked VALUES {rows}")
    if spec["codes"]:
        db.execute(f"INSERT INTO asked SELECT {len(items)} + row_number() OVER (), * FROM ({coded_items(spec)})")
    db.execute(
        """
        CREATE OR REPLACE TEMP TABLE reached AS
        SELECT DISTINCT place, concept_id AS found, excluded FROM asked
        UNION SELECT place, descendant_concept_id, excluded FROM asked
        JOIN concept_ancestor ON ancestor_concept_id = concept_id WHERE descendants
        """
    )
    db.execute(
        "CREATE OR REPLACE TEMP TABLE resolved AS SELECT found FROM reached GROUP BY found HAVING NOT bool_or(excluded)"
    )
    table, column = ("visit_occurrence", "visit_concept_id")
    if domain in DOMAINS:
        table, column = DOMAINS[domain].table, DOMAINS[domain].concept
    records = f"SELECT person_id, {column} AS concept_id FROM {table}"
    if spec["codes"] and domain != "observation":
        records += " UNION ALL SELECT person_id, observation_concept_id FROM observation"
    matches = f"FROM ({records}) WHERE concept_id IN (FROM resolved)"
    (count,) = db.execute(f"SELECT count(*) {matches}").fetchall()[0]
    # where every record is an event, the events are fewer, and have its persons
    all_events = events and not spec["value"] and not spec["visits"]
    (persons,) = db.execute(
        f"SELECT count(DISTINCT person_id) {f'FROM {events}' if all_events else matches}"
    ).fetchall()[0]
    listed = db.execute(
        """
        SELECT a.concept_id, any_value(c.concept_name), any_value(c.standard_concept), count(c.concept_id) > 0,
               count(DISTINCT r.found) - 1, bool_or(a.descendants)
        FROM asked a JOIN reached r USING (place) LEFT JOIN concept c ON c.concept_id = a.concept_id
        WHERE NOT a.excluded GROUP BY a.place, a.concept_id ORDER BY a.place
        """
    ).fetchall()
    (resolved,) = db.execute("SELECT count(*) FROM resolved").fetchall()[0]
    (named,) = db.execute("SELECT count(*) FROM (FROM concept LIMIT 1)").fetchall()[0]
    warnings = []
    public = [row for row in listed if 0 < row[0] < LOCAL]
    # a name is missed where there is nothing else to see
    if named and not count and (unknown := [row for row in public if not row[3]]):
        warnings.append(f"has no name for {_key(part)} {_ids(unknown)}: the concept table lacks {_them(unknown)}")
    # an extract can leave the column out
    (standard,) = db.execute("SELECT count(*) FROM concept WHERE standard_concept = 'S'").fetchall()[0]
    if other := [row for row in public if row[3] and row[2] != "S" and standard]:
        warnings.append(
            f"has {_key(part)} {_ids(other)} as non-standard: records hold standard concepts, so follow 'Maps to' "
            "in Athena or ATLAS"
        )
    if not resolved and items:
        warnings.append(f"finds no concept in {_key(part)}: `exclude` removes them all")
    keys = ("concept_id", "name", "standard", "known", "descendants")
    listed_items = [dict(zip(keys, row[: len(keys)], strict=True)) for row in listed[:LISTED]]
    return {
        "domain": domain,
        "descends": any(row[5] for row in listed),
        "concepts": resolved,
        "descendants": sum(row[4] for row in listed),
        "records": about(count, min_cell_count),
        "persons": about(persons, min_cell_count),
        "items": listed_items,
        "warnings": warnings,
    }


def about(count: int, min_cell_count: int) -> int | None:
    """Return a count to two digits, coarser than ``min_cell_count``, so that no difference tells a small one."""
    if is_small(count, min_cell_count):
        return None
    step = max(min_cell_count, int(10 ** (len(str(count)) - 2)))
    return max(round(count / step) * step, min_cell_count if count else 0)


def _why_none(part: str, spec: Mapping[str, Any], records: int | None) -> str:
    """Say that there is no event, and the part of the settings that is to blame as far as it was looked at."""
    if spec["domain"] == "cohort":
        return f"has no row of {part}.file" + ("" if spec["definition"] is None else f" of cohort {spec['definition']}")
    if spec["domain"] == "death":
        return f"has no death, which is the {part}"
    if not records and spec["codes"] and not spec["concepts"]:
        return f"has no record of {part}.codes"
    if records == 0:
        return (
            f"has no record of {part}.concepts: look at their domain ({spec['domain']}), and whether they are standard"
        )
    wanted = [key for key in ("value", "visits") if spec[key]]
    return f"has records of {part}.concepts, but none with the {' and '.join(wanted) or 'date'} that is asked for"


def _key(part: str) -> str:
    """Return the key of the config that has a part's set."""
    return part if part.endswith(".visits") else f"{part}.concepts"


def _ids(rows: Sequence[tuple[Any, ...]]) -> str:
    named = [f"{row[0]} ({row[1]})" if row[1] else str(row[0]) for row in rows[:3]]
    return ", ".join(named) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")


def _them(rows: Sequence[tuple[Any, ...]]) -> str:
    return "it" if len(rows) == 1 else "them"
