"""The arms of a study as runs of an MLflow experiment, so that a team finds them beside its other models."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.evaluate.schemas import ARM_AT_TARGET

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: the tag that tells which table a run is from
TABLE = "conceptbridge.metrics"
#: runs that are asked for at once
PAGE = 1000


def log_runs(metrics: Path, experiment: str, server: str | None) -> tuple[int, int]:
    """Log each arm at each target of the joint table ``metrics`` as a run of ``experiment`` at the tracking ``server``.

    A run's parameters are what names the arm; its metrics are those of test rows with their limits, and what was
    measured at no cut. Runs of the same table that are there are left alone, so that the same study can be told twice.
    Returns how many arms there are, and how many of
    them were logged now.

    Raises StudyError where no server is named, MLflow is not installed, or the server does not take the runs.
    """
    if not server:
        raise StudyError(
            "no MLflow server is named: set the variable MLFLOW_TRACKING_URI to the address of yours, "
            "such as http://127.0.0.1:5000"
        )
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise StudyError("MLflow is not installed: pip install 'conceptbridge[mlflow]'") from error
    table, digest = read_table(metrics), hashlib.sha256(metrics.read_bytes()).hexdigest()
    try:
        client = MlflowClient(server)
        there = client.get_experiment_by_name(experiment)
        folder = there.experiment_id if there else client.create_experiment(experiment)
        told = set(_told(client, folder, digest))
        arms = dict(_arms(table))
        for arm, values in arms.items():
            if arm not in told:
                _log(client, folder, arm, values, digest)
    except MlflowException as error:
        raise StudyError(f"MLflow did not take the runs of {experiment}: {error}") from error
    return len(arms), len(arms.keys() - told)


def _arms(table: pa.Table) -> Iterator[tuple[tuple[str, ...], dict[str, float]]]:
    """Yield each arm with what was measured of it on test rows at no cut."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in table.to_pylist():
        if row["split"] != "test" or row["estimate"] is None or _at_a_cut(row):
            continue
        values = found.setdefault(tuple(row[name] for name in ARM_AT_TARGET), {})
        for name, value in (("", row["estimate"]), ("_lower", row["lower"]), ("_upper", row["upper"])):
            if value is not None and math.isfinite(value):
                values[row["metric"] + name] = value
    yield from found.items()


def _at_a_cut(row: dict[str, Any]) -> bool:
    return row["threshold"] is not None or row["alert_rate"] is not None


def _told(client: "MlflowClient", experiment: str, digest: str) -> Iterator[tuple[str, ...]]:
    """Yield the arms that have a run from this table."""
    token = None
    while True:
        runs = client.search_runs(
            [experiment], f"tags.`{TABLE}` = '{digest}' and attributes.status = 'FINISHED'", max_results=PAGE,
            page_token=token,
        )  # fmt: skip
        yield from (tuple(run.data.params[name] for name in ARM_AT_TARGET) for run in runs)
        token = runs.token
        if not token:
            return


def _log(client: "MlflowClient", experiment: str, arm: tuple[str, ...], values: dict[str, float], digest: str) -> None:
    from mlflow.entities import Metric, Param

    run = client.create_run(experiment, run_name=" ".join(arm), tags={TABLE: digest}).info
    params = [Param(name, value) for name, value in zip(ARM_AT_TARGET, arm, strict=True)]
    client.log_batch(run.run_id, [Metric(name, value, run.start_time, 0) for name, value in values.items()], params)
    client.set_terminated(run.run_id)
