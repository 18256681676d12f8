"""Random event streams and random settings: a plain reading of the task gives the same cohort, labels and tokens."""

from dataclasses import dataclass
from datetime import date
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.tasks.splits import SPLITS
from task_site import COUGH, FEVER, FLU, Site, after, task
from tiny_site import condition, person, visit

PERSONS = range(1, 5)
SHARES = [0.6, 0.2, 0.2]
BORN = {1: 1950, 2: 1980, 3: 2000, 4: 2015}
events = st.lists(
    st.tuples(st.sampled_from(PERSONS), st.integers(-40, 40), st.sampled_from([FLU, COUGH, FEVER])), max_size=30
)
visits = st.lists(
    st.tuples(st.sampled_from(PERSONS), st.integers(-30, 30), st.sampled_from([9201, 9202, 9203])),
    min_size=1,
    max_size=14,
)
observed = st.fixed_dictionaries({i: st.tuples(st.integers(-60, 0), st.integers(0, 60)) for i in PERSONS})
deaths = st.dictionaries(st.sampled_from(PERSONS), st.integers(-20, 60), max_size=2)


@dataclass(frozen=True)
class Settings:
    """What a task is asked for."""

    index: int
    outcome: str  # condition | visit | death
    occurrence: str
    washout: int
    prior: int
    age: list[int] | None
    sex: str | None
    begin: int
    last: int
    window: tuple[int, int]
    outcome_washout: int
    censoring: str
    at_risk: int | None
    split: str


asked = st.builds(
    lambda begin, last, gap, length, **more: Settings(
        begin=min(begin, last), last=last, window=(max(last + gap, 1), max(last + gap, 1) + length), **more
    ),
    begin=st.integers(-30, 0),
    last=st.integers(-5, 0),
    gap=st.integers(1, 5),
    length=st.integers(0, 20),
    index=st.sampled_from([9202, 9203]),
    outcome=st.sampled_from(["condition", "visit", "death"]),
    occurrence=st.sampled_from(["first", "last", "all"]),
    washout=st.sampled_from([0, 0, 5, 20]),
    prior=st.sampled_from([0, 0, 10]),
    age=st.sampled_from([None, None, [18, 60]]),
    sex=st.sampled_from([None, None, "female"]),
    outcome_washout=st.sampled_from([0, 0, 15]),
    censoring=st.sampled_from(["keep", "drop", "drop-unless-dead"]),
    at_risk=st.sampled_from([None, 3]),
    split=st.sampled_from(["hash", "returning", "apart"]),
)


def reference(
    s: Settings, events: Any, visits: Any, observed: Any, deaths: Any
) -> list[tuple[int, int, int, set[Any]]]:
    """The cohort before its split, person by person: (person, day, label, what is known)."""
    rows = []
    first, last = s.window
    for i in PERSONS:
        begin, end = observed[i]
        starts = sorted({day for p, day, c in visits if p == i and c == s.index})
        outcomes = {
            "condition": {day for p, day, c in events if p == i and c == FLU},
            "visit": {day for p, day, c in visits if p == i and c == 9201},
            "death": {deaths[i]} if i in deaths else set(),
        }[s.outcome]
        alive = [day for day in starts if i not in deaths or deaths[i] >= day]
        kept = [day for day in alive if not any(day - s.washout <= other < day for other in starts)]
        for day in {"first": kept[:1], "last": kept[-1:], "all": kept}[s.occurrence]:
            label = any(day + first <= o <= day + last for o in outcomes)
            until = last if s.at_risk is None else min(last, first + s.at_risk - 1)
            dead = i in deaths and day <= deaths[i] <= day + until
            age = after(day).year - BORN[i] - (after(day) < date(after(day).year, 7, 1))
            if not begin + s.prior <= day <= end or (s.age and not s.age[0] <= age <= s.age[1]):
                continue
            if (s.sex == "female" and i % 2) or (
                any(day - s.outcome_washout <= o < day + first for o in outcomes) and (s.outcome_washout)
            ):
                continue
            stays = label or day + until <= end or (s.censoring == "drop-unless-dead" and dead)
            if s.censoring == "keep" or stays:
                hidden = FLU if s.outcome == "condition" else None
                known = {(d - day, f"{c}|present") for p, d, c in events if p == i and s.begin <= d - day <= s.last}
                rows.append((i, day, int(label), {k for k in known if k[1] != f"{hidden}|present"}))
    return rows


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(s=asked, events=events, visits=visits, observed=observed, deaths=deaths)
def test_a_plain_reading_of_the_task_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, s: Settings, events: Any, visits: Any, observed: Any, deaths: Any
) -> None:
    boundary = {"by": "time", "validation": str(after(0)), "test": str(after(20)), "persons": s.split}
    if s.split == "apart":
        boundary |= {"shares": SHARES, "seed": 0}
    outcome = {"condition": [FLU], "visit": [9201], "death": []}[s.outcome]
    spec = task(
        index={
            "concepts": [s.index], "occurrence": s.occurrence, "washout": s.washout, "prior_observation": s.prior,
            "age": s.age, "sex": s.sex,
        },
        outcome={"domain": s.outcome, "concepts": outcome, "days": list(s.window), "washout": s.outcome_washout},
        censoring=s.censoring,
        min_time_at_risk=s.at_risk,
        predictors={"days": [s.begin, s.last], "domains": ["condition"]},
        split={"by": "hash", "shares": SHARES, "seed": 0} if s.split == "hash" else boundary,
    )  # fmt: skip
    site = Site(
        tmp_path_factory.mktemp("site"),
        spec,
        person=[person(i, BORN[i], gender_concept_id=8507 if i % 2 else 8532) for i in PERSONS],
        visit_occurrence=[visit(i, after(n), c) | {"visit_occurrence_id": k} for k, (i, n, c) in enumerate(visits)],
        condition_occurrence=[condition(i, after(n), c) for i, n, c in events],
        death=[{"person_id": i, "death_date": after(n)} for i, n in deaths.items()],
        observation_period=[
            {"person_id": i, "observation_period_start_date": after(a), "observation_period_end_date": after(b)}
            for i, (a, b) in observed.items()
        ],
    )
    expected = reference(s, events, visits, observed, deaths)
    drawn = {i: int(md5(f"0:{i}".encode()).hexdigest()[:8], 16) / 2**32 for i in PERSONS}
    own = {i: (u >= SHARES[0]) + (u >= SHARES[0] + SHARES[1]) for i, u in drawn.items()}
    split = {(i, day): own[i] if s.split == "hash" else (day >= 0) + (day >= 20) for i, day, *_ in expected}
    if s.split != "hash":
        ends = (0, 20, 10_000)
        expected = [row for row in expected if row[1] + s.window[1] < ends[split[row[:2]]] or split[row[:2]] == 2]
    if s.split == "apart":
        expected = [row for row in expected if split[row[:2]] == own[row[0]]]
    found = [
        (row["person_id"], (row["index_date"] - after(0)).days, row["label"], set(sequence))
        for row, sequence in zip(site.cohort, site.sequences, strict=True)
    ]
    assert found == expected
    assert all(day <= s.last < s.window[0] for sequence in site.sequences for day, _ in sequence)
    assert [row["split"] for row in site.cohort] == [SPLITS[split[row[:2]]] for row in expected]
    split_of = {(row["person_id"], row["split"]) for row in site.cohort}
    assert s.split == "returning" or len(split_of) == len({person for person, _ in split_of})
    for sequence in site.sequences:
        assert [day for day, _ in sequence] == sorted(day for day, _ in sequence)


def test_the_reference_is_of_use(tmp_path: Path) -> None:
    """The plain reading finds a row, its label and what is known: the property is not about empty cohorts."""
    s = Settings(9203, "condition", "first", 0, 0, None, None, -30, 0, (1, 7), 0, "keep", None, "hash")
    whole = dict.fromkeys(PERSONS, (-60, 60))
    assert reference(s, [(2, -1, COUGH), (2, 3, FLU)], [(2, 0, 9203)], whole, {}) == [
        (2, 0, 1, {(-1, f"{COUGH}|present")})
    ]
