"""Metrics of one arm within subgroups of the test rows."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.cohort_counts import count_parts, shown_parts
from conceptbridge.evaluate.delong import Clusters, components, mean_of, person_clusters
from conceptbridge.evaluate.intervals import auroc_limits, mean_limits, sandwich, seed_sd
from conceptbridge.evaluate.scales import FISHER_Z, LOGIT
from conceptbridge.evaluate.subgroups import Dimension

GROUP_METRICS = ("auroc", "brier", "observed_minus_expected")


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


class Group(NamedTuple):
    """One subgroup: its test rows (``inside``), their persons, and the counts that may be shown."""

    dimension: str
    name: str
    inside: NDArray[np.intp]
    clusters: Clusters
    rows: int | None
    events: int | None
    reason: str | None


def groups_of(
    dimension: Dimension,
    label: NDArray[np.int8],
    person_id: NDArray[np.int64],
    min_cell_count: int,
    min_persons: int,
) -> list[Group]:
    """Return the groups of a division that have test rows; ``label`` and ``person_id`` are (rows,).

    A group of fewer than ``min_persons`` persons with a row of either class has no estimate.
    """
    counts = count_parts(person_id, label, dimension.of, len(dimension.names))
    told = shown_parts(counts, min_cell_count, total_known=True)
    inside = [dimension.of == index for index in range(len(dimension.names))]
    hidden = f"not shown: fewer than {min_cell_count} persons with or without the event, here or in another group"
    few_persons = f"fewer than {min_persons} persons with or without the event"
    groups = []
    for name, of_group, n, k, n_shown, k_shown in zip(
        dimension.names, inside, counts.rows, counts.events, told.rows, told.events, strict=True
    ):
        clusters = person_clusters(label[of_group], person_id[of_group])
        reason = few_persons if min(clusters.with_event, clusters.with_non_event) < min_persons else None
        shown = int(n) if n_shown else None, int(k) if k_shown else None
        reason = reason if k_shown else hidden
        if n:
            groups.append(Group(dimension.name, name, np.flatnonzero(of_group), clusters, *shown, reason))
    return groups


def measure_groups(
    groups: Iterable[Group], label: NDArray[np.int8], probabilities: NDArray[np.float64], reason: str | None
) -> Iterator[GroupCell]:
    """Yield each of :data:`GROUP_METRICS` of each group.

    ``probabilities`` is (seeds, test rows); with a ``reason`` nothing is estimable in any group.
    """
    for group in groups:
        why, counts = reason or group.reason, (group.rows, group.events)
        numbers = [(None,) * 4] * len(GROUP_METRICS) if why else _numbers(label, probabilities, group)
        for metric, of_metric in zip(GROUP_METRICS, numbers, strict=True):
            yield GroupCell(group.dimension, group.name, metric, *of_metric, *counts, why)


Numbers = tuple[float | None, float | None, float | None, float | None]


def _numbers(label: NDArray[np.int8], probabilities: NDArray[np.float64], group: Group) -> list[Numbers]:
    """Return (estimate, lower, upper, standard deviation over seeds) of each of :data:`GROUP_METRICS`."""
    label, clusters = label[group.inside], group.clusters
    probabilities = probabilities[:, group.inside]
    aurocs = [components(label, probability, clusters) for probability in probabilities]
    by_seed = np.array([each.auroc for each in aurocs])
    mean = mean_of(aurocs)
    numbers: list[Numbers] = [(mean.auroc, *auroc_limits(mean, by_seed, clusters), seed_sd(by_seed))]
    for scale, by_row in ((LOGIT, (probabilities - label) ** 2), (FISHER_Z, label - probabilities)):
        by_seed = by_row.mean(axis=1)
        estimate = float(by_seed.mean())
        centred = (by_row.mean(axis=0) - estimate) / len(label)
        by_person = np.bincount(clusters.person, weights=centred, minlength=clusters.persons)
        person = float(sandwich(by_person.astype(np.float64), clusters)) if clusters.persons > 1 else np.nan
        numbers.append((estimate, *mean_limits(scale, estimate, person, by_seed, clusters), seed_sd(by_seed)))
    return numbers
