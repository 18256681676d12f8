"""The numbers beside the states: a plain reading gives the same, and only the site's training rows say what is much."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from task_site import DAY, Site, after, task
from tiny_site import Rows, measurement, observation, person, visit

TEMPERATURE, PULSE = 1, 3027018
VALIDATION, TEST = date(2023, 6, 1), date(2024, 6, 1)
CELSIUS, FAHRENHEIT = {"unit_concept_id": 586323}, {"unit_concept_id": 9289}
#: how often the plain reading found a value, a clipped one, the mean of several, and a number without a scale
FOUND = dict.fromkeys(("value", "clipped", "mean", "no scale"), 0)


def values(site: Site, concept: object = TEMPERATURE) -> list[list[float | None]]:
    """Of each row of the cohort the values of the tokens of a concept, in time order."""
    return [
        [value for (_, key), value in zip(*row, strict=True) if key.startswith(f"{concept}|")]
        for row in zip(site.sequences, site.values, strict=True)
    ]


def scales(site: Site, concept: object = TEMPERATURE) -> list[Any]:
    """The scales of the tokens of a concept, each once."""
    found: list[Any] = []
    for token in site.tokens:
        if token["key"].startswith(f"{concept}|") and token["scales"] not in found:
            found.append(token["scales"])
    return found


def measured(folder: Path, measurements: Rows, visits: dict[int, date] | None = None, **change: Any) -> Site:
    """A site with these measurements, and a visit of each person on the day of the index, or on another one."""
    days = dict.fromkeys({row["person_id"] for row in measurements}, DAY) | (visits or {})
    return Site(
        folder,
        task(**{"min_values": 10} | change),
        person=[person(i) for i in days],
        visit_occurrence=[visit(i, day) for i, day in days.items()],
        measurement=measurements,
    )


def stream(seed: int) -> list[tuple[Any, ...]]:
    """Records: person, day, (concept, text), unit, number, whether with a reference range."""
    rng = np.random.default_rng(seed)
    concepts, units = [(TEMPERATURE, None), (0, "pulse"), (0, "gait")], ("hot", None)
    numbers = [None, -1000, 1000, *rng.integers(0, 12, 24).tolist()]
    drawn = rng.integers([1, -12, 0, 0, 0, 0], [5, 11, 3, 2, 27, 10], (rng.integers(20, 300), 6)).tolist()
    return [(i, day, concepts[c], units[u], numbers[n], share < 7) for i, day, c, u, n, share in drawn]


def plain_values(site: Site, events: Any, first: int, min_values: int) -> dict[tuple[int, int, str], float]:
    """The value of each row, day and token that has one, by pandas."""
    cohort = pd.DataFrame(site.cohort)
    known = pd.DataFrame(events, columns=["person_id", "day", "concept", "unit", "value", "ranged"])
    known["concept"] = [str(c) if c else f"here/measurement:{text}" for c, text in known["concept"]]
    known["unit"] = known["unit"].fillna("")
    known["value"] = known["value"].astype(float)
    known = known.merge(cohort[["row_id", "person_id", "index_date", "split"]], on="person_id")
    known["day"] -= [(day - DAY).days for day in known["index_date"]]
    known = known[known["day"].between(first, 0) & known["value"].notna()]
    if known.empty:
        return {}
    train = known[known["split"] == "train"].groupby(["concept", "unit"])["value"]
    fitted = pd.DataFrame({"n": train.size(), "center": train.median()})
    fitted["spread"] = (train.quantile(0.75) - train.quantile(0.25)) / 1.349
    FOUND["no scale"] += int((fitted["n"] < min_values).sum())
    fitted = fitted[(fitted["n"] >= min_values) & (fitted["spread"] > 0)]
    known = known.join(fitted, on=["concept", "unit"], how="inner")
    z = (known["value"] - known["center"]) / known["spread"]
    FOUND["clipped"] += int((z.abs() > 5).sum())
    known["z"] = z.clip(-5, 5)
    # the bins are tested elsewhere: a token has a number if that lies in its bin for the unit
    bins = {t["key"]: {b["unit"]: b for b in t["bins"] or ()} for t in site.tokens}

    def state(row: Any) -> str | None:
        if row.ranged:
            return "low" if row.value < 4 else "high" if row.value > 8 else "normal"
        for key, of_unit in bins.items():
            b = of_unit.get(row.unit)
            if b and key.startswith(f"{row.concept}|"):
                lower, upper = b["lower"], b["upper"]
                if (lower is None or row.value > lower) and (upper is None or row.value <= upper):
                    return key.rpartition("|")[2]
        return None

    known["state"] = [state(row) for row in known.itertuples()]
    known = known.dropna(subset="state")
    groups = known.groupby(["row_id", "day", "concept", "state"])["z"]
    FOUND["mean"] += int((groups.max() > groups.min()).sum())
    FOUND["value"] += len(groups)
    return {(row, day, f"{concept}|{state}"): z for (row, day, concept, state), z in groups.mean().items()}


def compare(folder: Path, seed: int, first: int, min_values: int) -> None:
    """Make the site of a stream, and compare its values with those of the plain reading."""
    events = stream(seed)
    site = Site(
        folder,
        task(
            min_values=min_values,
            predictors={"days": [first, 0], "domains": ["measurement"]},
            outcome={"days": [1, 2]},
            split={"by": "time", "validation": str(after(5)), "test": str(after(9))},
        ),
        person=[person(i) for i in range(1, 5)],
        visit_occurrence=[visit(i, after(n)) for i in range(1, 5) for n in (-3, i - 3, 6, 10)],
        measurement=[
            measurement(i, after(n), concept, measurement_source_value=text, unit_source_value=unit)
            | {"value_as_number": value}
            | ({"range_low": 4.0, "range_high": 8.0} if ranged else {})
            for i, n, (concept, text), unit, value, ranged in events
        ],
    )
    found = {
        (row["row_id"], day, key): value
        for row, sequence, of_row in zip(site.cohort, site.sequences, site.values, strict=True)
        for (day, key), value in zip(sequence, of_row, strict=True)
        if value is not None
    }
    assert found == pytest.approx(plain_values(site, events, first, min_values), abs=1e-6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), first=st.sampled_from([-25, -10]), min_values=st.sampled_from([1, 6, 30]))
def test_a_plain_reading_gives_the_same_values(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, min_values: int
) -> None:
    compare(tmp_path_factory.mktemp("site"), seed, first, min_values)


def test_the_plain_reading_is_of_use(tmp_path: Path) -> None:
    """It meets values, clipped ones, means of several and numbers without a scale."""
    FOUND.update(dict.fromkeys(FOUND, 0))
    for seed in range(3):
        compare(tmp_path / str(seed), seed, -10, 30)
    assert min(FOUND.values()) > 5, FOUND


def test_each_unit_has_its_own_scale_and_known_ones_one_in_common(tmp_path: Path) -> None:
    degrees = [36 + i / 10 for i in range(20)]
    forms: list[tuple[float, float, dict[str, Any]]] = [
        (1, 0, CELSIUS),
        (1.8, 32, FAHRENHEIT),
        (100, 0, {"unit_source_value": "hot"}),
    ]
    half = [
        measurement(i + 20 * n, DAY, TEMPERATURE, value_as_number=x * factor + shift, **unit)
        for n, (factor, shift, unit) in enumerate(forms)
        for i, x in enumerate(degrees)
    ]
    site = measured(tmp_path, half)
    [both] = scales(site)
    assert [scale["unit"] for scale in both] == ["Cel", "hot"]
    spread = (np.quantile(degrees * 2, 0.75) - np.quantile(degrees * 2, 0.25)) / 1.349
    assert (both[0]["center"], both[0]["spread"]) == pytest.approx((36.95, spread))
    assert (both[1]["center"], both[1]["spread"]) == pytest.approx((3695, 100 * spread), rel=0.05)
    found = [value for [value] in values(site)]
    assert found[:20] == pytest.approx([(x - 36.95) / spread for x in degrees], abs=1e-6)
    assert found[20:40] == pytest.approx(found[:20], abs=1e-5)
    assert found[40:] == pytest.approx(found[:20], rel=0.05)


@pytest.mark.parametrize("number", [1e12, -1e12])
def test_a_slip_of_the_pen_is_clipped(tmp_path: Path, number: float) -> None:
    people = [measurement(i, DAY, TEMPERATURE, value_as_number=float(i % 10)) for i in range(40)]
    site = measured(tmp_path, [*people, measurement(99, DAY, TEMPERATURE, value_as_number=number)])
    found = [value for [value] in values(site)]
    assert found[-1] == np.sign(number) * 5
    assert max(map(abs, found[:-1])) < 2


@pytest.mark.parametrize(
    ("numbers", "known"),
    [([float(i) for i in range(9)], False), ([float(i) for i in range(10)], True), ([37.0] * 30, False)],
    ids=["too few", "enough", "always the same"],
)
def test_few_values_or_one_have_no_scale(tmp_path: Path, numbers: list[float], known: bool) -> None:
    in_range = {"range_low": 0.0, "range_high": 100.0}
    people = [measurement(i, DAY, TEMPERATURE, value_as_number=x, **in_range) for i, x in enumerate(numbers)]
    site = measured(tmp_path, people)
    assert all(key == "1|normal" for sequence in site.sequences for _, key in sequence if key[0] == "1")
    assert (scales(site) != [None]) == known
    assert all((value is not None) == known for [value] in values(site))


def test_no_row_of_validation_or_test_moves_a_scale(tmp_path: Path) -> None:
    train = [measurement(i, DAY, TEMPERATURE, value_as_number=float(i)) for i in range(30)]
    days = {50: VALIDATION, 51: VALIDATION, 60: TEST, 61: TEST}
    found = []
    for n, number in enumerate((1.0, 1e6)):
        later = [measurement(i, day, TEMPERATURE, value_as_number=number) for i, day in days.items()]
        site = measured(tmp_path / str(n), train + later, days)
        assert {row["split"] for row in site.cohort} == {"train", "validation", "test"}
        found.append((scales(site), values(site)[:30], values(site)[30:]))
    assert found[0][:2] == found[1][:2]
    assert found[0][0] == [[{"unit": "", "center": 14.5, "spread": pytest.approx(14.5 / 1.349)}]]
    assert found[1][2] == [[5.0]] * 4  # and they are read with it


def test_a_day_is_its_mean_whatever_the_order_of_its_records(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        measurement(i, after(-day), TEMPERATURE, value_as_number=float(x), range_low=-9.0, range_high=9.0)
        for i in range(20)
        for day in range(2)
        for x in rng.normal(size=3).round(3)
    ]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    one, other = measured(tmp_path / "one", rows), measured(tmp_path / "other", shuffled)
    for name in ("tokens", "sequences"):
        assert one.files[name].read_bytes() == other.files[name].read_bytes()
    [[scale]] = scales(one)
    numbers = np.array([row["value_as_number"] for row in rows]).reshape(20, 2, 3)
    expected = ((numbers - scale["center"]) / scale["spread"]).clip(-5, 5).mean(axis=2)[:, ::-1]
    assert np.array(values(one), float) == pytest.approx(expected, abs=1e-6)


def test_a_bound_and_a_word_are_no_values(tmp_path: Path) -> None:
    people = [measurement(i, DAY, TEMPERATURE, value_as_number=float(i)) for i in range(20)]
    bound = measurement(30, DAY, TEMPERATURE, value_as_number=3.0, operator_concept_id=4171756)
    word = measurement(31, DAY, TEMPERATURE, value_as_concept_id=45884084)
    site = measured(tmp_path, [*people, bound, word])
    assert values(site)[20:] == [[None], [None]]
    assert scales(site)[0][0]["center"] == 9.5
    assert {t["key"] for t in site.tokens if t["concept_id"] == TEMPERATURE and t["scales"]} >= {
        "1|present",
        "1|positive",
    }


def test_concepts_without_a_code_are_told_apart_by_their_text(tmp_path: Path) -> None:
    """Also in two domains: a measurement and an observation can have the same words."""
    steps = {"unit_source_value": "steps"}
    people = range(20)
    site = Site(
        tmp_path,
        task(min_values=10),
        person=[person(i) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
        measurement=[
            measurement(i, DAY, 0, measurement_source_value="walk", value_as_number=float(i), **steps) for i in people
        ],
        observation=[
            observation(i, DAY, 0, observation_source_value="walk", value_as_number=100.0 * i, **steps) for i in people
        ],
    )
    measured_, observed = (scales(site, f"here/{domain}:walk") for domain in ("measurement", "observation"))
    assert (measured_[0][0]["center"], observed[0][0]["center"]) == (9.5, 950)
    assert values(site, "here/measurement:walk") == values(site, "here/observation:walk")


def test_an_age_carries_its_years(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        task(),
        person=[person(i, 2021 - age) for i, age in enumerate((0, 50, 70, 90))],
        visit_occurrence=[visit(i, DAY) for i in range(4)],
    )
    assert values(site, "age") == pytest.approx(np.array([[-2.5], [0], [1], [2]]))
    assert values(site, "sex") == [[None]] * 4


@pytest.mark.parametrize("occurrence", ["all", "first"])
def test_without_values_the_tokens_are_the_same(tmp_path: Path, occurrence: str) -> None:
    rows = [
        measurement(i, after(-day), TEMPERATURE, value_as_number=float(i + day)) for i in range(20) for day in range(3)
    ]
    with_, without = (
        measured(tmp_path / str(on), rows, predictors={"values": on, "occurrence": occurrence}) for on in (True, False)
    )
    assert with_.sequences == without.sequences
    assert [t | {"scales": None} for t in with_.tokens] == without.tokens
    assert {value for row in without.values for value in row} == {None}
    assert scales(with_) != [None]
    assert [len(row) for row in without.values] == [len(row) for row in without.sequences]
    [[scale]] = scales(with_)
    for i, (sequence, found) in enumerate(zip(with_.sequences, with_.values, strict=True)):
        numbers = [i - day for day, key in sequence if key.startswith("1|")]
        own = [value for (_, key), value in zip(sequence, found, strict=True) if key.startswith("1|")]
        assert own == pytest.approx([(number - scale["center"]) / scale["spread"] for number in numbers], abs=1e-6)
