"""The arms of a study as runs of MLflow: one each, once, with the numbers of the table."""

import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.report.mlflow_runs import log_runs

ARM = ("flu", "onehot", "logistic", "direct", "riverside", "lakeshore")


def measured(metric: str, estimate: float | None, threshold: float | None = None, split: str = "test"):
    return (*ARM, split, metric, threshold, None, estimate, 0.7, 0.9, "", None, 2, 400, 40, None)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking server: a folder, which MLflow calls one too."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


def test_an_arm_is_a_run_with_what_was_measured_on_test_rows(tmp_path: Path, server: str) -> None:
    rows = [measured("auroc", 0.8), measured("auroc", 0.9, split="validation"), measured("sensitivity", 0.5, 0.1)]
    rows += [measured("auprc", None), (*ARM[:2], "cnn", *ARM[3:], *measured("auroc", 0.75)[6:])]
    pq.write_table(to_table(rows, SCHEMAS["metrics"]), tmp_path / "metrics.parquet")
    assert log_runs(tmp_path / "metrics.parquet", "demo", server) == (2, 2)
    assert log_runs(tmp_path / "metrics.parquet", "demo", server) == (2, 0)  # told before
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    runs = {run.data.params["learner"]: run.data for run in client.search_runs([experiment.experiment_id])}
    assert runs["logistic"].params == dict(
        zip(("task", "embedding", "learner", "strategy", "source", "target"), ARM, strict=True)
    )
    assert runs["logistic"].metrics == {"auroc": 0.8, "auroc_lower": 0.7, "auroc_upper": 0.9}
    assert runs["cnn"].metrics["auroc"] == 0.75


def test_a_server_that_is_not_named_or_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(to_table([measured("auroc", 0.8)], SCHEMAS["metrics"]), tmp_path / "metrics.parquet")
    with pytest.raises(StudyError, match="set the variable MLFLOW_TRACKING_URI"):
        log_runs(tmp_path / "metrics.parquet", "demo", None)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StudyError, match="MLflow did not take the runs of demo"):
        log_runs(tmp_path / "metrics.parquet", "demo", nobody)
