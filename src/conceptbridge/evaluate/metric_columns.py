"""What is measured of an arm: one column per metric, and per metric at each cut."""

from collections.abc import Sequence
from typing import NamedTuple

from conceptbridge.evaluate.calibration import CALIBRATION
from conceptbridge.evaluate.metrics import AT_CUT, METRICS

PERCENTILE, BCA, SANDWICH, DELONG = "percentile bootstrap", "BCa bootstrap", "sandwich", "DeLong"
"""Methods by which limits are found."""

RANKED = slice(len(METRICS))
"""The columns of :data:`METRICS`: the only ones on validation rows."""
CALIBRATED = slice(len(METRICS), len(METRICS) + len(CALIBRATION))
"""The columns of :data:`CALIBRATION`."""
REGRESSED = slice(CALIBRATED.start, CALIBRATED.start + 2)
"""Calibration in the large and slope: their limits are analytic."""
BIASED = slice(REGRESSED.stop, CALIBRATED.stop)
"""ICI and ECE: resamples are biased away from 0, so that they have no limits."""
CUTS = slice(CALIBRATED.stop, None)
"""The columns of :data:`AT_CUT`, cut by cut."""


class Column(NamedTuple):
    """A metric, and the cut it belongs to: a probability, or the share of validation rows above it."""

    metric: str
    threshold: float | None = None
    alert_rate: float | None = None


class Settings(NamedTuple):
    """How arms are measured: see ``evaluation`` in the config."""

    replicates: int
    interval: str
    thresholds: Sequence[float]
    alert_rates: Sequence[float]
    min_cell_count: int

    @property
    def cuts(self) -> int:
        """The number of cuts."""
        return len(self.thresholds) + len(self.alert_rates)

    @property
    def columns(self) -> list[Column]:
        """All that is measured on test rows, in order."""
        cuts = [(threshold, None) for threshold in self.thresholds] + [(None, rate) for rate in self.alert_rates]
        plain = [Column(metric) for metric in (*METRICS, *CALIBRATION)]
        return plain + [Column(metric, *cut) for cut in cuts for metric in AT_CUT]

    def columns_of(self, split: str) -> list[Column]:
        """All that is measured on the rows of a split, in order."""
        return self.columns if split == "test" else self.columns[RANKED]

    def method(self, index: int) -> str | None:
        """Return the method behind the limits of a column; None where there are none."""
        if CALIBRATED.start <= index < CALIBRATED.stop:
            return SANDWICH if index < REGRESSED.stop else None
        return BCA if self.interval == "bca" else PERCENTILE
