"""Find a concept by words of its name, or by its id, in the concept tables of extracts and of a vocabulary."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.ingest import ingest

#: OMOP's domain -> the domain that a task names
_DOMAINS = {domain.capitalize(): domain for domain in (*DOMAINS, "visit")}


class Concept(NamedTuple):
    """A standard concept that an event can be, and how many concepts are below it."""

    concept_id: int
    name: str
    domain: str
    descendants: int


class Concepts:
    """The concepts that extracts name, read once.

    Raises StudyError for an extract that cannot be read.
    """

    def __init__(self, extracts: Sequence[Path]) -> None:
        self._db = duckdb.connect()
        self._db.execute("CREATE TABLE concept (concept_id BIGINT, name VARCHAR, domain VARCHAR)")
        self._db.execute("CREATE TABLE below (concept_id BIGINT, descendant BIGINT)")
        for extract in extracts:
            with tempfile.TemporaryDirectory(prefix="conceptbridge-") as folder:
                cdm = Path(folder) / "cdm"
                ingest(extract, cdm, Path(folder) / "quality.json", wanted=("person", "concept", "concept_ancestor"))
                self._db.execute(
                    "INSERT INTO concept SELECT concept_id, concept_name, domain_id FROM read_parquet(?) "
                    "WHERE concept_name IS NOT NULL AND domain_id IN (SELECT unnest(?)) "
                    "AND (standard_concept = 'S' OR standard_concept IS NULL) AND concept_id > 0",
                    [str(cdm / "concept.parquet"), list(_DOMAINS)],
                )
                self._db.execute(
                    "INSERT INTO below SELECT ancestor_concept_id, descendant_concept_id FROM read_parquet(?) "
                    "WHERE ancestor_concept_id != descendant_concept_id",
                    [str(cdm / "concept_ancestor.parquet")],
                )

    def find(self, text: str, most: int = 12) -> list[Concept]:
        """Return the concepts with this id, or with all these words in their names, the best match first: the whole
        name, then its beginning, then those with the most concepts below them, then the shortest."""
        words = text.lower().split()
        rows = self._db.execute(
            """
            SELECT c.concept_id, any_value(c.name), any_value(c.domain),
                   (SELECT count(DISTINCT descendant) FROM below b WHERE b.concept_id = c.concept_id) AS descendants
            FROM concept c
            WHERE c.concept_id = try_cast($text AS BIGINT)
               OR ($text NOT SIMILAR TO '[0-9]+' AND list_bool_and([contains(lower(c.name), w) FOR w IN $words]))
            GROUP BY c.concept_id
            ORDER BY lower(any_value(c.name)) != lower($text), NOT starts_with(lower(any_value(c.name)), lower($text)),
                     descendants DESC, length(any_value(c.name)), c.concept_id
            LIMIT $most
            """,
            {"text": text.strip(), "words": words, "most": most},
        ).fetchall()
        return [Concept(concept_id, name, _DOMAINS[domain], below) for concept_id, name, domain, below in rows]
