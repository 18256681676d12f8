"""Fifty random tasks at random hospitals: a plain reading of the task, person by person, gives the same cohort.

In the mix: handed-in cohorts with labels and splits, persons who return, deaths (before the index, too), birthdays on
any day of the year, values in three units, operators, reference ranges, limits at usual cut-offs.
"""

import csv
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from hashlib import md5
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.splits import SPLITS
from task_site import FLU, task
from tiny_site import concept, condition, measurement, person, read, visit, write_cdm

SEEDS = range(50)
PERSONS = range(1, 31)
BEGIN = date(2019, 1, 1)
GLUCOSE, INPATIENT, EMERGENCY = 3004501, 9201, 9203
SHARES = [0.6, 0.2, 0.2]
BELOW, AT_MOST, ABOVE, AT_LEAST, EQUAL = 4171756, 4171754, 4172704, 4171755, 4172703
SIGNS = {BELOW: "<", AT_MOST: "<=", ABOVE: ">", AT_LEAST: ">="}
#: unit concept -> mg/dL in one of it, and half of the last digit in which it is usually given
MG, G, MMOL = 8840, 8636, 8753
UNITS = {MG: ("mg/dL", Fraction(1)), G: ("g/L", Fraction(100)), MMOL: ("mmol/L", 1 / Fraction("0.05551"))}
HALF_DIGIT = {MG: Fraction(1, 2), G: Fraction(1, 200), MMOL: Fraction(1, 20)}
VALUES = {MG: [99, 125.4, 126, 199, 200, 201], G: [1.25, 1.26, 1.99, 2.0], MMOL: [5.5, 6.9, 7.0, 11.0, 11.1]}
LIMITS = [(126, MG), (200, MG), (1.26, G), (7.0, MMOL), (11.1, MMOL), (2, G)]

Events = set[tuple[int, date]]


class Hospital(NamedTuple):
    """Raw rows: persons (birthday as far as known, sex), periods, deaths, visits, conditions, glucose, a cohort."""

    born: dict[int, tuple[int, int | None, int | None]]
    sex: dict[int, str]
    observed: dict[int, list[tuple[date, date]]]
    died: dict[int, date]
    visits: list[tuple[int, int, date, date, int]]  # id, person, start, end, concept
    conditions: list[tuple[int, date, int, int]]  # person, day, concept, visit
    glucose: list[dict[str, Any]]
    handed_in: list[tuple[int, date, int, str]]


def make_hospital(r: Random) -> Hospital:
    def day(first: int = 0, last: int = 700) -> date:
        return BEGIN + timedelta(r.randint(first, last))

    born: dict[int, tuple[int, int | None, int | None]] = {}
    for i in PERSONS:
        month = r.choice([None, 1, 2, 2, 3, 6, 12])
        born[i] = (
            r.choice([1950, 1984, 2000, 2001, 2002]),
            month,
            r.choice([None, 1, 28, 29, 30, 31]) if month else None,
        )
    observed = {}
    for i in PERSONS:
        cut = sorted(day(-200, 900) for _ in range(r.choice([2, 2, 4])))
        observed[i] = list(zip(cut[::2], cut[1::2], strict=True))
    visits = []
    for n in range(r.randint(80, 160)):
        start = day()
        visits.append(
            (n, r.choice(PERSONS), start, start + timedelta(r.choice([0, 0, 3])), r.choice([INPATIENT, EMERGENCY]))
        )
    conditions = [(v[1], v[2] + timedelta(r.randint(0, 30)), r.choice([FLU, FLU, 254761]), v[0]) for v in visits]
    glucose = []
    for v in r.choices(visits, k=150):
        unit = r.choice([MG, G, MMOL])
        operator = r.choice([None, 0, EQUAL, EQUAL, *SIGNS])
        number = r.choice(VALUES[unit])
        written = f"{r.choice(['<', '>= '])}{number}" if not operator and r.random() < 0.2 else str(number)
        low, high = r.choice([(None, None), (0, number), (0, 0), (number, None), (number, number), (1, 2), (9, 3)])
        glucose.append(
            measurement(
                v[1], v[2] + timedelta(r.randint(0, 20)), GLUCOSE, value_as_number=float(number), unit_concept_id=unit,
                operator_concept_id=operator, value_source_value=written, range_low=low, range_high=high,
                visit_occurrence_id=v[0],
            )
        )  # fmt: skip
    split = {i: r.choice(SPLITS) for i in range(1, 36)}
    rows = {(r.randint(1, 33), day()): r.randint(0, 1) for _ in range(90)}
    handed_in = [(i, d, label, split[i]) for (i, d), label in rows.items()]
    died = {i: day(0, 900) for i in PERSONS if r.random() < 0.3}
    return Hospital(
        born,
        {i: r.choice(["male", "female", "unknown"]) for i in PERSONS},
        observed,
        died,
        visits,
        conditions,
        glucose,
        handed_in,
    )


def make_task(r: Random, folder: Path) -> dict[str, Any]:
    cohort = {"domain": "cohort", "concepts": [], "file": str(folder / "{site}.csv")}

    def value() -> dict[str, Any]:
        limit, unit = r.choice(LIMITS)
        asked = r.choice([{"at_least": limit}, {"at_most": limit}, {"states": ["high"]}, {"states": ["low", "normal"]}])
        if "states" not in asked:
            asked["unit"] = UNITS[unit][0]
        return {"states": [], "at_least": None, "at_most": None, "unit": None} | asked

    index: dict[str, Any] = r.choice(
        [
            {"domain": "visit", "concepts": [INPATIENT], "at": r.choice(["start", "end"])},
            {"domain": "visit", "concepts": [EMERGENCY, INPATIENT]},
            {"domain": "condition", "concepts": [254761], "visits": r.choice([[], [INPATIENT]])},
            {"domain": "measurement", "concepts": [GLUCOSE], "value": value()},
            cohort,
            cohort,
        ]
    )
    index |= {
        "occurrence": r.choice(["first", "all", "all", "last"]),
        "washout": r.choice([0, 0, 60]),
        "prior_observation": r.choice([0, 0, 90]),
        "age": r.choice([None, None, [18, 120], [0, 17], [18, 18]]),
        "sex": r.choice([None, None, None, "female"]),
        "period": r.choice([None, None, [str(BEGIN + timedelta(50)), str(BEGIN + timedelta(500))]]),
    }
    first = r.choice([1, 1, 5])
    outcomes: list[dict[str, Any]] = [
        {"domain": "condition", "concepts": [FLU]},
        {"domain": "death", "concepts": []},
        {"domain": "visit", "concepts": [INPATIENT]},
        {"domain": "measurement", "concepts": [GLUCOSE], "value": value()},
        {"domain": "measurement", "concepts": [GLUCOSE], "value": value()},
        cohort,
    ]
    if index["domain"] == "cohort":
        outcomes += [{"domain": "cohort", "concepts": []}] * 4
    outcome = r.choice(outcomes) | {"days": [first, first + r.choice([7, 90])], "washout": r.choice([0, 0, 30])}
    if outcome["domain"] == "cohort" and "file" not in outcome:
        outcome["washout"] = 0
    middle = {"by": "time", "validation": str(BEGIN + timedelta(250)), "test": str(BEGIN + timedelta(450))}
    splits: list[dict[str, Any]] = [
        {"by": "hash", "shares": SHARES, "seed": 0},
        middle | {"persons": "returning", "seed": 0},
        middle | {"persons": "apart", "shares": SHARES, "seed": 0},
    ]
    if index["domain"] == "cohort":
        splits += [{"by": "given"}] * 3
    return task(
        index=index,
        outcome=outcome,
        censoring=r.choice(["keep", "keep", "drop", "drop-unless-dead"]),
        min_time_at_risk=r.choice([None, 3]),
        split=r.choice(splits),
    )


def allowed(row: dict[str, Any]) -> tuple[str, Fraction]:
    """The operator of a row's number, and the number."""
    sign = SIGNS.get(row["operator_concept_id"] or 0, "=")
    if not row["operator_concept_id"] and row["value_source_value"][0] in "<>":
        sign = "<" if row["value_source_value"][0] == "<" else ">="
    return sign, Fraction(str(row["value_as_number"]))


def keeps(row: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether a number keeps a limit, in the number's own unit; a bound only if all that it allows does."""
    sign, number = allowed(row)
    own = row["unit_concept_id"]
    for key, signs in (("at_least", "=>>="), ("at_most", "=<<=")):
        if asked[key] is None:
            continue
        unit = next(one for one, (name, _) in UNITS.items() if name == asked["unit"])
        limit = Fraction(str(asked[key])) * UNITS[unit][1] / UNITS[own][1]
        room = HALF_DIGIT[own] if (unit == MMOL) != (own == MMOL) else limit / 10**6
        if sign not in signs or (number < limit - room if key == "at_least" else number > limit + room):
            return False
    return True


def state(row: dict[str, Any]) -> str | None:
    """The state of a number by its reference range, tried on numbers around it where it is a bound."""
    sign, number = allowed(row)
    low, high = (None if row[k] is None else Fraction(str(row[k])) for k in ("range_low", "range_high"))
    if (not low and not high) or (low is not None and high is not None and low >= high):
        return None

    def of(x: Fraction) -> str:
        return "low" if low is not None and x < low else "high" if high is not None and x > high else "normal"

    tiny, far = Fraction(1, 10**9), [Fraction(n, 2) for n in range(1000)]
    steps = {
        "=": [number],
        "<": [number - tiny, *(x for x in far if x < number)],
        "<=": [number, number - tiny, *(x for x in far if x < number)],
        ">": [number + tiny, *(x + number for x in far[1:])],
        ">=": [number, *(x + number for x in far[1:])],
    }[sign]
    states = {of(x) for x in steps}
    return states.pop() if len(states) == 1 else None


def events_of(h: Hospital, spec: dict[str, Any]) -> Events:
    of_type = {v[0] for v in h.visits if v[4] in spec["visits"]}
    match spec["domain"]:
        case "visit":
            return {(v[1], v[3] if spec.get("at") == "end" else v[2]) for v in h.visits if v[4] in spec["concepts"]}
        case "condition":
            return {
                (i, d) for i, d, c, v in h.conditions if c in spec["concepts"] and (not spec["visits"] or v in of_type)
            }
        case "death":
            return set(h.died.items())
        case "measurement":
            asked = spec["value"]
            return {
                (g["person_id"], g["measurement_date"])
                for g in h.glucose
                if keeps(g, asked) and (not asked["states"] or state(g) in asked["states"])
            }
    return {(i, d) for i, d, _, _ in h.handed_in}


def age_on(born: tuple[int, int | None, int | None], day: date) -> int:
    year, month, of_month = born
    birthday = (month or 7, (of_month or 1) if month else 1)
    return max(day.year - year - ((day.month, day.day) < birthday), 0)


def read_cohort(h: Hospital, spec: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The cohort as docs/tasks.md tells it: (person, day, label, split, age, sex), step by step."""
    index, outcome = spec["index"], spec["outcome"]
    first, last = outcome["days"]
    starts, days = events_of(h, index), timedelta
    own_label = outcome["domain"] == "cohort" and not outcome["file"]
    ends: Events = set() if own_label else events_of(h, outcome)
    labels = {(i, d): label for i, d, label, _ in h.handed_in}

    def observed(i: int, begin: date, end: date) -> bool:
        return any(a <= begin and end <= b for a, b in h.observed[i])

    rows: list[tuple[int, date, int]] = []
    for i in PERSONS:
        mine = sorted(d for p, d in starts if p == i)
        alive = [d for d in mine if i not in h.died or h.died[i] >= d]
        calm = [d for d in alive if not any(d - days(index["washout"]) <= o < d for o in mine)]
        if index["period"]:
            calm = [d for d in calm if index["period"][0] <= str(d) <= index["period"][1]]
        for d in {"first": calm[:1], "last": calm[-1:], "all": calm}[index["occurrence"]]:
            theirs = {o for p, o in ends if p == i}
            label = labels[i, d] if own_label else int(any(d + days(first) <= o <= d + days(last) for o in theirs))
            age = age_on(h.born[i], d)
            if not any(a + days(index["prior_observation"]) <= d <= b for a, b in h.observed[i]):
                continue
            if index["age"] and not index["age"][0] <= age <= index["age"][1]:
                continue
            if index["sex"] and h.sex[i] != index["sex"]:
                continue
            if outcome["washout"] and any(d - days(outcome["washout"]) <= o < d + days(first) for o in theirs):
                continue
            if spec["censoring"] != "keep" and not label:
                at_risk = spec["min_time_at_risk"]
                until = last if at_risk is None else min(last, first + at_risk - 1)
                dead = i in h.died and d <= h.died[i] <= d + days(until)
                if not observed(i, d, d + days(until)) and not (dead and spec["censoring"] == "drop-unless-dead"):
                    continue
            rows.append((i, d, label))
    return [
        (i, d, label, where, age_on(h.born[i], d), h.sex[i])
        for i, d, label in rows
        if (where := split_of(h, spec["split"], i, d, last)) is not None
    ]


def split_of(h: Hospital, split: dict[str, Any], i: int, day: date, window_end: int) -> str | None:
    if split["by"] == "given":
        return next(where for p, d, _, where in h.handed_in if (p, d) == (i, day))
    u = int(md5(f"0:{i}".encode()).hexdigest()[:8], 16) / 2**32
    drawn = SPLITS[(u >= SHARES[0]) + (u >= SHARES[0] + SHARES[1])]
    if split["by"] == "hash":
        return drawn
    bounds = [date.fromisoformat(split[key]) for key in ("validation", "test")]
    period = sum(day >= bound for bound in bounds)
    if period < 2 and day + timedelta(window_end) >= bounds[period]:
        return None
    return SPLITS[period] if split["persons"] == "returning" or SPLITS[period] == drawn else None


def write(h: Hospital, folder: Path) -> Path:
    sexes = {"male": 8507, "female": 8532, "unknown": 0}
    with (folder / "here.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("person_id", "index_date", "label", "split"), *h.handed_in])
    return write_cdm(
        folder / "cdm",
        concept=[concept(GLUCOSE, "Glucose [Mass/volume] in Serum or Plasma"), concept(FLU, "Influenza")],
        person=[
            person(i, y, month_of_birth=m, day_of_birth=d, gender_concept_id=sexes[h.sex[i]])
            for i, (y, m, d) in h.born.items()
        ],
        observation_period=[
            {"person_id": i, "observation_period_start_date": a, "observation_period_end_date": b}
            for i, periods in h.observed.items()
            for a, b in periods
        ],
        death=[{"person_id": i, "death_date": d} for i, d in h.died.items()],
        visit_occurrence=[
            visit(i, a, c) | {"visit_occurrence_id": n, "visit_end_date": b} for n, i, a, b, c in h.visits
        ],
        condition_occurrence=[condition(i, d, c, visit_occurrence_id=n) for i, d, c, n in h.conditions],
        measurement=h.glucose,
    )


@pytest.fixture(scope="module")
def seen() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plain_reading_gives_the_same_cohort(tmp_path: Path, seed: int, seen: Counter[str]) -> None:
    r = Random(seed)
    hospital, spec = make_hospital(r), make_task(r, tmp_path)
    cdm = write(hospital, tmp_path)
    make_cohort(cdm, "here", spec, 1, tmp_path / "cohort.parquet", tmp_path / "a.csv", tmp_path / "s.parquet")
    found = [
        tuple(row[key] for key in ("person_id", "index_date", "label", "split", "age", "sex"))
        for row in read(tmp_path / "cohort.parquet")
    ]
    expected = read_cohort(hospital, spec)
    assert found == expected
    told: dict[str, Callable[[], bool]] = {
        "rows": lambda: bool(expected),
        "both labels": lambda: len({row[2] for row in expected}) == 2,
        "handed-in cohort": lambda: spec["index"]["domain"] == "cohort" and bool(expected),
        "given split": lambda: spec["split"]["by"] == "given" and bool(expected),
        "persons who return": lambda: len({row[0] for row in expected}) < len(expected),
        "index after death": lambda: any(
            i in hospital.died and hospital.died[i] < d for i, d in events_of(hospital, spec["index"])
        ),
        "value": lambda: bool((spec["index"]["value"] or spec["outcome"]["value"]) and expected),
    }
    seen.update(name for name, is_so in told.items() if is_so())


def test_the_fifty_have_all_that_is_to_be_compared(seen: Counter[str]) -> None:
    if seen:  # the cases run in this process
        least = {"rows": 30, "both labels": 12, "handed-in cohort": 7, "given split": 2, "persons who return": 8}
        least |= {"index after death": 25, "value": 7}
        assert {name: seen[name] for name in least if seen[name] < least[name]} == {}, dict(seen)
