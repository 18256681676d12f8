"""A MEDS data set is a site: subjects become persons, codes concepts that sites share, and tasks name codes."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import meds
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.plan import Plan
from conceptbridge.simulate import write_extract as simulate
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.study.study import Study
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from tiny_extract import load, rows, write_extract
from tiny_meds import FLU, VISIT, omop_as_meds, write_meds
from tiny_site import read

TASK = {
    "index": {"domain": "visit", "concepts": [9203], "codes": [VISIT]},
    "outcome": {"domain": "condition", "concepts": [4266367], "codes": ["DX//X"], "days": [1, 7]},
    "split": {"by": "given"},
}


def study(folder: Path, **change: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "data": str(folder),
        "results": str(folder / "results"),
        "sites": {"clinic": {"meds": "clinic"}, "ward": {"meds": "ward"}},
        "tasks": {"flu": TASK},
        "embeddings": ["onehot"],
        "learners": ["logistic"],
        **change,
    }


class Read:
    """A MEDS site of a study, read as its jobs read it: tables, vocabulary, a task's rows."""

    def __init__(self, planned: Study, site: str, out: Path) -> None:
        converter, settings = planned.converter(site), planned.conversion(site)
        assert converter is not None
        converter.convert(settings, out / "extract")
        self.counts = json.loads((out / "extract/meds.json").read_text())
        self.cdm, self.quality = load(out / "extract", out)
        owner, texts = planned.owner(site), planned.config["texts"] | {"states": planned.config["states"]}
        make_vocabulary(self.cdm, owner, texts, AS_RECORDED, 1, out / "vocabulary.parquet")
        task, cohort = json.loads(planned.cohort_settings("flu", site)), out / "cohort.parquet"
        make_cohort(self.cdm, site, task, 1, cohort, out / "a.csv", out / "s.parquet", concepts=out / "concepts.json")
        tokens, sequences = out / "tokens.parquet", out / "sequences.parquet"
        task = json.loads(planned.sequences_settings("flu"))
        make_sequences(self.cdm, owner, out / "vocabulary.parquet", cohort, task, AS_RECORDED, tokens, sequences)
        self.vocabulary, self.cohort, self.tokens = read(out / "vocabulary.parquet"), read(cohort), read(tokens)
        self.concepts = json.loads((out / "concepts.json").read_text())


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Read, Read]:
    folder = tmp_path_factory.mktemp("meds")
    more = [(7, None, "HEIGHT"), (900, datetime(2015, 1, 2), VISIT), (8, datetime(2019, 1, 1), "MEDS_DEATH")]
    write_meds(folder / "clinic", 90, more=more)
    write_meds(folder / "ward", 60, seed=1, shards=1, more=[(3, datetime(2015, 1, 1), "LOCAL//ONLY//HERE")])
    plan = Plan.read(study(folder))
    return plan, Read(plan.study, "clinic", folder / "1"), Read(plan.study, "ward", folder / "2")


def test_the_data_of_these_tests_are_meds(tmp_path: Path) -> None:
    folder = write_meds(tmp_path / "m")
    for file in (folder / "data").rglob("*.parquet"):
        meds.DataSchema.validate(pq.read_table(file))
    meds.CodeMetadataSchema.validate(pq.read_table(folder / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(folder / meds.subject_splits_filepath))


def test_every_subject_and_event_is_accounted_for(sites: tuple[Plan, Read, Read]) -> None:
    _, clinic, ward = sites
    assert clinic.counts == {
        "subjects": 91,
        "subjects_without_a_birth_left_out": 1,
        "deaths": 1,
        "events": len(rows(clinic.cdm, "observation")) + 1 + 90 + 90 + 1 + 1,  # no birth; birth, sex; death, height
        "events_without_a_time_left_out": 1,
        "codes": 6,
        "codes_named_by_their_own_words": 2,
        "codes_not_in_the_metadata": 1,
    }
    assert clinic.quality["tables"]["observation"]["dropped"] == {"its person is not in the person table": 1}
    assert rows(clinic.cdm, "person", "person_id", "year_of_birth", "gender_concept_id")[:2] == [
        (1, 1951, 8532),
        (2, 1952, 8507),
    ]
    assert rows(clinic.cdm, "death") == [(8, date(2019, 1, 1))]
    assert len(rows(ward.cdm, "person")) == 60


def test_sites_with_the_same_codes_have_the_same_concepts(sites: tuple[Plan, Read, Read]) -> None:
    _, clinic, ward = sites
    ours, theirs = ({t["key"]: t["text"] for t in site.vocabulary} for site in (clinic, ward))
    named = {text: key for key, text in ours.items()}
    assert named["Cough"].startswith("meds/")
    assert theirs[named["Cough"]] == "Cough"
    assert "LOCAL ONLY HERE" in set(theirs.values()) - set(ours.values())
    assert {t["text"] for t in clinic.tokens} >= {"Cough", "Fever", "Emergency visit"}


def test_a_task_names_codes_and_their_parents(sites: tuple[Plan, Read, Read]) -> None:
    """The outcome is all that is below Respiratory disease; its codes are no predictors."""
    _, clinic, _ = sites
    concept = {code: key for key, code in rows(clinic.cdm, "concept", "concept_id", "concept_code")}
    ill = {p for p, c in rows(clinic.cdm, "observation", "person_id", "observation_concept_id") if c == concept[FLU]}
    assert {row["person_id"] for row in clinic.cohort if row["label"]} == ill
    assert len(clinic.cohort) == 90
    assert "Influenza" not in {t["text"] for t in clinic.tokens}
    pairs = set(rows(clinic.cdm, "concept_ancestor"))
    assert {(concept["DX//J09-J11"], concept[FLU], 1), (concept["DX//X"], concept[FLU], 2)} <= pairs
    told = clinic.concepts["outcome"]
    assert (told["descendants"], told["items"][1]["name"], told["events"]) == (1, "Respiratory disease", True)


def test_the_split_is_that_of_the_subjects(sites: tuple[Plan, Read, Read]) -> None:
    plan, clinic, _ = sites
    names = {0: "train", 1: "validation", 2: "test"}
    assert {row["person_id"]: row["split"] for row in clinic.cohort} == {n: names[n % 3] for n in range(1, 91)}
    assert plan.given("cohort", task="flu", site="clinic") == [plan.study.split_file("flu", "clinic")]


def test_what_cannot_be_known_is_said(sites: tuple[Plan, Read, Read]) -> None:
    plan, _, _ = sites
    assert "clinic is a MEDS data set, whose events belong to no visit" in plan.study.warnings[0]
    files = [Path(file).name for file in plan.files["clinic"]]
    assert files == [
        "0.parquet",
        "1.parquet",
        "codes.parquet",
        "subject_splits.parquet",
    ]


def test_at_an_omop_site_codes_match_nothing(tmp_path: Path) -> None:
    write_meds(tmp_path / "clinic")
    write_extract(tmp_path / "hill")
    sites = {"clinic": {"meds": {"folder": "clinic", "codes": "icd"}}, "hill": {"extract": "hill"}}
    with pytest.raises(StudyError, match=r"split\.by: .*hill is no MEDS data set with subject_splits"):
        Plan.read(study(tmp_path, sites=sites))
    plan = Plan.read(study(tmp_path, sites=sites, tasks={"flu": TASK | {"split": {"by": "hash"}}}))
    assert plan.study.owner("clinic") == "icd"
    cdm, _ = load(tmp_path / "hill", tmp_path / "out")
    task, cohort = json.loads(plan.study.cohort_settings("flu", "hill")), tmp_path / "cohort.parquet"
    make_cohort(cdm, "hill", task, 1, cohort, tmp_path / "a.csv", tmp_path / "s.parquet", concepts=tmp_path / "c.json")
    assert [(row["person_id"], row["label"]) for row in read(cohort)] == [(1, 1)]


def test_an_extract_written_as_meds_has_the_same_labels(tmp_path: Path) -> None:
    """Same persons, same events, same rows and labels of a task."""
    simulate("prairie", 1000, 1, tmp_path / "omop")
    omop_as_meds(tmp_path / "omop", tmp_path / "clinic")
    write_meds(tmp_path / "ward")
    codes = duckdb.sql(
        f"SELECT vocabulary_id || '/' || concept_code FROM '{tmp_path}/omop/concept.parquet' WHERE concept_id = 4266367"
    ).fetchall()
    task = {
        "index": {"domain": "visit", "concepts": [9203], "codes": ["Visit/9203"], "occurrence": "all"},
        "outcome": {"domain": "condition", "concepts": [4266367], "codes": [codes[0][0]], "days": [1, 7]},
        "split": {"by": "hash"},
    }
    planned = Plan.read(study(tmp_path, tasks={"flu": task})).study
    as_meds = Read(planned, "clinic", tmp_path / "1")
    cdm, _ = load(tmp_path / "omop", tmp_path / "2")
    settings, files = json.loads(planned.cohort_settings("flu", "clinic")), [tmp_path / name for name in "abc"]
    make_cohort(cdm, "clinic", settings, 1, *files)
    columns = ("person_id", "index_date", "label", "split", "sex", "age")
    as_omop = [tuple(row[name] for name in columns) for row in read(files[0])]
    assert [tuple(row[name] for name in columns) for row in as_meds.cohort] == as_omop
    assert sum(row[2] for row in as_omop) > 3
    tables = ("condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "observation")
    events = sum(len(rows(cdm, table)) for table in ("visit_occurrence", *tables))
    assert len(rows(as_meds.cdm, "observation")) == events


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"domain": "visit", "codes": []}, "give concept ids, or the file of a concept set, or `codes`"),
        ({"domain": "death", "codes": [FLU]}, r"outcome\.codes: the domain `death` is found without codes"),
        ({"domain": "condition", "codes": [FLU], "days": [0, 7]}, None),
    ],
)
def test_a_task_s_codes_are_checked(event: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    for site in ("clinic", "ward"):
        write_meds(tmp_path / site)
    days = {"days": [1, 7]} if "days" not in event else {}
    predictors = {"days": [-365, -1]}
    config = study(tmp_path, tasks={"flu": TASK | {"outcome": event | days, "predictors": predictors}})
    if message is None:
        assert Plan.read(config)
        return
    with pytest.raises(StudyError, match=message):
        Plan.read(config)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"subject_id": [1], "code": ["X"]}, r"data: the column time is missing \(found subject_id, code\)"),
        ({"subject_id": ["a"], "time": [None], "code": ["X"]}, "subject_id is VARCHAR, not a whole number"),
        ({"subject_id": [1], "time": [None], "code": [None]}, "has events without a code"),
        ({"subject_id": [1], "time": [None], "code": ["X"]}, "no subject has the event MEDS_BIRTH"),
    ],
)
def test_what_is_no_meds_is_told(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    from conceptbridge.sites.converters.converter import find_converter

    (tmp_path / "m/data").mkdir(parents=True)
    converter, settings = find_converter("meds"), {"folder": str(tmp_path / "m"), "codes": "meds"}
    with pytest.raises(StudyError, match=r"m: is no MEDS data set: it has no data/\*\.parquet"):
        converter.check(settings, "a")
    pq.write_table(pa.table(table), tmp_path / "m/data/0.parquet")
    with pytest.raises(StudyError, match=message):
        converter.convert(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
