"""Where two learning curves cross, with an interval, and what is said where they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from conceptbridge.evaluate.break_even import BELOW, NEVER, WITHIN, Curve, break_even, crossing, isotonic

SIZES = np.array([10.0, 100.0, 1000.0])


def curve(values, spread=0.0, size=SIZES, replicates=2, resamples=400):
    random = np.random.default_rng(1)
    by_replicate = np.asarray(values)[:, None] + spread * random.normal(0, 1, (len(size), replicates))
    moved = 0.01 * random.normal(0, 1, resamples)  # test persons move all points alike
    return Curve(size, by_replicate, np.broadcast_to(moved, (*by_replicate.shape, resamples)).astype(np.float32))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.lists(st.floats(-1, 1), min_size=1, max_size=9))
def test_isotonic_is_scikit_learn_s(first, second):
    places = min(len(first), len(second))
    values = np.column_stack([first[:places], second[:places]])
    expected = [IsotonicRegression().fit_transform(np.arange(places), column) for column in values.T]
    np.testing.assert_allclose(isotonic(values), np.column_stack(expected), atol=1e-9)


def test_between_two_sizes_events_are_read_on_the_logarithm():
    events = crossing(SIZES, np.array([[-0.1, 0.1, -0.3], [-0.05, 0.2, -0.2], [0.05, 0.3, -0.1]]))
    assert events[0] == pytest.approx(np.sqrt(100 * 1000))
    assert events[1] == 0
    assert np.isinf(events[2])


def test_a_dip_in_the_curve_is_no_second_crossing():
    """A lucky small sample does not count: neighbours that fall are averaged."""
    [events] = crossing(SIZES, np.array([[0.02], [-0.1], [0.1]]))
    assert 100 < events < 1000


def test_the_interval_covers_test_persons_and_training_persons():
    constant = (0.75, np.full(400, 0.75))
    draw = np.random.default_rng
    local = curve([0.6, 0.7, 0.8])
    found = break_even(local, None, constant, draw(1))
    assert found.status == WITHIN
    assert found.events == pytest.approx(10**2.5)
    assert 100 < found.lower < found.events < found.upper
    wider = break_even(curve([0.6, 0.7, 0.8], spread=0.02), None, constant, draw(1))
    assert wider.upper is None or np.log(wider.upper / wider.lower) > np.log(found.upper / found.lower)


@pytest.mark.parametrize(("auroc", "status"), [(0.9, NEVER), (0.5, BELOW)])
def test_beyond_the_sizes_there_is_no_number(auroc, status):
    found = break_even(curve([0.6, 0.7, 0.8]), None, (auroc, np.full(400, auroc)), np.random.default_rng(1))
    assert (found.events, found.lower, found.upper, found.status) == (None, None, None, status)


def test_a_tuned_model_is_compared_at_the_same_size():
    tuned = curve([0.71, 0.72, 0.76, 0.76], size=np.array([10.0, 50.0, 100.0, 1000.0]))
    found = break_even(curve([0.6, 0.7, 0.8]), tuned, (0.77, np.full(400, 0.77)), np.random.default_rng(1))
    # -0.11 at 10 events, -0.06 at 100, 0.04 at 1000; the test persons move both curves alike
    assert found.events == pytest.approx(100 * 10**0.6)


def test_the_limits_of_a_curve_stay_on_the_scale_of_an_auroc():
    lower, upper = curve([0.6, 0.9, 0.995], spread=0.002).limits(np.random.default_rng(1))
    assert (lower < [0.6, 0.9, 0.995]).all()
    assert (upper > [0.6, 0.9, 0.995]).all()
    assert upper[-1] < 1


def test_a_replicate_without_a_size_is_left_out():
    local = curve([0.6, 0.7, 0.8])
    local.by_replicate[2, 1] = np.nan
    assert np.isfinite(local.redrawn(np.random.default_rng(1))).all()
    assert local.estimate[2] == local.by_replicate[2, 0]
