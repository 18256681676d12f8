"""Complete a simulated extract to the CDM 5.4: every column of its tables, and the tables that other tools look for.

Nothing is added that a study reads: columns are derived from those that are there (times are midnight), or empty.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: tables besides those that a study reads
MORE_TABLES = ("care_site", "concept_relationship", "location", "provider", "visit_detail", "vocabulary")
_CARE_SITE, _ROW_GROUP = 1, 2**20
_ID, _TEXT, _NUMBER, _DATE, _TIME = pa.int64(), pa.string(), pa.float64(), pa.date32(), pa.timestamp("us")

#: table -> its columns in the order of the CDM 5.4
_COLUMNS = {
    "person": "person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime race_concept_id "
    "ethnicity_concept_id location_id provider_id care_site_id person_source_value gender_source_value "
    "gender_source_concept_id race_source_value race_source_concept_id ethnicity_source_value "
    "ethnicity_source_concept_id",
    "visit_occurrence": "visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime "
    "visit_end_date visit_end_datetime visit_type_concept_id provider_id care_site_id visit_source_value "
    "visit_source_concept_id admitted_from_concept_id admitted_from_source_value discharged_to_concept_id "
    "discharged_to_source_value preceding_visit_occurrence_id",
    "visit_detail": "visit_detail_id person_id visit_detail_concept_id visit_detail_start_date "
    "visit_detail_start_datetime visit_detail_end_date visit_detail_end_datetime visit_detail_type_concept_id "
    "provider_id care_site_id visit_detail_source_value visit_detail_source_concept_id admitted_from_concept_id "
    "admitted_from_source_value discharged_to_source_value discharged_to_concept_id preceding_visit_detail_id "
    "parent_visit_detail_id visit_occurrence_id",
    "condition_occurrence": "condition_occurrence_id person_id condition_concept_id condition_start_date "
    "condition_start_datetime condition_end_date condition_end_datetime condition_type_concept_id "
    "condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id condition_source_value "
    "condition_source_concept_id condition_status_source_value",
    "drug_exposure": "drug_exposure_id person_id drug_concept_id drug_exposure_start_date drug_exposure_start_datetime "
    "drug_exposure_end_date drug_exposure_end_datetime verbatim_end_date drug_type_concept_id stop_reason refills "
    "quantity days_supply sig route_concept_id lot_number provider_id visit_occurrence_id visit_detail_id "
    "drug_source_value drug_source_concept_id route_source_value dose_unit_source_value",
    "procedure_occurrence": "procedure_occurrence_id person_id procedure_concept_id procedure_date procedure_datetime "
    "procedure_end_date procedure_end_datetime procedure_type_concept_id modifier_concept_id quantity provider_id "
    "visit_occurrence_id visit_detail_id procedure_source_value procedure_source_concept_id modifier_source_value",
    "device_exposure": "device_exposure_id person_id device_concept_id device_exposure_start_date "
    "device_exposure_start_datetime device_exposure_end_date device_exposure_end_datetime device_type_concept_id "
    "unique_device_id production_id quantity provider_id visit_occurrence_id visit_detail_id device_source_value "
    "device_source_concept_id unit_concept_id unit_source_value unit_source_concept_id",
    "measurement": "measurement_id person_id measurement_concept_id measurement_date measurement_datetime "
    "measurement_time measurement_type_concept_id operator_concept_id value_as_number value_as_concept_id "
    "unit_concept_id range_low range_high provider_id visit_occurrence_id visit_detail_id measurement_source_value "
    "measurement_source_concept_id unit_source_value unit_source_concept_id value_source_value measurement_event_id "
    "meas_event_field_concept_id",
    "observation": "observation_id person_id observation_concept_id observation_date observation_datetime "
    "observation_type_concept_id value_as_number value_as_string value_as_concept_id qualifier_concept_id "
    "unit_concept_id provider_id visit_occurrence_id visit_detail_id observation_source_value "
    "observation_source_concept_id unit_source_value qualifier_source_value value_source_value observation_event_id "
    "obs_event_field_concept_id",
    "death": "person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value "
    "cause_source_concept_id",
    "care_site": "care_site_id care_site_name place_of_service_concept_id location_id care_site_source_value "
    "place_of_service_source_value",
    "location": "location_id address_1 address_2 city state zip county location_source_value country_concept_id "
    "country_source_value latitude longitude",
    "provider": "provider_id provider_name npi dea specialty_concept_id care_site_id year_of_birth gender_concept_id "
    "provider_source_value specialty_source_value specialty_source_concept_id gender_source_value "
    "gender_source_concept_id",
    "concept_relationship": "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date invalid_reason",
    "vocabulary": "vocabulary_id vocabulary_name vocabulary_reference vocabulary_version vocabulary_concept_id",
}
_NUMBERS = ("value_as_number", "quantity", "range_low", "range_high", "latitude", "longitude")
_IDS = ("_id", "_id_1", "_id_2", "refills", "days_supply")
#: columns that end as ids do and are texts
_TEXT_IDS = ("unique_device_id", "production_id", "relationship_id", "vocabulary_id")


def complete(tables: Iterable[tuple[str, pa.Table]], hospital: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield the tables with all columns of the CDM 5.4, and ``MORE_TABLES`` and device_exposure beside them.

    One after another: all tables of a large hospital together are gigabytes.
    """
    named = {}
    for name, table in tables:
        if name in ("concept", "cdm_source"):
            named[name] = table
        else:
            yield name, _widen(table, _COLUMNS[name].split()) if name in _COLUMNS else table
    concepts = _coded(named["concept"])
    few = {**named, "concept": concepts, "vocabulary": _vocabularies(concepts, named["cdm_source"])}
    few["concept_relationship"] = _maps(concepts)
    few["care_site"] = pa.table(
        {
            "care_site_id": pa.array([_CARE_SITE], _ID),
            "care_site_name": [hospital],
            "place_of_service_concept_id": pa.array([0], _ID),
            "care_site_source_value": [hospital],
        }
    )
    for name in dict.fromkeys([*few, *MORE_TABLES, "device_exposure"]):
        table = few.get(name, pa.table({}))
        yield name, _widen(table, _COLUMNS[name].split()) if name in _COLUMNS else table


def _widen(table: pa.Table, columns: list[str]) -> pa.Table:
    """Return the table with these columns, in this order."""
    present = set(table.column_names)
    return pa.table({name: table[name] if name in present else _column(name, table) for name in columns})


def _column(name: str, table: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Return a column that the simulator does not write: derived, or empty."""
    day = name.removesuffix("time")
    if name == "birth_datetime":
        year, month = (table[part].to_numpy().astype(np.int64) for part in ("year_of_birth", "month_of_birth"))
        first = (year - 1970) * 12 + month - 1
        days = first.astype("datetime64[M]").astype("datetime64[D]") + (table["day_of_birth"].to_numpy() - 1)
        return pa.array(days.astype("datetime64[us]"), _TIME)
    if name.endswith("_datetime") and day in table.column_names:
        return table[day].cast(_TIME)
    if name == "care_site_id" and len(table):
        return pa.repeat(pa.scalar(_CARE_SITE, _ID), len(table))
    return _empty(len(table), _kind(name))


def _empty(rows: int, kind: pa.DataType) -> pa.ChunkedArray:
    """Return nulls whose chunks, as long as the row groups of a file, have their bytes in common."""
    chunk = pa.nulls(min(rows, _ROW_GROUP), kind)
    chunks = [chunk] * (rows // _ROW_GROUP) + [chunk[: rows % _ROW_GROUP]]
    return pa.chunked_array(chunks, kind)


def _kind(name: str) -> pa.DataType:
    if name in _NUMBERS:
        return _NUMBER
    if name.endswith("_datetime"):
        return _TIME
    if name.endswith("_date"):
        return _DATE
    ids = name.endswith(_IDS) and name not in _TEXT_IDS
    return _ID if ids or name == "year_of_birth" else _TEXT


def _coded(concepts: pa.Table) -> pa.Table:
    """Return the concepts, each with a code: where the vocabulary's own is not known here, its id behind OMOP."""
    code, ids = concepts["concept_code"], concepts["concept_id"].cast(pa.string())
    made = pc.binary_join_element_wise("OMOP", ids, "")
    known = pc.and_(pc.is_valid(code), pc.not_equal(pc.fill_null(code, ""), ""))
    return concepts.set_column(
        concepts.column_names.index("concept_code"), "concept_code", pc.if_else(known, code, made)
    )


def _maps(concepts: pa.Table) -> pa.Table:
    """Return that each standard concept maps to itself. A hospital's own concepts map to none."""
    standard = concepts.filter(pc.equal(pc.fill_null(concepts["standard_concept"], ""), "S"))
    parts = []
    for relation in ("Maps to", "Mapped from"):
        parts.append(
            pa.table(
                {
                    "concept_id_1": standard["concept_id"],
                    "concept_id_2": standard["concept_id"],
                    "relationship_id": pa.repeat(pa.scalar(relation), len(standard)),
                    "valid_start_date": standard["valid_start_date"],
                    "valid_end_date": standard["valid_end_date"],
                }
            )
        )
    return pa.concat_tables(parts)


def _vocabularies(concepts: pa.Table, source: pa.Table) -> pa.Table:
    names = pc.unique(concepts["vocabulary_id"]).to_pylist()
    versions = source["vocabulary_version"].to_pylist() * len(names)
    zero = pa.array([0] * len(names), _ID)
    return pa.table(
        {
            "vocabulary_id": names,
            "vocabulary_name": names,
            "vocabulary_reference": ["conceptbridge"] * len(names),
            "vocabulary_version": versions,
            "vocabulary_concept_id": zero,
        }
    )
