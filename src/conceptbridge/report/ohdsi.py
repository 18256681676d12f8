"""The performance of all arms as the result tables of OHDSI's PatientLevelPrediction, so that its viewers read it.

Columns and names of metrics are those of its ``resultsDataModelSpecification.csv`` and ``evaluatePlp``. Ids number what
this study has: a performance is an arm, a model design an arm without its sites, a database a site. What is not
measured here is empty; nothing is in these tables that ``metrics`` does not show.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.evaluate.schemas import ARM_AT_TARGET
from conceptbridge.report.study_tables import OHDSI

#: our metrics -> what evaluatePlp calls them
_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "brier score",
    "scaled_brier": "brier score scaled",
    "calibration_in_the_large": "calibrationInLarge intercept",
    "calibration_slope": "weak calibration gradient",
    "ici": "ici",
}
_AT_THRESHOLD = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "positive_predictive_value"}
_EVALUATION = {"test": "Test", "validation": "Validation"}
Row = Mapping[str, Any]


def write_ohdsi(metrics: pa.Table, folder: Path) -> None:
    """Write each of the tables of ``ohdsi_tables`` as CSV to ``folder``."""
    for name, table in ohdsi_tables(metrics).items():
        with atomic_file(folder / f"{name}.csv") as temporary:
            pacsv.write_csv(table, temporary)


def ohdsi_tables(metrics: pa.Table) -> dict[str, pa.Table]:
    """Return the tables of ``study_tables.OHDSI`` from the joint table ``metrics``."""
    rows = metrics.to_pylist()
    arms = {arm: number for number, arm in enumerate(dict.fromkeys(map(_arm, rows)), 1)}
    sites = {site: n for n, site in enumerate(dict.fromkeys(one for arm in arms for one in (arm[-2], arm[-1])), 1)}
    designs = {design: n for n, design in enumerate(dict.fromkeys(arm[:-2] for arm in arms), 1)}
    lines: dict[str, list[dict[str, Any]]] = {
        "performances": [
            {
                "performance_id": number,
                "model_design_id": designs[arm[:-2]],
                "development_database_id": sites[arm[-2]],
                "validation_database_id": sites[arm[-1]],
            }
            for arm, number in arms.items()
        ],
        "model_designs": [
            {"model_design_id": number} | dict(zip(ARM_AT_TARGET, design, strict=False))
            for design, number in designs.items()
        ],
        "database_details": [{"database_id": n, "database_meta_data_id": site} for site, n in sites.items()],
        "evaluation_statistics": list(_statistics(rows, arms)),
        "threshold_summary": list(_thresholds(rows, arms)),
    }
    return {name: _table(lines[name], columns) for name, columns in OHDSI.items()}


def _arm(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ARM_AT_TARGET)


def _statistics(rows: Sequence[Row], arms: Mapping[tuple[str, ...], int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["threshold"] is not None or row["alert_rate"] is not None or row["metric"] not in _NAMES:
            continue
        name = _NAMES[row["metric"]]
        values = {name: row["estimate"]}
        if row["metric"] == "auroc":
            counts = {"populationSize": row["rows"], "outcomeCount": row["events"]}
            limits = {"95% lower AUROC": row["lower"], "95% upper AUROC": row["upper"]}
            values = counts | values | limits
        for metric, value in values.items():
            if value is not None:
                where = {"performance_id": arms[_arm(row)], "evaluation": _EVALUATION[row["split"]]}
                yield where | {"metric": metric, "value": float(value)}


def _thresholds(rows: Sequence[Row], arms: Mapping[tuple[str, ...], int]) -> Iterator[dict[str, Any]]:
    at: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row["threshold"] is not None and row["metric"] in _AT_THRESHOLD and row["estimate"] is not None:
            place = (arms[_arm(row)], _EVALUATION[row["split"]], row["threshold"])
            at.setdefault(place, {})[_AT_THRESHOLD[row["metric"]]] = row["estimate"]
    for (number, evaluation, threshold), values in at.items():
        complements = {
            other: 1 - values[name]
            for other, name in (
                ("false_negative_rate", "sensitivity"),
                ("false_positive_rate", "specificity"),
                ("false_discovery_rate", "positive_predictive_value"),
            )
            if name in values
        }
        where = {"performance_id": number, "evaluation": evaluation, "prediction_threshold": threshold}
        yield where | values | complements


def _table(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    return pa.table({name: pa.array([line.get(name) for line in lines]) for name in columns})
