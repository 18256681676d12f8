"""List the units of a site's measured values: what each is converted to, and which are unknown and so kept apart."""

from pathlib import Path

from conceptbridge.core.atomic_files import write_json
from conceptbridge.disclosure.suppress import is_enough, is_small
from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.records import AS_RECORDED, UNIT_CONCEPT, UNIT_TEXT, open_records, site_database


def make_units(cdm: Path, site: str, min_cell_count: int, out: Path, threads: int = 1) -> None:
    """Write the units of the site's measured values to ``out``: what each is converted to, and which are unknown.

    Concepts and units of fewer than ``min_cell_count`` values are added up, without their texts.
    """
    with site_database(cdm, threads, out) as db:
        open_records(db, site, AS_RECORDED)
        values = " UNION ALL ".join(
            f"""
            SELECT coalesce({d.concept}, 0) AS concept_id, {UNIT_CONCEPT}, {UNIT_TEXT}
            FROM {d.table} WHERE value_as_number IS NOT NULL"""
            for d in DOMAINS.values()
            if d.values
        )
        units = db.execute(
            f"""
            SELECT concept_id, c.concept_name, unit_concept, unit_text, unit, known, n
            FROM (SELECT concept_id, unit_concept, unit_text, count(*) AS n FROM ({values}) GROUP BY ALL)
            JOIN measured_units USING (concept_id, unit_concept, unit_text) LEFT JOIN concept c USING (concept_id)
            ORDER BY n DESC, concept_id, unit_concept, unit_text
            """
        ).fetchall()
    keys = ("concept_id", "name", "unit_concept", "unit_text", "unit", "known", "values")
    rows = [dict(zip(keys, row, strict=True)) for row in units]
    listed = [row for row in rows if is_enough(row["values"], min_cell_count)]
    rare = sum(row["values"] for row in rows) - sum(row["values"] for row in listed)
    total = sum(row["values"] for row in rows)
    unknown = sum(row["values"] for row in rows if not row["known"] and row["unit"])
    without = sum(row["values"] for row in rows if not row["unit"])
    # with the sum, or a share of it, the values that are not listed could be worked out
    small = any(is_small(n, min_cell_count) for n in (total, rare))
    write_json(
        {
            "values": None if small else total,
            "unknown_share": round(unknown / total, 3) if total and not small else None,
            "without_share": round(without / total, 3) if total and not small else None,
            "rare": None if small else rare,
            "units": listed,
        },
        out,
    )
