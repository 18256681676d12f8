"""The performance of arms as OHDSI's PatientLevelPrediction keeps it."""

from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.report.ohdsi import ohdsi_tables

ARM = ("flu", "onehot", "logistic", "direct", "riverside", "lakeshore")


def measured(metric: str, estimate: float | None, threshold: float | None = None, split: str = "test"):
    return (*ARM, split, metric, threshold, None, estimate, 0.7, 0.9, "", None, 2, 400, 40, None)


def test_an_arm_is_a_performance_of_a_model_from_one_database_at_another():
    rows = [
        measured("auroc", 0.8),
        measured("brier", 0.1),
        measured("ece", 0.02),
        measured("auroc", 0.82, None, "validation"),
    ]
    rows += [measured("sensitivity", 0.6, 0.1), measured("ppv", 0.25, 0.1), measured("net_benefit", 0.03, 0.1)]
    told = {name: table.to_pylist() for name, table in ohdsi_tables(to_table(rows, SCHEMAS["metrics"])).items()}
    assert told["database_details"] == [
        {"database_id": 1, "database_meta_data_id": "riverside"},
        {"database_id": 2, "database_meta_data_id": "lakeshore"},
    ]
    [performance] = told["performances"]
    assert (performance["development_database_id"], performance["validation_database_id"]) == (1, 2)
    test = {row["metric"]: row["value"] for row in told["evaluation_statistics"] if row["evaluation"] == "Test"}
    assert test == {
        "populationSize": 400, "outcomeCount": 40, "AUROC": 0.8, "95% lower AUROC": 0.7, "95% upper AUROC": 0.9,
        "brier score": 0.1,
    }  # fmt: skip
    [cut] = told["threshold_summary"]
    assert (cut["prediction_threshold"], cut["sensitivity"], cut["false_discovery_rate"]) == (0.1, 0.6, 0.75)
    assert cut["specificity"] is None
