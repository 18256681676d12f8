"""The variance of an AUROC is the published one, by its plain definition: every pair of rows is looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from conceptbridge.evaluate.delong import components, person_clusters, variance


def kernel(label, probability):
    """Whether each event (rows of the matrix) outranks each non-event, ties half."""
    above, below = probability[label == 1], probability[label == 0]
    return (above[:, None] > below) + 0.5 * (above[:, None] == below)


def delong(label, first, second):
    """DeLong et al. (1988): variance of two AUROCs and their covariance, one row a person."""
    kernels = [kernel(label, each) for each in (first, second)]
    events = np.cov([each.mean(axis=1) for each in kernels])
    non_events = np.cov([each.mean(axis=0) for each in kernels])
    return events / kernels[0].shape[0] + non_events / kernels[0].shape[1]


def obuchowski(label, probability, person):
    """Obuchowski (1997), equations for clustered data, person by person."""
    pairs = kernel(label, probability)
    auroc, (events, non_events) = pairs.mean(), pairs.shape
    of_event, of_non_event = person[label == 1], person[label == 0]
    s10 = s01 = s11 = 0.0
    for one in np.unique(person):
        x = (pairs.mean(axis=1)[of_event == one] - auroc).sum()
        y = (pairs.mean(axis=0)[of_non_event == one] - auroc).sum()
        s10, s01, s11 = s10 + x * x, s01 + y * y, s11 + x * y
    with_event, without = len(np.unique(of_event)), len(np.unique(of_non_event))
    persons = len(np.unique(person))
    return (
        with_event / ((with_event - 1) * events) * s10 / events
        + without / ((without - 1) * non_events) * s01 / non_events
        + 2 * persons / ((persons - 1) * events * non_events) * s11
    )


@st.composite
def predictions(draw):
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = draw(st.integers(8, 60))
    label = np.r_[1, 1, 0, 0, random.integers(0, 2, rows - 4)]
    levels = draw(st.sampled_from([3, 10, 10_000]))
    return label, random.integers(0, levels, (2, rows)) / levels, random.integers(0, draw(st.integers(2, rows)), rows)


@settings(deadline=None, max_examples=80)
@given(predictions())
def test_one_row_a_person_is_delong(case):
    label, (first, second), _ = case
    of = person_clusters(label, np.arange(len(label)) * 7)
    one, other = components(label, first, of), components(label, second, of)
    expected = delong(label, first, second)
    assert one.auroc == pytest.approx(roc_auc_score(label, first), abs=1e-10)
    events, non_events = (np.column_stack([a, b]) for a, b in zip(one[1:], other[1:], strict=True))
    np.testing.assert_allclose(variance(events, non_events, of), np.diag(expected), rtol=0, atol=1e-10)
    difference = variance(one.events - other.events, one.non_events - other.non_events, of)
    assert difference == pytest.approx(expected[0, 0] + expected[1, 1] - 2 * expected[0, 1], abs=1e-10)


@settings(deadline=None, max_examples=80)
@given(predictions())
def test_several_rows_a_person_are_obuchowski(case):
    label, (probability, _), person = case
    of = person_clusters(label, person)
    found = components(label, probability, of)
    assert np.sum(found.influence) == pytest.approx(0, abs=1e-12)
    if min(of.with_event, of.with_non_event) < 2:
        assert np.isnan(variance(found.events, found.non_events, of))
    else:
        expected = max(obuchowski(label, probability, person), 0)
        assert variance(found.events, found.non_events, of) == pytest.approx(expected, abs=1e-10)
