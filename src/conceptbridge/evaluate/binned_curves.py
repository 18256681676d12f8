"""What curves are drawn from: calibration, ROC, precision-recall and net benefit, in bins that may be shown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import safe_bins
from conceptbridge.evaluate.comparisons import Choice
from conceptbridge.evaluate.measure import Arm, ArmResult, Context
from conceptbridge.evaluate.predictions import read_arm

_CURVE_BINS, _CALIBRATION_BINS = 40, 10


def points(
    results: Mapping[Arm, ArmResult],
    task: str,
    target: str,
    choice: Choice,
    controls: Sequence[str],
    context: Context,
    folders: Mapping[Arm, Path],
    least: int,
) -> Iterator[tuple[Any, ...]]:
    """Bin the predictions of the arms that the answer names."""
    recommended = choice.recommended
    named = [(arm, role) for role, arm in choice._asdict().items()]
    named += [(recommended and recommended._replace(embedding=control), f"control {control}") for control in controls]
    roles: dict[Arm, str] = {}
    for one, role in named:
        if one is not None:
            roles.setdefault(one, role)
    inside = context.predicted.split == "test"
    label = context.predicted.label[inside]
    for arm, role in roles.items():
        if arm not in results or results[arm].reason["test"] is not None:
            continue
        [predictions] = [
            one for one in read_arm(folders[arm._replace(source="")], context.predicted) if one.source == arm.source
        ]
        seeds = len(predictions.seeds)
        probability = predictions.probability[:, inside].ravel()
        yield from (
            (task, *arm, target, role, *point) for point in _binned(np.tile(label, seeds), probability, least * seeds)
        )


def _binned(label: NDArray[np.int8], probability: NDArray[np.float64], least: int) -> Iterator[tuple[Any, ...]]:
    starts = safe_bins(label, probability, least, _CURVE_BINS)
    order = np.argsort(probability, kind="stable")
    event, score = label[order].astype(np.float64), probability[order]
    rows, events = len(event), event.sum()
    for place, start in enumerate(starts):
        stop = starts[place + 1] if place + 1 < len(starts) else rows
        hits, alarms = event[start:].sum(), (1 - event[start:]).sum()
        cut = float(f"{score[start]:.3g}")  # in full it would be the prediction of one row
        odds = cut / (1 - cut) if cut < 1 else np.nan
        yield (
            place,
            place * _CALIBRATION_BINS // max(len(starts), _CALIBRATION_BINS),
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
