"""The part of the OMOP CDM that a study reads: tables, columns and types."""

from collections.abc import Collection
from dataclasses import dataclass

_EVENT = {"person_id": "BIGINT", "visit_occurrence_id": "BIGINT"}
_VALUE = {
    "value_as_number": "DOUBLE",
    "value_as_concept_id": "BIGINT",
    "unit_concept_id": "BIGINT",
    "unit_source_value": "VARCHAR",
}

#: table -> column -> DuckDB type; ids are 64-bit integers always
TABLES: dict[str, dict[str, str]] = {
    "person": {
        "person_id": "BIGINT",
        "gender_concept_id": "BIGINT",
        "year_of_birth": "INTEGER",
        "month_of_birth": "INTEGER",
        "day_of_birth": "INTEGER",
        "race_concept_id": "BIGINT",
        "gender_source_value": "VARCHAR",
        "race_source_value": "VARCHAR",
    },
    "observation_period": {
        "observation_period_id": "BIGINT",
        "person_id": "BIGINT",
        "observation_period_start_date": "DATE",
        "observation_period_end_date": "DATE",
    },
    "visit_occurrence": {
        "visit_occurrence_id": "BIGINT",
        "person_id": "BIGINT",
        "visit_concept_id": "BIGINT",
        "visit_start_date": "DATE",
        "visit_end_date": "DATE",
        "visit_source_value": "VARCHAR",
    },
    "condition_occurrence": {
        "condition_occurrence_id": "BIGINT",
        **_EVENT,
        "condition_concept_id": "BIGINT",
        "condition_start_date": "DATE",
        "condition_end_date": "DATE",
        "condition_status_concept_id": "BIGINT",
        "condition_source_value": "VARCHAR",
    },
    "drug_exposure": {
        "drug_exposure_id": "BIGINT",
        **_EVENT,
        "drug_concept_id": "BIGINT",
        "drug_exposure_start_date": "DATE",
        "drug_exposure_end_date": "DATE",
        "drug_source_value": "VARCHAR",
    },
    "procedure_occurrence": {
        "procedure_occurrence_id": "BIGINT",
        **_EVENT,
        "procedure_concept_id": "BIGINT",
        "procedure_date": "DATE",
        "procedure_source_value": "VARCHAR",
    },
    "measurement": {
        "measurement_id": "BIGINT",
        **_EVENT,
        "measurement_concept_id": "BIGINT",
        "measurement_date": "DATE",
        "operator_concept_id": "BIGINT",
        **_VALUE,
        "range_low": "DOUBLE",
        "range_high": "DOUBLE",
        "measurement_source_value": "VARCHAR",
        "value_source_value": "VARCHAR",
    },
    "observation": {
        "observation_id": "BIGINT",
        **_EVENT,
        "observation_concept_id": "BIGINT",
        "observation_date": "DATE",
        **_VALUE,
        "value_as_string": "VARCHAR",
        "observation_source_value": "VARCHAR",
    },
    "device_exposure": {
        "device_exposure_id": "BIGINT",
        **_EVENT,
        "device_concept_id": "BIGINT",
        "device_exposure_start_date": "DATE",
        "device_exposure_end_date": "DATE",
        "device_source_value": "VARCHAR",
    },
    "death": {"person_id": "BIGINT", "death_date": "DATE"},
    "concept": {
        "concept_id": "BIGINT",
        "concept_name": "VARCHAR",
        "domain_id": "VARCHAR",
        "vocabulary_id": "VARCHAR",
        "concept_class_id": "VARCHAR",
        "standard_concept": "VARCHAR",
        "concept_code": "VARCHAR",
    },
    "concept_ancestor": {
        "ancestor_concept_id": "BIGINT",
        "descendant_concept_id": "BIGINT",
        "min_levels_of_separation": "INTEGER",
    },
    "cdm_source": {
        "cdm_source_name": "VARCHAR",
        "cdm_version": "VARCHAR",
        "source_release_date": "DATE",
        "cdm_release_date": "DATE",
    },
}

#: tables of a vocabulary that no study reads; an encoder can be adapted to them
VOCABULARY_TABLES: dict[str, dict[str, str]] = {
    "concept_synonym": {"concept_id": "BIGINT", "concept_synonym_name": "VARCHAR"},
    "concept_relationship": {
        "concept_id_1": "BIGINT",
        "concept_id_2": "BIGINT",
        "relationship_id": "VARCHAR",
        "invalid_reason": "VARCHAR",
    },
}
ALL_TABLES = TABLES | VOCABULARY_TABLES

#: columns that every row needs: a row that lacks one of them is dropped and counted
REQUIRED: dict[str, tuple[str, ...]] = {
    "person": ("person_id", "year_of_birth"),
    "observation_period": ("person_id", "observation_period_start_date", "observation_period_end_date"),
    "visit_occurrence": ("visit_occurrence_id", "person_id", "visit_start_date"),
    "condition_occurrence": ("person_id", "condition_start_date"),
    "drug_exposure": ("person_id", "drug_exposure_start_date"),
    "procedure_occurrence": ("person_id", "procedure_date"),
    "measurement": ("person_id", "measurement_date"),
    "observation": ("person_id", "observation_date"),
    "device_exposure": ("person_id", "device_exposure_start_date"),
    "death": ("person_id", "death_date"),
    "concept": ("concept_id",),
    "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
    "cdm_source": (),
    "concept_synonym": ("concept_id", "concept_synonym_name"),
    "concept_relationship": ("concept_id_1", "concept_id_2", "relationship_id"),
}


def in_place_of(table: str, there: Collection[str]) -> dict[str, str]:
    """Return date column that is not ``there`` -> the column with a time that is, such as condition_start_datetime."""
    return {
        column: f"{column}time"
        for column, kind in ALL_TABLES[table].items()
        if kind == "DATE" and column not in there and f"{column}time" in there
    }


@dataclass(frozen=True)
class Domain:
    """Where the events of a domain stand."""

    table: str
    concept: str
    date: str
    source: str
    values: bool = False


DOMAINS = {
    "condition": Domain(
        "condition_occurrence", "condition_concept_id", "condition_start_date", "condition_source_value"
    ),
    "drug": Domain("drug_exposure", "drug_concept_id", "drug_exposure_start_date", "drug_source_value"),
    "procedure": Domain("procedure_occurrence", "procedure_concept_id", "procedure_date", "procedure_source_value"),
    "measurement": Domain(
        "measurement", "measurement_concept_id", "measurement_date", "measurement_source_value", values=True
    ),
    "observation": Domain(
        "observation", "observation_concept_id", "observation_date", "observation_source_value", values=True
    ),
}
