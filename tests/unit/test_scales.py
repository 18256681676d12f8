"""Limits and p of one line say the same, stay on their scale, and are those of the published formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp, ttest_ind
from scipy.stats import t as student

from conceptbridge.evaluate.scales import (
    BELOW_ONE,
    FISHER_Z,
    LOGIT,
    PLAIN,
    Scale,
    degrees,
    exact_limits,
    exact_p,
    limits_on,
    p_on,
)

RANGES = {LOGIT: (0, 1), FISHER_Z: (-1, 1), BELOW_ONE: (-np.inf, 1), PLAIN: (-np.inf, np.inf)}
NUMBER = st.floats(0.01, 0.99)


def one(*numbers: float) -> list[np.ndarray]:
    return [np.array([number], dtype=np.float64) for number in numbers]


@given(
    st.sampled_from(list(RANGES)), st.floats(0.01, 0.99), st.floats(1e-6, 4), st.floats(1, 1e6), st.floats(0.05, 0.95)
)
def test_p_is_below_a_twentieth_exactly_where_the_limits_leave_out_the_null_value(
    scale, estimate, error, freedom, null
):
    estimate, variance, freedom = one(estimate, error**2, freedom)
    (lower,), (upper,) = limits_on(scale, estimate, variance, freedom)
    (p,) = p_on(scale, estimate, null, variance, freedom)
    if abs(p - 0.05) > 1e-9 and lower < upper:
        assert (p < 0.05) == (not lower <= null <= upper)


@given(st.sampled_from(list(RANGES)), st.floats(0.001, 0.999), st.floats(0, 0.2), st.floats(9, 1e6))
def test_limits_stay_on_their_scale_and_hold_the_estimate(scale: Scale, estimate, error, freedom):
    (lower,), (upper,) = limits_on(scale, *one(estimate, error**2, freedom))
    least, most = RANGES[scale]
    assert least <= lower <= estimate + 1e-12
    assert estimate - 1e-12 <= upper <= most


def test_fisher_s_z_of_a_difference_from_one_half_is_the_logit_of_an_auroc():
    """Newson's transformation of Somers' D, which is 2 AUROC - 1."""
    auroc, variance, freedom = one(0.8, 0.05**2, 40)
    of_auroc = limits_on(LOGIT, auroc, variance, freedom)
    of_d = limits_on(FISHER_Z, 2 * auroc - 1, 4 * variance, freedom)
    np.testing.assert_allclose((np.array(of_d) + 1) / 2, of_auroc)


def test_plain_is_the_t_test():
    sample = np.random.default_rng(7).normal(0.3, 1, 30)
    numbers = one(sample.mean(), sample.var(ddof=1) / 30, 29)
    expected = ttest_1samp(sample, 0)
    assert p_on(PLAIN, numbers[0], 0.0, *numbers[1:])[0] == pytest.approx(expected.pvalue)
    assert np.ravel(limits_on(PLAIN, *numbers)) == pytest.approx(expected.confidence_interval())


def test_without_variance_nothing_can_be_tested_but_equal_numbers():
    estimate, variance, freedom = np.array([0.0, 0.1]), np.zeros(2), np.full(2, 9.0)
    assert p_on(FISHER_Z, estimate, 0.0, variance, freedom)[0] == 1
    assert np.isnan(p_on(FISHER_Z, estimate, 0.0, variance, freedom)[1])
    assert np.array_equal(limits_on(FISHER_Z, estimate, variance, freedom), [estimate, estimate])


def test_at_the_end_of_its_range_an_estimate_has_no_limits():
    assert np.isnan(limits_on(LOGIT, *one(1, 0, 9))).all()
    assert np.isnan(limits_on(LOGIT, *one(1, 0.1, 9))).all()


@pytest.mark.parametrize("persons", [2, 5, 6, 40])
def test_a_perfect_auroc_has_the_limits_of_as_many_trials(persons):
    """Clopper and Pearson's; their p is below 0.05 where the lower limit is above 0.5."""
    expected = binomtest(persons, persons).proportion_ci(0.95, "exact")
    assert exact_limits(persons) == pytest.approx((expected.low, expected.high))
    assert exact_p(persons) == pytest.approx(binomtest(persons, persons).pvalue)
    assert (exact_p(persons) < 0.05) == (exact_limits(persons)[0] > 0.5)


def test_degrees_of_freedom_are_welch_s():
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, 5), random.normal(0, 3, 9)
    parts = np.array([[first.var(ddof=1) / 5], [second.var(ddof=1) / 9]])
    expected = ttest_ind(first, second, equal_var=False)
    assert degrees(parts, np.array([[4.0], [8.0]]))[0] == pytest.approx(expected.df)
    assert degrees(np.zeros((2, 1)), np.ones((2, 1)))[0] == np.inf
    reach = student.ppf(0.975, expected.df) * np.sqrt(parts.sum())
    found = limits_on(PLAIN, one(first.mean() - second.mean())[0], parts.sum(axis=0), np.array([expected.df]))
    assert found[1][0] - found[0][0] == pytest.approx(2 * reach)
