"""The cuts above which rows raise an alert: where they lie, and which of them may be shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import is_small
from conceptbridge.evaluate.metrics import AT_CUT

NO_CUT = "no validation rows to find the cut of this alert rate"


def alert_cuts(validation: NDArray[np.float64], rates: Sequence[float]) -> list[float]:
    """Return the least probability among the highest ``rate`` of validation rows, for each rate."""
    if not len(validation):
        return [np.nan] * len(rates)
    ordered = np.sort(validation)[::-1]
    return [float(ordered[max(int(np.ceil(rate * len(ordered))) - 1, 0)]) for rate in rates]


def why_hidden(
    label: NDArray[np.int8],
    probability: NDArray[np.float64],
    cut: NDArray[np.float64],
    person: NDArray[np.generic],
    min_cell_count: int,
) -> list[str | None]:
    """Say of each metric at each cut why it is not shown; ``person`` is whose each row is.

    A cell of the confusion matrix has rows of too few persons; or the events or non-events between this cut and the
    next higher one that is shown have.
    """
    reasons: list[str | None] = [NO_CUT] * len(cut)
    event, higher = label == 1, np.inf
    for index in np.argsort(-cut, kind="stable"):
        if np.isnan(cut[index]):
            continue
        above = probability >= cut[index]
        between = above & (probability < higher)
        persons = [len(np.unique(person[rows & of])) for rows in (above, ~above, between) for of in (event, ~event)]
        small = is_small(np.array(persons), min_cell_count).any()
        reasons[index] = f"not shown: a count under {min_cell_count} could be worked out" if small else None
        higher = higher if small else cut[index]
    return [reason for reason in reasons for _ in AT_CUT]
