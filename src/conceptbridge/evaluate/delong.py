"""The variance of an AUROC without resampling: DeLong's, and Obuchowski's for persons with several rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Clusters(NamedTuple):
    """The ``person`` of each row (rows,), from 0 to ``persons`` - 1, and the persons with a row of each class."""

    person: NDArray[np.intp]
    persons: int
    with_event: int
    with_non_event: int

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a variance between persons: persons with a row of the rarer class, less one."""
        return max(min(self.with_event, self.with_non_event) - 1.0, 1.0)


class Components(NamedTuple):
    """An AUROC and how far each person moves it, through their events and through their non-events: (persons,) each.

    Both are linear: for a mean or a difference of AUROCs on the same rows they are the mean or the difference of those
    of each AUROC.
    """

    auroc: float
    events: NDArray[np.float64]
    non_events: NDArray[np.float64]

    @property
    def influence(self) -> NDArray[np.float64]:
        """How far each person moves the AUROC (persons,)."""
        return self.events + self.non_events


def person_clusters(label: ArrayLike, person: ArrayLike) -> Clusters:
    """Number the persons of the rows; ``person`` (rows,) may be any ids."""
    event = np.asarray(label) == 1
    ids, number = np.unique(np.asarray(person), return_inverse=True)
    return Clusters(number, len(ids), len(np.unique(number[event])), len(np.unique(number[~event])))


def components(
    label: ArrayLike, probability: ArrayLike, clusters: Clusters, order: NDArray[np.intp] | None = None
) -> Components:
    """Return the AUROC and its components; both classes must be present.

    A component is the share of non-events that an event outranks (ties count half), or of events that outrank a
    non-event, less the AUROC, summed by person and divided by the number of rows of that class. One sort is enough
    (Sun and Xu, IEEE Signal Processing Letters 2014;21:1389); ``order`` is the rows by probability, falling or rising,
    if known.
    """
    event, score = np.asarray(label) == 1, np.asarray(probability, dtype=np.float64)
    if order is None:
        order = np.argsort(score)
    elif score[order[0]] > score[order[-1]]:
        order = order[::-1]
    event, score, person = event[order], score[order], clusters.person[order]
    tie = np.r_[0, np.cumsum(score[1:] != score[:-1])]
    events, non_events = np.bincount(tie, weights=event), np.bincount(tie, weights=~event)
    many, others = events.sum(), non_events.sum()
    outranked = (np.cumsum(non_events) - non_events / 2) / others
    outranking = (many - np.cumsum(events) + events / 2) / many
    auroc = float((events * outranked).sum() / many)
    share = np.where(event, (outranked[tie] - auroc) / many, (outranking[tie] - auroc) / others)
    by_class = [
        np.bincount(person[mask], weights=share[mask], minlength=clusters.persons).astype(np.float64)
        for mask in (event, ~event)
    ]
    return Components(auroc, by_class[0], by_class[1])


def mean_of(parts: Sequence[Components]) -> Components:
    """Return the components of the mean of several AUROCs on the same rows."""
    return Components(
        float(np.mean([part.auroc for part in parts])),
        np.mean([part.events for part in parts], axis=0),
        np.mean([part.non_events for part in parts], axis=0),
    )


def variance(events: NDArray[np.float64], non_events: NDArray[np.float64], clusters: Clusters) -> NDArray[np.float64]:
    """Return the variance of AUROCs, or of their differences, from components (persons, quantities): (quantities,).

    Obuchowski, Biometrics 1997;53:567; with one row per person it equals DeLong et al., Biometrics 1988;44:837.
    NaN where one person alone has a class.
    """
    if min(clusters.with_event, clusters.with_non_event) < 2:
        return np.full(events.shape[1:], np.nan)
    own = clusters.with_event / (clusters.with_event - 1) * (events**2).sum(axis=0)
    others = clusters.with_non_event / (clusters.with_non_event - 1) * (non_events**2).sum(axis=0)
    both = clusters.persons / (clusters.persons - 1) * (events * non_events).sum(axis=0)
    total: NDArray[np.float64] = np.maximum(own + others + 2 * both, 0)
    return total
