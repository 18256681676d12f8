"""The columns of the OMOP CDM in the order of each version.

From the OHDSI CommonDataModel's PostgreSQL DDL at its tags v5.2.2, v5.3.1, v5.3.2 (called 5.3) and v5.4.2.
"""

_PERSON = (
    "person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime race_concept_id "
    "ethnicity_concept_id location_id provider_id care_site_id person_source_value gender_source_value "
    "gender_source_concept_id race_source_value race_source_concept_id ethnicity_source_value "
    "ethnicity_source_concept_id"
)
_PERIOD = (
    "observation_period_id person_id observation_period_start_date observation_period_end_date period_type_concept_id"
)
_DEATH = (
    "person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value "
    "cause_source_concept_id"
)
_CONCEPT = (
    "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code valid_start_date "
    "valid_end_date invalid_reason"
)
_ANCESTOR = "ancestor_concept_id descendant_concept_id min_levels_of_separation max_levels_of_separation"
_SOURCE = (
    "cdm_source_name cdm_source_abbreviation cdm_holder source_description source_documentation_reference "
    "cdm_etl_reference source_release_date cdm_release_date cdm_version"
)
_VISIT = (
    "visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime visit_end_date "
    "visit_end_datetime visit_type_concept_id provider_id care_site_id visit_source_value visit_source_concept_id"
)
_CONDITION = (
    "condition_occurrence_id person_id condition_concept_id condition_start_date condition_start_datetime "
    "condition_end_date condition_end_datetime condition_type_concept_id"
)
_DRUG = (
    "drug_exposure_id person_id drug_concept_id drug_exposure_start_date drug_exposure_start_datetime "
    "drug_exposure_end_date drug_exposure_end_datetime verbatim_end_date drug_type_concept_id stop_reason refills "
    "quantity days_supply sig route_concept_id lot_number provider_id visit_occurrence_id"
)
_DRUG_SOURCE = "drug_source_value drug_source_concept_id route_source_value dose_unit_source_value"
_PROCEDURE = "procedure_occurrence_id person_id procedure_concept_id procedure_date procedure_datetime"
_PROCEDURE_TYPE = "procedure_type_concept_id modifier_concept_id quantity provider_id visit_occurrence_id"
_PROCEDURE_SOURCE = "procedure_source_value procedure_source_concept_id"
_DEVICE = (
    "device_exposure_id person_id device_concept_id device_exposure_start_date device_exposure_start_datetime "
    "device_exposure_end_date device_exposure_end_datetime device_type_concept_id unique_device_id"
)
_DEVICE_SOURCE = "device_source_value device_source_concept_id"
_MEASUREMENT = "measurement_id person_id measurement_concept_id measurement_date measurement_datetime"
_MEASUREMENT_VALUE = (
    "measurement_type_concept_id operator_concept_id value_as_number value_as_concept_id unit_concept_id range_low "
    "range_high provider_id visit_occurrence_id"
)
_MEASUREMENT_SOURCE = "measurement_source_value measurement_source_concept_id unit_source_value"
_OBSERVATION = (
    "observation_id person_id observation_concept_id observation_date observation_datetime observation_type_concept_id "
    "value_as_number value_as_string value_as_concept_id qualifier_concept_id unit_concept_id provider_id "
    "visit_occurrence_id"
)
_OBSERVATION_SOURCE = "observation_source_value observation_source_concept_id unit_source_value qualifier_source_value"
_ADMITTING = "admitting_source_concept_id admitting_source_value discharge_to_concept_id discharge_to_source_value"
_ADMITTED = "admitted_from_concept_id admitted_from_source_value discharged_to_concept_id discharged_to_source_value"
_STATUS_LAST = (
    "condition_source_value condition_source_concept_id condition_status_source_value condition_status_concept_id"
)

_5_2 = {
    "person": _PERSON,
    "observation_period": _PERIOD,
    "visit_occurrence": f"{_VISIT} {_ADMITTING} preceding_visit_occurrence_id",
    "condition_occurrence": f"{_CONDITION} stop_reason provider_id visit_occurrence_id {_STATUS_LAST}",
    "drug_exposure": f"{_DRUG} {_DRUG_SOURCE}",
    "procedure_occurrence": f"{_PROCEDURE} {_PROCEDURE_TYPE} {_PROCEDURE_SOURCE} qualifier_source_value",
    "measurement": f"{_MEASUREMENT} {_MEASUREMENT_VALUE} {_MEASUREMENT_SOURCE} value_source_value",
    "observation": f"{_OBSERVATION} {_OBSERVATION_SOURCE}",
    "device_exposure": f"{_DEVICE} quantity provider_id visit_occurrence_id {_DEVICE_SOURCE}",
    "death": _DEATH,
    "concept": _CONCEPT,
    "concept_ancestor": _ANCESTOR,
    "concept_synonym": "concept_id concept_synonym_name language_concept_id",
    "concept_relationship": "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date invalid_reason",
    "cdm_source": f"{_SOURCE} vocabulary_version",
}
_5_3_1 = _5_2 | {
    "condition_occurrence": f"{_CONDITION} stop_reason provider_id visit_occurrence_id visit_detail_id {_STATUS_LAST}",
    "drug_exposure": f"{_DRUG} visit_detail_id {_DRUG_SOURCE}",
    "procedure_occurrence": (
        f"{_PROCEDURE} {_PROCEDURE_TYPE} visit_detail_id {_PROCEDURE_SOURCE} modifier_source_value"
    ),
    "measurement": (
        f"{_MEASUREMENT} measurement_time {_MEASUREMENT_VALUE} visit_detail_id {_MEASUREMENT_SOURCE} value_source_value"
    ),
    "observation": f"{_OBSERVATION} visit_detail_id {_OBSERVATION_SOURCE}",
    "device_exposure": f"{_DEVICE} quantity provider_id visit_occurrence_id visit_detail_id {_DEVICE_SOURCE}",
}
_5_3 = _5_3_1 | {
    "condition_occurrence": (
        f"{_CONDITION} condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id "
        "condition_source_value condition_source_concept_id condition_status_source_value"
    ),
}
_5_4 = _5_3 | {
    "visit_occurrence": f"{_VISIT} {_ADMITTED} preceding_visit_occurrence_id",
    "procedure_occurrence": (
        f"{_PROCEDURE} procedure_end_date procedure_end_datetime {_PROCEDURE_TYPE} visit_detail_id "
        f"{_PROCEDURE_SOURCE} modifier_source_value"
    ),
    "measurement": (
        f"{_MEASUREMENT} measurement_time {_MEASUREMENT_VALUE} visit_detail_id {_MEASUREMENT_SOURCE} "
        "unit_source_concept_id value_source_value measurement_event_id meas_event_field_concept_id"
    ),
    "observation": (
        f"{_OBSERVATION} visit_detail_id {_OBSERVATION_SOURCE} value_source_value observation_event_id "
        "obs_event_field_concept_id"
    ),
    "device_exposure": (
        f"{_DEVICE} production_id quantity provider_id visit_occurrence_id visit_detail_id {_DEVICE_SOURCE} "
        "unit_concept_id unit_source_value unit_source_concept_id"
    ),
    "cdm_source": f"{_SOURCE} cdm_version_concept_id vocabulary_version",
}

#: CDM version -> table -> its columns in declared order; only condition_occurrence differs between 5.3.1 and 5.3
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    version: {table: tuple(columns.split()) for table, columns in tables.items()}
    for version, tables in (("5.2", _5_2), ("5.3.1", _5_3_1), ("5.3", _5_3), ("5.4", _5_4))
}


def known_columns(table: str) -> set[str]:
    """Return every column that some version declares for ``table``."""
    return {column for tables in COLUMNS.values() for column in tables[table]}
