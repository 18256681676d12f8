"""No small count is shown, nor one from which a small count could be worked out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptbridge.disclosure.suppress import both_classes_at_least, safe_bins, suppress_parts, suppress_steps

LEAST = 10


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([40, 25, 30], [True, True, True]),
        ([40, 5, 30], [True, False, False]),  # alone, the 5 would be what is missing from the total
        ([40, 5, 7], [True, False, False]),  # together they are 12, of which each could be anything
        ([40, 2, 3, 30], [True, False, False, False]),  # together they are 5: under the least as well
        ([40, 0, 30], [True, True, True]),
        ([], []),
    ],
)
def test_parts_of_a_known_total(counts, shown):
    assert suppress_parts(counts, LEAST).tolist() == shown


def test_that_nobody_has_it_can_be_a_secret():
    assert suppress_parts([40, 0, 30], LEAST, nobody=False).tolist() == [True, False, False]


@given(st.lists(st.integers(0, 60), max_size=8))
def test_what_is_hidden_cannot_be_worked_out(counts):
    shown = suppress_parts(counts, LEAST)
    hidden = [count for count, there in zip(counts, shown, strict=True) if not there]
    assert all(count == 0 or count >= LEAST for count, there in zip(counts, shown, strict=True) if there)
    if hidden and any(shown[place] and counts[place] for place in range(len(counts))):
        assert len(hidden) > 1
        assert sum(hidden) >= LEAST


@given(st.lists(st.integers(0, 200), max_size=8))
def test_no_two_shown_steps_are_a_small_count_apart(steps):
    chain = sorted(steps, reverse=True)
    told = [count for count in suppress_steps(chain, LEAST) if count is not None]
    assert all(count == 0 or count >= LEAST for count in told)
    assert all(not 0 < before - after < LEAST for i, before in enumerate(told) for after in told[i + 1 :])


def test_the_last_step_stays_as_the_splits_add_up_to_it():
    assert suppress_steps([1196, 1196, 1194], LEAST) == [None, None, 1194]
    assert suppress_steps([1196, 1150, 1149, 900], LEAST) == [1196, None, 1149, 900]
    assert suppress_steps([40, None, 5], LEAST) == [40, None, None]


def test_events_and_the_others_have_to_be_enough():
    assert both_classes_at_least(10, 20, LEAST)
    assert not both_classes_at_least(9, 30, LEAST)
    assert not both_classes_at_least(30, 30, LEAST)


@given(st.integers(0, 1000), st.integers(1, 400), st.sampled_from([3, 1000]))
def test_every_bin_has_enough_of_both(seed, rows, levels):
    random = np.random.default_rng(seed)
    label, probability = random.integers(0, 2, rows), random.integers(0, levels, rows) / levels
    starts = safe_bins(label, probability, LEAST, 8)
    ordered = label[np.argsort(probability, kind="stable")]
    assert len(starts) <= 8
    for inside in np.split(ordered, starts[1:]) if len(starts) else []:
        assert min(inside.sum(), (1 - inside).sum()) >= LEAST
    value = np.sort(probability)
    assert all(value[start] != value[start - 1] for start in starts[1:])
    assert bool(len(starts)) == (min(label.sum(), (1 - label).sum()) >= LEAST)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(200, 230))
def test_a_secret_total_and_a_known_beginning_are_kept_apart_from_every_step(steps, known):
    chain = sorted(steps, reverse=True)
    told = [count for count in suppress_steps(chain, LEAST, known, secret=chain[-1]) if count is not None]
    assert all(count - chain[-1] >= LEAST for count in told)
    assert all(not 0 < known - count < LEAST for count in told)
