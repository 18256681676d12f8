"""The results of a study: its tables, predictions and page, from its results folder."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest
from conceptbridge.evaluate.calibration import CALIBRATION, calibrate
from conceptbridge.evaluate.delong import components, person_clusters
from conceptbridge.evaluate.influence import of_metrics
from conceptbridge.evaluate.intervals import column_limits
from conceptbridge.evaluate.metric_columns import RANKED, REGRESSED, Settings
from conceptbridge.evaluate.metrics import METRICS, measure
from conceptbridge.report.page import write_page


class Results:
    """The results folder of a study."""

    def __init__(self, folder: str | Path = "results") -> None:
        self.folder = Path(folder)

    @property
    def tables(self) -> list[str]:
        """Names of the joint tables (see docs/evaluation.md)."""
        return sorted(path.stem for path in (self.folder / "tables").glob("*.parquet"))

    def table(self, name: str) -> pd.DataFrame:
        """Read a joint table. Raises StudyError if there is none of that name."""
        if name not in self.tables:
            hint = f"; there are {', '.join(self.tables)}" if self.tables else "; run the study first"
            raise StudyError(f"{self.folder}: there is no table {name!r}{nearest(name, self.tables)}{hint}")
        return pd.read_parquet(self._path(layout.TABLE, table=name, suffix="parquet"))

    def predictions(self, task: str, target: str, strategy: str, learner: str, embedding: str) -> pd.DataFrame:
        """Read the predictions of an arm, for all its sources.

        Returns one row per source, seed and validation or test row of the target: source, seed, row_id, split, label,
        probability. These rows are about persons: they stay at the site. Raises StudyError if there is no such arm.
        """
        fingerprints = self._provenance["embeddings"]
        if embedding not in fingerprints:
            raise StudyError(
                f"{self.folder}: there is no embedding {embedding!r}{nearest(embedding, fingerprints)}; "
                f"there are {', '.join(fingerprints)}"
            )
        names = {"task": task, "learner": learner, "strategy": strategy, "target": target}
        folder = self._path(layout.ARM, embedding=f"{embedding}-{fingerprints[embedding][:12]}", **names)
        if not folder.is_dir():
            raise StudyError(f"{folder}: there is no such arm")
        return pd.read_parquet(folder / "predictions.parquet")

    def page(self) -> Path:
        """Return the path of the study's page. Raises StudyError if there is none yet."""
        return self._existing(layout.PAGE)

    def draw_page(self, out: str | Path) -> Path:
        """Write the page from tables and figures to the file ``out``, as this version of the package does.

        Raises StudyError if one of them is missing.
        """
        config = self._provenance["config"]
        tables, figures, sites = (self.folder / name for name in ("tables", "figures", "sites"))
        provenance = self._existing(layout.PROVENANCE)
        tasks = self.folder / "tasks"  # a coordinator has none
        about = (config["name"], Path(out), config["min_cell_count"], tasks if tasks.is_dir() else None)
        write_page(tables, figures, sites, provenance, *about)
        return Path(out)

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """The provenance of the results."""
        return dict(json.loads(self._existing(layout.PROVENANCE).read_text(encoding="utf-8")))

    def _existing(self, artefact: str) -> Path:
        path = self._path(artefact)
        if not path.is_file():
            raise StudyError(f"{path}: there is no such file; run the study first")
        return path

    def _path(self, artefact: str, **names: str) -> Path:
        return self.folder / layout.place(artefact, **names)


def metrics(label: ArrayLike, probability: ArrayLike, person: ArrayLike | None = None) -> pd.DataFrame:
    """Compute a study's metrics for predictions: one row per metric, with its estimate and 95 % limits.

    ``label`` (rows,) is 0 or 1, ``probability`` (rows,) is between 0 and 1. ``person`` (rows,) says whose row each is;
    None if no person has two. Limits come from the variance between persons, DeLong's for AUROC and the sandwich for
    the others, on a scale that keeps them within the metric's range; ICI and ECE have none. A metric that is not
    defined is NaN. Raises StudyError if the lengths differ or a value is out of range.
    """
    labels, probabilities = np.asarray(label), np.asarray(probability, dtype=np.float64)
    persons = np.arange(len(labels)) if person is None else np.asarray(person)
    if not labels.shape == probabilities.shape == persons.shape == (len(labels),):
        raise StudyError(
            f"metrics: label, probability and person have the shapes {labels.shape}, {probabilities.shape} and "
            f"{persons.shape}; give one of each per row"
        )
    if not np.isin(labels, (0, 1)).all() or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise StudyError("metrics: a label is not 0 or 1, or a probability is not between 0 and 1")
    clusters, columns = person_clusters(labels, persons), Settings(0, [], [], 0, 0)
    calibration = calibrate(labels, probabilities, clusters.person, clusters.persons)
    plain = measure(labels, probabilities, np.ones((len(labels), 1)))[:, 0]
    estimate = np.r_[plain, calibration.estimate]
    lower, upper = np.full((2, len(estimate)), np.nan)
    if 0 < labels.sum() < len(labels):
        auroc = components(labels, probabilities, clusters)
        influence = np.full((len(estimate), clusters.persons), np.nan)
        influence[RANKED] = of_metrics(labels, probabilities, clusters, auroc)
        influence[REGRESSED] = calibration.influence
        lower, upper, _ = column_limits(columns, estimate[None], auroc, influence, clusters)
    return pd.DataFrame(
        {"estimate": estimate, "lower": lower, "upper": upper},
        index=pd.Index([*METRICS, *CALIBRATION], name="metric"),
    )
