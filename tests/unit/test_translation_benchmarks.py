"""The benchmarks of translation: what they hide, expand and interpolate."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conceptbridge.learn.rows import SiteRows
from conceptbridge.learn.site_profile import profile_of

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # they are scripts, not a package

from hide_and_recover import hidden, hidden_profile, renamed
from translated_network import Network, findings_of, with_ancestors
from translation import crossing, kept


def rows_of(keys: list[str], held: np.ndarray) -> SiteRows:
    rows = len(held)
    return SiteRows(
        keys=keys,
        texts=[f"name of {key.partition('|')[0]}" for key in keys],
        slots=np.array([int(key.endswith("absent")) for key in keys]),
        training_rows=held.sum(axis=0),
        row_ids=np.arange(rows),
        person_ids=np.arange(rows),
        labels=np.zeros(rows, np.int8),
        split=np.full(rows, "train"),
        tokens=np.nonzero(held)[1].astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(held.sum(axis=1))]),
    )


def test_an_ancestor_has_the_key_of_its_own_token_in_the_same_state(tmp_path: Path) -> None:
    cdm = tmp_path / "sites/here/cdm"
    cdm.mkdir(parents=True)
    levels = {
        "ancestor_concept_id": [1, 9, 8],
        "descendant_concept_id": [2, 2, 2],
        "min_levels_of_separation": [1, 3, 4],
    }
    pd.DataFrame(levels).to_parquet(cdm / "concept_ancestor.parquet")
    rows = rows_of(
        ["1|present", "2|absent", "2|present", "here/2000000001|present", "sex|female"], np.eye(5, dtype=bool)
    )
    more = with_ancestors(rows, tmp_path, "here")
    held = [[more.keys[at] for at in more.tokens[more.offsets[i] : more.offsets[i + 1]]] for i in range(5)]
    assert held[0] == ["1|present"]
    assert held[1] == ["2|absent", "1|absent", "9|absent"]
    assert held[2] == ["2|present", "1|present", "9|present"]
    assert held[3:] == [["here/2000000001|present"], ["sex|female"]]
    assert dict(zip(more.keys, more.training_rows.tolist(), strict=True))["1|present"] == 2
    assert more.slots[more.keys.index("9|absent")] == 1


def test_a_hidden_profile_is_that_of_hidden_rows() -> None:
    held = np.random.default_rng(0).random((900, 14)) < 0.4
    rows = rows_of([f"{i // 2}|{state}" for i in range(14) for state in [("present", "absent")[i % 2]]], held)
    chosen = renamed(rows.keys, {"3": ["another name"]}, np.random.default_rng(1))
    assert len(chosen) == 3
    lost = hidden(rows, chosen)
    assert sum(key.startswith("hidden/") for key in lost.keys) == 6
    assert {text for key, text in zip(lost.keys, lost.texts, strict=True) if key.startswith("hidden/")} <= {
        None,
        "another name",
    }
    expected, found = profile_of(lost, 10), hidden_profile(profile_of(rows, 10), chosen)
    assert expected.keys == found.keys
    for name in ("persons", "anchors", "pairs"):
        assert np.array_equal(getattr(expected, name), getattr(found, name)), name


@pytest.mark.parametrize(
    ("ahead", "at"),
    [([-1, -1, 1], "200"), ([1, 1, 1], "fewer than 10"), ([-1, -1, -1], "more than 400"), ([1, -1, 1], "200")],
)
def test_break_even_lies_where_the_local_model_catches_up_for_good(ahead: list[float], at: str) -> None:
    assert crossing(np.array([10, 100, 400]), np.array(ahead)) == at


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    network, times = Network(100, 1, tmp_path, (), ()), []

    def measure() -> list[dict[str, float]]:
        times.append(1)
        return [{"auroc": 0.5}]

    assert kept(network, "a", measure) == kept(network, "a", measure) == [{"auroc": 0.5}]
    assert len(times) == 1


def test_the_dictionary_knows_what_a_key_of_a_hospital_records() -> None:
    for hospital in ("riverside", "canyon"):
        findings = findings_of(hospital, 1)
        assert {finding for names in findings.values() for finding in names} >= {"symptoms/cough", "drugs/insulin"}
        local = [key for key in findings if key.startswith(f"{hospital}/")]
        assert len(local) == len(findings) - 3 if hospital == "canyon" else len(local) < len(findings) / 2
