"""The space in which a model sees tokens: fitted at its source, kept with it, the same at every target."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from conceptbridge.learn.input_space import NoVectorError, Space, fit_space, join_tables, load_space
from conceptbridge.learn.projection import NORM
from conceptbridge.learn.rows import OneHot, SiteRows, examples, merge
from conceptbridge.vocabulary.states import SLOTS
from made_site import vectors_of


def rows_of(texts: list[str | None], training_rows: list[int], slots: list[int] | None = None) -> SiteRows:
    empty = np.empty(0, np.int64)
    return SiteRows(
        keys=[f"{t}|present" for t in texts],
        texts=texts,
        slots=np.array(slots or [0] * len(texts)),
        training_rows=np.array(training_rows),
        row_ids=empty,
        person_ids=empty,
        labels=empty.astype(np.int8),
        split=empty.astype(str),
        tokens=empty.astype(np.int32),
        offsets=np.zeros(1, np.int64),
    )


def table_of(texts: list[str], scale: float = 1.0) -> tuple[list[str], np.ndarray]:
    vectors = vectors_of(texts)
    return texts, np.stack([vectors[t] * np.float32(scale) for t in texts])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 15.0])
def test_standardised_vectors_have_one_scale_whatever_the_embeddings(scale: float) -> None:
    rows = rows_of(["a", "b", "c", "unseen"], [9, 5, 1, 0])
    table = table_of(["a", "b", "c", "unseen"], scale)
    space = fit_space("e", "f", "sentence-transformers", rows, table, 1, scale=True)
    [(made, place)] = space.draws(rows, table)
    assert place.tolist() == [0, 1, 2, 3]
    assert isinstance(made, np.ndarray)
    np.testing.assert_allclose(made[:3].mean(axis=0), 0, atol=1e-5)
    assert np.sqrt((made[:3] ** 2).sum(axis=1).mean()) == pytest.approx(NORM, rel=1e-5)


def test_raw_vectors_stay_raw_when_asked_for() -> None:
    rows, table = rows_of(["a", "b"], [1, 1]), table_of(["a", "b"])
    space = fit_space("e", "f", "sentence-transformers", rows, table, 1, scale=False)
    np.testing.assert_array_equal(space.draws(rows, table)[0][0], table[1])


def test_one_hot_has_a_column_for_each_token_seen_often_enough() -> None:
    rows = rows_of(["a", "b", "c"], [9, 2, 0])
    space = fit_space("e", "f", "onehot", rows, None, 2, scale=True)
    assert space.names == ["a|present", "b|present"]
    [(made, place)] = space.draws(rows_of(["x", "b"], [5, 5]), None)
    assert place.tolist() == [-1, 1]
    assert isinstance(made, OneHot)
    # the same standard as of written-out vectors: mean zero, root mean square norm NORM
    written = (np.eye(2) - made.center) * made.scale
    np.testing.assert_allclose(written.mean(axis=0), 0, atol=1e-6)
    assert np.sqrt((written**2).sum(axis=1).mean()) == pytest.approx(NORM)


def test_shuffled_has_the_parents_vectors_on_the_wrong_names() -> None:
    texts = [f"text {i}" for i in range(40)]
    rows, table = rows_of([*texts], [1] * 40), table_of(texts)
    space = fit_space("e", "f", "shuffled", rows, table, 1, scale=False)
    [(made, _)] = space.draws(rows, table)
    assert isinstance(made, np.ndarray)
    assert sorted(made.tolist()) == sorted(table[1].tolist())
    assert (made == table[1]).all(axis=1).mean() < 0.2
    # an unseen text gets one of the source's vectors, always the same
    new = table_of(["unseen", "text 3"])
    [(first, _)] = space.draws(rows_of(["unseen", "text 3"], [1, 1]), new)
    [(again, _)] = space.draws(rows_of(["text 3", "unseen"], [1, 1]), new)
    assert isinstance(first, np.ndarray)
    assert isinstance(again, np.ndarray)
    np.testing.assert_array_equal(first, again[::-1])
    assert first[0].tolist() in table[1].tolist()


def test_the_state_is_a_place_and_the_name_a_direction() -> None:
    """What "Not X" says in a text, a slot says by where the vector of X stands."""
    names = [f"name {i}" for i in range(30)]
    rows = rows_of([*names, *names], [3] * 60, [0] * 30 + [1] * 30)
    table = table_of(names)
    [(made, place)] = fit_space("e", "f", "sentence-transformers", rows, table, 1, True, components=5).draws(
        rows, table
    )
    assert isinstance(made, np.ndarray)
    assert made.shape == (60, len(SLOTS) * 5)
    assert (place >= 0).all()
    present, absent = made[:30].reshape(30, -1, 5), made[30:].reshape(30, -1, 5)
    np.testing.assert_array_equal(present[:, 0], absent[:, 1])
    assert not present[:, 1:].any()
    assert not absent[:, 0].any()
    # an independent reading: the scores of scikit-learn's principal components, on one scale
    scores = PCA(5, svd_solver="full").fit(table[1]).transform(table[1])
    ours = present[:, 0].astype(float) / np.sqrt((present[:, 0] ** 2).sum(axis=1).mean())
    theirs = scores / np.sqrt((scores**2).sum(axis=1).mean())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_a_slot_that_the_source_never_filled_is_missing_at_the_target() -> None:
    table = table_of(["a", "b", "c"])
    space = fit_space(
        "e", "f", "sentence-transformers", rows_of(["a", "b", "c"], [5, 5, 0], [0, 0, 1]), table, 1, True, 2
    )
    [(_, place)] = space.draws(rows_of(["c", "a", "c"], [1, 1, 1], [0, 1, 2]), table)
    assert place.tolist() == [0, -1, -1]


def test_no_more_components_than_the_tokens_have() -> None:
    table = table_of(["a", "b", "c"])
    one = fit_space("e", "f", "sentence-transformers", rows_of(["a", "a"], [5, 5], [0, 1]), table, 1, True, 64)
    [(made, _)] = one.draws(rows_of(["a", "b"], [1, 1]), table)
    assert isinstance(made, np.ndarray)
    assert not made.any()
    two = fit_space("e", "f", "sentence-transformers", rows_of(["a", "b", "c"], [5, 5, 5]), table, 1, True, 64)
    [(made, _)] = two.draws(rows_of(["a", "b"], [1, 1]), table)
    assert isinstance(made, np.ndarray)
    assert made.shape == (2, len(SLOTS) * 2)


@pytest.mark.parametrize("backend", ["random", "shuffled"])
def test_each_seed_of_a_control_is_a_draw_of_its_own(backend: str) -> None:
    texts = [f"text {i}" for i in range(30)]
    rows, table = rows_of([*texts], [1] * 30), table_of(texts)
    placed = fit_space("e", "f", backend, rows, table, 1, True, draws=4).draws(rows, table)
    drawn = [vectors for vectors, _ in placed]
    assert len({vectors.tobytes() for vectors in drawn if isinstance(vectors, np.ndarray)}) == 4
    more = fit_space("e", "f", backend, rows, table, 1, True, draws=5).draws(rows, table)
    np.testing.assert_array_equal(np.stack(drawn), np.stack([vectors for vectors, _ in more[:4]]))  # type: ignore[arg-type]


def test_a_token_without_a_vector_is_unknown_and_no_vector_at_all_is_an_error() -> None:
    rows, table = rows_of(["a", None, "lost"], [1, 1, 1]), table_of(["a"])
    space = fit_space("e", "f", "sentence-transformers", rows, table, 1, scale=False)
    assert space.draws(rows, table)[0][1].tolist() == [0, -1, -1]
    with pytest.raises(NoVectorError, match="no token of the training rows has a vector"):
        fit_space("e", "f", "sentence-transformers", rows_of(["lost"], [1]), table, 1, scale=True)


def test_a_space_comes_back_from_disk(tmp_path: Path) -> None:
    rows, table = rows_of(["a", "b", "c"], [1, 1, 1]), table_of(["a", "b", "c"])
    for backend in ("onehot", "shuffled", "random"):
        space: Space = fit_space("e", "f", backend, rows, table, 1, True, 2, draws=1 if backend == "onehot" else 3)
        back = load_space(tmp_path, json.loads(json.dumps(space.save(tmp_path))))
        for (was, at), (now, there) in zip(space.draws(rows, table), back.draws(rows, table), strict=True):
            np.testing.assert_array_equal(at, there)
            assert was == now if backend == "onehot" else np.array_equal(was, now)  # type: ignore[arg-type]


# --- rows ---------------------------------------------------------------------------------------------------------


def test_tokens_without_a_vector_change_nothing_for_rows_without_them() -> None:
    rows = SiteRows(
        keys=["a", "b", "c"],
        texts=["a", "b", "c"],
        slots=np.zeros(3, np.int64),
        training_rows=np.array([1, 1, 0]),
        row_ids=np.arange(2),
        person_ids=np.arange(2),
        labels=np.array([0, 1], np.int8),
        split=np.array(["test", "test"]),
        tokens=np.array([0, 1, 1, 2], np.int32),
        offsets=np.array([0, 2, 4]),
    )
    made = examples(rows, np.eye(3, dtype=np.float32), np.array([0, 1, -1]), rows.of("test"))
    assert made.tokens.tolist() == [0, 1, 1]
    assert made.lengths.tolist() == [2, 1]
    backwards = examples(rows, np.eye(3, dtype=np.float32), np.array([0, 1, 2]), np.array([1, 0]))
    assert backwards.tokens.tolist() == [1, 2, 0, 1]
    assert backwards.labels.tolist() == [1, 0]


def test_rows_of_several_sites_share_the_tokens_of_one_key_and_no_others() -> None:
    def one(keys: list[str], counts: list[int], tokens: list[int]) -> SiteRows:
        n = np.arange(1)
        return SiteRows(
            keys, list(keys), np.zeros(len(keys), int), np.array(counts), n, n, n.astype(np.int8), np.array(["train"]),
            np.array(tokens, np.int32), np.array([0, len(tokens)]),
        )  # fmt: skip

    joined = merge([one(["a", "b"], [3, 1], [1, 0]), one(["here:2000000001", "a"], [2, 5], [0, 1, 1])])
    assert joined.keys == ["a", "b", "here:2000000001"]
    assert joined.training_rows.tolist() == [8, 1, 2]
    assert [joined.keys[t] for t in joined.tokens] == ["b", "a", "here:2000000001", "a", "a"]
    assert joined.offsets.tolist() == [0, 2, 5]


def test_tables_of_several_sites_join_by_text() -> None:
    texts, vectors = join_tables([table_of(["a", "b"]), table_of(["b", "c"])])
    assert list(texts) == ["a", "b", "c"]
    np.testing.assert_array_equal(vectors, table_of(["a", "b", "c"])[1])
