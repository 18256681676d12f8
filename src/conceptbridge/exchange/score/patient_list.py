"""Turn a list of patients to score into a cohort; their outcomes need not be known yet."""

from pathlib import Path

import pyarrow as pa

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.sites.records import site_database
from conceptbridge.tasks.cohort import described
from conceptbridge.tasks.events import make_events


def make_patients(cdm: Path, site: str, patients: Path, reference: Path, out: Path, threads: int = 1) -> None:
    """Write the listed patients (CSV or Parquet: person_id, index_date) as test rows of a cohort to ``out``.

    The rows of the task's own cohort at the site (``reference``) become training rows: they decide how values are
    scaled, where those without a reference range are cut, and what is common here; nothing is trained on them. Labels
    are all 0 and mean nothing.

    Raises StudyError if the list cannot be read, is empty, or has persons that the site's tables lack.
    """
    with site_database(cdm, threads, out) as db:
        make_events(db, "listed", {"domain": "cohort", "file": str(patients), "definition": None}, site)
        counts = db.sql(
            "SELECT count(*), count(*) FILTER (person_id NOT IN (SELECT person_id FROM person)) FROM listed"
        ).fetchall()
        listed, unknown = counts[0]
        if not listed:
            raise StudyError(f"{patients}: lists no patients; it needs rows of person_id and index_date")
        if unknown:
            raise StudyError(f"{patients}: lists persons that {site} has no record of; remove them from the list")
        db.read_parquet(str(reference)).create_view("reference")
        db.execute(
            """
            CREATE TEMP TABLE rows AS
            SELECT person_id, date AS index_date, 0::TINYINT AS label, 'test' AS split FROM listed
            UNION ALL
            SELECT person_id, index_date, 0::TINYINT, 'train' FROM reference
            WHERE (person_id, index_date) NOT IN (SELECT (person_id, date) FROM listed)
            """
        )
        table: pa.Table = described(db)
    write_parquet(table, out)
