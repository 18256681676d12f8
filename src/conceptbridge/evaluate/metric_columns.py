"""What is measured of an arm: one column per metric, and per metric at each cut."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from conceptbridge.evaluate.calibration import CALIBRATION
from conceptbridge.evaluate.metrics import AT_CUT, METRICS
from conceptbridge.evaluate.scales import BELOW_ONE, LOGIT, PLAIN, Scale

DELONG, SANDWICH = "DeLong", "sandwich"
"""Where the variance between persons comes from."""

RANKED = slice(len(METRICS))
"""The columns of :data:`METRICS`: the only ones on validation rows."""
CALIBRATED = slice(len(METRICS), len(METRICS) + len(CALIBRATION))
"""The columns of :data:`CALIBRATION`."""
REGRESSED = slice(CALIBRATED.start, CALIBRATED.start + 2)
"""Calibration in the large and slope."""
BIASED = slice(REGRESSED.stop, CALIBRATED.stop)
"""ICI and ECE: resamples are biased away from 0, so that they have no limits."""
CUTS = slice(CALIBRATED.stop, None)
"""The columns of :data:`AT_CUT`, cut by cut."""
AUROC = METRICS.index("auroc")

_SCALES: Mapping[str, Scale] = {
    **dict.fromkeys(("auroc", "auprc", "brier", "sensitivity", "specificity", "ppv", "alerted"), LOGIT),
    "scaled_brier": BELOW_ONE,
    **dict.fromkeys((*CALIBRATION, "net_benefit"), PLAIN),
}


class Column(NamedTuple):
    """A metric, and the cut it belongs to: a probability, or the share of validation rows above it."""

    metric: str
    threshold: float | None = None
    alert_rate: float | None = None


class Settings(NamedTuple):
    """How arms are measured: see ``evaluation`` in the config."""

    replicates: int
    thresholds: Sequence[float]
    alert_rates: Sequence[float]
    min_cell_count: int
    min_persons: int

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

    @property
    def scales(self) -> list[Scale]:
        """The scale of each column's limits."""
        return [_SCALES[column.metric] for column in self.columns]

    @property
    def methods(self) -> list[str]:
        """The method behind each column's limits, and their scale, in words."""
        variances = [DELONG if index == AUROC else SANDWICH for index in range(len(self.columns))]
        return [
            ", ".join(word for word in (of, scale.name) if word)
            for of, scale in zip(variances, self.scales, strict=True)
        ]
