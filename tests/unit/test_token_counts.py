"""A site's tokens as other sites may know them: those of enough rows, and no count that would tell of few others."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from conceptbridge.disclosure.token_counts import shared_tokens

LEAST = 10


def tokens(rows: dict[str, int | None]) -> pa.Table:
    return pa.table({"key": pa.array(list(rows), pa.string()), "rows": pa.array(list(rows.values()), pa.int64())})


def shared(rows: dict[str, int | None], train_rows: int | None) -> dict[str, int | None]:
    made = shared_tokens(tokens(rows), train_rows, LEAST)
    return dict(zip(made["key"].to_pylist(), made["rows"].to_pylist(), strict=True))


def test_tokens_of_few_training_rows_stay_home() -> None:
    assert shared({"1|present": 10, "2|present": 9, "3|present": 0}, 100) == {"1|present": 10}


def test_a_count_that_tells_of_few_others_is_blank() -> None:
    sexes = {"sex|female": 55, "sex|male": 42, "sex|unknown": 3}
    assert shared(sexes, 100) == {"sex|female": 55, "sex|male": None}
    assert shared({"1|present": 97}, 100) == {"1|present": None}
    assert shared({"1|present": 100, "2|present": 90}, 100) == {"1|present": 100, "2|present": 90}


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["low", "normal", "high"])).map("|".join),
        st.integers(0, 60),
        max_size=9,
    ),
    st.integers(0, 120),
)
def test_nothing_small_is_left_over_and_sharing_twice_changes_nothing(rows: dict[str, int], train_rows: int) -> None:
    told = shared(dict(rows), train_rows)
    for concept in {key.partition("|")[0] for key in told}:
        states = [n for key, n in told.items() if key.startswith(f"{concept}|") and n is not None]
        assert all(n >= LEAST for n in states)
        assert not states or not 0 < train_rows - sum(states) < LEAST
    assert shared(told, train_rows) == told
