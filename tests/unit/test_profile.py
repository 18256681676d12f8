"""What a site tells of its tokens: counts of persons, suppressed, and correlations read from them."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.translate.profile import HIDDEN, Profile, count_profile
from conceptbridge.translate.profile_file import SCHEMA, read_profile, write_profile

KEYS = ["1|present", "2|present", "3|present", "4|present"]


def profile_of(held: np.ndarray, min_cell_count: int, keys: list[str] | None = None, anchors: int = 100) -> Profile:
    """The profile of ``held`` (persons, tokens)."""
    keys = keys or [f"{i}|present" for i in range(1, held.shape[1] + 1)]
    return count_profile(keys, *np.nonzero(held), len(held), min_cell_count, anchors)


def test_without_suppression_a_profile_is_the_correlation_of_persons() -> None:
    rng = np.random.default_rng(1)
    cause = rng.random(900) < 0.4
    held = rng.random((900, 4)) < np.where(cause[:, None], [0.7, 0.6, 0.2, 0.4], [0.3, 0.3, 0.6, 0.4])
    made = profile_of(held, min_cell_count=1)
    assert made.keys == KEYS
    assert made.persons.tolist() == held.sum(axis=0).tolist()
    expected = pd.DataFrame(held.astype(float)).corr().to_numpy().copy()
    np.fill_diagonal(expected, 0)  # a token is no company to itself
    where = [made.anchors.tolist().index(i) for i in range(4)]
    np.testing.assert_allclose(made.correlations()[:4, where], expected, atol=1e-6)


def test_persons_are_counted_not_rows() -> None:
    persons, tokens = np.array([7, 7, 7, 8, 9, 9]), np.array([0, 0, 1, 0, 1, 1])
    made = count_profile(KEYS[:2], persons, tokens, 4, 1)
    assert made.total == 4  # one has no token
    assert made.persons.tolist() == [2, 2]


def test_a_rare_token_and_one_that_nearly_all_have_are_left_out() -> None:
    held = np.zeros((100, 3), bool)
    held[:9, 0] = held[:50, 1] = held[:95, 2] = True
    assert profile_of(held, 10).keys == ["2|present"]


def test_a_hidden_pair_is_read_as_near_to_independence_as_it_can_be() -> None:
    held = np.zeros((1000, 3), bool)
    held[:300, 0] = True
    held[298:600, 1] = True  # two persons have both, and 91 would by chance
    held[::33, 2] = True  # rare: 10 of the 31 have the first
    made = profile_of(held, 10)
    column = made.anchors.tolist().index(1)
    assert made.pairs[0, column] == HIDDEN
    n, a, b = 1000, 300, 302
    at_most = (9 * n - a * b) / np.sqrt(a * (n - a) * b * (n - b))
    assert made.correlations()[0, column] == pytest.approx(at_most, rel=1e-5)


def test_states_of_a_concept_do_not_tell_who_has_neither() -> None:
    rng = np.random.default_rng(2)
    female = rng.random(2000) < 0.5
    unknown = np.arange(2000) < 40
    cough = (rng.random(2000) < 0.3) & ~unknown
    cough[:3] = True  # three persons of unknown sex have it
    held = np.stack([female & ~unknown, ~female & ~unknown, cough], axis=1)
    made = profile_of(held, 10, ["sex|female", "sex|male", "cough|present"])
    row, column = made.keys.index("cough|present"), [made.anchors.tolist().index(made.keys.index(f"sex|{s}"))
                                                    for s in ("female", "male")]  # fmt: skip
    assert (made.pairs[row, column] == HIDDEN).sum() == 1


def test_a_pair_that_would_tell_of_a_hidden_one_is_hidden_too() -> None:
    held = np.zeros((300, 3), bool)
    held[:95, 1] = True
    held[:52, 0] = held[95:113, 0] = True
    held[43:95, 2] = held[113:131, 2] = True  # nine persons, 43 to 51, have the first and the last
    made = profile_of(held, 10)
    first, between, last = (made.anchors.tolist().index(i) for i in range(3))
    assert made.pairs[0, last] == made.pairs[2, first] == HIDDEN
    # 52 + 52 of the 95 would say that it is nine
    assert HIDDEN in (made.pairs[0, between], made.pairs[2, between])
    np.testing.assert_array_equal(made.pairs[made.anchors], made.pairs[made.anchors].T)


def test_the_order_of_records_and_tokens_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    persons, tokens = rng.integers(0, 200, 900), rng.integers(0, 6, 900)
    keys = [f"{i}|present" for i in range(6)]
    first, order = count_profile(keys, persons, tokens, 200, 5, max_anchors=3), rng.permutation(6)
    shuffled = rng.permutation(900)
    place = np.argsort(order)
    again = count_profile([keys[i] for i in order], persons[shuffled], place[tokens[shuffled]], 200, 5, max_anchors=3)
    assert again.keys == first.keys
    for name in ("persons", "anchors", "pairs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


MINIMUM = 3
TRIPLES = np.array(list(itertools.product((0, 1), repeat=3)), bool)


def compositions(total: int, parts: int) -> np.ndarray:
    """All ways to give ``total`` persons to ``parts`` cells."""
    bars = np.array(list(itertools.combinations(range(total + parts - 1), parts - 1)))
    edges = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), total + parts - 1)], axis=1)
    return np.diff(edges, axis=1) - 1


WAYS = {total: compositions(total, 8) for total in (9, 12)}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(WAYS)), st.data())
def test_no_hidden_pair_can_be_worked_out(total: int, data: st.DataObject) -> None:
    """A reader who knows all that is shown, and of each small table that it is small, is left with several counts."""
    cells = WAYS[total][data.draw(st.integers(0, len(WAYS[total]) - 1))]
    held = TRIPLES.repeat(cells, axis=0)
    made = profile_of(held, MINIMUM)
    kept = [i for i, key in enumerate(KEYS[:3]) if key in made.keys]
    assume(len(kept) == 3)
    alone = WAYS[total] @ TRIPLES
    together = {pair: WAYS[total] @ TRIPLES[:, pair].all(axis=1) for pair in itertools.combinations(range(3), 2)}
    possible = (alone == made.persons[:3]).all(axis=1)
    hidden = []
    for pair, n in together.items():
        shown = made.pairs[pair[0], made.anchors.tolist().index(pair[1])]
        if shown != HIDDEN:
            possible &= n == shown
            continue
        a, b = (alone[:, i] for i in pair)
        small = np.stack([n, a - n, b - n, total - a - b + n]).min(axis=0) < MINIMUM
        truth = held[:, pair].all(axis=1).sum()
        if total not in made.persons[list(pair)]:  # that all have a token is shown, and so it is no secret who has both
            hidden.append(pair)
        if min(truth, *(held[:, pair].sum(axis=0) - truth), total - held[:, pair].any(axis=1).sum()) < MINIMUM:
            possible &= small
    for pair in hidden:
        assert len(set(together[pair][possible])) >= MINIMUM


# -- the file


def test_a_profile_is_the_same_once_it_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    held = rng.random((600, 12)) < rng.uniform(0.02, 0.8, 12)
    made = profile_of(held, 10, anchors=5)
    write_profile(made, tmp_path / "profile.parquet")
    again = read_profile(tmp_path / "profile.parquet", 10, max_anchors=5)
    assert (again.keys, again.total, again.min_cell_count) == (made.keys, 600, 10)
    for name in ("persons", "anchors", "pairs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    np.testing.assert_array_equal(again.correlations(), made.correlations())


def test_the_file_has_nothing_of_a_few_persons(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    held = rng.random((300, 9)) < rng.uniform(0.01, 0.99, 9)
    write_profile(profile_of(held, 10), tmp_path / "profile.parquet")
    table = pd.read_parquet(tmp_path / "profile.parquet")
    assert len(table) > 9
    assert table["persons"].between(10, 300).all()
    alone = table[table["token"].notna() & table["anchor"].isna()].set_index("token")["persons"]
    pairs = table.dropna()
    left = [alone[pairs[name]].to_numpy() - pairs["persons"].to_numpy() for name in ("token", "anchor")]
    neither = 300 - left[0] - left[1] - pairs["persons"].to_numpy()
    assert min(np.min(cell) for cell in (*left, neither)) >= 10


@pytest.mark.parametrize(
    "rows",
    [
        [("1|present", None, None)],
        [("1|present", None, 0)],
        [("1|present", None, 50), ("2|present", None, 40), ("1|present", "2|present", -5)],
        [("1|present", None, 50), ("1|present", None, 40)],
        [("2|present", None, 50), ("1|present", None, 40)],
    ],
)
def test_a_file_of_impossible_counts_or_tokens_is_no_profile(
    tmp_path: Path, rows: list[tuple[str, str | None, int | None]]
) -> None:
    """One can come from elsewhere, and 0 persons would make all readings alike."""
    columns = zip((None, None, 100), *rows, strict=True)
    table = pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
                                 schema=SCHEMA)  # fmt: skip
    pq.write_table(table, tmp_path / "profile.parquet")
    with pytest.raises(StudyError, match="this is no profile of a site"):
        read_profile(tmp_path / "profile.parquet", 10)


def test_another_file_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no")
    pd.DataFrame({"token": ["a"]}).to_parquet(tmp_path / "b.parquet")
    for name in ("a", "b", "none"):
        with pytest.raises(StudyError, match="this is no profile of a site"):
            read_profile(tmp_path / f"{name}.parquet", 10)
