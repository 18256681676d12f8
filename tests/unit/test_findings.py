"""A findings table and its codebook become an ordinary OMOP extract."""

from pathlib import Path

import duckdb
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.converters.codebook import read_codebook
from conceptbridge.sites.converters.findings_table import write_findings
from conceptbridge.sites.ingest import ingest
from conceptbridge.vocabulary.build import make_vocabulary

CODEBOOK = """
values: {P: present, A: absent, M: missing}
columns:
  C01: {name: Cough}
  C02:
  fever:
    values:
      P: {code: fever_P, name: high fever}
      I: {code: fever_I, name: no fever}
      M: {code: fever_M, name: not measured, missing: true}
  agegroup: {values: {old: {code: age_old, name: old person, age: 75}, young: {code: age_young, name: child, age: 5}}}
diagnosis:
  column: diagnosis
  values: {I: {name: Influenza, concept_id: 4266367}, R: {name: Other virus}, N: }
ignored: [note]
"""
NAMES = "C02: chills (rigor)\nC99: never used\n"
HEADER = "agegroup,C02,C01,fever,note,diagnosis\n"
TABLE = HEADER + "old,P,A,P,x,I\nyoung,M,P,I,,R\nyoung,A,,M,,N\n"


def write(folder: Path, table: str = TABLE, codebook: str = CODEBOOK, absent: bool = False, test: str = "") -> Path:
    files = {"train": folder / "train.csv"} | ({"test": folder / "test.csv"} if test else {})
    (folder / "train.csv").write_text(table, encoding="utf-8")
    (folder / "test.csv").write_text(test, encoding="utf-8")
    (folder / "book.yaml").write_text(codebook, encoding="utf-8")
    (folder / "names.txt").write_text(NAMES, encoding="utf-8")
    write_findings(files, read_codebook(folder / "book.yaml", folder / "names.txt"), absent, folder / "extract")
    return folder / "extract"


def query(extract: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as db:
        for file in extract.glob("*.parquet"):
            db.execute(f"CREATE VIEW {file.stem} AS FROM read_parquet('{file}')")
        return db.execute(sql).fetchall()


FINDINGS = """
    SELECT person_id, concept_name, CASE value_as_concept_id WHEN 4188539 THEN 'Yes' WHEN 4188540 THEN 'No' END
    FROM observation JOIN concept ON observation_concept_id = concept_id ORDER BY ALL
"""


def test_findings_are_observations_and_missing_ones_are_none(tmp_path: Path) -> None:
    assert query(write(tmp_path), FINDINGS) == [
        (1, "Cough", "No"),
        (1, "chills (rigor)", "Yes"),
        (1, "high fever", "Yes"),
        (1, "old person", "Yes"),
        (2, "Cough", "Yes"),
        (2, "child", "Yes"),
        (2, "no fever", "Yes"),
        (3, "child", "Yes"),
        (3, "chills (rigor)", "No"),
    ]


def test_missing_can_be_read_as_absent(tmp_path: Path) -> None:
    added = set(query(write(tmp_path, absent=True), FINDINGS)) - set(query(write(tmp_path), FINDINGS))
    assert added == {(2, "chills (rigor)", "No"), (3, "Cough", "No"), (3, "not measured", "Yes")}


def test_a_diagnosis_is_a_condition_on_the_next_day(tmp_path: Path) -> None:
    found = query(
        write(tmp_path),
        """
        SELECT person_id, concept_name, condition_start_date - visit_start_date
        FROM condition_occurrence JOIN visit_occurrence USING (person_id)
        JOIN concept ON condition_concept_id = concept_id ORDER BY person_id
        """,
    )
    assert found == [(1, "Influenza", 1), (2, "Other virus", 1)]


def test_dates_say_only_which_file_an_encounter_comes_from(tmp_path: Path) -> None:
    twenty = HEADER + "old,P,A,P,x,I\n" * 20
    extract = write(tmp_path, twenty, test=HEADER + "young,A,A,I,,R\n" * 3)
    days = "SELECT year(visit_start_date), count(*), max(person_id) > 20 FROM visit_occurrence GROUP BY 1 ORDER BY 1"
    assert query(extract, days) == [(2001, 16, False), (2002, 4, False), (2003, 3, True)]
    ages = "SELECT DISTINCT year(visit_start_date) - year_of_birth FROM person JOIN visit_occurrence USING (person_id)"
    assert sorted(query(extract, ages)) == [(5,), (75,)]


def test_the_rest_of_the_workflow_sees_an_ordinary_site(tmp_path: Path) -> None:
    extract = write(tmp_path, HEADER + "old,P,A,P,x,I\nyoung,A,P,I,,R\n" * 20)
    ingest(extract, tmp_path / "cdm", tmp_path / "quality.json")
    texts = {"states": "words", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
    no_roll_up = {"drug": "none", "condition": 0}
    make_vocabulary(tmp_path / "cdm", "book", texts, no_roll_up, 10, tmp_path / "v.parquet")
    found = query(tmp_path, "SELECT key, concept_code, text FROM v WHERE domain = 'observation' ORDER BY key")
    assert found[:4] == [
        ("book/2000000001|absent", "C01", "Not Cough"),
        ("book/2000000001|present", "C01", "Cough"),
        ("book/2000000002|absent", "C02", "Not chills (rigor)"),
        ("book/2000000002|present", "C02", "chills (rigor)"),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.replace("note", "C03"), r"train\.csv: the column C03 is not in the codebook book"),
        (TABLE.replace("C01", "note2"), r"train\.csv: the column note2 is not in the codebook book"),
        ("agegroup,C01,fever,diagnosis\nold,P,P,I\n", r"train\.csv: the column C02 of the codebook book is missing"),
        (TABLE.replace("young,A", "young,X"), r"line 4: the value 'X' of the column C02 is not in the codebook book"),
        (TABLE.replace(",R\n", ",\n"), r"line 3 has no diagnosis \(column diagnosis\)"),
        (TABLE.replace(",R\n", ",Q\n"), r"line 3: the value 'Q' of the column diagnosis"),
    ],
)
def test_what_the_codebook_lacks_is_refused_by_name(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        write(tmp_path, table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "A: absent",
            "A: absnt",
            r"book\.yaml: columns\.C01\.values\.A: 'absnt' is not one of .*did you mean 'absent'",
        ),
        ("{name: Cough}", "{nam: Cough}", r"book\.yaml: columns\.C01: unknown key 'nam'"),
        ("  C02:", "  C03:", r"book\.yaml: the code C03 has no name"),
        ("  column: diagnosis\n", "", r"book\.yaml: diagnosis: the key 'column' is missing"),
        ("columns:", "columns: [", r"book\.yaml: the codebook cannot be read"),
    ],
)
def test_a_mistake_in_the_codebook_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        write(tmp_path, codebook=CODEBOOK.replace(old, new, 1))
