"""Everything that is measured of one arm by itself, on the target's validation and test rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate import influence
from conceptbridge.evaluate.arm_result import ArmResult, DepthPoint
from conceptbridge.evaluate.bootstrap import Resamples
from conceptbridge.evaluate.break_even import Curve
from conceptbridge.evaluate.calibration import calibrate
from conceptbridge.evaluate.decision_cuts import alert_cuts, why_hidden
from conceptbridge.evaluate.delong import Clusters, Components, components, mean_of, person_clusters
from conceptbridge.evaluate.intervals import auroc_limits, column_limits, seed_sd
from conceptbridge.evaluate.metric_columns import BIASED, CALIBRATED, CUTS, RANKED, REGRESSED, Settings
from conceptbridge.evaluate.metrics import METRICS, blocks, measure, measure_cuts, sums_of
from conceptbridge.evaluate.predictions import SPLITS, Predictions, Rows
from conceptbridge.evaluate.schemas import Arm
from conceptbridge.evaluate.subgroup_metrics import Group, groups_of, measure_groups
from conceptbridge.evaluate.subgroups import Dimension

SANDWICHED = [METRICS.index("auprc"), METRICS.index("brier")]
"""The metrics, besides AUROC, that are compared between arms."""


class Context(NamedTuple):
    """What all arms at a target share; ``unseen`` divides its test rows by what each source has not seen."""

    predicted: Rows
    resamples: Resamples
    settings: Settings
    groups: Sequence[Dimension]
    unseen: Mapping[str, Dimension]


class ArmEvaluator:
    """Measures arms at one target; what all of them need is prepared once."""

    def __init__(self, context: Context) -> None:
        """Prepare the rows, the weights and the subgroups of ``context``."""
        rows = context.predicted
        self.context, self.settings = context, context.settings
        self.in_split = {split: rows.split == split for split in SPLITS}
        self.label = {split: rows.label[inside] for split, inside in self.in_split.items()}
        self.weight = blocks(context.resamples.weight.astype(np.float32))
        person_id = {split: rows.person_id[inside] for split, inside in self.in_split.items()}
        self.clusters = {split: person_clusters(self.label[split], person_id[split]) for split in SPLITS}
        self.flaw = {split: flaw(label, split) for split, label in self.label.items()}
        # numbers in full would give a small count away
        fewest = self.settings.min_cell_count, max(self.settings.min_persons, self.settings.min_cell_count)
        self.flaw["test"] = self.flaw["test"] or too_few(self.clusters["test"], fewest[1])

        def groups(dimension: Dimension) -> list[Group]:
            return groups_of(dimension, self.label["test"], person_id["test"], *fewest)

        self.groups = [group for dimension in context.groups for group in groups(dimension)]
        self.unseen = {source: groups(dimension) for source, dimension in context.unseen.items()}

    def measure(self, arm: Arm, predictions: Predictions) -> ArmResult:
        """Measure one arm."""
        columns = len(self.settings.columns)
        probabilities = {split: predictions.probability[:, inside] for split, inside in self.in_split.items()}
        reason = {split: predictions.reason or self.flaw[split] for split in SPLITS}
        by_seed = {split: np.full((len(predictions.seeds), columns), np.nan) for split in SPLITS}
        if reason["validation"] is None:
            label = self.label["validation"]
            ones = blocks(np.ones((len(label), 1)))
            for seed, probability in enumerate(probabilities["validation"]):
                by_seed["validation"][seed, RANKED] = measure(label, probability, ones)[:, 0]
        groups = [*self.groups, *self.unseen.get(arm.source, [])]
        empty = np.full(columns, np.nan)
        result = ArmResult(
            arm,
            predictions.about,
            predictions.seeds,
            reason,
            by_seed,
            [None] * columns,
            empty,
            empty,
            np.full((2, 0), np.nan, np.float32),
            None,
            list(measure_groups(groups, self.label["test"], probabilities["test"], reason["test"])),
            None,
            self._measure_depths(predictions),
        )
        return result if reason["test"] else self._measure_test(result, probabilities, predictions)

    def _measure_test(
        self, result: ArmResult, probabilities: Mapping[str, NDArray[np.float64]], predictions: Predictions
    ) -> ArmResult:
        label, clusters, settings = self.label["test"], self.clusters["test"], self.settings
        of_person = (clusters.person, clusters.persons)
        ones = blocks(np.ones((clusters.persons, 1)))
        values = result.by_seed["test"]
        influences = np.zeros((values.shape[1], clusters.persons))
        influences[BIASED] = np.nan
        aurocs, reasons = [], list(result.column_reason)
        for seed, (validation, probability) in enumerate(
            zip(probabilities["validation"], probabilities["test"], strict=True)
        ):
            cut = np.array([*settings.thresholds, *alert_cuts(validation, settings.alert_rates)])
            order = np.argsort(probability)
            auroc = components(label, probability, clusters, order)
            aurocs.append(auroc)
            calibration = calibrate(label, probability, *of_person, order)
            values[seed, RANKED] = sums_of(label, probability, *of_person, order[::-1]).measure(ones)[:, 0]
            values[seed, CALIBRATED] = calibration.estimate
            values[seed, CUTS] = measure_cuts(label, probability, cut, ones, clusters.person)[..., 0].ravel()
            hidden = why_hidden(label, probability, cut, clusters.person, settings.min_cell_count)
            for column, reason in enumerate([*calibration.reason, *hidden], CALIBRATED.start):
                reasons[column] = reasons[column] or reason
            influences[REGRESSED] += calibration.influence
            influences[RANKED] += influence.of_metrics(label, probability, clusters, auroc)
            on_cuts = influence.of_cuts(label, probability, cut, clusters)
            influences[CUTS] += on_cuts.reshape(-1, clusters.persons)
        influences /= len(values)
        mean = mean_of(aurocs)
        values[:, [reason is not None for reason in reasons]] = np.nan
        limits = column_limits(settings, values, mean, influences, clusters)
        return result._replace(
            column_reason=[reason or why for reason, why in zip(reasons, limits.reason, strict=True)],
            lower=limits.lower,
            upper=limits.upper,
            influence=influences[SANDWICHED].astype(np.float32),
            components=mean,
            sizes=self._measure_sizes(predictions),
        )

    def _measure_sizes(self, predictions: Predictions) -> Curve | None:
        """Measure the learning curve: AUROC by size and replicate, and how far each resample of persons shifts it."""
        if not predictions.sizes:
            return None
        label, clusters = self.label["test"], self.clusters["test"]
        sizes = sorted({size for size, _ in predictions.sizes})
        replicates = sorted({replicate for _, replicate in predictions.sizes})
        by_replicate = np.full((len(sizes), len(replicates)), np.nan)
        shifts = np.full((*by_replicate.shape, self.settings.replicates), np.nan, np.float32)
        for (size, replicate), probabilities in predictions.sizes.items():
            mean = mean_of([components(label, probability, clusters) for probability in probabilities])
            index = sizes.index(size), replicates.index(replicate)
            by_replicate[index], shifts[index] = mean.auroc, self.shifts(mean)
        return Curve(np.array(sizes, dtype=np.float64), by_replicate, shifts)

    def shifts(self, auroc: Components) -> NDArray[np.float32]:
        """Return how far each resample of persons shifts an AUROC (resamples,), to first order."""
        influences = auroc.influence.astype(np.float32)
        return np.concatenate([influences @ block for block in self.weight])

    def _measure_depths(self, predictions: Predictions) -> list[DepthPoint]:
        points = []
        for depth, probability in sorted(predictions.depths.items()):
            for split, clusters in self.clusters.items():
                if self.flaw[split]:
                    continue
                by_seed = [
                    components(self.label[split], of_seed, clusters) for of_seed in probability[:, self.in_split[split]]
                ]
                mean, aurocs = mean_of(by_seed), np.array([each.auroc for each in by_seed])
                bounds = auroc_limits(mean, aurocs, clusters)
                points.append(DepthPoint(depth, split, mean.auroc, *bounds, seed_sd(aurocs), len(aurocs)))
        return points


def flaw(label: NDArray[np.int8], split: str) -> str | None:
    """Say why no model can be estimated on these labels."""
    if not len(label):
        return f"no {split} rows"
    if not label.any():
        return f"no events among the {split} rows"
    return f"only events among the {split} rows" if label.all() else None


def too_few(clusters: Clusters, min_persons: int) -> str | None:
    """Say which class has rows of fewer than ``min_persons`` persons: nothing is claimed or shown of so few."""
    for persons, what in ((clusters.with_event, "with"), (clusters.with_non_event, "without")):
        if persons < min_persons:
            return f"fewer than {min_persons} test persons {what} the event"
    return None
