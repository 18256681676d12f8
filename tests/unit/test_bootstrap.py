"""Persons are drawn whole, the same ones in every process, and limits need enough defined resamples."""

import numpy as np
import pytest

from conceptbridge.evaluate.bootstrap import draw, limits
from conceptbridge.evaluate.metrics import measure


def test_draws_as_many_persons_as_there_are():
    weight, person = draw([30, 10, 10, 20, 30], 50, 1, "task", "site")
    assert weight.shape == (3, 50)
    assert (weight.sum(axis=0) == 3).all()
    assert person.tolist() == [2, 0, 0, 1, 2]


def test_the_words_name_the_draw():
    persons = np.arange(40)
    first = draw(persons, 20, 1, "task", "here").weight
    assert np.array_equal(first, draw(persons, 20, 1, "task", "here").weight)
    assert not np.array_equal(first, draw(persons, 20, 1, "task", "there").weight)
    # the value itself is fixed: a new NumPy or a new hash would silently change every published interval
    assert draw(np.arange(6), 1, 1, "task", "here").weight[:, 0].tolist() == [3, 1, 0, 1, 1, 0]


def test_nobody_can_be_drawn_from_an_empty_split():
    weight, person = draw([], 10, 1)
    assert weight.shape == (0, 10)
    assert len(person) == 0


def test_repeated_rows_of_a_person_do_not_narrow_the_limits():
    random = np.random.default_rng(0)
    label, probability = random.integers(0, 2, 150), random.random(150)
    once = limits(measure(label, probability, *draw(np.arange(150), 400, 1)))
    copies = np.tile(np.arange(150), 4)
    cluster = limits(measure(label[copies], probability[copies], *draw(copies, 400, 1)))
    naive = limits(measure(label[copies], probability[copies], *draw(np.arange(600), 400, 1)))
    np.testing.assert_allclose(cluster, once, atol=1e-12)
    assert naive[1][0] - naive[0][0] < 0.7 * (once[1][0] - once[0][0])


def test_limits_are_percentiles():
    lower, upper = limits([np.arange(1001.0)])
    assert (lower[0], upper[0]) == pytest.approx((25, 975))


@pytest.mark.parametrize(("undefined", "there"), [(5, True), (6, False)])
def test_no_limits_where_too_many_resamples_are_undefined(undefined, there):
    values = np.r_[np.full(undefined, np.nan), np.arange(100.0 - undefined)]
    lower, upper = limits([values, np.arange(100.0)])
    assert np.isfinite([lower[0], upper[0]]).all() == there
    assert np.isfinite([lower[1], upper[1]]).all()


def test_no_limits_without_replicates():
    assert np.isnan(limits(np.empty((3, 0)))).all()
