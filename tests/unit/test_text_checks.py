"""Names that tell an encoder nothing are counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.vocabulary.build import SCHEMA
from conceptbridge.vocabulary.text_checks import text_shares, text_warnings, what_is_wrong


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (None, "no text"), (" ", "no text"),
        ("224290", "codes"), ("E11.9", "codes"), ("J45", "codes"), ("LAB00123", "codes"), ("ICD10:E11", "codes"),
        ("250.00", "codes"), ("ABCDEF12345678", "codes"), ("2345-7", "codes"),
        ("Cough", None), ("CRP", None), ("pH", None), ("Vitamin B12", None), ("250.00 Diabetes mellitus", None),
        ("Glucose [Mass/volume] in Serum", None), ("Grippe à virus identifié", None), ("Ödem", None),
        ("Кашель", "other scripts"), ("発熱", "other scripts"), ("حمى", "other scripts"), ("Fever 発", None),
    ],
)  # fmt: skip
def test_a_name_says_something_or_why_not(name: str | None, fault: str | None) -> None:
    assert what_is_wrong(name) == fault


def vocabulary(folder: Path, *concepts: tuple[str | None, int, int]) -> Path:
    """A vocabulary of concepts: name, records and persons of each, in two states."""
    rows = [
        {"key": f"{n}|{state}", "domain": "condition", "name": name, "records": records, "persons": persons}
        | {"private": False, "state": state}
        for n, (name, records, persons) in enumerate(concepts)
        for state in ("present", "absent")
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "vocabulary.parquet")
    return folder / "vocabulary.parquet"


def test_shares_are_of_records_and_advice_follows(tmp_path: Path) -> None:
    file = vocabulary(tmp_path, ("Cough", 40, 20), ("224290", 30, 20), (None, 20, 20), ("発熱", 10, 10), ("77", 999, 9))
    shares = text_shares(file, 10)
    assert shares == {"no text": 0.2, "codes": 0.3, "other scripts": 0.1}
    by_concepts = {"no text": 0.25, "codes": 0.25, "other scripts": 0.25}
    assert text_shares(file, 10, by=None) == by_concepts
    shared = pq.read_table(file)
    for name in ("records", "persons"):
        blank = pa.nulls(len(shared), pa.int64())
        shared = shared.set_column(shared.column_names.index(name), name, blank)
    pq.write_table(shared.slice(0, 8), tmp_path / "shared.parquet")
    assert text_shares(tmp_path / "shared.parquet", 10, by=None) == by_concepts
    told = text_warnings("hill", shares)
    assert [text.split(" of the records")[0] for text in told] == ["hill: 20 %", "hill: 30 %", "hill: 10 %"]
    assert all("vocabulary" in text for text in told)
    assert text_warnings("hill", text_shares(vocabulary(tmp_path, ("Cough", 95, 20), ("7", 5, 10)), 10)) == []
    assert set(text_shares(vocabulary(tmp_path), 10).values()) == {None}
