"""The metrics equal scikit-learn's, under ties and weights, for all resamples at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score

from conceptbridge.evaluate import metrics
from conceptbridge.evaluate.delong import components, person_clusters
from conceptbridge.evaluate.influence import of_cuts, of_metrics
from conceptbridge.evaluate.metrics import AT_CUT, METRICS, measure, measure_cuts


def reference(label, probability, weight):
    """Return scikit-learn's AUROC, AUPRC and Brier scores of one resample."""
    prevalence = np.average(label, weights=weight)
    brier = brier_score_loss(label, probability, sample_weight=weight)
    return [
        roc_auc_score(label, probability, sample_weight=weight),
        average_precision_score(label, probability, sample_weight=weight),
        brier,
        1 - brier / brier_score_loss(label, np.full(len(label), prevalence), sample_weight=weight),
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


@settings(deadline=None, max_examples=100)
@given(weighted_predictions())
def test_equals_scikit_learn_with_ties_and_weights(case):
    label, probability, weight = case
    values = measure(label, probability, weight)
    assert values.shape == (len(METRICS), weight.shape[1])
    for column, found in zip(weight.T, values.T, strict=True):
        if column[label == 1].sum() > 0 and column[label == 0].sum() > 0:
            np.testing.assert_allclose(found, reference(label, probability, column), rtol=0, atol=1e-10)
        else:
            assert np.isnan(found[[0, 1, 3]]).all()


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
    auroc, auprc, brier, scaled = measure([only] * 4, [0.25] * 4, np.ones((4, 1)))[:, 0]
    assert np.isnan([auroc, auprc, scaled]).all()
    assert brier == (only - 0.25) ** 2


def test_constant_predictions_are_worth_a_coin():
    auroc, auprc, *_ = measure([1, 0, 0, 0], [0.5] * 4, np.ones((4, 1)))[:, 0]
    assert (auroc, auprc) == (0.5, 0.25)


def test_single_precision_is_enough_for_a_bootstrap():
    random = np.random.default_rng(3)
    label, probability = random.random(2000) < 0.1, random.random(2000).round(3)
    weight = random.integers(0, 4, (2000, 30))
    exact, quick = measure(label, probability, weight), measure(label, probability, weight.astype(np.float32))
    np.testing.assert_allclose(quick, exact, atol=1e-5)


@settings(deadline=None, max_examples=100)
@given(weighted_predictions(), st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=1, max_size=3))
def test_what_follows_from_a_cut_is_the_confusion_matrix_s(case, cuts):
    label, probability, weight = case
    values = measure_cuts(label, probability, cuts, weight)
    assert values.shape == (len(cuts), len(AT_CUT), weight.shape[1])
    for cut, of_cut in zip(cuts, values, strict=True):
        for column, found in zip(weight.T, of_cut.T, strict=True):
            if not column.sum():
                continue
            alert = (probability >= cut).astype(int)
            (tn, fp), (fn, tp) = confusion_matrix(label, alert, labels=[0, 1], sample_weight=column)
            with np.errstate(invalid="ignore", divide="ignore"):
                net = (tp - fp * cut / (1 - cut)) / column.sum() if cut < 1 else np.nan
                expected = [tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), (tp + fp) / column.sum(), net]
            np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("ties", [False, True])
def test_an_influence_is_the_derivative_by_a_person_s_weight(ties):
    random = np.random.default_rng(4)
    person = random.integers(0, 25, 60)
    label, probability = random.integers(0, 2, 60), random.random(60)
    if ties:
        probability = (probability * 8).round() / 10
    of, cuts = person_clusters(label, person), np.array([0.3, 0.6])
    auroc = components(label, probability, of)
    found = of_metrics(label, probability, of, auroc)
    at_cuts = of_cuts(label, probability, cuts, of)
    step = 1e-6
    weight = np.concatenate([1 + step * np.eye(of.persons), 1 - step * np.eye(of.persons)], axis=1)
    for influence, values in (
        (found, measure(label, probability, weight, of.person)),
        (at_cuts, measure_cuts(label, probability, cuts, weight, of.person)),
    ):
        more, less = np.split(values, 2, axis=-1)
        np.testing.assert_allclose(influence, (more - less) / (2 * step), atol=1e-7)
        np.testing.assert_allclose(influence.sum(axis=-1), 0, atol=1e-12)
