"""Persons are drawn whole, the same ones in every process, and limits need enough defined resamples."""

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, ttest_1samp
from scipy.stats import t as student

from conceptbridge.evaluate.bootstrap import acceleration, degrees, draw, limits, p_value, widen
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


def test_bca_limits_are_scipy_s():
    """Of a skewed mean, where the correction matters."""
    random = np.random.default_rng(5)
    sample = random.exponential(size=40)
    reference = bootstrap((sample,), np.mean, n_resamples=20000, method="BCa", rng=6).confidence_interval
    means = sample[random.integers(0, 40, (20000, 40))].mean(axis=1)
    influence = (sample - sample.mean())[None] / 40
    lower, upper = limits(means[None], [sample.mean()], acceleration(influence))
    np.testing.assert_allclose([lower[0], upper[0]], reference, atol=0.015)
    percentile = limits(means[None])
    assert lower[0] > percentile[0][0] + 0.005  # the correction moves both limits up
    assert upper[0] > percentile[1][0] + 0.005


def test_the_draw_of_seeds_widens_limits_to_the_width_of_the_test():
    estimate, person, seed = np.array([0.8]), np.array([0.01**2]), np.array([0.02**2 / 3])
    freedom = degrees(np.stack([person, seed]), np.array([[499.0], [2.0]]))
    normal = norm.ppf(0.975) * 0.01
    lower, upper = widen(estimate - normal, estimate, estimate + normal, person, seed, freedom)
    expected = student.ppf(0.975, freedom[0]) * np.sqrt(person[0] + seed[0])
    assert (upper[0] - estimate[0], estimate[0] - lower[0]) == pytest.approx((expected, expected))
    kept = widen(estimate - normal, estimate, estimate + normal, person, np.zeros(1), freedom)
    assert kept[0] == estimate - normal


def test_p_is_the_t_test_s():
    sample = np.random.default_rng(7).normal(0.3, 1, 30)
    found = p_value(np.array([sample.mean(), 0, 0.1]), np.array([sample.var(ddof=1) / 30, 0, 0]), np.full(3, 29.0))
    assert found[0] == pytest.approx(ttest_1samp(sample, 0).pvalue)
    assert found[1] == 1
    assert np.isnan(found[2])
