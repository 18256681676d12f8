"""The cuts above which rows raise an alert: where they lie, and which of them may be shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import is_small
from conceptbridge.evaluate.metrics import AT_CUT, cut_cells

NO_CUT = "no validation rows to find the cut of this alert rate"


def alert_cuts(validation: NDArray[np.float64], rates: Sequence[float]) -> list[float]:
    """Return the least probability among the highest ``rate`` of validation rows, for each rate."""
    if not len(validation):
        return [np.nan] * len(rates)
    ordered = np.sort(validation)[::-1]
    return [float(ordered[max(int(np.ceil(rate * len(ordered))) - 1, 0)]) for rate in rates]


def why_hidden(
    label: NDArray[np.int8], probability: NDArray[np.float64], cut: NDArray[np.float64], min_cell_count: int
) -> list[str | None]:
    """Say of each metric at each cut why it is not shown.

    A cell of the confusion matrix is too small; or the events or non-events between this cut and the next higher one
    that is shown are.
    """
    cells = cut_cells(label, probability, cut, np.zeros(len(label), dtype=np.intp), 1)[:, :, 0]
    reasons: list[str | None] = [NO_CUT] * len(cut)
    higher = np.zeros(2)
    for index in np.argsort(-cut, kind="stable"):
        if np.isnan(cut[index]):
            continue
        counts = cells[index]
        parts: NDArray[np.float64] = np.r_[counts, cells[-1] - counts, counts - higher]
        small = is_small(parts, min_cell_count).any()
        reasons[index] = f"not shown: a count under {min_cell_count} could be worked out" if small else None
        higher = higher if small else counts
    return [reason for reason in reasons for _ in AT_CUT]
