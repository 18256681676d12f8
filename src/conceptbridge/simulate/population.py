"""Draw the hidden world of a simulated hospital: persons, conditions, emergency visits with a true cause, deaths."""

from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from conceptbridge.simulate.names import findings

Floats = NDArray[np.float32]
Days = NDArray[np.int32]  # days since 1970-01-01
Flags = NDArray[np.bool_]
Codes = NDArray[np.int8]

DAYS_APART = 14  # an emergency visit sooner than this after the person's last one is dropped
FATAL_DAYS = 4  # a death follows the last visit by at least this, so that the diagnosis is coded before


@dataclass(frozen=True)
class People:
    """One entry per person."""

    age_group: Codes
    birth: Days
    start: Days  # first day of the observation period
    female: Flags
    race: NDArray[np.int64]
    hispanic: Flags
    conditions: dict[str, Flags]
    drugs: dict[str, Flags]
    vaccinated: Flags


@dataclass(frozen=True)
class Emergencies:
    """One entry per emergency visit, in the order of persons and days."""

    person: NDArray[np.int32]
    day: Days
    cause: Codes  # position in causes()
    group: Codes  # complaint at triage, position in model()["groups"]
    severity: Floats  # standard deviations
    age: Floats  # (years - 40) / 20, kept within -2 and 2.5
    admitted: Flags


@cache
def model() -> dict[str, Any]:
    """Return the parameters of model.yaml."""
    loaded: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("model.yaml").read_text(encoding="utf-8"))
    return loaded


def causes() -> list[str]:
    """Return the causes of emergency visits, in the order of their codes."""
    return list(model()["causes"])


def day_number(date: Any) -> int:
    """Return the days from 1970-01-01 to ``date``."""
    return int(np.datetime64(date, "D").astype(int))


def chance(odds: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the probability of log-odds, in their own precision."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of probabilities, kept away from 0 and 1."""
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)))


def calendar() -> Days:
    """Return the days on which emergency visits start."""
    first, last = model()["calendar"]["visits"]
    return np.arange(day_number(first), day_number(last) + 1, dtype=np.int32)


def influenza_wave(days: Days) -> NDArray[np.float64]:
    """Return the relative intensity of influenza on ``days``: a background and a bell curve every winter."""
    wave = np.full(len(days), model()["influenza_background"], dtype=np.float64)
    for strength, peak in model()["influenza_seasons"].values():
        wave += strength * np.exp(-0.5 * ((days - day_number(peak)) / model()["influenza_width"]) ** 2)
    return wave


def people(habits: dict[str, Any], persons: int, rng: np.random.Generator) -> People:
    """Draw ``persons`` persons of a hospital."""
    group = rng.choice(5, persons, p=habits["age_shares"]).astype(np.int8)
    low, high = np.array(model()["ages"], dtype=np.float64).T
    age = low[group] + (high - low)[group] * rng.random(persons)
    first, last = model()["calendar"]["visits"]
    middle = (day_number(first) + day_number(last)) // 2
    birth = (middle - np.floor(age * 365.25)).astype(np.int32)
    enrolled = day_number(model()["calendar"]["records"][0]) + rng.integers(0, 365, persons)
    races = habits["race"]
    conditions: dict[str, Flags] = {}
    drugs = {key: np.zeros(persons, dtype=np.bool_) for key in findings()["drugs"]}
    for key, item in findings()["conditions"].items():
        conditions[key] = rng.random(persons) < np.array(item["by_age"])[group]
        for drug, probability in item["drugs"].items():
            drugs[drug] |= conditions[key] & (rng.random(persons) < probability)
    return People(
        age_group=group,
        birth=birth,
        start=np.maximum(birth, enrolled).astype(np.int32),
        female=rng.random(persons) < 0.52,
        race=rng.choice(np.array(list(races), dtype=np.int64), persons, p=list(races.values())),
        hispanic=rng.random(persons) < habits["hispanic"],
        conditions=conditions,
        drugs=drugs,
        vaccinated=rng.random(persons) < np.array(model()["vaccinated"])[group],
    )


def emergencies(habits: dict[str, Any], who: People, rng: np.random.Generator) -> Emergencies:
    """Draw the emergency visits: cause given the person, day given the cause, then complaint and severity."""
    days = calendar()
    intensity = _intensity(days)
    person = np.repeat(
        np.arange(len(who.birth), dtype=np.int32), 1 + rng.poisson(habits["extra_visits"], len(who.birth))
    )
    cumulative = np.cumsum(_weights(habits, who) * intensity.mean(axis=1, dtype=np.float32), axis=1)
    cumulative /= cumulative[:, -1:]
    u = rng.random(len(person), dtype=np.float32)
    cause = np.zeros(len(person), dtype=np.int8)
    for code in range(len(causes()) - 1):
        cause += u > cumulative[person, code]
    day = np.empty(len(person), dtype=np.int32)
    for code in range(len(causes())):
        of_cause = np.flatnonzero(cause == code)
        spread = np.cumsum(intensity[code]) / intensity[code].sum()
        day[of_cause] = days[np.searchsorted(spread[:-1], rng.random(len(of_cause)))]

    order = np.lexsort((day, person))
    person, day, cause = person[order], day[order], cause[order]
    soon = np.zeros(len(person), dtype=np.bool_)
    soon[1:] = (person[1:] == person[:-1]) & (day[1:] - day[:-1] < DAYS_APART)
    kept = ~soon & (day >= who.start[person])
    person, day, cause = person[kept], day[kept], cause[kept]

    age = np.clip(((day - who.birth[person]) / 365.25 - 40) / 20, -2, 2.5).astype(np.float32)
    severity = rng.standard_normal(len(person), dtype=np.float32)
    group = np.empty(len(person), dtype=np.int8)
    admission = np.empty(len(person), dtype=np.float32)
    for code, cause_facts in enumerate(model()["causes"].values()):
        of_cause = np.flatnonzero(cause == code)
        groups = [model()["groups"].index(name) for name in cause_facts["groups"]]
        group[of_cause] = rng.choice(groups, len(of_cause), p=list(cause_facts["groups"].values()))
        admission[of_cause] = cause_facts.get("admit", 0)
    admit = model()["admit"]
    admission += admit["intercept"] + admit["age"] * age + admit["severity"] * severity
    admitted = rng.random(len(person)) < chance(admission)
    return Emergencies(person, day, cause, group, severity, age, admitted)


def deaths(visits: Emergencies, who: People, rng: np.random.Generator) -> tuple[Emergencies, Days]:
    """Make some visits fatal; returns the visits that remain and each person's day of death (-1: none)."""
    die = model()["die"]
    odds = (
        die["intercept"]
        + die["age"] * visits.age
        + die["severity"] * visits.severity
        + die["admitted"] * visits.admitted
    )
    fatal = np.flatnonzero(rng.random(len(odds)) < chance(odds))[::-1]
    # reversed, so that the earliest fatal visit of a person is assigned last
    last_visit = np.full(len(who.birth), np.iinfo(np.int32).max, dtype=np.int32)
    last_visit[visits.person[fatal]] = visits.day[fatal]
    died = np.full(len(who.birth), -1, dtype=np.int32)
    died[visits.person[fatal]] = last_visit[visits.person[fatal]]
    died[died >= 0] += FATAL_DAYS + rng.geometric(0.12, int((died >= 0).sum())).clip(max=60).astype(np.int32)
    kept = visits.day <= last_visit[visits.person]
    return Emergencies(**{f.name: getattr(visits, f.name)[kept] for f in fields(visits)}), died


def _intensity(days: Days) -> NDArray[np.float64]:
    """Return the relative intensity of each cause (rows) on each day (columns)."""
    rows = []
    for cause, facts in model()["causes"].items():
        if cause == "influenza":
            rows.append(influenza_wave(days))
        else:
            amplitude, peak = facts["season"]
            rows.append(1 + amplitude * np.cos(2 * np.pi * (_day_of_year(days) - peak) / 365.25))
    return np.stack(rows)


def _weights(habits: dict[str, Any], who: People) -> Floats:
    """Return the relative frequency of each cause (columns) for each person (rows), apart from the season."""
    weights = np.empty((len(who.birth), len(causes())), dtype=np.float32)
    for code, (cause, facts) in enumerate(model()["causes"].items()):
        rate = facts["rate"] * habits["causes"].get(cause, 1.0)
        weights[:, code] = rate * np.array(facts["ages"], dtype=np.float32)[who.age_group]
    for key, item in findings()["conditions"].items():
        for cause, factor in item["raises"].items():
            weights[who.conditions[key], causes().index(cause)] *= factor
    weights[who.vaccinated, causes().index("influenza")] *= model()["vaccine_effect"]
    return weights


def _day_of_year(days: Days) -> NDArray[np.int64]:
    dates = days.astype("datetime64[D]")
    return np.asarray((dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64))
