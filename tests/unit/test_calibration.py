"""Calibration equals statsmodels' regressions where they have an answer, and says so where there is none."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge.evaluate.calibration import CALIBRATION, EXTREME, FEW_VALUES, KNOTS, NO_FIT, calibrate

IN_THE_LARGE, SLOPE, ICI, ECE = range(len(CALIBRATION))
EXACT = {"tol": 1e-14, "maxiter": 200}


def binomial(label, design, **given):
    return sm.GLM(label, design, family=sm.families.Binomial(), **given).fit(**EXACT)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.3, 1.0, 2.5]))
def test_equals_statsmodels(seed, ties, extreme):
    random = np.random.default_rng(seed)
    person = random.integers(0, 80, 200)
    risk = random.normal(-1, 1, 200)
    label = (random.random(200) < 1 / (1 + np.exp(-risk))).astype(int)
    probability = 1 / (1 + np.exp(-(extreme * (risk + random.normal(0, 1, 200)))))
    if ties:
        probability = np.clip((probability * 12).round() / 12, 0.02, 0.98)
    found = calibrate(label, probability, person, 80)
    log_odds = np.log(probability / (1 - probability))

    large = binomial(label, np.ones(200), offset=log_odds)
    assert found.estimate[IN_THE_LARGE] == pytest.approx(large.params[0], abs=1e-10)
    line = binomial(label, sm.add_constant(log_odds))
    assert found.estimate[SLOPE] == pytest.approx(line.params[1], abs=1e-10)
    # the squares of the persons' influences are the sandwich of clusters
    fit = sm.Logit(label, sm.add_constant(log_odds)).fit(
        disp=0, tol=1e-12, cov_type="cluster", cov_kwds={"groups": person, "use_correction": False}
    )
    assert np.sqrt((found.influence[1] ** 2).sum()) == pytest.approx(fit.bse[1], rel=1e-6)


def test_ici_is_the_distance_from_a_flexible_curve():
    """The same curve by another basis: cubic pieces, straight outside the outer knots."""
    random = np.random.default_rng(1)
    log_odds = random.normal(-1, 1.2, 800)
    label = (random.random(800) < 1 / (1 + np.exp(0.5 - log_odds - 0.3 * log_odds**2))).astype(int)
    probability = 1 / (1 + np.exp(-log_odds))
    a, b, c, d = np.quantile(log_odds, KNOTS)
    free = [np.clip(log_odds - at, 0, None) ** 3 for at in (a, b, c, d)]
    # coefficients of the cubes sum to 0, and so do those times their knots: the curve is straight beyond the last knot
    bends = [free[i] - free[2] * (d - at) / (d - c) + free[3] * (c - at) / (d - c) for i, at in ((0, a), (1, b))]
    curve = binomial(label, np.column_stack([np.ones(800), log_odds, *bends])).fittedvalues
    found = calibrate(label, probability, np.arange(800), 800)
    assert found.estimate[ICI] == pytest.approx(np.abs(curve - probability).mean(), abs=1e-8)


def test_ece_is_the_distance_of_shares_in_ten_bins():
    random = np.random.default_rng(2)
    probability = np.sort(random.random(100))
    label = random.integers(0, 2, 100)
    bins = [slice(10 * i, 10 * i + 10) for i in range(10)]
    expected = np.mean([abs(label[b].mean() - probability[b].mean()) for b in bins])
    assert calibrate(label, probability, np.arange(100), 100).estimate[ECE] == pytest.approx(expected)
    assert calibrate(label, np.full(100, 0.3), np.arange(100), 100).estimate[ECE] == pytest.approx(
        abs(label.mean() - 0.3)
    )


@pytest.mark.parametrize(
    ("probability", "reasons"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], (None, NO_FIT, NO_FIT, None)),  # it separates the labels
        ([0.25] * 8, (None, NO_FIT, FEW_VALUES, None)),
        ([0.0, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 1.0], (EXTREME, EXTREME, EXTREME, None)),
    ],
)
def test_says_what_is_not_estimable(probability, reasons):
    found = calibrate([0, 0, 0, 0, 1, 1, 1, 1], probability, range(8), 8)
    assert found.reason == reasons
    assert [np.isnan(value) for value in found.estimate] == [reason is not None for reason in reasons]
