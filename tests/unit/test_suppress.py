"""The one rule of small counts: none is shown, none can be worked out, and what was suppressed once stays as it is."""

from copy import deepcopy
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge.disclosure.cohort_counts import Counts, shown_parts
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.disclosure.suppress import (
    both_classes_at_least,
    enough_sql,
    has_small_step,
    hide_parts,
    hide_small,
    is_enough,
    is_small,
    keep_enough,
    possible_counts,
    remainder_is_small,
    safe_bins,
    suppress_parts,
    suppress_remainder,
    suppress_steps,
)
from conceptbridge.disclosure.token_counts import shared_tokens

MINIMUM = 10


def classes(rows: Any, events: Any) -> tuple[Any, Any]:
    """Which rows and events may be shown of groups in which each person has one row, beside their totals."""
    rows, events = np.asarray(rows), np.asarray(events)
    shown = shown_parts(Counts(rows, rows, events, events, rows - events), MINIMUM, total_known=True)
    assert (shown.persons == shown.rows).all()
    return shown.rows, shown.events


unhurried = settings(deadline=None)  # a first call can wait for other processes

counts = st.integers(0, 60)
parts = st.lists(counts, max_size=8)
chains = st.lists(st.integers(0, 200), min_size=1, max_size=8).map(lambda steps: sorted(steps, reverse=True))


# -- one count


@unhurried
@given(st.integers(0, 60), st.integers(1, 30))
def test_a_count_is_none_enough_or_small(count: int, minimum: int) -> None:
    assert [count == 0, is_enough(count, minimum), is_small(count, minimum)].count(True) == 1
    assert is_small(np.array([count]), minimum).tolist() == [is_small(count, minimum)]
    assert is_enough(np.array([count]), minimum).tolist() == [is_enough(count, minimum)]
    assert duckdb.sql(f"SELECT {enough_sql(str(count), minimum)}").fetchall() == [(is_enough(count, minimum),)]


@unhurried
@given(st.none() | counts)
def test_a_hidden_count_stays_hidden_and_any_other_is_none_or_enough(count: int | None) -> None:
    shown = hide_small(count, MINIMUM)
    assert shown in (None, count)
    assert shown is None or shown == 0 or shown >= MINIMUM
    assert hide_small(shown, MINIMUM) == shown


@unhurried
@given(st.lists(st.none() | counts, max_size=8))
def test_rows_of_a_table_are_kept_where_their_count_is_enough_or_blank(given_counts: list[int | None]) -> None:
    table = pa.table({"n": pa.array(given_counts, pa.int64())})
    kept = keep_enough(table, "n", MINIMUM)
    assert kept["n"].to_pylist() == [n for n in given_counts if n is None or n >= MINIMUM]
    assert keep_enough(kept, "n", MINIMUM).equals(kept)


@unhurried
@given(counts, counts)
def test_events_and_the_rows_without_have_to_be_enough(events: int, others: int) -> None:
    assert both_classes_at_least(events, events + others, MINIMUM) == (events >= MINIMUM and others >= MINIMUM)


# -- parts of a known total


@pytest.mark.parametrize(
    ("given_parts", "shown"),
    [
        ([40, 25, 30], [40, 25, 30]),
        ([40, 5, 30], [40, None, None]),  # alone, the 5 would be what is missing from the total
        ([40, 5, 7], [40, None, None]),  # together they are 12, of which each could be anything
        ([40, 2, 3, 30], [40, None, None, None]),  # together they are 5: below the minimum as well
        ([100, 30, 4, 3], [100, None, None, None]),
        ([100, 30, 8, 7], [100, 30, None, None]),
        ([40, 0, 30], [40, 0, 30]),
        ([100, 0, 4], [None, 0, None]),
        ([], []),
    ],
)
def test_parts_of_a_known_total(given_parts: list[int], shown: list[int | None]) -> None:
    assert hide_parts(given_parts, MINIMUM) == shown


def test_that_nobody_has_it_can_be_a_secret() -> None:
    assert suppress_parts([40, 0, 30], MINIMUM, show_zero=False).tolist() == [True, False, False]


@unhurried
@given(parts, st.booleans())
def test_no_shown_part_is_small_and_no_hidden_one_can_be_worked_out(given_parts: list[int], show_zero: bool) -> None:
    shown = suppress_parts(given_parts, MINIMUM, show_zero)
    hidden = [count for count, ok in zip(given_parts, shown, strict=True) if not ok]
    others = [count for count, ok in zip(given_parts, shown, strict=True) if ok]
    assert all(count >= MINIMUM or (show_zero and count == 0) for count in others)
    if hidden and any(others):  # what is missing from the total is several parts, and not few
        assert len(hidden) > 1
        assert sum(hidden) >= MINIMUM


@unhurried
@given(parts)
def test_hidden_parts_that_are_told_as_one_hide_no_more(given_parts: list[int]) -> None:
    shown = hide_parts(given_parts, MINIMUM)
    hidden = sum(given_parts) - sum(count for count in shown if count is not None)
    told = [*(count for count in shown if count is not None), *([hidden] if hidden >= MINIMUM else [])]
    assert hide_parts(told, MINIMUM) == told


@unhurried
@given(st.lists(st.tuples(counts, counts), max_size=6))
def test_no_class_of_a_group_is_small_or_can_be_worked_out(groups: list[tuple[int, int]]) -> None:
    events, rows = [k for k, _ in groups], [k + n for k, n in groups]
    rows_shown, events_shown = classes(rows, events)
    assert all(ok or not k_ok for ok, k_ok in zip(rows_shown, events_shown, strict=True))
    filled = [(k, n, ok) for (k, n), ok in zip(groups, events_shown, strict=True) if k + n]  # no rows, no secret
    for of_class in ([(k, ok) for k, _, ok in filled], [(n, ok) for _, n, ok in filled]):
        assert all(count >= MINIMUM for count, ok in of_class if ok)
        hidden = [count for count, ok in of_class if not ok]
        assert not hidden or len(hidden) == len(filled) or (len(hidden) > 1 and sum(hidden) >= MINIMUM)


@unhurried
@given(st.lists(st.integers(MINIMUM, 60), max_size=6), st.integers(0, 120))
def test_what_is_left_of_a_total_is_never_small(given_counts: list[int], total: int) -> None:
    shown = suppress_remainder(given_counts, total, MINIMUM)
    told = [count for count, ok in zip(given_counts, shown, strict=True) if ok]
    assert not told or not remainder_is_small(total, told, MINIMUM)
    assert suppress_remainder(told, total, MINIMUM).all()


# -- steps of a chain


@unhurried
@given(chains)
def test_no_two_shown_steps_are_a_small_count_apart(chain: list[int]) -> None:
    shown = suppress_steps(chain, MINIMUM)
    assert not has_small_step(shown, MINIMUM)
    told = [count for count in shown if count is not None]
    assert all(count == 0 or count >= MINIMUM for count in told)
    assert all(not 0 < before - after < MINIMUM for i, before in enumerate(told) for after in told[i + 1 :])


@unhurried
@given(chains, st.none() | st.integers(200, 230), st.booleans())
def test_shown_steps_still_fall_and_stay_as_they_are(chain: list[int], known_start: int | None, secret: bool) -> None:
    beside = {"known_start": known_start, "secret_end": chain[-1] if secret else None}
    shown = suppress_steps(chain, MINIMUM, **beside)
    told = [count for count in shown if count is not None]
    assert told == sorted(told, reverse=True)
    assert all(count in (None, step) for count, step in zip(shown, chain, strict=True))
    assert suppress_steps(shown, MINIMUM, **beside) == shown


@unhurried
@given(chains, st.integers(200, 230))
def test_a_secret_end_and_a_known_start_are_kept_apart_from_every_step(chain: list[int], known_start: int) -> None:
    shown = suppress_steps(chain, MINIMUM, known_start, secret_end=chain[-1])
    told = [count for count in shown if count is not None]
    assert all(count - chain[-1] >= MINIMUM for count in told)
    assert all(not 0 < known_start - count < MINIMUM for count in told)


def test_the_last_step_stays_as_the_splits_add_up_to_it() -> None:
    assert suppress_steps([1196, 1196, 1194], MINIMUM) == [None, None, 1194]
    assert suppress_steps([1196, 1150, 1149, 900], MINIMUM) == [1196, None, 1149, 900]
    assert suppress_steps([40, None, 5], MINIMUM) == [40, None, None]


# -- bins


@unhurried
@given(st.integers(0, 1000), st.integers(0, 400), st.sampled_from([3, 1000]))
def test_every_bin_holds_the_minimum_of_both_classes(seed: int, rows: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    label, probability = random.integers(0, 2, rows), random.integers(0, levels, rows) / levels
    starts = safe_bins(label, probability, MINIMUM, 8)
    ordered = label[np.argsort(probability, kind="stable")]
    assert len(starts) <= 8
    for inside in np.split(ordered, starts[1:]) if len(starts) else []:
        assert min(inside.sum(), (1 - inside).sum()) >= MINIMUM
    value = np.sort(probability)
    assert all(value[start] != value[start - 1] for start in starts[1:])
    assert bool(len(starts)) == (min(label.sum(), (1 - label).sum()) >= MINIMUM)


# -- tokens


def shared(rows: dict[str, int | None], train_rows: int | None) -> dict[str, int | None]:
    tokens = pa.table({"key": pa.array(list(rows), pa.string()), "rows": pa.array(list(rows.values()), pa.int64())})
    kept = shared_tokens(tokens, train_rows, MINIMUM)
    return dict(zip(kept["key"].to_pylist(), kept["rows"].to_pylist(), strict=True))


def test_tokens_of_few_training_rows_stay_home() -> None:
    assert shared({"1|present": 10, "2|present": 9, "3|present": 0}, 100) == {"1|present": 10}


def test_a_count_of_a_token_that_tells_of_few_others_is_blank() -> None:
    sexes = {"sex|female": 55, "sex|male": 42, "sex|unknown": 3}
    assert shared(sexes, 100) == {"sex|female": 55, "sex|male": None}
    assert shared({"1|present": 97}, 100) == {"1|present": None}
    assert shared({"1|present": 100, "2|present": 90}, 100) == {"1|present": 100, "2|present": 90}


@unhurried
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["low", "normal", "high"])).map("|".join), counts, max_size=9
    ),
    st.integers(0, 120),
)
def test_states_of_a_concept_leave_no_small_count_and_stay_as_they_are(rows: dict[str, int], train_rows: int) -> None:
    told = shared(dict(rows), train_rows)
    for concept in {key.partition("|")[0] for key in told}:
        states = [n for key, n in told.items() if key.startswith(f"{concept}|") and n is not None]
        assert all(n >= MINIMUM for n in states)
        assert not states or not 0 < train_rows - sum(states) < MINIMUM
    assert shared(told, train_rows) == told


# -- a site's quality report


def test_a_quality_report_shows_no_small_count() -> None:
    quality: dict[str, Any] = {
        "tables": {
            "person": {"file": "p.csv", "read": 2, "kept": 2, "dropped": {}, "repaired": {}, "noted": {}},
            "measurement": {
                "file": "m.csv",
                "read": 1000,
                "kept": 985,
                "dropped": {"its person is not in the person table": 12, "it repeats another row": 3},
                "repaired": {"value_as_number cannot be read: left empty": 4},
                "noted": {"its concept is 0": 500},
            },
        },
        "persons": 2,
        "visits": 0,
        "events": {
            "condition": {"rows": 4, "unmapped_share": 0.5},
            # of 985 rows one per cent is ten, and half of one is five
            "drug": {"rows": 985, "unmapped_share": 0.5, "named_share": 0.99, "named_by_source_share": 0.995},
        },
        "condition_status": {
            "inpatient visit": {"rows": 500, "status_share": 0.01, "status_recorded": True},
            "emergency visit": {"rows": 40, "status_share": 0.0, "status_recorded": False},
            "no visit": {"rows": 4, "status_share": 0.0, "status_recorded": False},
        },
    }
    shown = shareable(quality, MINIMUM)
    assert quality["persons"] == 2
    assert shown == {
        "tables": {
            "person": {"read": None, "kept": None, "dropped": {}, "repaired": {}, "noted": {}},
            "measurement": {
                "read": None,  # with it the three repeated rows could be worked out
                "kept": 985,
                "dropped": {"its person is not in the person table": 12, "it repeats another row": "under 10"},
                "repaired": {"value_as_number cannot be read: left empty": "under 10"},
                "noted": {"its concept is 0": 500},
            },
        },
        "persons": "under 10",
        "visits": 0,
        "events": {
            "condition": "under 10",
            "drug": {"rows": 985, "unmapped_share": 0.5, "named_share": 0.99, "named_by_source_share": None},
        },
        "condition_status": {
            "inpatient visit": {"rows": 500, "status_share": None, "status_recorded": True},
            "emergency visit": "under 10",  # with it and all diagnoses, the four could be worked out
            "no visit": "under 10",
        },
    }


reasons = st.dictionaries(st.sampled_from(["a", "b"]), counts)
reports = st.fixed_dictionaries(
    {
        "tables": st.dictionaries(
            st.sampled_from(["person", "death"]),
            st.fixed_dictionaries(
                {"file": st.just("f"), "kept": counts, "dropped": reasons, "repaired": reasons, "noted": reasons}
            ),
        ),
        "persons": counts,
        "visits": counts,
        "events": st.dictionaries(
            st.sampled_from(["drug", "condition"]),
            st.fixed_dictionaries({"rows": counts, "named_share": st.none() | st.floats(0, 1)}),
        ),
        "condition_status": st.dictionaries(
            st.sampled_from(["inpatient visit", "emergency visit", "no visit"]),
            st.fixed_dictionaries({"rows": counts, "status_share": st.floats(0, 1), "status_recorded": st.booleans()}),
        ),
    }
)


@unhurried
@given(reports)
def test_a_shareable_report_has_no_small_count_and_stays_as_it_is(quality: dict[str, Any]) -> None:
    for table in quality["tables"].values():
        table["read"] = table["kept"] + sum(table["dropped"].values())
    before = deepcopy(quality)
    shown = shareable(quality, MINIMUM)
    assert quality == before
    assert shareable(shown, MINIMUM) == shown
    told = [shown["persons"], shown["visits"]]
    for table in shown["tables"].values():
        told += [table["read"], table["kept"]]
        for part in ("dropped", "repaired", "noted"):
            told += table[part].values()
        if None not in (table["read"], table["kept"]):
            dropped = [n for n in table["dropped"].values() if isinstance(n, int)]
            assert not remainder_is_small(table["read"] - table["kept"], dropped, MINIMUM)
    told += [about["rows"] for about in shown["events"].values() if isinstance(about, dict)]
    of_visits = [about["rows"] for about in shown["condition_status"].values() if isinstance(about, dict)]
    diagnoses = sum(about["rows"] for about in quality["condition_status"].values())
    assert is_small(diagnoses, MINIMUM) or not remainder_is_small(diagnoses, of_visits, MINIMUM)
    told += of_visits
    assert not any(isinstance(count, int) and is_small(count, MINIMUM) for count in told)


# -- a two-by-two table


@unhurried
@given(st.lists(counts, min_size=4, max_size=4))
def test_possible_counts_are_those_that_look_the_same(cells: list[int]) -> None:
    a, b, c, d = cells

    def few(k: int) -> list[bool]:
        return [cell < MINIMUM for cell in (k, a + b - k, a + c - k, d - a + k)]

    least, greatest = possible_counts(np.array(cells)[:, None], MINIMUM)
    if not any(is_small(cell, MINIMUM) for cell in cells):
        assert least[0] == greatest[0] == a
        return
    possible = [k for k in range(a + min(b, c) + 1) if d - a + k >= 0]
    assert [k for k in possible if few(k) == few(a)] == list(range(least[0], greatest[0] + 1))


def test_a_group_without_rows_keeps_no_secret() -> None:
    rows_shown, events_shown = classes([60, 0, 0], [20, 0, 0])
    assert rows_shown.all()
    assert events_shown.all()
    assert not classes([60, 40, 0], [20, 0, 0])[1][:2].any()
