"""What is known of one person alone is in no file that leaves; and the coordinator's tables are those of one disk."""

import re
import shutil
import socket
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from canaries import heard_in, plant
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.simulate.network import simulate
from tiny_study import ROOT, TINY, finish, task

pytestmark = pytest.mark.workflow

SITES = ["north", "south"]
STUDY: dict[str, Any] = (
    TINY
    | {"name": "egress", "learners": {"lightgbm": {"num_iterations": 10}}, "max_trials": 1}
    | {"strategies": ["local", "direct", "recalibrate", "tune-all"]}
    | {"learning_curve": {"events": [10], "replicates": 1}}
    | task(min_rows=15, min_values=10)  # tokens of 15 rows are of 10 persons, who are named in a bundle
)
#: files of persons, which stay: their folders and names, as docs/exchange.md lists them
STAY = [
    line.strip("| ").split("`")[1]
    for line in (ROOT / "docs/exchange.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| `results/", line)
]


def run(folder: Path, sites: dict[str, Any], *targets: str) -> None:
    said = finish(folder, STUDY | {"sites": sites, "embedding_cache": str(folder / "cache")}, *targets)
    (folder / "said.txt").write_text(said)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two extracts with canaries in every table; a study of both on one disk (``disk``), and one of each hospital alone
    (``north``, ``south``), between which go bundles, and from which results files go to the ``coordinator``."""
    folder = tmp_path_factory.mktemp("network")
    extract = {}
    for hospital, site in zip(("riverside", "lakeshore"), SITES, strict=True):
        at = folder / "extracts" / site
        at.mkdir(parents=True)
        for name, table in plant(simulate(hospital, 1200, 1)).items():
            pq.write_table(table, at / f"{name}.parquet")
        extract[site] = {"extract": str(at)}
    run(folder / "disk", extract, "all")
    for site in SITES:
        run(folder / site, {site: extract[site]}, "bundle")
        shutil.copytree(folder / site / "results/bundles" / site, folder / "mail" / site)
    for site in SITES:
        others = {other: {"bundles": str(folder / "mail" / other)} for other in SITES}
        run(
            folder / site,
            {other: extract[site] if other == site else sent for other, sent in others.items()},
            "aggregates",
            "feasibility",
        )
        shutil.copy(folder / site / f"results/aggregates/{site}.zip", folder / "mail")
    run(folder / "coordinator", {site: {"results_file": str(folder / f"mail/{site}.zip")} for site in SITES})
    return folder


def stays(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STAY)


@pytest.mark.parametrize("site", SITES)
def test_the_canaries_are_in_the_files_of_persons_and_nowhere_else(network: Path, site: str) -> None:
    files = [path for path in (network / site).rglob("*") if path.is_file()]
    heard = {path.relative_to(network / site).as_posix(): heard_in(path) for path in files}
    # the person is in every table, and in the cohort
    tables = [found for name, found in heard.items() if fnmatch(name, "results/sites/*/cdm/*.parquet")]
    assert set.union(*tables) == {"person", "visit", "date", "label"}
    assert heard[f"results/tasks/influenza/{site}/cohort.parquet"] == {"person", "date", "label"}
    assert heard[f"results/sites/{site}/vocabulary.parquet"] == {"label"}
    assert {name: found for name, found in heard.items() if found and not stays(name)} == {}
    folders = {name.split("/")[1] for name in heard if name.startswith("results/") and not stays(name)}
    assert folders >= {"aggregates", "bundles", "logs", "metrics", "embeddings", "arms", "feasibility"}
    assert any(name.startswith("cache/") for name in heard)


def test_the_coordinators_own_files_hold_no_canary(network: Path) -> None:
    files = [path for path in (network / "coordinator").rglob("*") if path.is_file()]
    assert not any(heard_in(path) for path in files)
    assert {path.parent.name for path in files} >= {"tables", "figures", "report"}


def test_what_leaves_names_no_folder_and_no_machine(network: Path) -> None:
    leaving = [*(network / "mail").rglob("*.*"), *network.glob("*/results/aggregates/*.md")]
    leaving += [path for kind in ("tables", "report") for path in network.glob(f"coordinator/results/{kind}/*")]
    assert len(leaving) > 60
    for path in leaving:
        data = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as package:
                data = b"".join(package.read(name) for name in package.namelist())
        for name in (str(network), str(ROOT), str(Path.home()) + "/"):
            assert name.encode() not in data, path
        if len(socket.gethostname()) > 6:
            assert socket.gethostname().encode() not in data, path


def test_hospitals_and_a_coordinator_find_what_one_disk_finds(network: Path) -> None:
    compared = 0
    for kind in ("tables", "figures", "metrics"):
        for path in sorted((network / "disk/results" / kind).rglob("*.*")):
            if path.stem.startswith("importance"):  # told where the rows are
                continue
            theirs = network / "coordinator" / path.relative_to(network / "disk")
            if kind == "metrics":  # at home in full precision
                ours = read_shared(path.parent, path.stem, 10)
                assert ours.equals(pq.read_table(theirs)), path
            else:
                assert path.read_bytes() == theirs.read_bytes(), path
            compared += 1
    assert compared > 90
    arms = pq.read_table(network / "coordinator/results/tables/arms.parquet").to_pylist()
    assert {arm["strategy"] for arm in arms if arm["auroc"] is not None} == set(STUDY["strategies"])


def test_the_page_says_the_same_but_for_where_it_is_from(network: Path) -> None:
    pages = [(network / at / "results/report/index.html").read_text(encoding="utf-8") for at in ("disk", "coordinator")]
    # the names of the task's concepts are known where the rows are
    left_out = r'<section id="(provenance|importance)".*?</section>|<p class="task">.*?</p>'
    left_out += r'|<tr><th scope="row">importance[^<]*</th>.*?</tr>\n?'
    first, second = (re.sub(left_out, "", page, flags=re.DOTALL) for page in pages)
    assert first == second
    assert all('<p class="task">For every ' in page for page in pages)


def test_the_sheet_lists_every_file_of_the_package(network: Path) -> None:
    for site in SITES:
        sheet = (network / site / f"results/aggregates/{site}.md").read_text(encoding="utf-8")
        with zipfile.ZipFile(network / f"mail/{site}.zip") as package:
            for name in set(package.namelist()) - {"manifest.json"}:
                assert f"| {name} |" in sheet
