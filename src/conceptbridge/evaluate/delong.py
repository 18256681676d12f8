"""The variance of an AUROC by DeLong, and for persons with several rows by Obuchowski: no resampling."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Clusters(NamedTuple):
    """Whose each row is, ``person`` (rows,) from 0 to ``persons`` - 1; how many persons have a row of each class."""

    person: NDArray[np.intp]
    persons: int
    with_event: int
    with_non_event: int

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a variance between persons: those with a row of the rarer class, less one."""
        return max(min(self.with_event, self.with_non_event) - 1.0, 1.0)


class Components(NamedTuple):
    """An AUROC and how far each person moves it, as an event's person and as a non-event's: (persons,) each.

    Both are linear in what they come from: those of a mean or a difference of AUROCs on the same rows are the mean or
    the difference of theirs.
    """

    auroc: float
    events: NDArray[np.float64]
    non_events: NDArray[np.float64]

    @property
    def influence(self) -> NDArray[np.float64]:
        """How far each person moves the AUROC (persons,)."""
        return self.events + self.non_events


def clusters(label: ArrayLike, person: ArrayLike) -> Clusters:
    """Number the persons of the rows; ``person`` (rows,) may be any ids."""
    event = np.asarray(label) == 1
    ids, place = np.unique(np.asarray(person), return_inverse=True)
    return Clusters(place, len(ids), len(np.unique(place[event])), len(np.unique(place[~event])))


def components(
    label: ArrayLike, probability: ArrayLike, of: Clusters, order: NDArray[np.intp] | None = None
) -> Components:
    """Return the AUROC and its components; both classes have to be there.

    The share of non-events that an event outranks (ties half), and of events that outrank a non-event, less the AUROC,
    summed by person and divided by the number of rows of that class. From one sort (Sun and Xu, IEEE Signal Processing
    Letters 2014;21:1389); ``order`` are the rows by probability, falling or rising, if that is known.
    """
    event, score = np.asarray(label) == 1, np.asarray(probability, dtype=np.float64)
    if order is None:
        order = np.argsort(score)
    elif score[order[0]] > score[order[-1]]:
        order = order[::-1]
    event, score, person = event[order], score[order], of.person[order]
    tie = np.r_[0, np.cumsum(score[1:] != score[:-1])]
    events, non_events = np.bincount(tie, weights=event), np.bincount(tie, weights=~event)
    many, others = events.sum(), non_events.sum()
    outranked = (np.cumsum(non_events) - non_events / 2) / others
    outranking = (many - np.cumsum(events) + events / 2) / many
    auroc = float((events * outranked).sum() / many)
    share = np.where(event, (outranked[tie] - auroc) / many, (outranking[tie] - auroc) / others)
    by_class = [
        np.bincount(person[mask], weights=share[mask], minlength=of.persons).astype(np.float64)
        for mask in (event, ~event)
    ]
    return Components(auroc, by_class[0], by_class[1])


def variance(events: NDArray[np.float64], non_events: NDArray[np.float64], of: Clusters) -> NDArray[np.float64]:
    """Return the variance of AUROCs (or of their differences) from components (persons, quantities): (quantities,).

    Obuchowski, Biometrics 1997;53:567; with one row a person it is that of DeLong et al., Biometrics 1988;44:837.
    NaN where a class is of one person alone.
    """
    if min(of.with_event, of.with_non_event) < 2:
        return np.full(events.shape[1:], np.nan)
    own = of.with_event / (of.with_event - 1) * (events**2).sum(axis=0)
    others = of.with_non_event / (of.with_non_event - 1) * (non_events**2).sum(axis=0)
    both = of.persons / (of.persons - 1) * (events * non_events).sum(axis=0)
    found: NDArray[np.float64] = np.maximum(own + others + 2 * both, 0)
    return found
