"""Several sites, and several comparisons, as the textbooks have it."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from conceptbridge.evaluate.meta_analysis import reml, summarise
from conceptbridge.evaluate.multiple_testing import gated, holm

# log risk ratios of the 13 trials of the BCG vaccine (Colditz et al. 1994), a standard example
TREATED = """4 119, 6 300, 3 228, 62 13536, 33 5036, 180 1361, 8 2537, 505 87886, 29 7470, 17 1699, 186 50448,
5 2493, 27 16886"""
CONTROL = """11 128, 29 274, 11 209, 248 12619, 47 5761, 372 1079, 10 619, 499 87892, 45 7232, 65 1600,
141 27197, 3 2338, 29 17825"""


def bcg():
    tables = [np.array([row.split() for row in text.split(",")], dtype=int) for text in (TREATED, CONTROL)]
    groups = [(cases, cases + others) for cases, others in (table.T for table in tables)]
    effect = np.log(groups[0][0] / groups[0][1]) - np.log(groups[1][0] / groups[1][1])
    variance = sum(1 / cases - 1 / everyone for cases, everyone in groups)
    return effect, variance


def test_the_published_example():
    """Viechtbauer, Journal of Statistical Software 2010;36(3): tau^2 0.3132, estimate -0.7145."""
    effect, variance = bcg()
    assert reml(effect, variance) == pytest.approx(0.3132, abs=5e-5)
    found = summarise(effect, variance)
    assert found.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert found.new_lower < found.lower < found.estimate < found.upper < found.new_upper
    assert found.p < 0.01


def test_sites_that_agree_have_nothing_between_them():
    found = summarise([0.1, 0.1, 0.1], [0.01, 0.01, 0.01])
    assert (found.estimate, found.between) == (pytest.approx(0.1), 0)
    # limits are no narrower than those of one common effect
    assert found.upper - found.estimate > 1.96 * 0.1 / np.sqrt(3)


@pytest.mark.parametrize("effect", [[0.1, 0.2], [0.1, 0.2, np.nan]])
def test_two_sites_are_too_few(effect):
    assert summarise(effect, [0.01] * len(effect)) is None


@pytest.mark.parametrize("size", [1, 2, 20])
def test_holm_is_statsmodels_s(size):
    p = np.random.default_rng(size).random(size).round(2) / 10
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_what_was_not_tested_is_no_member_of_the_family():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert len(holm([])) == 0


def test_behind_a_closed_gate_nothing_is_claimed():
    np.testing.assert_allclose(gated([0.01, 0.01, 0.2], [0.3, 0.001, np.nan]), [0.3, 0.01, 1])
