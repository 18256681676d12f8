"""What is known of one person alone is in no file that leaves; and the coordinator's tables are those of one disk."""

import re
import socket
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from canaries import heard_in, plant
from conceptbridge.simulate.network import simulate

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

SITES = ["north", "south"]
STUDY: dict[str, Any] = {
    "name": "egress",
    "tasks": {
        "influenza": {
            "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
            "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
            "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
            "min_events": 3,
        }
    },
    "embeddings": ["onehot", "random"],
    "learners": {"lightgbm": {"trees": 10}},
    "strategies": ["local", "direct", "tune-head"],
    "trials": 1,
    "tuning_depth": [0, 1],
    "target_sizes": {"events": [10], "replicates": 1},
    "seeds": 2,
    "evaluation": {"replicates": 100},
}
#: files of persons, which stay: their folders and names, as docs/exchange.md lists them
STAY = [
    line.strip("| ").split("`")[1]
    for line in (ROOT / "docs/exchange.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| `results/", line)
]


def snakemake(folder: Path, sites: dict[str, Any], *targets: str) -> None:
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(STUDY | {"sites": sites, "embedding_cache": str(folder / "cache")}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    run = subprocess.run(
        [*command, "--configfile", str(config), "--cores", "2", "--", *targets],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    (folder / "said.txt").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]


@pytest.fixture(scope="module")
def one_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two extracts with canaries in every table, with all that it can send."""
    folder = tmp_path_factory.mktemp("egress") / "one"
    for hospital, site in zip(("riverside", "lakeshore"), SITES, strict=True):
        extract = folder / "extracts" / site
        extract.mkdir(parents=True)
        for name, table in plant(simulate(hospital, 1200, 1)).items():
            pq.write_table(table, extract / f"{name}.parquet")
    extracts = {site: {"extract": str(folder / "extracts" / site)} for site in SITES}
    snakemake(folder, extracts, "all", "aggregates", "bundle", "feasibility")
    return folder


@pytest.fixture(scope="module")
def coordinator(one_disk: Path) -> Path:
    folder = one_disk.parent / "coordinator"
    folder.mkdir()
    files = {site: {"results_file": str(one_disk / f"results/aggregates/{site}.zip")} for site in SITES}
    snakemake(folder, files, "all")
    return folder


def stays(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STAY)


def test_the_canaries_are_in_the_files_of_persons_and_nowhere_else(one_disk: Path) -> None:
    files = [path for path in one_disk.rglob("*") if path.is_file() and path.parts[-3] != "extracts"]
    heard = {path.relative_to(one_disk).as_posix(): heard_in(path) for path in files}
    kinds = {"person", "visit", "date", "label"}
    # the person is at both sites, and in the cohort
    cdm = [found for name, found in heard.items() if "/sites/north/cdm/" in name]
    assert set.union(*cdm) == kinds
    assert heard["results/tasks/influenza/north/cohort.parquet"] >= {"person"}
    assert heard["results/sites/north/vocabulary.parquet"] == {"label"}
    assert {name: found for name, found in heard.items() if found and not stays(name)} == {}
    folders = {name.split("/")[1] for name in heard if not stays(name)}
    told = {"aggregates", "bundles", "tables", "figures", "report", "logs", "benchmarks", "metrics", "embeddings"}
    assert folders >= told | {"arms", "feasibility"}
    assert any(name.startswith("cache/") for name in heard)


def test_the_coordinators_own_files_hold_no_canary(coordinator: Path) -> None:
    assert not any(heard_in(path) for path in coordinator.rglob("*") if path.is_file())


def test_what_leaves_names_no_folder_and_no_machine(one_disk: Path) -> None:
    leaving = [*one_disk.glob("results/aggregates/*"), *one_disk.glob("results/bundles/*/*")]
    leaving += [path for kind in ("tables", "report") for path in one_disk.glob(f"results/{kind}/*")]
    assert len(leaving) > 10
    for path in leaving:
        data = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as package:
                data = b"".join(package.read(name) for name in package.namelist())
        for name in (str(one_disk.parent), str(ROOT), str(Path.home()) + "/"):
            assert name.encode() not in data, path
        if len(socket.gethostname()) > 6:
            assert socket.gethostname().encode() not in data, path


def test_the_coordinators_tables_and_figures_are_those_of_one_disk(one_disk: Path, coordinator: Path) -> None:
    compared = 0
    for kind in ("tables", "figures", "metrics"):
        for path in sorted((one_disk / "results" / kind).rglob("*.*")):  # names with an ending: files
            theirs = coordinator / path.relative_to(one_disk)
            assert path.read_bytes() == theirs.read_bytes(), path
            compared += 1
    assert compared > 60


def test_the_page_says_the_same_but_for_where_it_is_from(one_disk: Path, coordinator: Path) -> None:
    pages = [(folder / "results/report/index.html").read_text(encoding="utf-8") for folder in (one_disk, coordinator)]
    first, second = (re.sub(r'<section id="provenance".*?</section>', "", page, flags=re.DOTALL) for page in pages)
    assert first == second


def test_the_sheet_lists_every_file_of_the_package(one_disk: Path) -> None:
    for site in SITES:
        sheet = (one_disk / f"results/aggregates/{site}.md").read_text(encoding="utf-8")
        with zipfile.ZipFile(one_disk / f"results/aggregates/{site}.zip") as package:
            for name in set(package.namelist()) - {"manifest.json"}:
                assert f"| {name} |" in sheet
