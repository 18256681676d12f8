"""Many comparisons at once: Holm's correction within a family, and a gate that all of them have to pass."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p of a family (comparisons,), ignoring NaN (Holm, Scand J Statist 1979;6:65)."""
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return adjusted


def gated(adjusted: ArrayLike, gate: ArrayLike) -> NDArray[np.float64]:
    """Return the larger of each comparison's adjusted p and its gate's p; 1 where the gate has none."""
    gate = np.nan_to_num(np.asarray(gate, dtype=np.float64), nan=1.0)
    larger: NDArray[np.float64] = np.maximum(np.asarray(adjusted, dtype=np.float64), gate)
    return larger
