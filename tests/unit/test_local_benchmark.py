"""The plain script that local arms are compared with: what it reads, and what it may not know."""

import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # they are scripts, not a package

import local

from tiny_site import condition, measurement, person, visit, write_cdm

INDEX = date(2020, 6, 1)
FLU, KIND_OF_FLU, COUGH, GLUCOSE, SYMPTOM = 10, 11, 20, 30, 40


def day(n: int) -> date:
    return INDEX + timedelta(n)


def script(folder: Path, status: int = 32899, reading: type[local.Script] = local.Script) -> local.Script:
    """One person with two rows; the visit of the index is open, and what it ends with has a status of its own."""
    here = visit(1, INDEX) | {"visit_end_date": day(2)}
    at = {"visit_occurrence_id": here["visit_occurrence_id"]}
    conditions = [
        condition(1, day(-400), COUGH, condition_status_concept_id=status),  # too early
        condition(1, day(-40), COUGH, condition_status_concept_id=status),
        condition(1, day(-3), COUGH, condition_status_concept_id=status),
        condition(1, day(-3), COUGH, condition_status_concept_id=status),
        condition(1, day(-3), KIND_OF_FLU, condition_status_concept_id=status),  # the outcome
        condition(1, INDEX, COUGH, condition_status_concept_id=status, **at),
        condition(1, INDEX, 21, condition_status_concept_id=32896, **at),  # a discharge diagnosis
        condition(1, day(1), 22, condition_status_concept_id=status, **at),  # after the index
    ]
    values = [
        measurement(1, day(n), GLUCOSE, value_as_number=float(v), unit_concept_id=5, value_as_concept_id=9191)
        for n, v in ((-20, 4), (-10, 6), (-5, 5), (0, 9))
    ]
    cdm = write_cdm(
        folder, person=[person(1)], visit_occurrence=[here], condition_occurrence=conditions, measurement=values,
        concept_ancestor=[
            {"ancestor_concept_id": above, "descendant_concept_id": below}
            for above, below in ((FLU, KIND_OF_FLU), (SYMPTOM, COUGH))
        ],
    )  # fmt: skip
    row = {"person_id": 1, "index_date": INDEX, "label": 1, "sex": "female", "age": 40, "split": "train"}
    row |= {"race": "unknown"}
    cohort = pd.DataFrame([row, row | {"index_date": day(-3000), "label": 0}])
    return reading(cdm, cohort, [FLU], -365)


def test_records_are_counted_by_window_and_nothing_is_known_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MIN_ROWS", 1)
    design = script(tmp_path).design
    counts = dict(zip(design.counted, design.counts[0].toarray()[0].tolist(), strict=True))
    assert counts == {
        "20@0": 1, "20@-30": 2, "20@before": 1, "30@0": 1, "30@-30": 3, "30=9191@0": 1, "30=9191@-30": 3,
    }  # fmt: skip
    assert design.counts[1].nnz == 0
    values = dict(zip(design.valued, design.values[0].tolist(), strict=True))
    assert values == {"last 30 in 5@0": 9, "mean 30 in 5@0": 9, "last 30 in 5@-30": 5, "mean 30 in 5@-30": 5}
    assert np.isnan(design.values[1]).all()
    assert design.persons.tolist() == [[40, 1], [40, 1]]


def test_of_visits_without_a_status_no_diagnosis_is_known_before_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MIN_ROWS", 1)
    monkeypatch.setattr(local, "SHARE", 2)  # more than there can be
    assert [name for name in script(tmp_path).design.counted if name.startswith("2")] == ["20@-30", "20@before"]


def test_a_column_needs_so_many_training_rows(tmp_path: Path) -> None:
    assert script(tmp_path).design.counted == []


def test_features_are_those_of_feature_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MIN_ROWS", 1)
    design = script(tmp_path, reading=local.Extraction).design
    held = {name for name, there in zip(design.counted, design.counts[0].toarray()[0], strict=True) if there}
    windows = ("@-365", "@-30", "@0")
    assert held == {
        f"{name}{window}"
        for name in ("condition_occurrence 20", "condition_occurrence 40", "measurement 30", "measurement 30=9191")
        for window in windows
    }
    assert design.counts.max() == 1
    calendar = script(tmp_path / "other", reading=local.Timeless).design.persons.shape[1]
    assert design.persons.shape[1] == calendar + 4  # two years, and two months
