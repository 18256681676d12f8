"""Collect a simulated hospital's records and lay them out as OMOP CDM tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.simulate.names import Naming
from conceptbridge.simulate.population import Days

EHR = 32817  # every record's type concept
POSITIVE, NEGATIVE = 9191, 9189
PRESENT, ABSENT = 4181412, 4132135
PRELIMINARY, DISCHARGE = 32899, 32896  # status of a condition charted at the visit, and of one that is dated after it
PREFIX = {
    "condition_occurrence": "condition",
    "drug_exposure": "drug",
    "procedure_occurrence": "procedure",
    "measurement": "measurement",
    "observation": "observation",
}
TABLE_OF_DOMAIN = {
    "Condition": "condition_occurrence",
    "Drug": "drug_exposure",
    "Procedure": "procedure_occurrence",
    "Measurement": "measurement",
    "Observation": "observation",
}
KINDS = {9201: "inpatient", 9202: "outpatient", 9203: "emergency"}  # visit concepts, in ascending order
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Form:
    """How a hospital reports a measurement: unit concept and text, and reference limits if it gives them."""

    unit: int | None = None
    unit_text: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Visits:
    """One entry per visit of any kind; ``concept`` is one of KINDS."""

    person: Rows
    start: Days
    end: Days
    concept: Rows


@dataclass
class Records:
    """The records of a hospital, added finding by finding; ``rows`` are always indices of ``visits``."""

    naming: Naming
    second_share: float
    visits: Visits
    rng: np.random.Generator
    _parts: dict[str, list[dict[str, NDArray[np.generic]]]] = field(
        default_factory=lambda: {table: [] for table in PREFIX}
    )
    _forms: list[Form] = field(default_factory=list)

    def add(self, key: str, rows: Rows, offset: NDArray[np.int8] | None = None, value: int = 0) -> None:
        """Record finding ``key`` at visits ``rows``, ``offset`` days after their start.

        Each record's table is the domain of its name; ``value`` is an observation's value concept (0: none).
        """
        names = self._pick(key, len(rows))
        for position in self.naming.of_finding[key]:
            chosen = names == position
            table = TABLE_OF_DOMAIN[self.naming.names[position].domain]
            self._put(table, rows[chosen], names[chosen], None if offset is None else offset[chosen], value)

    def add_absent(self, key: str, rows: Rows) -> None:
        """Record at visits ``rows`` that finding ``key`` is absent: an observation of value Absent."""
        self._put("observation", rows, self._pick(key, len(rows)), None, ABSENT)

    def add_measurement(
        self,
        key: str,
        rows: Rows,
        form: Form,
        *,
        numbers: NDArray[np.floating] | None = None,
        positive: NDArray[np.bool_] | None = None,
        offset: NDArray[np.int8] | None = None,
    ) -> None:
        """Record measurement ``key`` at visits ``rows``, either as numbers or as positive / negative."""
        self._forms.append(form)
        names = self._pick(key, len(rows))
        number = np.full(len(rows), np.nan) if numbers is None else numbers.astype(np.float64)
        concept = np.zeros(len(rows), dtype=np.int32)
        if positive is not None:
            concept[:] = np.where(positive, POSITIVE, NEGATIVE)
        self._put("measurement", rows, names, offset, concept, number, len(self._forms) - 1)

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the CDM's visit and event tables, one after another; this consumes what was added."""
        visits = self.visits
        order = np.lexsort((visits.concept, visits.start, visits.person))
        ids = np.empty(len(order), dtype=np.int32)
        ids[order] = np.arange(1, len(order) + 1)
        kind = np.searchsorted(list(KINDS), visits.concept[order])
        yield (
            "visit_occurrence",
            pa.table(
                {
                    "visit_occurrence_id": pa.array(ids[order].astype(np.int64)),
                    "person_id": pa.array(visits.person[order].astype(np.int64) + 1),
                    "visit_concept_id": pa.array(visits.concept[order].astype(np.int64)),
                    "visit_start_date": _dates(visits.start[order]),
                    "visit_end_date": _dates(visits.end[order]),
                    "visit_type_concept_id": _constant(EHR, len(order)),
                    "visit_source_value": _texts(kind, list(KINDS.values())),
                    "visit_source_concept_id": _constant(0, len(order)),
                }
            ),
        )
        del order, kind
        for table in PREFIX:
            yield table, self._event_table(table, ids)

    def _pick(self, key: str, count: int) -> NDArray[np.int16]:
        """Choose which of the finding's names each of ``count`` records has, independent of the visit's cause."""
        names = self.naming.of_finding[key]
        if len(names) == 1:
            return np.full(count, names[0], dtype=np.int16)
        return np.where(self.rng.random(count) < self.second_share, names[1], names[0]).astype(np.int16)

    def _put(
        self,
        table: str,
        rows: Rows,
        names: NDArray[np.int16],
        offset: NDArray[np.int8] | None,
        value: int | NDArray[np.int32],
        number: NDArray[np.float64] | None = None,
        form: int = -1,
    ) -> None:
        part: dict[str, NDArray[np.generic]] = {
            "row": rows.astype(np.int32),
            "name": names,
            "offset": np.zeros(len(rows), dtype=np.int8) if offset is None else offset,
        }
        if table in ("observation", "measurement"):
            part["value"] = np.broadcast_to(np.asarray(value, dtype=np.int32), len(rows))
        if table == "measurement":
            part["number"] = np.full(len(rows), np.nan) if number is None else number
            part["form"] = np.full(len(rows), form, dtype=np.int16)
        self._parts[table].append(part)

    def _event_table(self, table: str, ids: Rows) -> pa.Table:
        parts = self._parts.pop(table)
        columns = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
        del parts
        order = np.argsort(ids[columns["row"]], kind="stable")
        for column in columns:
            columns[column] = columns[column][order]
        del order
        row, names = columns["row"], self.naming.names
        person = self.visits.person[row]
        day = self.visits.start[row] + columns["offset"]
        prefix, size = PREFIX[table], len(row)
        concept_of = np.array([name.concept_id for name in names], dtype=np.int64)
        source_of = np.array([c if c >= 2_000_000_000 else 0 for c in concept_of], dtype=np.int64)
        start = {"condition": "condition_start_date", "drug": "drug_exposure_start_date"}.get(prefix, f"{prefix}_date")
        out = {
            f"{table}_id": pa.array(np.arange(1, size + 1, dtype=np.int64)),
            "person_id": pa.array(person.astype(np.int64) + 1),
            f"{prefix}_concept_id": pa.array(concept_of[columns["name"]]),
            start: _dates(day),
        }
        if table == "drug_exposure":
            out["drug_exposure_end_date"] = _dates(day)
        out[f"{prefix}_type_concept_id"] = _constant(EHR, size)
        if table == "condition_occurrence":
            status = np.where(columns["offset"] > 0, DISCHARGE, PRELIMINARY).astype(np.int64)
            out["condition_status_concept_id"] = pa.array(status)
        if table in ("observation", "measurement"):
            value = columns["value"].astype(np.int64)
            if table == "measurement":
                out["value_as_number"] = pa.array(columns["number"], mask=np.isnan(columns["number"]))
            out["value_as_concept_id"] = pa.array(value, mask=value == 0)
            words = {POSITIVE: "positive", NEGATIVE: "negative", PRESENT: "yes", ABSENT: "no"}
            known = np.array(list(words))
            position = np.argmax(value[:, None] == known, axis=1)
            out["value_source_value"] = _texts(position, list(words.values()), value == 0)
        if table == "measurement":
            forms, form = self._forms, columns["form"]
            units = np.array([f.unit or 0 for f in forms], dtype=np.int64)[form]
            out["unit_concept_id"] = pa.array(units, mask=units == 0)
            for column, limits in (
                ("range_low", [f.low for f in forms]),
                ("range_high", [f.high for f in forms]),
            ):
                limit = np.array(limits, dtype=np.float64)[form]
                out[column] = pa.array(limit, mask=np.isnan(limit))
            out["unit_source_value"] = _texts(form, [f.unit_text or "" for f in forms], units == 0)
            out["unit_source_concept_id"] = _constant(0, size)
        out["visit_occurrence_id"] = pa.array(ids[row].astype(np.int64))
        out[f"{prefix}_source_value"] = _texts(columns["name"], [name.text for name in names])
        out[f"{prefix}_source_concept_id"] = pa.array(source_of[columns["name"]])
        return pa.table(out)


def _dates(days: NDArray[np.integer]) -> pa.Array:
    return pa.array(days.astype(np.int32)).view(pa.date32())


def _constant(value: int, size: int) -> pa.Array:
    return pa.array(np.full(size, value, dtype=np.int64))


def _texts(position: NDArray[np.integer], words: list[str], null: NDArray[np.bool_] | None = None) -> pa.Array:
    index = pa.array(position.astype(np.int32), mask=null)
    return pa.DictionaryArray.from_arrays(index, pa.array(words)).cast(pa.string())
