"""Cohorts as MEDS labels, and predictions in the schema of meds-evaluation."""

from datetime import datetime
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from conceptbridge.evaluate.evaluate import ArmFolders
from conceptbridge.evaluate.external import write_external
from conceptbridge.evaluate.meds_files import in_single_precision, write_meds
from made_site import write_site

NO_ARMS = ArmFolders(Path(), {}, {}, [], [])


def test_labels_and_predictions_are_meds(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", ["cough", "sprain"], rows=60)
    rows = pq.read_table(site / "cohort.parquet").to_pandas()
    risk = np.random.default_rng(0).random(60) ** 9  # some of them differ in the ninth digit
    given = rows[["person_id", "index_date"]].assign(probability=np.where(risk < 1e-3, risk * 1e-9, risk))
    given.to_csv(tmp_path / "motor.csv", index=False)
    write_external(tmp_path / "motor.csv", site / "cohort.parquet", tmp_path / "motor")
    arms = NO_ARMS._replace(external={"motor": tmp_path / "motor"})
    write_meds(site / "cohort.parquet", arms.at("here"), tmp_path / "meds")
    labels = pq.read_table(tmp_path / "meds/labels/held_out.parquet")
    meds.LabelSchema.validate(labels)
    test = rows[rows["split"] == "test"]
    assert labels["subject_id"].to_pylist() == test["person_id"].tolist()
    assert labels["prediction_time"][0].as_py() == datetime(2019, 4, 14, 23, 59, 59, 999999)
    assert labels["boolean_value"].to_pylist() == (test["label"] == 1).tolist()
    predictions = pq.read_table(tmp_path / "meds/predictions/motor/external/external/elsewhere/1.parquet")
    assert predictions.schema.names[3:] == ["predicted_boolean_value", "predicted_boolean_probability"]
    assert predictions.schema.field("predicted_boolean_probability").type == pa.float32()
    auroc = roc_auc_score(test["label"], given.loc[test.index, "probability"])
    assert roc_auc_score(predictions["boolean_value"], predictions["predicted_boolean_probability"]) == auroc


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=50), st.integers(0, 40))
def test_rounding_to_single_precision_keeps_ranks(values: list[float], near_one: int) -> None:
    exact = np.array([*values, *(1 - np.arange(near_one) * 1e-12), 0.1, 0.1 + 1e-12, 1e-60])
    rounded = in_single_precision(exact)
    assert rounded.dtype == np.float32
    assert ((rounded >= 0) & (rounded <= 1)).all()
    for kind in (np.less, np.equal):
        np.testing.assert_array_equal(kind.outer(rounded, rounded), kind.outer(exact, exact))
    assert np.abs(rounded - exact).max() < 1e-5
