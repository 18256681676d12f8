"""Everything that is measured of one arm by itself, on the target's validation and test rows."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conceptbridge.disclosure.suppress import both_classes_at_least, suppress_parts
from conceptbridge.evaluate import influence
from conceptbridge.evaluate.bootstrap import Resamples, acceleration, degrees, limits, quantile, widen
from conceptbridge.evaluate.break_even import Curve
from conceptbridge.evaluate.calibration import CALIBRATION, calibrate
from conceptbridge.evaluate.delong import Clusters, Components, clusters, components, variance
from conceptbridge.evaluate.metrics import AT_CUT, METRICS, blocks, cut_cells, measure, measure_cuts, sums_of
from conceptbridge.evaluate.predictions import SPLITS, Predictions, Rows, read_arm
from conceptbridge.evaluate.subgroups import Dimension

PERCENTILE, BCA, SANDWICH, DELONG = "percentile bootstrap", "BCa bootstrap", "sandwich", "DeLong"
NO_LIMITS = "no limits: more than 5 % of the resamples hold a single class"
NO_STANDARD_LIMITS = "no limits: resamples are biased away from 0"
NO_CUT = "no validation rows to find the cut of this alert rate"
GROUP_METRICS = ("auroc", "brier", "observed_minus_expected")


class Arm(NamedTuple):
    """What is compared: one way of making a model (at a task and target that the context gives)."""

    embedding: str
    learner: str
    strategy: str
    source: str


class Column(NamedTuple):
    """A metric, and the cut that it belongs to: a probability, or the share of validation rows above it."""

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
    def columns(self) -> list[Column]:
        """All that is measured on test rows, in order; the first ones (:data:`METRICS`) on validation rows as well."""
        cuts = [(at, None) for at in self.thresholds] + [(None, rate) for rate in self.alert_rates]
        plain = [Column(metric) for metric in (*METRICS, *CALIBRATION)]
        return plain + [Column(metric, *cut) for cut in cuts for metric in AT_CUT]

    def method(self, place: int) -> str | None:
        """How the limits of a column come about; None where there are none."""
        if len(METRICS) <= place < len(METRICS) + len(CALIBRATION):
            return SANDWICH if place < len(METRICS) + 2 else None
        return BCA if self.interval == "bca" else PERCENTILE


class Context(NamedTuple):
    """What all arms at a target share."""

    predicted: Rows
    resamples: Resamples
    settings: Settings
    groups: Sequence[Dimension]
    unseen: Mapping[str, Dimension]


class GroupCell(NamedTuple):
    """One metric of one subgroup; the counts are of all its test rows, None where they may not be shown."""

    dimension: str
    group: str
    metric: str
    estimate: float | None
    lower: float | None
    upper: float | None
    seed_sd: float | None
    rows: int | None
    events: int | None
    reason: str | None


class DepthPoint(NamedTuple):
    """One point of a tuning-depth curve."""

    depth: float
    split: str
    estimate: float
    lower: float | None
    upper: float | None
    seed_sd: float | None
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
    replicates: NDArray[np.float32]  # (METRICS, resamples): the mean over seeds on resampled test rows
    components: Components | None  # of the mean AUROC over seeds on test rows
    groups: list[GroupCell]
    sizes: Curve | None
    depths: list[DepthPoint]

    def mean(self, split: str) -> NDArray[np.float64]:
        """Return the estimates (columns,): all seeds count, never the best one."""
        means: NDArray[np.float64] = self.by_seed[split].mean(axis=0)
        return means

    def seed_variance(self) -> NDArray[np.float64]:
        """Return the variance of the mean over seeds from seed to seed (columns,); 0 with one seed."""
        return _seed_variance(self.by_seed["test"])


class ArmEvaluator:
    """What is prepared once to measure many arms at one target."""

    def __init__(self, context: Context) -> None:
        """Take the rows and weights of ``context`` apart."""
        self.context, self.settings = context, context.settings
        self.inside = {split: context.predicted.split == split for split in SPLITS}
        self.label = {split: context.predicted.label[inside] for split, inside in self.inside.items()}
        self.flaw = {split: flaw(label, split) for split, label in self.label.items()}
        self.weight = blocks(context.resamples.weight.astype(np.float32))
        self.clusters = clusters(self.label["test"], context.predicted.person_id[self.inside["test"]])
        person = context.predicted.person_id[self.inside["validation"]]
        self.validation_clusters = clusters(self.label["validation"], person)
        self.groups = [self._prepared(dimension) for dimension in context.groups]
        self.unseen = {source: self._prepared(dimension) for source, dimension in context.unseen.items()}

    def measure(self, arm: Arm, predictions: Predictions) -> ArmResult:
        """Measure one arm."""
        columns = self.settings.columns
        reason = {split: predictions.reason or self.flaw[split] for split in SPLITS}
        by_seed = {split: np.full((len(predictions.seeds), len(columns)), np.nan) for split in SPLITS}
        if reason["validation"] is None:
            label = self.label["validation"]
            ones = blocks(np.ones((len(label), 1)))
            for place, probability in enumerate(predictions.probability[:, self.inside["validation"]]):
                by_seed["validation"][place, : len(METRICS)] = measure(label, probability, ones)[:, 0]
        empty = np.full(len(columns), np.nan)
        found = ArmResult(
            arm,
            predictions.about,
            predictions.seeds,
            reason,
            by_seed,
            [None] * len(columns),
            empty,
            empty,
            np.full((len(METRICS), self.settings.replicates), np.nan, np.float32),
            None,
            [],
            None,
            self._depths(predictions),
        )
        if reason["test"] is None:
            found = self._measure_test(found, predictions)
        return found._replace(groups=self._measure_groups(arm, predictions, reason["test"]))

    def _measure_test(self, found: ArmResult, predictions: Predictions) -> ArmResult:
        label, of, settings = self.label["test"], self.clusters, self.settings
        probabilities = predictions.probability[:, self.inside["test"]]
        validation = predictions.probability[:, self.inside["validation"]]
        ones, columns = blocks(np.ones((of.persons, 1))), settings.columns
        cuts = len(settings.thresholds) + len(settings.alert_rates)
        values = found.by_seed["test"]
        plain = len(METRICS) + len(CALIBRATION)
        replicates = np.zeros((len(METRICS) + cuts * len(AT_CUT), settings.replicates))
        moved = np.zeros((len(columns), of.persons))
        parts, reasons = [], list(found.column_reason)
        for place, probability in enumerate(probabilities):
            at = np.array([*settings.thresholds, *_alert_cuts(validation[place], settings.alert_rates)])
            order = np.argsort(probability)
            auroc = components(label, probability, of, order)
            parts.append(auroc)
            calibration = calibrate(label, probability, of.person, of.persons, order)
            sums = sums_of(label, probability, of.person, of.persons, order[::-1])
            values[place, : len(METRICS)] = sums.measure(ones)[:, 0]
            values[place, len(METRICS) : plain] = calibration.estimate
            values[place, plain:] = measure_cuts(label, probability, at, ones, of.person)[..., 0].ravel()
            replicates[: len(METRICS)] += sums.measure(self.weight)
            replicates[len(METRICS) :] += measure_cuts(label, probability, at, self.weight, of.person).reshape(
                -1, settings.replicates
            )
            for column, why in enumerate([*calibration.reason, *self._hidden(label, probability, at)], len(METRICS)):
                reasons[column] = reasons[column] or why
            moved[len(METRICS) : len(METRICS) + 2] += calibration.influence
            if settings.interval == "bca":
                moved[: len(METRICS)] += influence.of_metrics(label, probability, of.person, of.persons, auroc)
                at_cuts = influence.of_cuts(label, probability, at, of.person, of.persons)
                moved[plain:] += at_cuts.reshape(-1, of.persons)
        replicates /= len(probabilities)
        moved /= len(probabilities)
        hidden = np.array([why is not None for why in reasons])
        values[:, hidden] = np.nan
        lower, upper, without = self._limits(values, replicates, moved)
        for column, why in enumerate(without):
            reasons[column] = reasons[column] or why
        return found._replace(
            column_reason=reasons,
            lower=lower,
            upper=upper,
            replicates=replicates[: len(METRICS)].astype(np.float32),
            components=mean_of(parts),
            sizes=self._sizes(predictions),
        )

    def _hidden(
        self, label: NDArray[np.int8], probability: NDArray[np.float64], cut: NDArray[np.float64]
    ) -> list[str | None]:
        """Say of each metric at each cut why it is not shown: a cell of its confusion matrix is too small, or events or
        non-events between it and the next higher cut that is shown are."""
        cells = cut_cells(label, probability, cut, np.zeros(len(label), dtype=np.intp), 1)[:, :, 0]
        least = self.settings.min_cell_count
        reasons: list[str | None] = [NO_CUT] * len(cut)
        higher = np.zeros(2)
        for place in np.argsort(-cut, kind="stable"):
            if np.isnan(cut[place]):
                continue
            counts = cells[place]
            apart = np.r_[counts, cells[-1] - counts, counts - higher]
            small = ((apart > 0) & (apart < least)).any()
            reasons[place] = f"not shown: a count under {least} could be worked out" if small else None
            higher = higher if small else counts
        return [why for why in reasons for _ in AT_CUT]

    def _limits(
        self, values: NDArray[np.float64], replicates: NDArray[np.float64], moved: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str | None]]:
        """Return limits of the columns (lower, upper), and why one has none."""
        settings, seeds = self.settings, len(values)
        plain = len(METRICS) + len(CALIBRATION)
        resampled = np.r_[np.arange(len(METRICS)), np.arange(plain, len(settings.columns))]
        estimate = values.mean(axis=0)
        lower, upper = np.full((2, len(estimate)), np.nan)
        if settings.interval == "bca":
            found = limits(replicates, estimate[resampled], acceleration(moved[resampled]))
        else:
            found = limits(replicates)
        persons, seed_variance = self.clusters.persons, _seed_variance(values)
        with np.errstate(invalid="ignore"):
            person = np.full(len(estimate), np.nan)
            person[resampled] = [np.nanvar(row) if np.isfinite(row).any() else np.nan for row in replicates]
            person[len(METRICS) : len(METRICS) + 2] = (
                (moved[len(METRICS) : len(METRICS) + 2] ** 2).sum(axis=1) * persons / max(persons - 1, 1)
            )
        freedom = freedom_of(person, seed_variance, self.clusters, seeds)
        lower[resampled], upper[resampled] = widen(
            found[0],
            estimate[resampled],
            found[1],
            person[resampled],
            seed_variance[resampled],
            freedom[resampled],
        )
        sandwich = slice(len(METRICS), len(METRICS) + 2)
        reach = quantile(freedom[sandwich]) * np.sqrt(person[sandwich] + seed_variance[sandwich])
        lower[sandwich], upper[sandwich] = estimate[sandwich] - reach, estimate[sandwich] + reach
        without = [
            None
            if np.isnan(at) or np.isfinite(bound)
            else NO_STANDARD_LIMITS
            if place in (plain - 2, plain - 1)
            else NO_LIMITS
            for place, (at, bound) in enumerate(zip(estimate, lower, strict=True))
        ]
        return lower, upper, without

    def _prepared(self, dimension: Dimension) -> tuple[Dimension, list["_Group"]]:
        label = self.label["test"]
        person = self.context.predicted.person_id[self.inside["test"]]
        least = self.settings.min_cell_count
        of_group = [dimension.of == place for place in range(len(dimension.names))]
        rows = [int(inside.sum()) for inside in of_group]
        events = [int(label[inside].sum()) for inside in of_group]
        rows_shown = suppress_parts(rows, least)
        non_events = [n - k for n, k in zip(rows, events, strict=True)]
        events_shown = rows_shown & suppress_parts(events, least, False) & suppress_parts(non_events, least, False)
        return dimension, [
            _Group(
                name,
                np.flatnonzero(inside),
                clusters(label[inside], person[inside]),
                n if n_shown else None,
                k if k_shown else None,
                None if both_classes_at_least(k, n, least) else f"fewer than {least} rows with or without the event",
            )
            for name, inside, n, k, n_shown, k_shown in zip(
                dimension.names, of_group, rows, events, rows_shown, events_shown, strict=True
            )
            if n
        ]

    def _measure_groups(self, arm: Arm, predictions: Predictions, reason: str | None) -> list[GroupCell]:
        prepared = [*self.groups, *([self.unseen[arm.source]] if arm.source in self.unseen else [])]
        cells: list[GroupCell] = []
        probabilities = predictions.probability[:, self.inside["test"]]
        for dimension, groups in prepared:
            for group in groups:
                why = reason or group.reason
                place = (dimension.name, group.name)
                if why:
                    cells += [
                        GroupCell(*place, metric, None, None, None, None, group.rows, group.events, why)
                        for metric in GROUP_METRICS
                    ]
                    continue
                for metric, numbers in zip(
                    GROUP_METRICS, _group_numbers(self.label["test"], probabilities, group), strict=True
                ):
                    cells.append(GroupCell(*place, metric, *numbers, group.rows, group.events, None))
        return cells

    def _sizes(self, predictions: Predictions) -> Curve | None:
        """Measure the learning curve: AUROC by size and replicate, and how far each resample of persons moves it."""
        if not predictions.sizes:
            return None
        label, of = self.label["test"], self.clusters
        sizes = sorted({size for size, _ in predictions.sizes})
        replicates = sorted({replicate for _, replicate in predictions.sizes})
        by_replicate = np.full((len(sizes), len(replicates)), np.nan)
        resampled = np.full((*by_replicate.shape, self.settings.replicates), np.nan, np.float32)
        for (size, replicate), probabilities in predictions.sizes.items():
            mean = mean_of([components(label, probability, of) for probability in probabilities])
            place = sizes.index(size), replicates.index(replicate)
            by_replicate[place], resampled[place] = mean.auroc, self.moved(mean)
        return Curve(np.array(sizes, dtype=np.float64), by_replicate, resampled)

    def moved(self, of: Components) -> NDArray[np.float32]:
        """Return how far each resample of persons moves an AUROC (resamples,), to first order."""
        influences = of.influence.astype(np.float32)
        return np.concatenate([influences @ block for block in self.weight])

    def _depths(self, predictions: Predictions) -> list[DepthPoint]:
        points = []
        for depth, probability in sorted(predictions.depths.items()):
            for split, of in (("validation", self.validation_clusters), ("test", self.clusters)):
                if self.flaw[split]:
                    continue
                found = [components(self.label[split], one, of) for one in probability[:, self.inside[split]]]
                mean, aurocs = mean_of(found), np.array([each.auroc for each in found])
                lower, upper = _analytic(mean.auroc, float(variance(mean.events, mean.non_events, of)), aurocs, of)
                sd = float(aurocs.std(ddof=1)) if len(aurocs) > 1 else None
                points.append(DepthPoint(depth, split, mean.auroc, lower, upper, sd, len(aurocs)))
        return points


class _Group(NamedTuple):
    name: str
    inside: NDArray[np.intp]
    clusters: Clusters
    rows: int | None
    events: int | None
    reason: str | None


def flaw(label: NDArray[np.int8], split: str) -> str | None:
    """Say why no model can be estimated on these labels."""
    if not len(label):
        return f"no {split} rows"
    if not label.any():
        return f"no events among the {split} rows"
    return f"only events among the {split} rows" if label.all() else None


def mean_of(parts: Sequence[Components]) -> Components:
    """Return the components of the mean of several AUROCs on the same rows."""
    return Components(
        float(np.mean([part.auroc for part in parts])),
        np.mean([part.events for part in parts], axis=0),
        np.mean([part.non_events for part in parts], axis=0),
    )


def freedom_of(person: NDArray[np.float64], seed: NDArray[np.float64], of: Clusters, seeds: int) -> NDArray[np.float64]:
    """Return the degrees of freedom of variance from person to person plus variance from seed to seed.

    Of the first there are as many as persons with a row of the rarer class, less one.
    """
    parts = np.stack([np.nan_to_num(person), np.nan_to_num(seed)])
    return degrees(parts, np.array([[of.freedom], [max(seeds - 1, 1)]]))


def measure_folders(context: Context, folders: Sequence[tuple[Arm, Path]], processes: int) -> Iterator[list[ArmResult]]:
    """Measure the arms of each folder, in order; ``source`` of a folder's arm is filled in from what it holds."""
    if processes <= 1 or len(folders) < 2 * processes:
        bench = ArmEvaluator(context)
        # products with the weights are small: threads of their own would wait for each other
        with threadpool_limits(1):
            for arm, folder in folders:
                yield _measure_folder(bench, arm, folder)
        return
    # processes, not threads: most of the time goes into many short calls. Spawned, as Arrow has threads of its own
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_start, initargs=(context,)
    ) as pool:
        yield from pool.map(_measure_there, *zip(*folders, strict=True), chunksize=1)


_bench: ArmEvaluator | None = None


def _start(context: Context) -> None:
    global _bench  # one a process: the weights are large
    threadpool_limits(1)
    _bench = ArmEvaluator(context)


def _measure_there(arm: Arm, folder: Path) -> list[ArmResult]:
    assert _bench is not None
    return _measure_folder(_bench, arm, folder)


def _measure_folder(bench: ArmEvaluator, arm: Arm, folder: Path) -> list[ArmResult]:
    return [
        bench.measure(arm._replace(source=predictions.source), predictions)
        for predictions in read_arm(folder, bench.context.predicted)
    ]


def _seed_variance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) < 2:
        return np.zeros(values.shape[1])
    found: NDArray[np.float64] = values.var(axis=0, ddof=1) / len(values)
    return found


def _alert_cuts(validation: NDArray[np.float64], rates: Sequence[float]) -> list[float]:
    """Return the least probability among the highest ``rate`` of validation rows, for each rate."""
    if not len(validation):
        return [np.nan] * len(rates)
    ordered = np.sort(validation)[::-1]
    return [float(ordered[max(int(np.ceil(rate * len(ordered))) - 1, 0)]) for rate in rates]


def _analytic(
    estimate: float, person: float, by_seed: NDArray[np.float64], of: Clusters
) -> tuple[float | None, float | None]:
    """Return limits from a variance between persons and the spread of seeds; None where the first is not known."""
    if np.isnan(person):
        return None, None
    seed = float(by_seed.var(ddof=1)) / len(by_seed) if len(by_seed) > 1 else 0.0
    freedom = freedom_of(np.array([person]), np.array([seed]), of, len(by_seed))
    reach = float(quantile(freedom)[0]) * float(np.sqrt(person + seed))
    return estimate - reach, estimate + reach


def _group_numbers(
    label: NDArray[np.int8], probabilities: NDArray[np.float64], group: _Group
) -> list[tuple[float, float | None, float | None, float | None]]:
    """Return (estimate, lower, upper, standard deviation over seeds) of each of :data:`GROUP_METRICS`."""
    label, of = label[group.inside], group.clusters
    probabilities = probabilities[:, group.inside]
    found = [components(label, probability, of) for probability in probabilities]
    mean = mean_of(found)
    numbers = [
        (
            np.array([each.auroc for each in found]),
            float(variance(mean.events, mean.non_events, of)),
        )
    ]
    for by_row in ((probabilities - label) ** 2, label - probabilities):
        values = by_row.mean(axis=1)
        centred = (by_row.mean(axis=0) - values.mean()) / len(label)
        by_person = np.bincount(of.person, weights=centred, minlength=of.persons)
        spread = float((by_person**2).sum() * of.persons / (of.persons - 1)) if of.persons > 1 else np.nan
        numbers.append((values, spread))
    return [
        (
            float(values.mean()),
            *_analytic(float(values.mean()), spread, values, of),
            float(values.std(ddof=1)) if len(values) > 1 else None,
        )
        for values, spread in numbers
    ]
