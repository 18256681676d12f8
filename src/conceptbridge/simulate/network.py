"""Simulate one hospital of the built-in network: what is charted at its visits, and under which names.

docs/network.md describes the generating model; its parameters are in model.yaml and findings.yaml.
"""

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_folder, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.simulate.full_cdm import complete
from conceptbridge.simulate.habits import Habits, draw_habits, shifted
from conceptbridge.simulate.names import Naming, concept_tables, draw_names, findings
from conceptbridge.simulate.omop_tables import EHR, PRESENT, Form, Records, Rows, Visits
from conceptbridge.simulate.population import (
    Days,
    Emergencies,
    Floats,
    People,
    causes,
    chance,
    day_number,
    deaths,
    emergencies,
    influenza_wave,
    log_odds,
    model,
    people,
)

logger = logging.getLogger(__name__)

FEVER = 38.0  # degrees Celsius


def write_extract(hospital: str, persons: int, seed: int, folder: Path) -> None:
    """Write the extract of ``hospital`` to ``folder``, one Parquet file per CDM table, whole or not at all.

    It has all columns of its tables, and tables that no study reads, for other tools (``full_cdm``).
    """
    tables = complete(_tables(hospital, persons, seed), hospital)
    with atomic_folder(folder) as temporary:
        for name, table in tables:
            write_parquet(table, temporary / f"{name}.parquet")


def simulate(hospital: str, persons: int, seed: int) -> dict[str, pa.Table]:
    """Simulate the OMOP CDM 5.4 extract of one hospital; the result depends only on the three arguments.

    ``persons`` counts those of the first three hospitals; ``hospital`` has its share of this number. Returns the
    tables by CDM name. Raises StudyError for an unknown hospital, fewer than 100 persons or a negative seed.
    """
    return dict(_tables(hospital, persons, seed))


def _tables(hospital: str, persons: int, seed: int) -> Iterator[tuple[str, pa.Table]]:
    hospitals = model()["hospitals"]
    if hospital not in hospitals:
        raise StudyError(f"the built-in network has no hospital {hospital!r}; choose one of {', '.join(hospitals)}")
    if persons < 100:
        raise StudyError(f"the built-in network needs at least 100 persons, not {persons}; raise simulate.persons")
    if seed < 0:
        raise StudyError(f"the built-in network's seed must not be negative, but is {seed}; change simulate.seed")
    naming, rng = naming_of(hospital, seed), streams(hospital, seed)[1]
    factors, own = draw_habits(hospitals[hospital], streams(hospital, seed)[2])
    habits = hospitals[hospital] | {"causes": factors}
    who = people(habits, max(1, round(persons * habits["persons"])), rng)
    ed, died = deaths(emergencies(habits, who, rng), who, rng)
    logger.info("%s: %d persons, %d emergency visits", hospital, len(who.birth), len(ed.person))
    last_day = np.where(died >= 0, died, day_number(model()["calendar"]["records"][1])).astype(np.int32)
    visits, layout = _visits(ed, who, last_day, rng)
    records = Records(naming, model()["naming"]["second_share"], visits, rng)
    _chart(habits, own, ed, records)
    _history(habits, ed, who, layout, records)
    _diagnose(habits, ed, layout, records)
    yield from _person_tables(who, died, last_day).items()
    yield from records.tables()
    yield from concept_tables(hospital, naming).items()
    yield "cdm_source", _cdm_source(hospital, persons, seed)


def streams(hospital: str, seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Return the random streams of a hospital: one for its names, one for its patients, one for its habits.

    Names have their own stream, so they stay the same whatever changes about patients.
    """
    names, patients, habits = np.random.SeedSequence([seed, zlib.crc32(hospital.encode())]).spawn(3)
    return np.random.default_rng(names), np.random.default_rng(patients), np.random.default_rng(habits)


def naming_of(hospital: str, seed: int) -> Naming:
    """Return the names that a hospital gives to findings: by the network's rule, or by its own chances."""
    rule = model()["naming"] | model()["hospitals"][hospital].get("naming", {})
    return draw_names(rule, streams(hospital, seed)[0])


@dataclass(frozen=True)
class _Layout:
    """Where visits lie in Visits: the emergency ones come first, in the order of Emergencies."""

    diagnosed_at: Rows  # for each emergency visit: its inpatient stay where there is one, else itself
    outpatient: Rows
    vaccination: Rows


def _visits(ed: Emergencies, who: People, last_day: Days, rng: np.random.Generator) -> tuple[Visits, _Layout]:
    n, count = len(ed.person), len(who.birth)
    admitted = np.flatnonzero(ed.admitted).astype(np.int32)
    stay_end = ed.day[admitted] + 3 + rng.poisson(2, len(admitted))
    stay_end = np.minimum(stay_end, last_day[ed.person[admitted]])

    mean = model()["visits_without_emergency"]
    burden = np.sum(list(who.conditions.values()), axis=0)
    person = np.repeat(np.arange(count, dtype=np.int32), rng.poisson(mean["base"] + mean["each_condition"] * burden))
    span = (last_day - who.start + 1)[person]
    day = who.start[person] + np.floor(rng.random(len(person)) * span).astype(np.int32)

    autumns = range(model()["calendar"]["records"][0].year, model()["calendar"]["records"][1].year)
    habit = np.flatnonzero(who.vaccinated).astype(np.int32)
    shot = np.concatenate([day_number(f"{y}-09-15") + rng.integers(0, 75, len(habit)) for y in autumns]).astype(
        np.int32
    )
    shot_person = np.tile(habit, len(autumns))
    kept = (shot >= who.start[shot_person]) & (shot <= last_day[shot_person]) & (rng.random(len(shot)) < 0.8)
    shot, shot_person = shot[kept], shot_person[kept]

    sizes = [n, len(admitted), len(person), len(shot)]
    first = np.cumsum([0, *sizes])
    diagnosed_at = np.arange(n, dtype=np.int32)
    diagnosed_at[admitted] = np.arange(first[1], first[2], dtype=np.int32)
    visits = Visits(
        person=np.concatenate([ed.person, ed.person[admitted], person, shot_person]),
        start=np.concatenate([ed.day, ed.day[admitted], day, shot]),
        end=np.concatenate([ed.day, stay_end.astype(np.int32), day, shot]),
        concept=np.repeat(np.array([9203, 9201, 9202, 9202], dtype=np.int32), sizes),
    )
    outpatient = np.arange(first[2], first[3], dtype=np.int32)
    return visits, _Layout(diagnosed_at, outpatient, np.arange(first[3], first[4], dtype=np.int32))


def _chart(habits: dict[str, Any], own: Habits, ed: Emergencies, records: Records) -> None:
    """Symptoms and values given the cause; then what is done, given only what is seen."""
    rng, everyone = records.rng, np.arange(len(ed.person), dtype=np.int32)
    for key, item in findings()["symptoms"].items():
        shift, charting = own.given[f"symptoms/{key}"], own.charted[f"symptoms/{key}"]
        odds = (log_odds(_by(item["by_cause"], causes())) + shift)[ed.cause].astype(np.float32)
        odds += item.get("age", 0) * ed.age + item.get("severity", 0) * ed.severity
        there = _flip(chance(odds), rng)
        charted = there & _flip(shifted(habits["recorded"], charting), rng, len(there))
        records.add(f"symptoms/{key}", everyone[charted], value=PRESENT if habits["absent"] else 0)
        if habits["absent"]:
            absent = shifted(habits["absent"], charting)
            records.add_absent(f"symptoms/{key}", everyone[~there & _flip(absent, rng, len(there))])

    temperature = np.empty(0, dtype=np.float32)
    for key, item in findings()["measurements"].items():
        value = _value(item["value"], ed, rng)
        if key == "temperature":
            temperature = value
        ordered = shifted(_by(item["ordered"], model()["groups"]), own.given[f"measurements/{key}"])[ed.group]
        done = everyone[_flip(ordered, rng) & _flip(habits["recorded"], rng, len(everyone))]
        _measure(habits, key, done, value[done], records)

    for key, item in findings()["treatments"].items():
        usual = log_odds(_by(item["by_group"], model()["groups"]))
        odds = (usual + own.given[f"treatments/{key}"])[ed.group].astype(np.float32)
        odds += item.get("age", 0) * ed.age + item.get("severity", 0) * ed.severity
        odds += item.get("fever", 0) * (temperature >= FEVER)
        records.add(
            f"treatments/{key}",
            everyone[_flip(chance(odds), rng) & _flip(habits["recorded"], rng, len(odds))],
        )


def _history(habits: dict[str, Any], ed: Emergencies, who: People, layout: _Layout, records: Records) -> None:
    """Conditions and home drugs, listed at some visits; blood pressure and vaccines outside emergencies."""
    rng, person = records.rng, records.visits.person
    seen = np.concatenate([np.arange(len(ed.person), dtype=np.int32), layout.outpatient])
    for section, has in (("conditions", who.conditions), ("drugs", who.drugs)):
        for key, flags in has.items():
            rows = seen[flags[person[seen]]]
            records.add(f"{section}/{key}", rows[_flip(0.5 * habits["recorded"], rng, len(rows))])
    records.add("drugs/influenza_vaccine", layout.vaccination)
    rows = layout.outpatient[_flip(0.6 * habits["recorded"], rng, len(layout.outpatient))]
    pressure = findings()["measurements"]["systolic_pressure"]["value"]
    _measure(habits, "systolic_pressure", rows, rng.normal(pressure["mean"], pressure["sd"], len(rows)), records)


def _diagnose(habits: dict[str, Any], ed: Emergencies, layout: _Layout, records: Records) -> None:
    """Diagnoses one to three days after the visit, influenza's with its test and drug on the same day."""
    rng, n = records.rng, len(ed.person)
    code = {cause: position for position, cause in enumerate(causes())}
    offset = rng.choice(np.array([1, 2, 3], dtype=np.int8), n, p=[0.5, 0.3, 0.2])
    labelled = ed.cause.copy()
    missed = (ed.cause == code["influenza"]) & _flip(habits["missed"], rng, n)
    alike = [code[cause] for cause in ("viral_illness", "cold", "bronchitis")]
    labelled[missed] = rng.choice(alike, int(missed.sum()), p=[0.6, 0.25, 0.15])
    similar = np.isin(ed.cause, alike)
    in_season = influenza_wave(ed.day) > 0.1
    labelled[similar & in_season & _flip(habits["mistaken"], rng, n)] = code["influenza"]

    influenza, facts = labelled == code["influenza"], findings()["influenza"]
    kinds = facts["diagnosis"]
    kind = rng.choice(np.array(list(kinds)), n, p=list(kinds.values()))
    for concept in kinds:
        rows = np.flatnonzero(influenza & (kind == concept))
        records.add(f"influenza/{concept}", layout.diagnosed_at[rows], offset[rows])
    for cause in findings()["diagnoses"]:
        rows = np.flatnonzero((labelled == code[cause]) & _flip(0.95, rng, n))
        records.add(f"diagnoses/{cause}", layout.diagnosed_at[rows], offset[rows])

    suspected = np.isin(ed.group, [model()["groups"].index(group) for group in ("respiratory", "febrile")])
    tested = np.where(influenza, facts["test"]["done"], 0.25 * (suspected & in_season))
    rows = np.flatnonzero(_flip(tested, rng))
    key = f"influenza/{facts['test']['concept']}"
    at = layout.diagnosed_at[rows]
    records.add_measurement(key, at, Form(), positive=influenza[rows], offset=offset[rows])
    rows = np.flatnonzero(influenza & _flip(facts["drug"]["given"], rng, n))
    records.add(f"influenza/{facts['drug']['concept']}", layout.diagnosed_at[rows], offset[rows])


def _measure(habits: dict[str, Any], key: str, rows: Rows, value: NDArray[Any], records: Records) -> None:
    """Record values in the hospital's unit, or as positive / negative if that is its habit."""
    item = findings()["measurements"][key]
    kind, (low, high) = item["kind"], item["range"]
    if kind == "dipstick" or (kind == "marker" and habits["markers"] == "qualitative"):
        records.add_measurement(f"measurements/{key}", rows, Form(), positive=value > high)
        return
    unit, text, factor, decimals, *added = item["units"][habits["units"]]
    numbers, low, high = (
        np.round(np.asarray(x, dtype=np.float64) * factor + sum(added), decimals) for x in (value, low, high)
    )
    form = Form(unit, text)
    if habits["ranges"] == "all" or (habits["ranges"] == "labs" and kind != "vital"):
        form = Form(unit, text, float(low), float(high))
    records.add_measurement(f"measurements/{key}", rows, form, numbers=numbers)


def _value(facts: dict[str, Any], ed: Emergencies, rng: np.random.Generator) -> Floats:
    """Return a measured quantity in its first unit, whether or not it is measured."""
    shift = _by({"default": 0.0, **facts["shift"]}, causes()).astype(np.float32)[ed.cause]
    value = facts["mean"] + shift + facts["age"] * ed.age + facts["severity"] * ed.severity
    value += facts["sd"] * rng.standard_normal(len(value), dtype=np.float32)
    if facts.get("log"):
        value = np.exp(value)
    value = np.clip(value, facts.get("at_least", -np.inf), facts.get("at_most", np.inf))
    return np.asarray(value, dtype=np.float32)


def _by(table: dict[str, float], keys: list[str]) -> NDArray[np.float64]:
    return np.array([table.get(key, table["default"]) for key in keys])


def _flip(probability: Any, rng: np.random.Generator, size: int | None = None) -> NDArray[np.bool_]:
    """Return True with the given probability (an array, or a number and a size)."""
    draws = rng.random(np.shape(probability) if size is None else size, dtype=np.float32)
    return np.asarray(draws < probability)


def _person_tables(who: People, died: Days, last_day: Days) -> dict[str, pa.Table]:
    count = len(who.birth)
    ids = np.arange(1, count + 1, dtype=np.int64)
    zero, ehr = np.zeros(count, dtype=np.int64), np.full(count, EHR, dtype=np.int64)
    birth = who.birth.astype("datetime64[D]")
    year, month = birth.astype("datetime64[Y]"), birth.astype("datetime64[M]")
    race = {8527: "white", 8516: "black", 8515: "asian", 8657: "native", 0: "unknown"}
    dead = np.flatnonzero(died >= 0)
    return {
        "person": pa.table(
            {
                "person_id": ids,
                "gender_concept_id": np.where(who.female, 8532, 8507),
                "year_of_birth": year.astype(np.int32) + 1970,
                "month_of_birth": (month - year).astype(np.int32) + 1,
                "day_of_birth": (birth - month).astype(np.int32) + 1,
                "race_concept_id": who.race,
                "ethnicity_concept_id": np.where(who.hispanic, 38003563, 38003564),
                "person_source_value": ids.astype(str),
                "gender_source_value": np.where(who.female, "F", "M"),
                "gender_source_concept_id": zero,
                "race_source_value": np.select([who.race == key for key in race], list(race.values()), ""),
                "race_source_concept_id": zero,
                "ethnicity_source_value": np.where(who.hispanic, "hispanic", "not hispanic"),
                "ethnicity_source_concept_id": zero,
            }
        ),
        "observation_period": pa.table(
            {
                "observation_period_id": ids,
                "person_id": ids,
                "observation_period_start_date": who.start.astype("datetime64[D]"),
                "observation_period_end_date": last_day.astype("datetime64[D]"),
                "period_type_concept_id": ehr,
            }
        ),
        "death": pa.table(
            {
                "person_id": ids[dead],
                "death_date": died[dead].astype("datetime64[D]"),
                "death_type_concept_id": ehr[dead],
            }
        ),
    }


def _cdm_source(hospital: str, persons: int, seed: int) -> pa.Table:
    release = pa.array([model()["calendar"]["records"][1]], pa.date32())
    return pa.table(
        {
            "cdm_source_name": [f"{hospital} (simulated)"],
            "cdm_source_abbreviation": [hospital],
            "cdm_holder": ["conceptbridge"],
            "source_description": [f"simulated persons, no patient: network of {persons} persons, seed {seed}"],
            "source_documentation_reference": ["docs/network.md"],
            "source_release_date": release,
            "cdm_release_date": release,
            "cdm_version": ["5.4"],
            "cdm_version_concept_id": pa.array([756265], pa.int64()),
            "vocabulary_version": ["excerpt"],
        }
    )
