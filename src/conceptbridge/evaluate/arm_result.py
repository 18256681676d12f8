"""What is measured of one arm."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.break_even import Curve
from conceptbridge.evaluate.delong import Components
from conceptbridge.evaluate.intervals import seed_variance
from conceptbridge.evaluate.schemas import Arm
from conceptbridge.evaluate.subgroup_metrics import GroupCell


class DepthPoint(NamedTuple):
    """AUROC at one share (``depth``) of the tuning budget."""

    depth: float
    split: str
    estimate: float
    lower: float | None
    upper: float | None
    auroc_sd: float | None
    seeds: int


class ArmResult(NamedTuple):
    """One arm's numbers; those of a split that has a ``reason`` are all NaN."""

    arm: Arm
    about: dict[str, Any]
    seeds: list[int]
    reason: dict[str, str | None]
    by_seed: dict[str, NDArray[np.float64]]  # split -> (seeds, columns)
    column_reason: list[str | None]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    influence: NDArray[np.float32]  # (AUPRC and Brier, persons): how far each person moves the mean over seeds
    components: Components | None  # of the mean AUROC over seeds on test rows
    groups: list[GroupCell]
    sizes: Curve | None
    depths: list[DepthPoint]

    def mean(self, split: str) -> NDArray[np.float64]:
        """Return the estimates (columns,): the mean over all seeds."""
        means: NDArray[np.float64] = self.by_seed[split].mean(axis=0)
        return means

    def seed_variance(self) -> NDArray[np.float64]:
        """Return the variance between seeds of the mean over seeds (columns,); 0 with one seed."""
        return seed_variance(self.by_seed["test"])
