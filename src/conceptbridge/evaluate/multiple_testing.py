"""Many comparisons at once: Holm's correction within a family, and a gate before all of them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p of a family (comparisons,); a NaN is no comparison (Holm, Scand J Statist 1979;6:65)."""
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return adjusted


def gated(adjusted: ArrayLike, gate: ArrayLike) -> NDArray[np.float64]:
    """Return the larger of a comparison's adjusted p and that of its gate; without a gate's p it is 1."""
    gate = np.nan_to_num(np.asarray(gate, dtype=np.float64), nan=1.0)
    found: NDArray[np.float64] = np.maximum(np.asarray(adjusted, dtype=np.float64), gate)
    return found
