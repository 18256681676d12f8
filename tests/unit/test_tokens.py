"""Which tokens another site has never seen, by key and by where an embedding places them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.disclosure.token_counts import probable_rows, shared_tokens
from conceptbridge.tasks.sequences import SEQUENCES, TOKENS
from conceptbridge.tasks.tokens import is_among, read_tokens, seen_by, unseen


def write_tokens(folder: Path, *tokens: tuple[str, str, str | None]) -> Path:
    """A site's tokens: concept, state and text of each; twenty training rows hold it, and the first row all of them."""
    rows = [
        {"token": n, "key": f"{concept}|{state}", "text": text, "concept_id": 1, "state": state}
        | {"domain": "condition", "rows": 20, "bins": None, "scales": None}
        for n, (concept, state, text) in enumerate(tokens)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=TOKENS), folder / "tokens.parquet")
    held = {
        "row_id": [0],
        "tokens": [list(range(len(tokens)))],
        "days": [[0] * len(tokens)],
        "values": [[None] * len(tokens)],
    }
    pq.write_table(pa.table(held, schema=SEQUENCES), folder / "sequences.parquet")
    return folder / "tokens.parquet"


def test_the_same_name_in_another_state_is_not_the_same_place(tmp_path: Path) -> None:
    """Where states are slots a text is the name alone: the source has no slot for what it never saw absent."""
    source = write_tokens(tmp_path / "source", ("1", "present", "Cough"), ("2", "high", "Glucose"))
    cases = {
        ("1", "present", "Cough"): (False, False),
        ("9", "present", "cough"): (True, False),
        ("1", "absent", "Cough"): (True, True),
        ("8", "positive", "Glucose"): (True, False),  # the slot of what is high
        ("2", "low", "Glucose"): (True, True),
    }
    target = write_tokens(tmp_path / "target", *cases)
    tokens = read_tokens(target.with_name("sequences.parquet"), target, np.array([0]))
    by_key, by_place = unseen(tokens, seen_by([source], 10))
    assert list(zip(by_key.tolist(), by_place.tolist(), strict=True)) == list(cases.values())


def test_a_token_without_a_text_is_known_by_its_key_alone(tmp_path: Path) -> None:
    """Two hospitals' codes without a name have nothing in common: what is missing equals nothing."""
    source = write_tokens(tmp_path / "source", ("a/1", "present", None), ("1", "present", "Cough"))
    target = write_tokens(tmp_path / "target", ("b/1", "present", None), ("a/1", "present", None))
    tokens = read_tokens(target.with_name("sequences.parquet"), target, np.array([0]))
    by_key, by_place = unseen(tokens, seen_by([source], 10))
    assert (by_key.tolist(), by_place.tolist()) == ([True, False], [True, False])
    assert is_among(pa.array([None, "x"], pa.string()), pa.array([], pa.string())).tolist() == [False, False]


def test_a_blank_count_weighs_what_the_shown_ones_leave_for_it() -> None:
    """Of 1,000 rows 600 are of women and 396 of men: the men's count is blank, as it would tell of the other 4."""
    rows = {"key": ["sex|female", "sex|male", "1|present"], "rows": pa.array([600, 396, 40], pa.int64())}
    shared = shared_tokens(pa.table(rows), 1000, 10)
    assert shared["rows"].to_pylist() == [600, None, 40]
    assert probable_rows(shared, 1000, 10).tolist() == [600, 400, 40]
    # of what another site has sent, nothing else is known
    assert probable_rows(shared, None, 10).tolist() == [600, 10, 40]
