"""What curves are drawn from: calibration, ROC, precision-recall and net benefit, in bins that may be shown."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import safe_bins
from conceptbridge.evaluate.predictions import read_arm
from conceptbridge.evaluate.schemas import Arm
from conceptbridge.evaluate.table_rows import Measured

_CURVE_BINS, _CALIBRATION_BINS = 40, 10


def binned_curves(at: Measured, folders: Mapping[Arm, Path]) -> Iterator[tuple[Any, ...]]:
    """Bin the predictions of the arms that the answer names; ``folders`` holds them, by arm without source."""
    evaluator = at.evaluator
    # as many rows as of the minimum of persons, if each of them had the most rows
    most = int(np.bincount(evaluator.clusters["test"].person).max(initial=1))
    for arm, role in _roles(at).items():
        if arm not in at.results or at.results[arm].reason["test"] is not None:
            continue
        [predictions] = [
            of_source
            for of_source in read_arm(folders[arm._replace(source="")], evaluator.context.predicted)
            if of_source.source == arm.source
        ]
        seeds = len(predictions.seeds)
        probability = predictions.probability[:, evaluator.in_split["test"]].ravel()
        label = np.tile(evaluator.label["test"], seeds)
        for row in _binned(label, probability, evaluator.settings.min_cell_count * most * seeds):
            yield (at.task, *arm, at.target, role, *row)


def _roles(at: Measured) -> dict[Arm, str]:
    """Return the arms that the answer names, and what it names them; the first name counts."""
    recommended = at.choice.recommended
    named = [(arm, role) for role, arm in at.choice._asdict().items()]
    if recommended is not None:
        for control in at.controls.of(recommended.embedding):
            named.append((recommended._replace(embedding=control), f"control {control}"))
    roles: dict[Arm, str] = {}
    for arm, role in named:
        if arm is not None:
            roles.setdefault(arm, role)
    return roles


def _binned(
    label: NDArray[np.int8], probability: NDArray[np.float64], min_cell_count: int
) -> Iterator[tuple[float, ...]]:
    starts = safe_bins(label, probability, min_cell_count, _CURVE_BINS)
    order = np.argsort(probability, kind="stable")
    event, score = label[order].astype(np.float64), probability[order]
    rows, events = len(event), event.sum()
    for index, start in enumerate(starts):
        stop = starts[index + 1] if index + 1 < len(starts) else rows
        hits, alarms = event[start:].sum(), (1 - event[start:]).sum()
        cut = float(f"{score[start]:.3g}")  # in full it would be the prediction of one row
        odds = cut / (1 - cut) if cut < 1 else np.nan
        yield (
            index,
            index * _CALIBRATION_BINS // max(len(starts), _CALIBRATION_BINS),
            cut,
            (stop - start) / rows,
            score[start:stop].mean(),
            event[start:stop].mean(),
            hits / events,
            1 - alarms / (rows - events),
            hits / (hits + alarms),
            (hits - alarms * odds) / rows,
            (events - (rows - events) * odds) / rows,
        )
