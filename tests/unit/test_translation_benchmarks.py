"""The benchmarks of translation: what they hide, expand and interpolate."""

import sys
from pathlib import Path

import numpy as np
import pytest

from conceptbridge.learn.rows import SiteRows
from conceptbridge.learn.site_profile import profile_of

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # they are scripts, not a package

from hide_and_recover import hidden, hidden_profile, renamed
from translated_network import Network, findings_of
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
