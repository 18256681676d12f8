"""A row in windows: what happened when, and with which value, each at a place of its own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import read_package
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.exchange.score.predict import score
from conceptbridge.exchange.send.bundle import write_bundle
from conceptbridge.learn.ancestors import with_ancestors
from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.input_space import fit_space
from conceptbridge.learn.networks import cnn, token_table
from conceptbridge.learn.places import Windows
from conceptbridge.learn.pooled_features import pool, presence
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import Examples, OneHot, PlacedVectors, SiteRows, merge
from conceptbridge.learn.search import Part, Run
from conceptbridge.learn.site import Site
from conceptbridge.learn.translated import translate_draws, translate_model
from conceptbridge.learn.windows import ALMOST_ZERO, in_windows, persons_with
from conceptbridge.study.config import read_study
from conceptbridge.tasks.sequences import SEQUENCES
from conceptbridge.tasks.windows import check_windows, cut
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY
from conceptbridge.vocabulary.states import SLOTS
from made_arms import train_local, transfer
from made_site import CONCEPTS, NOBODY, WIDTH, site, vectors_of, write_site
from test_exchange_bundle import DEFINITION, FINGERPRINT, budget
from test_exchange_score import files, read_csv
from test_translated import table_of

DAYS = ((0, 0), (-30, -1), (-365, -31))
ALL = Windows(((-365, 0),), values=False)
BARE, VALUED = Windows(DAYS, values=False), Windows(DAYS, values=True)
SETTINGS: dict[str, dict[str, Any]] = {
    "cnn": {"filters": 8, "dropout": 0.5, "batch": 16, "momentum": 0.9, "weight_decay": 0.001, "learning_rate": 0.01}
    | {"min_pass_steps": 20, "max_pass_steps": 20, "checks_per_pass": 2, "patience": 3, "max_passes": 3},
    "lightgbm": {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.1}
    | {"feature_fraction": "auto", "bagging_fraction": 0.8, "num_iterations": 80, "early_stopping_round": 20},
    "logistic": {"penalty": 0.01, "penalties": 8, "patience": 2, "l1_share": 1.0},
}


def rows_of(lists: list[list[tuple[int, int, float]]], keys: list[str], slots: list[int]) -> SiteRows:
    """Rows of (token, day, value), all training rows."""
    events = [event for events in lists for event in events]
    n = len(lists)
    made = SiteRows(
        keys=keys,
        texts=[key.split("|")[0] for key in keys],
        slots=np.array(slots),
        training_rows=np.zeros(len(keys), np.int64),
        row_ids=np.arange(n),
        person_ids=np.arange(n),
        labels=(np.arange(n) % 2).astype(np.int8),
        split=np.array(["train"] * n),
        tokens=np.array([token for token, _, _ in events], np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(events) for events in lists])]),
        days=np.array([day for _, day, _ in events], np.int16),
        values=np.array([value for _, _, value in events], np.float32),
    )
    return made.trained_on(made.of("train"))


def held(rows: SiteRows, row: int) -> dict[str, float]:
    """The tokens of a row, by key, and their weights."""
    within = slice(rows.offsets[row], rows.offsets[row + 1])
    weights = np.ones(len(rows.tokens)) if rows.weights is None else rows.weights
    return dict(zip([rows.keys[t] for t in rows.tokens[within]], weights[within].tolist(), strict=True))


NAN = float("nan")
KEYS, STATES = ["1|low", "1|high", "2|present", "age|65 to 79 years"], [3, 2, 0, 0]


def test_an_event_is_a_token_of_its_window_and_a_value_one_of_its_own() -> None:
    row = [(0, -40, -1.5), (2, -31, NAN), (1, -31, 1.0), (2, -3, NAN), (1, 0, 2.0), (0, 0, 1.0), (3, 0, 0.4)]
    made = in_windows(rows_of([row, []], KEYS, STATES), VALUED)
    # of the first window: two values on one day have a mean; then counts and age; of the third the day that is last
    assert held(made, 0) == pytest.approx(
        {"1|low @0": 1, "1|high @0": 1, "age|65 to 79 years @0": 1, "2|present @1": 1}
        | {"1|low @2": 1, "1|high @2": 1, "2|present @2": 1}
        | {"1|value last @0": 1.5, "1|value mean @0": 1.5, "1|value last @2": 1.0, "1|value mean @2": -0.25}
        | {"records|value @0": np.log(3), "records|value @1": np.log(2), "records|value @2": np.log(4)}
        | {"days with records|value @0": np.log(2), "days with records|value @1": np.log(2)}
        | {"days with records|value @2": np.log(3), "age|value @0": 0.4}
    )
    assert held(made, 1) == {}
    assert made.training_rows.tolist() == [1] * len(made.keys)
    place = dict(zip(made.keys, made.slots.tolist(), strict=True))
    assert (place["1|low @0"], place["1|low @2"]) == (3, 2 * len(SLOTS) + 3)
    assert len({place[key] for key in place if "value" in key}) == 2 * 2 + 3  # last and mean of 1, numbers of 3 windows
    assert {text for key, text in zip(made.keys, made.texts, strict=True) if key.startswith("1|value")} == {"1"}


def test_a_value_of_exactly_0_is_there() -> None:
    made = in_windows(rows_of([[(0, 0, 0.0)]], KEYS, STATES), VALUED)
    assert held(made, 0)["1|value last @0"] == pytest.approx(ALMOST_ZERO)
    assert held(made, 0)["1|value last @0"] != 0


def test_without_windows_rows_stay_as_they_are() -> None:
    rows = rows_of([[(0, -3, 1.0), (0, -2, NAN)]], KEYS, STATES)
    assert in_windows(rows, None) is rows
    one = in_windows(rows, ALL)
    assert one.tokens.tolist() == rows.tokens.tolist()
    assert one.keys == ["1|low @0"]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_tokens_of_a_day_have_no_order(data: st.DataObject) -> None:
    events = st.tuples(st.integers(0, 3), st.sampled_from([-40, -31, -3, 0]), st.sampled_from([-1.25, 0.1, 0.7, NAN]))
    row = sorted(
        data.draw(st.lists(events, max_size=12, unique_by=lambda event: event[:2])), key=lambda event: event[1]
    )
    shuffled = sorted(data.draw(st.permutations(row)), key=lambda event: event[1])
    one, other = (in_windows(rows_of([given], KEYS, STATES), VALUED) for given in (row, shuffled))
    assert one.keys == other.keys
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.weights, other.weights)


def drawn_rows(seed: int, rows: int = 240) -> SiteRows:
    """Rows in which the first token raises the risk on day 0 alone, and a high value of the second's concept does."""
    rng = np.random.default_rng(seed)
    keys = ["10|present", "20|low", "20|high", "30|absent", "30|present", "40|present"]
    lists, labels = [], []
    for _ in range(rows):
        row = [(token, int(day), NAN) for day in (-200, -10, 0) for token in (0, 3, 4, 5) if rng.random() < 0.3]
        z = float(rng.normal())
        row += [(1 if z < 0 else 2, -10, z)] if rng.random() < 0.6 else []
        risk = 2.5 * any(token == 0 and day == 0 for token, day, _ in row) + 1.5 * z * any(t in (1, 2) for t, *_ in row)
        labels.append(int(rng.random() < 1 / (1 + np.exp(1.0 - risk))))
        lists.append(sorted(row, key=lambda event: (event[1], event[0])))
    made = rows_of(lists, keys, [0, 3, 2, 1, 0, 0])
    split = np.array(["train", "validation", "test"])[np.arange(rows) % 3]
    return replace(made, labels=np.array(labels, np.int8), split=split).trained_on(np.flatnonzero(split == "train"))


def predicted(name: str, rows: SiteRows, table: bool, components: int = 4) -> np.ndarray:
    """The probabilities of a model of two seeds that was trained on the training rows."""
    texts = sorted({text for text in rows.texts if text})
    vectors = vectors_of(texts)
    there = Site("here", rows, (texts, np.stack([vectors[text] for text in texts])) if table else None)
    backend = "transformers" if table else "onehot"
    space = fit_space("made", "f", backend, rows, there.table, 1, True, components if table else None)
    [given] = there.draws(space, np.arange(len(rows.row_ids)))
    train, check = rows.of("train"), rows.of("validation")
    of_learner, part = learner(name), Part(train, check)
    return of_learner.predict(of_learner.fit(given, [Run(s, SETTINGS[name], part) for s in (1, 2)]), given)


@pytest.mark.parametrize("table", [True, False], ids=["vectors", "onehot"])
@pytest.mark.parametrize("name", SETTINGS)
def test_one_window_of_all_days_is_today_s_bag(name: str, table: bool) -> None:
    rows = drawn_rows(1)
    np.testing.assert_array_equal(predicted(name, rows, table), predicted(name, in_windows(rows, ALL), table))


@pytest.mark.parametrize("table", [True, False], ids=["vectors", "onehot"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_reads_when_and_how_much(name: str, table: bool) -> None:
    from sklearn.metrics import roc_auc_score

    rows = drawn_rows(2, 1500)
    test = rows.of("test")
    bag, days, values = (
        roc_auc_score(rows.labels[test], predicted(name, in_windows(rows, windows), table)[0, test])
        for windows in (None, BARE, VALUED)
    )
    assert days > bag + 0.02
    assert values > days + 0.01


def numbered_rows(number: str, rows: int = 900) -> SiteRows:
    """Rows whose risk is that of the age alone, or of how many records they have: whatever these are."""
    rng = np.random.default_rng(6)
    keys, number_of_records = [f"{concept}|present" for concept in range(12)] + ["age|any"], rng.integers(1, 11, rows)
    age = rng.normal(size=rows)
    lists = [
        [*((token, 0, NAN) for token in sorted(rng.choice(12, number_of_records[i], replace=False))), (12, 0, age[i])]
        for i in range(rows)
    ]
    risk = age if number == "age" else (number_of_records - 5.5) / 2.9
    made = rows_of(lists, keys, [0] * 13)
    split = np.array(["train", "validation", "test"])[np.arange(rows) % 3]
    labels = (rng.random(rows) < 1 / (1 + np.exp(-3 * risk))).astype(np.int8)
    return replace(made, labels=labels, split=split).trained_on(np.flatnonzero(split == "train"))


@pytest.mark.parametrize("table", [True, False], ids=["vectors", "onehot"])
@pytest.mark.parametrize("number", ["age", "records"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_risk_of_age_or_of_how_many_records_is_learned(name: str, number: str, table: bool) -> None:
    from sklearn.metrics import roc_auc_score

    rows = in_windows(numbered_rows(number), VALUED)
    test = rows.of("test")
    assert roc_auc_score(rows.labels[test], predicted(name, rows, table)[0, test]) > 0.85


@pytest.mark.parametrize("name", SETTINGS)
def test_the_age_is_read_whatever_the_number_of_components(name: str) -> None:
    from sklearn.metrics import roc_auc_score

    rows = in_windows(numbered_rows("age"), VALUED)
    test = rows.of("test")
    assert roc_auc_score(rows.labels[test], predicted(name, rows, True, 2)[0, test]) > 0.85


def test_states_and_windows_are_never_mixed() -> None:
    rows = in_windows(drawn_rows(3), VALUED)
    texts = sorted({text for text in rows.texts if text})
    vectors = vectors_of(texts)
    table = (texts, np.stack([vectors[text] for text in texts]))
    space = fit_space("made", "f", "transformers", rows, table, 1, True, 4)
    [(made, index)] = space.draws(rows, table)
    assert isinstance(made, PlacedVectors)
    assert (index >= 0).all()
    whole, place = made.written_out(), {key: int(made.places[i]) for i, key in enumerate(rows.keys)}
    assert whole.shape == made.shape == (len(rows.keys), len(set(rows.slots.tolist())) * 3)  # 4 texts differ in 3 ways
    assert len({place[key] for key in ("30|absent @0", "30|present @0", "30|absent @1", "20|value last @1")}) == 4
    for one in range(len(rows.keys)):
        for other in range(one):
            assert made.places[one] == made.places[other] or whole[one] @ whole[other] == 0


def placed_examples(seed: int, values: bool = True) -> tuple[Examples, Examples]:
    """The same rows with vectors at places, and with these written out."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, 60)
    vectors = PlacedVectors(rng.normal(size=(25, 3)).astype(np.float32), np.arange(25) % 5, np.array([0, 0, 1, -1, 1]))
    given = Examples(
        vectors,
        rng.integers(0, 25, lengths.sum()),
        np.concatenate([[0], np.cumsum(lengths)]),
        (rng.random(60) < 0.5).astype(np.int8),
        weights=rng.normal(size=lengths.sum()).astype(np.float32) if values else None,
    )
    return given, replace(given, vectors=vectors.written_out(), cache={})


def test_vectors_are_pooled_over_their_window_and_values_summed() -> None:
    given, whole = placed_examples(1)
    assert isinstance(given.vectors, PlacedVectors)
    assert isinstance(whole.vectors, np.ndarray)
    assert given.weights is not None
    made = pool(given, counts=True).written_out()
    width = given.vectors.shape[1]
    assert made.shape == (60, 2 * width + 1)
    for row in range(60):
        at = np.arange(given.offsets[row], given.offsets[row + 1])
        vector = whole.vectors[given.tokens[at]] * given.weights[at, None]
        bag = given.vectors.bags[given.vectors.places[given.tokens[at]]]
        for place, of_place in enumerate(given.vectors.bags):
            of = slice(3 * place, 3 * place + 3)
            others = bag == of_place if of_place >= 0 else given.vectors.places[given.tokens[at]] == place
            some = vector[others][:, of]
            total = some.sum(axis=0) / (max(len(some), 1) if of_place >= 0 else 1)
            highest = some.max(axis=0) if len(some) else np.zeros(3)
            np.testing.assert_allclose(made[row, of], total, atol=1e-5)
            np.testing.assert_allclose(made[row, width:][of], highest, atol=1e-6)


@pytest.mark.parametrize("gram_tokens", [2000, 0], ids=["gram", "vectors"])
@pytest.mark.parametrize("values", [True, False], ids=["values", "bare"])
def test_a_network_trains_on_places_as_on_vectors_with_all_their_zeros(
    values: bool, gram_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_table, "GRAM_TOKENS", gram_tokens)
    given, whole = placed_examples(2, values)
    part = Part(np.arange(40), np.arange(40, 60))
    one, other = (cnn.ENGINE.fit(rows, [Run(1, SETTINGS["cnn"], part)]) for rows in (given, whole))
    for name, array in one.weights.items():
        np.testing.assert_allclose(array, other.weights[name], atol=2e-5)
    np.testing.assert_allclose(cnn.ENGINE.predict(one, given), cnn.ENGINE.predict(other, whole), atol=1e-5)


def test_a_filter_reads_all_windows_alike_and_has_a_maximum_in_each() -> None:
    given, _ = placed_examples(4)
    assert isinstance(given.vectors, PlacedVectors)
    # two windows of two kinds of places, and one of a third kind
    kinds, window = np.array([0, 1, 0, 2, 1]), np.array([0, 0, 1, 0, 1], np.int8)
    placed = replace(given.vectors, kinds=kinds)
    at = {"windows": 2, "in_window": window[placed.places[given.tokens]], "cache": {}}
    seen = replace(given, vectors=placed, **at)
    shared = placed.over_windows()
    assert shared.places.tolist() == kinds[placed.places].tolist()
    plain = replace(seen, vectors=shared.written_out(), cache={})
    run = Run(1, SETTINGS["cnn"], Part(np.arange(40), np.arange(40, 60)))
    one, other = (cnn.ENGINE.fit(rows, [run]) for rows in (seen, plain))
    filters = SETTINGS["cnn"]["filters"]
    assert one.weights["filters-1"].shape == (1, 3 * 3, filters)
    assert one.weights["head"].shape == (1, 2 * filters, 2)
    np.testing.assert_allclose(cnn.ENGINE.predict(one, seen), cnn.ENGINE.predict(other, plain), atol=1e-5)
    # without a token the filters' maxima there are 0, whatever the other window has
    no_first = replace(seen, in_window=np.ones(len(given.tokens), np.int8), cache={})
    weights = one.weights | {"head": one.weights["head"] * (np.arange(2 * filters) < filters)[:, None]}
    blind = cnn.ENGINE.predict(replace(one, weights=weights), no_first)
    np.testing.assert_allclose(blind, blind[0, 0], rtol=1e-12)


def test_one_window_is_one_bag_to_the_bit() -> None:
    given, _ = placed_examples(5)
    assert isinstance(given.vectors, PlacedVectors)
    one_window = replace(given, vectors=replace(given.vectors, kinds=np.arange(5)), cache={})
    one_window = replace(one_window, in_window=np.zeros(len(given.tokens), np.int8), cache={})
    run = Run(1, SETTINGS["cnn"], Part(np.arange(40), np.arange(40, 60)))
    bag, window = (cnn.ENGINE.fit(rows, [run]) for rows in (given, one_window))
    for name, array in bag.weights.items():
        np.testing.assert_array_equal(array, window.weights[name], name)


@pytest.mark.parametrize("gram_tokens", [2000, 0], ids=["gram", "vectors"])
def test_a_weight_multiplies_a_token_s_vector(gram_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_table, "GRAM_TOKENS", gram_tokens)
    _, whole = placed_examples(3)
    assert isinstance(whole.vectors, np.ndarray)
    assert whole.weights is not None
    # each row's tokens once, so that each event can have a vector of its own
    first = np.unique(whole.row_of * 25 + whole.tokens, return_index=True)[1]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(whole.row_of[first], minlength=60))])
    once = replace(whole, tokens=whole.tokens[first], weights=whole.weights[first], offsets=offsets, cache={})
    assert once.weights is not None
    written = replace(once, vectors=whole.vectors[once.tokens] * once.weights[:, None], weights=None, cache={})
    written = replace(written, tokens=np.arange(len(once.tokens)), cache={})
    part = Part(np.arange(40), np.arange(40, 60))
    one, other = (cnn.ENGINE.fit(rows, [Run(1, SETTINGS["cnn"], part)]) for rows in (once, written))
    np.testing.assert_allclose(cnn.ENGINE.predict(one, once), cnn.ENGINE.predict(other, written), atol=1e-5)
    np.testing.assert_allclose(pool(once, True), pool(written, True), atol=1e-5)


def test_a_one_hot_column_has_the_weight_and_a_token_read_twice_its_mean() -> None:
    vectors = OneHot(3, 0.0, 1.0)
    given = Examples(
        vectors,
        np.array([0, 2, 2, 1]),
        np.array([0, 3, 4]),
        np.array([0, 1], np.int8),
        weights=np.float32([1, 3, 1, -2]),
    )
    np.testing.assert_array_equal(presence(given).toarray(), [[1, 0, 2], [0, -2, 0]])


def test_trees_tell_no_value_from_a_value_of_0() -> None:
    rng = np.random.default_rng(4)
    there, value = rng.random(600) < 0.5, rng.choice([-1.0, 0.0, 1.0], 600)
    weights = np.where(value == 0, ALMOST_ZERO, value)[there].astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(there)])
    labels = (there & (value == 0)).astype(np.int8)
    given = Examples(OneHot(1, 0.0, 1.0), np.zeros(there.sum(), np.int64), offsets, labels, weights=weights)
    chosen = SETTINGS["lightgbm"] | {"counts": False, "num_iterations": 60, "bagging_fraction": 1.0}
    of_learner = learner("lightgbm")
    [made] = of_learner.predict(of_learner.fit(given, [Run(1, chosen, Part(np.arange(600), np.empty(0, int)))]), given)
    assert made[labels == 1].min() > 0.9
    assert made[labels == 0].max() < 0.1


def test_rows_of_several_sites_keep_days_values_and_windows() -> None:
    rows = drawn_rows(5)
    for one in (rows, in_windows(rows, VALUED)):
        both = merge([one, one])
        for name in ("days", "values", "weights"):
            array = getattr(one, name)
            expected = None if array is None else np.concatenate([array, array])
            np.testing.assert_array_equal(getattr(both, name), expected)
        assert both.windows == one.windows
        few = one.take(np.arange(3, 8))
        assert [held(few, n) for n in range(5)] == [held(one, n) for n in range(3, 8)]


def test_rows_of_sites_in_other_windows_are_not_put_together() -> None:
    rows = drawn_rows(5)
    with pytest.raises(StudyError, match=r"site 1 and site 3 are in other windows \(.*'values': True.*'values': False"):
        merge([in_windows(rows, windows) for windows in (VALUED, VALUED, BARE)])


def test_ancestors_are_no_records() -> None:
    rows = rows_of([[(0, -3, 1.0), (2, 0, NAN)], [(2, -3, NAN)]], KEYS, STATES)
    also = {"1|low": ["9|low"], "2|present": ["8|present", "9|present"]}
    plain, more = (in_windows(one, VALUED) for one in (rows, with_ancestors(rows, also)))
    for n in range(2):
        counts = {key: weight for key, weight in held(plain, n).items() if "records" in key}
        assert {key: weight for key, weight in held(more, n).items() if "records" in key} == counts
        assert len(held(more, n)) > len(held(plain, n))
    assert held(more, 1)["records|value @1"] == pytest.approx(np.log(2))
    again = in_windows(merge([with_ancestors(rows, also).take(np.array([1]))] * 2), VALUED)
    assert held(again, 1) == held(more, 1)


def test_a_model_of_other_windows_is_refused() -> None:
    rows = drawn_rows(6)
    space = fit_space("made", "f", "onehot", in_windows(rows, BARE), None, 1, True)
    with pytest.raises(StudyError, match="made: the model sees other windows than those of the rows; train it again"):
        space.draws(rows, None)


# --- another hospital -------------------------------------------------------------------------------------------------


def write_windowed(folder: Path, seed: int) -> Path:
    """A site whose events are of three windows, some with values; few persons have the last concept on day 0."""
    made, rng = write_site(folder, CONCEPTS, seed=seed), np.random.default_rng(seed)
    lists = pq.read_table(made / "sequences.parquet").to_pylist()
    for row in lists:
        of_last = 0 if row["row_id"] < 18 else -1
        days = [of_last if token == 4 else int(rng.choice([-100, -5, 0])) for token in row["tokens"]]
        pairs = sorted(zip(days, row["tokens"], strict=True))
        row |= {"days": [day for day, _ in pairs], "tokens": [token for _, token in pairs]}
        row["values"] = [float(rng.normal()) if token == 2 else None for token in row["tokens"]]
    schema = SEQUENCES if "values" in SEQUENCES.names else SEQUENCES.append(pa.field("values", pa.list_(pa.float32())))
    pq.write_table(pa.Table.from_pylist(lists, schema=schema), made / "sequences.parquet")
    return made


def in_days(made: Site) -> Site:
    return replace(made, rows=in_windows(made.rows, VALUED))


SEEN = DEFINITION | {
    "predictors": DEFINITION["predictors"] | {"windows": [list(window) for window in DAYS], "values": True}
}


@pytest.mark.parametrize("name", ["logistic", "cnn"])
@pytest.mark.parametrize("backend", ["onehot", "transformers"])
def test_a_model_of_windows_goes_to_another_hospital(tmp_path: Path, backend: str, name: str) -> None:
    home, there = write_windowed(tmp_path / "home", 1), write_windowed(tmp_path / "there", 2)
    tokens = pq.read_table(home / "tokens.parquet").to_pylist()
    for token in tokens:
        token["persons"] = token["rows"]
    pq.write_table(pa.Table.from_pylist(tokens), home / "tokens.parquet")
    beside = {"vocabulary": "SNOMED", "named_by": "concept", "private": False}
    known = [{k: t[k] for k in ("key", "concept_id", "domain", "state", "text")} | {"name": t["text"]} for t in tokens]
    pq.write_table(pa.Table.from_pylist([k | beside for k in known], schema=VOCABULARY), home / "vocabulary.parquet")
    embedding = {"name": "made", "fingerprint": FINGERPRINT, "backend": backend}
    vectors = backend != "onehot"
    trained = replace(budget(SETTINGS[name]), components=4 if vectors else None)
    train_local(in_days(site(home, "home", vectors)), name, embedding, trained, tmp_path / "arm")
    about = {"source": "home", "task": "flu", "definition": SEEN, "embedding": embedding | {"entry": {}}}
    about |= {"learner": name, "seeds": 2}
    sent, files_of = tmp_path / "sent.zip", (home / "vocabulary.parquet", home / "tokens.parquet", None, NOBODY)
    write_bundle(about | {"min_cell_count": 5}, tmp_path / "arm", *files_of, sent, tmp_path / "sheet.md")
    receive(sent, about, WIDTH if vectors else None, tmp_path / "received")
    model = json.loads((tmp_path / "received/models/home/model.json").read_text(encoding="utf-8"))
    assert model["space"]["windows"] == VALUED.to_dict()
    clinic = in_days(site(there, "there", vectors))
    score(
        *(site(there, "there", vectors), name, tmp_path / "received", "home", FINGERPRINT, files(there)),
        *(home / "tokens.parquet", 5, tmp_path / "scores.csv"),
    )
    transfer(clinic, name, "direct", {"home": tmp_path / "received"}, FINGERPRINT, budget({}), tmp_path / "direct")
    direct = pq.read_table(tmp_path / "direct/predictions.parquet").to_pandas()
    expected = direct[direct.split == "test"].groupby("row_id").probability.mean()
    found = [float(row["probability"]) for row in read_csv(tmp_path / "scores.csv")]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    other = about | {"definition": DEFINITION}
    with pytest.raises(StudyError, match="windows"):
        receive(sent, other, WIDTH if vectors else None, tmp_path / "other")
    if name == "cnn":
        filters = SETTINGS[name]["filters"]
        head = load_file(tmp_path / "received/models/home/weights.safetensors")["head"]
        assert head.shape == (2, (len(DAYS) if vectors else 1) * filters, 2)
        wrong = learner(name).check_sizes({"maxima": filters, "filters": filters, "windows": len(DAYS)})
        assert wrong == f"head: is of {filters} maxima, not {filters * len(DAYS)}"
    if not vectors:
        rows = in_days(site(home, "home", vectors)).rows
        few = {key for key, persons in zip(rows.keys, persons_with(rows).tolist(), strict=True) if persons < 5}
        own = json.loads((tmp_path / "arm/models/home/model.json").read_text(encoding="utf-8"))["space"]["names"]
        assert few & set(own), "some column is of few persons"
        assert set(model["space"]["names"]) & set(own) == set(own) - few
        told = read_package(sent, "bundle", tmp_path / "files")
        assert told["definition"]["predictors"]["windows"] == [list(window) for window in DAYS]


def one_hot(name: str, rows: SiteRows) -> TrainedModel:
    space = fit_space("onehot", "f", "onehot", rows, None, 1, scale=True)
    [given] = Site("home", rows, None).draws(space, np.arange(len(rows.row_ids)))
    of_learner, part = learner(name), Part(rows.of("train"), rows.of("validation"))
    return TrainedModel(of_learner, of_learner.fit(given, [Run(1, SETTINGS[name], part)]), space)


def at(trained: TrainedModel, rows: SiteRows) -> np.ndarray:
    return trained.predict(Site("there", rows, None).draws(trained.space, rows.of("test")))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_target_s_windows_and_values_are_read_in_the_source_s_words(name: str) -> None:
    trained, there = one_hot(name, in_windows(drawn_rows(7), VALUED)), drawn_rows(8)
    assert (
        at(translate_model(trained, table_of({})), in_windows(there, VALUED)).tobytes()
        == at(trained, in_windows(there, VALUED)).tobytes()
    ), "equal vocabularies"
    hidden = replace(there, keys=[f"there/{key}" for key in there.keys])
    table = table_of({f"there/{key}": {key: 1.0} for key in there.keys})
    before, own = at(trained, in_windows(hidden, VALUED)), at(trained, in_windows(there, VALUED))
    read = at(translate_model(trained, table), in_windows(hidden, VALUED))
    np.testing.assert_allclose(read, own, atol=1e-5)
    assert np.abs(before - own).max() > 0.05
    drawn = at(translate_draws(trained, [table]), in_windows(hidden, VALUED))
    assert drawn.tobytes() == read.tobytes()


# --- the config -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([-365, 0], [[0, 0], [-30, -1], [-365, -31]]),
        ([-730, 0], [[0, 0], [-30, -1], [-730, -31]]),
        ([-365, -1], [[-30, -1], [-365, -31]]),
        ([-10, 0], [[0, 0], [-10, -1]]),
        ([0, 0], [[0, 0]]),
        ([-700, -400], [[-700, -400]]),
    ],
)
def test_the_preset_s_windows_are_cut_to_the_days(days: list[int], expected: list[list[int]]) -> None:
    assert cut(DAYS, days) == expected
    check_windows("config", expected, days)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([[0, -3]], r"the window \[0, -3\] ends before it begins"),
        ([[0, 0], [-400, -1]], r"the window \[-400, -1\] is not within predictors.days, \[-365, 0\]"),
        ([[-30, -1], [0, 0]], r"the window \[0, 0\] does not begin before \[-30, -1\]; write the latest window first"),
        ([[0, 0], [0, 0]], r"the window \[0, 0\] does not begin before \[0, 0\]"),
        (
            [[-30, 0], [-90, -30]],
            r"the windows \[-30, 0\] and \[-90, -30\] share some days; end the earlier one on day -31",
        ),
    ],
)
def test_windows_that_make_no_sense_are_told(windows: list[list[int]], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        check_windows("config: tasks.flu.predictors.windows", windows, [-365, 0])


def test_nested_windows_are_windows() -> None:
    check_windows("config", [[0, 0], [-30, 0], [-365, 0]], [-365, 0])


def study(preset: str = "fair", **more: Any) -> dict[str, Any]:
    predictors = more.pop("predictors", {})
    task = {
        "index": {"domain": "visit", "concepts": [9203]},
        "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
        "split": {"by": "hash"},
        "predictors": predictors,
    }
    made = {"name": "s", "sites": {"a": {"extract": "a"}}, "tasks": {"flu": task}, "embeddings": ["onehot"]}
    return made | {"learners": {"cnn": {}}, "preset": preset} | more


def test_a_study_has_windows_unless_states_are_words() -> None:
    of = {
        name: read_study(made).config["tasks"]["flu"]["predictors"]["windows"]
        for name, made in {
            "fair": study(),
            "own": study(predictors={"windows": [[0, 0]]}),
            "none": study(predictors={"windows": "none"}),
            "paper": study("paper"),
            "words": study(states="words"),
        }.items()
    }
    assert of.pop("fair") == [list(window) for window in DAYS]
    assert of.pop("own") == [[0, 0]]
    assert set(of.values()) == {"none"}
    with pytest.raises(StudyError, match="a window has no place beside it; write `states: slots`, or leave"):
        read_study(study("paper", predictors={"windows": [[0, 0]]}))
    with pytest.raises(StudyError, match=r"config: tasks\.flu\.predictors\.windows: "):
        read_study(study(predictors={"windows": "all"}))


def test_another_choice_of_windows_makes_the_same_sequences() -> None:
    one, other = (read_study(study(predictors={"windows": windows})) for windows in ("none", [[0, 0]]))
    assert one.sequences_settings("flu") == other.sequences_settings("flu")
    assert one.definition("flu") != other.definition("flu")
    assert (one.windows("flu"), other.windows("flu")["days"]) == (None, [[0, 0]])
