"""To how many decimals a metric may be shown, so that no count follows from it."""

import math

MOST = 4
"""Decimals that are never exceeded: more say nothing of a model."""


def safe_decimals(rows: int, min_cell_count: int) -> int:
    """Return to how many decimals an AUROC on ``rows`` may be shown.

    An AUROC of k events among n rows is a multiple of 1 / (k (n - k)), or of half of it with ties. Multiples of a step
    of at most 10^-d are in every interval of length 10^-d. So where k (n - k) >= 10^d, an AUROC rounded to d decimals
    is possible with k events, whatever it is, and so are those of any number of seeds: it rules out no such k. The
    product is least where k is; as it is known that k and n - k reach ``min_cell_count`` = m, m (n - m) decides.
    """
    pairs = min_cell_count * (rows - min_cell_count)
    return min(MOST, int(math.log10(pairs))) if pairs >= 1 else 0
