"""The metrics equal scikit-learn's, under ties and weights, for all resamples at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from conceptbridge.evaluate import metrics
from conceptbridge.evaluate.metrics import METRICS, measure


def reference(label, probability, weight):
    """Return scikit-learn's AUROC, AUPRC and Brier score of one resample."""
    return [
        roc_auc_score(label, probability, sample_weight=weight),
        average_precision_score(label, probability, sample_weight=weight),
        brier_score_loss(label, probability, sample_weight=weight),
    ]


@st.composite
def weighted_predictions(draw):
    rows, resamples = draw(st.integers(2, 40)), draw(st.integers(1, 4))
    label = draw(arrays(np.int8, rows, elements=st.integers(0, 1)))
    # few distinct values, so that most rows are in a tie
    probability = draw(arrays(np.int64, rows, elements=st.integers(0, 8))) / 8
    whole = draw(st.booleans())
    elements = st.integers(0, 5) if whole else st.floats(0.125, 5)
    weight = draw(arrays(np.int64 if whole else np.float64, (rows, resamples), elements=elements))
    return label, probability, weight


@settings(deadline=None, max_examples=300)
@given(weighted_predictions())
def test_equals_scikit_learn_with_ties_and_weights(case):
    label, probability, weight = case
    values = measure(label, probability, weight)
    assert values.shape == (len(METRICS), weight.shape[1])
    for column, found in zip(weight.T, values.T, strict=True):
        if column[label == 1].sum() > 0 and column[label == 0].sum() > 0:
            np.testing.assert_allclose(found, reference(label, probability, column), rtol=0, atol=1e-10)
        else:
            assert np.isnan(found[:2]).all()


def test_equals_scikit_learn_without_ties():
    random = np.random.default_rng(0)
    label, probability = random.integers(0, 2, 500), random.random(500)
    weight = random.integers(0, 4, (500, 20))
    expected = np.array([reference(label, probability, column) for column in weight.T]).T
    np.testing.assert_allclose(measure(label, probability, weight), expected, rtol=0, atol=1e-10)


def test_a_person_s_rows_share_one_weight():
    random = np.random.default_rng(1)
    label, probability, person = random.integers(0, 2, 90), random.random(90), random.integers(0, 30, 90)
    weight = random.integers(0, 3, (30, 10))
    np.testing.assert_allclose(
        measure(label, probability, weight, person), measure(label, probability, weight[person]), atol=1e-12
    )


def test_does_not_depend_on_the_size_of_a_block(monkeypatch):
    random = np.random.default_rng(2)
    label, probability, weight = random.integers(0, 2, 50), random.random(50), random.integers(0, 3, (50, 33))
    whole = measure(label, probability, weight)
    monkeypatch.setattr(metrics, "BLOCK_CELLS", 200)
    assert np.array_equal(measure(label, probability, weight), whole)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_has_a_brier_score_alone(only):
    auroc, auprc, brier = measure([only] * 4, [0.25] * 4, np.ones((4, 1)))[:, 0]
    assert np.isnan(auroc)
    assert np.isnan(auprc)
    assert brier == (only - 0.25) ** 2


def test_constant_predictions_are_worth_a_coin():
    auroc, auprc, _ = measure([1, 0, 0, 0], [0.5] * 4, np.ones((4, 1)))[:, 0]
    assert (auroc, auprc) == (0.5, 0.25)
