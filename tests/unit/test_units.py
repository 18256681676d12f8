"""The tables of units: each is found by one row, leads to one that stays itself, and agrees with textbook values."""

import csv
from pathlib import Path

import duckdb
import pytest

from conceptbridge.sites import records
from conceptbridge.sites.records import ANALYTES, UNITS, harmonised

HERE = Path(records.__file__)


def rows(name: str) -> list[dict[str, str]]:
    with HERE.with_name(name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_unit_is_found_by_one_row_and_leads_to_one_that_stays_itself() -> None:
    units = {row["unit"]: row for row in rows(UNITS)}
    for key in ("concepts", "texts"):
        named = [name for row in units.values() for name in row[key].split("|")]
        assert len(named) == len(set(named))
    assert all(text == text.lower().strip() for row in units.values() for text in row["texts"].split("|"))
    ends = {row["canonical"] for row in units.values()}
    for end in ends & set(units):
        assert (units[end]["canonical"], float(units[end]["factor"]), float(units[end]["shift"])) == (end, 1, 0)
    assert {row[key] for row in rows(ANALYTES) for key in ("unit", "canonical")} <= ends


@pytest.mark.parametrize(
    ("name", "unit", "value", "becomes"),
    [
        ("Body temperature", "degF", 212, (100, "Cel")),
        ("Body temperature", "K", 273.15, (0, "Cel")),
        ("Body weight", "lbs", 220.4623, (100, "kg")),
        ("Body height", "in", 70, (177.8, "cm")),
        ("Glucose [Mass/volume] in Blood", "mg/dL", 90, (5.0, "mmol/L")),
        ("Creatinine [Mass/volume] in Serum", "umol/L", 88.4, (0.0884, "mmol/L")),
        ("Creatinine [Mass/volume] in Serum", "mg/dL", 1, (0.0884, "mmol/L")),
        ("Hemoglobin [Mass/volume] in Blood", "g/L", 140, (14_000, "mg/dL")),
        ("Hemoglobin A1c/Hemoglobin.total in Blood", "mmol/mol", 53, (7.0, "%")),
        ("Potassium serum/plasma", "mEq/L", 4, (4, "mmol/L")),
        ("Calcium serum", "meq/l", 5, (2.5, "mmol/L")),
        ("Leukocytes", "K/uL", 7, (7, "10*9/L")),
        ("Leukocytes", "/uL", 7000, (7, "10*9/L")),
        ("A score", "{score}", 3, (3, "{score}")),
        ("A count", "", 3, (3, "")),
    ],
)
def test_values_are_brought_to_one_unit(name: str, unit: str, value: float, becomes: tuple[float, str]) -> None:
    with duckdb.connect() as db:
        for table, file in (("units", UNITS), ("analytes", ANALYTES)):
            db.execute(f"CREATE TABLE {table} AS FROM read_csv('{HERE.with_name(file)}', header=true)")
        db.execute("CREATE TABLE concept AS SELECT 1 AS concept_id, ? AS concept_name", [name])
        used = f"SELECT 1 AS concept_id, 0 AS unit_concept, '{unit.lower()}' AS unit_text"
        ((factor, shift, found),) = db.execute(f"SELECT factor, shift, unit FROM ({harmonised(used)})").fetchall()
    assert (value * factor + shift, found) == (pytest.approx(becomes[0], rel=0.005, abs=1e-9), becomes[1])
