"""Every piece of a study that the README and the docs show is planned on extracts that are read from disk."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conceptbridge.plan import Plan
from conceptbridge.study.config import package_data, read_study
from tiny_extract import write_extract
from tiny_meds import write_meds

ROOT = Path(__file__).parents[2]
#: docs/extending.md names what packages of its own bring: tests/workflow/test_extending.py runs these
DOCS = sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "extending.md")
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *DOCS]
SCHEMA = package_data("config.schema")
OF_STUDY = set(SCHEMA["properties"])
OF_TASK = set(SCHEMA["properties"]["tasks"]["additionalProperties"]["properties"])

TASK = {
    "index": {"domain": "visit", "concepts": [9203]},
    "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
    "split": {"by": "hash"},
}
STUDY: dict[str, Any] = {
    "name": "documented",
    "sites": {"hill": {"extract": "hill"}, "vale": {"extract": "vale"}},
    "tasks": {"flu": TASK},
    "embeddings": ["onehot"],
    "learners": {"logistic": None},
    "strategies": ["local"],
}
MORE = {
    "drug_exposure": "drug_exposure_id,person_id,drug_concept_id,drug_exposure_start_date\n",
    "measurement": "measurement_id,person_id,measurement_concept_id,measurement_date,value_as_number\n",
    "death": "person_id,death_date\n",
}
CODEBOOK = """
values: {P: present, A: absent}
columns: {cough: {name: Cough}}
diagnosis: {column: d, values: {I: {name: Flu}}}
"""


def blocks(page: Path) -> Iterator[str]:
    """The fenced and the indented blocks of a page, without their indentation."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in re.findall(
        r"(?:^ {4}.*\n(?:^\n(?=    ))?)+", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
    ):
        yield re.sub(r"^ {4}", "", block, flags=re.MULTILINE)


def pieces(block: str) -> Iterator[dict[str, Any]]:
    """The parts of a study that a block shows: one, or an alternative each where a key is there several times."""
    block = re.sub(r"sha256: \.\.\.", f"sha256: '{'0' * 64}'", block).replace(", ...}", "}")
    parts = [
        part for part in re.split(r"^(?=[A-Za-z_]+:)", block, flags=re.MULTILINE) if re.match(r"[A-Za-z_]+:", part)
    ]
    try:
        read = [yaml.safe_load(part) for part in parts]
    except yaml.YAMLError:
        return
    keys = [next(iter(part)) for part in read if isinstance(part, dict)]
    if len(keys) < len(read) or not keys or not (set(keys) <= OF_STUDY or set(keys) <= OF_TASK):
        return
    if len(set(keys)) < len(keys):
        yield from read
    else:
        yield {key: value for part in read for key, value in part.items()}


def elsewhere(piece: dict[str, Any]) -> bool:
    """Whether a piece needs what no study brings, and is tested where that is: a model of the hub, a reviewed sheet, an
    object store."""
    if any("://" in str(spec.get("extract")) for spec in piece.get("sites", {}).values()):
        return True
    entries = piece.get("embeddings", [])
    named = (isinstance(spec, str) for entry in entries if isinstance(entry, dict) for spec in entry.values())
    return "translations" in piece or any(named)


ALL = [
    (page.relative_to(ROOT).as_posix(), piece) for page in PAGES for block in blocks(page) for piece in pieces(block)
]
SHOWN = [(page, piece) for page, piece in ALL if not elsewhere(piece)]


def prepare(data: Path, config: dict[str, Any]) -> None:
    """Write what the study names: extracts, lists, cohorts, concept sets."""
    for site, spec in config["sites"].items():
        if "extract" in spec:
            write_extract(data / spec["extract"], **MORE)
        if "meds" in spec:
            write_meds(data / spec["meds"])
        vectors = [e for entry in config["embeddings"] if isinstance(entry, dict) for e in entry.values()]
        of_rows = [e["file"] for e in vectors if e.get("backend") == "representation"]
        for pattern in (*config.get("external", {}).values(), *of_rows):
            for task in config["tasks"]:
                file = data / pattern.replace("{task}", task).replace("{site}", site)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        (data / spec.get("bundles", ".")).mkdir(parents=True, exist_ok=True)
        if "patients" in spec:
            (data / spec["patients"]).write_text("person_id,index_date\n1,2015-03-01\n")
        if "findings" in spec:
            (data / spec["findings"]["codebook"]).write_text(CODEBOOK)
            for table in ("train", "test"):
                (data / spec["findings"][table]).write_text("cough,d\nP,I\n")
        for task in config["tasks"].values():
            if file := task["index"].get("file"):
                cohort = data / file.replace("{site}", site)
                cohort.parent.mkdir(exist_ok=True)
                cohort.write_text("person_id,index_date,label,split\n1,2015-03-01,0,train\n")
            if isinstance(file := task["index"].get("concepts"), str):
                Path(file).parent.mkdir(exist_ok=True)
                Path(file).write_text('{"items": [{"concept": {"CONCEPT_ID": 1177480}}]}')
    for entry in config["embeddings"]:  # one that is shown in part
        for name, spec in entry.items() if isinstance(entry, dict) else ():
            if name == "minilm-fast":
                entry[name] = package_data("catalogue")["minilm"] | spec
    if "vocabulary" in config:
        write_extract(data / config["vocabulary"])


@pytest.mark.parametrize(("page", "piece"), SHOWN, ids=[f"{page}: {', '.join(piece)}" for page, piece in SHOWN])
def test_what_a_page_shows_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, piece: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(piece).replace("/data/", "")
    shown = yaml.safe_load(text)
    config = STUDY | (shown if set(shown) <= OF_STUDY else {"tasks": {"flu": TASK | shown}}) | {"data": str(tmp_path)}
    if any("results_file" in spec for spec in config["sites"].values()):
        assert read_study(config).reported  # the files are those of a finished run: tests/workflow/test_exchange.py
        return
    prepare(tmp_path, config)
    # what south has sent is made by its own run: tests/workflow/test_exchange.py
    monkeypatch.setattr("conceptbridge.study_files.find_bundles", lambda *asked: {})
    plan = Plan.read(config)
    for site in plan.study.own:
        for task in plan.tasks:
            assert plan.settings("cohort", task=task, site=site)


def test_what_the_pages_show_is_found() -> None:
    found = {page for page, _ in SHOWN}
    assert {"README.md", "config/README.md", "docs/extracts.md", "docs/tasks.md", "docs/exchange.md"} <= found
    assert len(SHOWN) >= 15
