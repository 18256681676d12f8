"""Logistic regression on vectors: the components of a place have a scale in common, so that what they mean is kept."""

from dataclasses import replace

import numpy as np
import pytest

from conceptbridge.learn.input_space import fit_space
from conceptbridge.learn.penalised_columns import columns
from conceptbridge.learn.places import NUMBERED, VALUED
from conceptbridge.learn.pooled_features import pool, scale_groups
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import Examples, OneHot, PlacedVectors
from conceptbridge.learn.search import Part, Run
from conceptbridge.learn.site import Site
from made_site import vectors_of
from test_windows import SETTINGS, drawn_rows

VECTORS = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)


def examples_of(vectors: np.ndarray | OneHot | PlacedVectors, place_width: int | None = None) -> Examples:
    """Four rows of one token each."""
    return Examples(vectors, np.arange(4), np.arange(5), np.array([0, 1, 0, 1], np.int8), place_width=place_width)


def test_the_components_of_a_place_and_statistic_are_a_group() -> None:
    placed = PlacedVectors(VECTORS, np.array([0, 1, 2, 0]), np.array([0, VALUED, NUMBERED]))
    groups = scale_groups(examples_of(placed))
    assert groups is not None
    assert len(groups) == pool(examples_of(placed), counts=False).shape[1]
    # mean and maximum of the states and of the values; each of the numbers is a group of its own
    assert sorted(np.unique(groups, return_counts=True)[1]) == [*[1] * 6, *[3] * 4]
    assert len(set(groups[:3].tolist())) == len(set(groups[3:6].tolist())) == 1
    written = np.zeros((4, 6), np.float32)
    assert np.array_equal(scale_groups(examples_of(written, 3)), np.repeat([0, 1, 2, 3], 3))
    assert np.array_equal(scale_groups(examples_of(written)), np.repeat([0, 1], 6))
    assert scale_groups(examples_of(OneHot(4, 0.0, 1.0))) is None


@pytest.mark.parametrize(("components", "width"), [(4, 4), (None, None)])
def test_vectors_with_states_as_slots_say_how_wide_a_place_is(components: int | None, width: int | None) -> None:
    rows = drawn_rows(1)
    texts = sorted({text for text in rows.texts if text})
    table = (texts, np.stack([vectors_of(texts)[text] for text in texts]))
    space = fit_space("made", "f", "transformers", rows, table, 1, True, components)
    [given] = Site("here", rows, table).draws(space, np.arange(20))
    assert given.place_width == (None if width is None else min(width, len(texts) - 1))


def test_a_group_keeps_half_of_the_relative_sizes_of_its_columns() -> None:
    rng = np.random.default_rng(2)
    size = np.array([5.0, 0.05, 0.0, 3.0, 3.0])
    features = (rng.normal(size=(500, 5)) * size + 7).astype(np.float32)
    own = features.astype(np.float64).std(axis=0)
    made, alone = columns(features, np.array([0, 0, 0, 1, 2])), columns(features)
    of_group = np.sqrt((own[0] ** 2 + own[1] ** 2) / 2)
    np.testing.assert_allclose(made.scale, [*np.sqrt(own[:2] * of_group), np.inf, *own[3:]], rtol=1e-5)
    np.testing.assert_allclose(alone.scale, [*own[:2], np.inf, *own[3:]], rtol=1e-5)


def test_a_sparse_matrix_has_no_groups() -> None:
    given = examples_of(OneHot(4, 0.0, 1.0))
    made = columns(pool(given, counts=False), scale_groups(given))
    np.testing.assert_array_equal(made.scale, 1)


def test_a_value_keeps_its_sign_where_only_noise_tells_the_concept_apart() -> None:
    """One concept with a value here, another there: alike in what their names mean, not in the last components."""
    rng = np.random.default_rng(3)
    own = np.append(rng.normal(size=15) / 20, 8).astype(np.float32)
    other = np.append(-own[:-1], own[-1])
    z = rng.normal(size=600).astype(np.float32)
    labels = (rng.random(600) < 1 / (1 + np.exp(-2 * z))).astype(np.int8)
    one = np.zeros(600, np.int64)
    here = Examples(PlacedVectors(own[None], one[:1], np.array([VALUED])), one, np.arange(601), labels, weights=z)
    there = replace(here, vectors=PlacedVectors(other[None], one[:1], np.array([VALUED])), cache={})
    run = Run(1, SETTINGS["logistic"], Part(np.arange(400), np.arange(400, 600)))
    of_learner = learner("logistic")
    model = of_learner.fit(here, [run])
    near, far = (of_learner.predict(model, rows)[0] for rows in (here, there))
    assert np.corrcoef(near, z)[0, 1] > 0.9
    assert np.corrcoef(far, z)[0, 1] > 0.9
