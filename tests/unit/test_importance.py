"""What a model looks at: each token's effect on its predictions, by leaving it out."""

from dataclasses import replace

import numpy as np
import pytest

from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.leave_out import changes, look
from conceptbridge.learn.places import Windows
from conceptbridge.learn.rows import SiteRows
from conceptbridge.learn.site import Site
from conceptbridge.learn.token_words import in_words, named, names_of
from conceptbridge.learn.translated import readings
from conceptbridge.learn.windows import in_windows
from test_translated import KEYS, OWN, rows_of, table_of, trained_on

WINDOWS = Windows(((0, 0), (-30, -1), (-365, -31)), values=True)


def looked_at(trained: TrainedModel, rows: SiteRows, min_persons: int = 10):
    return look(trained, Site("here", rows, None), rows.of("test"), min_persons)


@pytest.mark.parametrize("name", OWN)
def test_every_learner_looks_at_what_was_planted(name: str) -> None:
    rows = rows_of(KEYS)  # the first token raises the risk, the second lowers it
    seen = looked_at(trained_on(name, rows), rows)
    assert set(np.argsort(-seen.share)[:2]) == {0, 1}
    assert seen.effect[0] > 0.3 and seen.effect[1] < -0.3
    assert seen.share.sum() == pytest.approx(1)


def test_of_a_regression_on_codes_it_is_the_coefficient() -> None:
    rows = rows_of(KEYS)
    trained = trained_on("logistic", rows)
    seen = looked_at(trained, rows)
    np.testing.assert_allclose(seen.effect, trained.model.coefficients.mean(axis=0), atol=1e-6)


def test_of_a_value_it_is_what_one_spread_more_does() -> None:
    rng = np.random.default_rng(1)
    rows = rows_of(["1|normal", "2|normal"])
    value = rng.normal(size=400).astype(np.float32)
    measured = replace(
        rows,
        tokens=np.zeros(400, np.int32),
        offsets=np.arange(401),
        days=np.zeros(400, np.int16),
        values=value,
        labels=(rng.random(400) < 1 / (1 + np.exp(-2 * value))).astype(np.int8),
    )
    seen_in = in_windows(measured, WINDOWS)
    trained = trained_on("logistic", seen_in)
    seen = looked_at(trained, seen_in)
    at = [trained.space.names.index(key) for key in seen_in.keys]
    np.testing.assert_allclose(seen.effect, trained.model.coefficients.mean(axis=0)[at], atol=1e-5)
    [last] = [t for t, key in enumerate(seen_in.keys) if key == "1|value last @0"]
    assert seen.effect[last] > 0.3


def test_a_token_of_few_persons_is_not_told() -> None:
    rows = rows_of(KEYS)
    held = looked_at(trained_on("logistic", rows), rows, min_persons=0).persons
    seen = looked_at(trained_on("logistic", rows), rows, min_persons=int(held.max()))
    assert (np.isnan(seen.share) == (held < held.max())).all()


def test_what_changes_in_a_row_is_told_token_by_token() -> None:
    rows = rows_of(KEYS)
    trained = trained_on("logistic", rows)
    first = rows.tokens[rows.offsets[7] : rows.offsets[8]].astype(np.int64)
    found = changes(trained, Site("here", rows, None), np.full(len(first), 7), first)
    np.testing.assert_allclose(found, trained.model.coefficients.mean(axis=0)[first], atol=1e-6)


def test_a_token_is_told_with_what_it_is_read_as_most() -> None:
    translation = table_of({"9|present": {"1|present": 0.3, "2|present": 0.7}, "3|present": {"3|present": 1.0}})
    assert readings(translation, None) == {"9|present": "2|present"}
    assert readings(translation, WINDOWS)["9|value last @1"] == "2|value last @1"


def test_what_a_hospital_wrote_is_not_told_of_few_persons() -> None:
    names = names_of(["437663|present"], ["Fever"])
    assert named("437663|value mean @0", names, WINDOWS) == "Fever, mean value, day of the index"
    assert named("north/condition:odd words|present @0", names, WINDOWS) is None


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("437663|present @1", "Fever", "Fever, the 30 days before"),
        ("437663|absent @0", "Fever", "Fever, absent, day of the index"),
        ("3004249|value last @0", "Temperature", "Temperature, last value, day of the index"),
        ("3004249|high @2", "Temperature", "Temperature, high, 31 to 365 days before"),
        ("sex|female @0", "Sex, female", "Sex, female"),
        ("age|value @0", "Age, 0 to 4 years", "age"),
        ("days with records|value @1", None, "number of days with records, the 30 days before"),
        ("437663|present", "Fever", "Fever"),
    ],
)
def test_a_token_in_words(key: str, text: str | None, words: str) -> None:
    assert in_words(key, text, WINDOWS if "@" in key else None) == words
