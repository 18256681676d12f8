"""A control is drawn anew for every seed, so that the luck of a draw is in its limits: its seed k is draw k.

Each member of such a model sees the rows with the vectors of its own draw. Other models see one and the same rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.learner import Learner
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run

#: the same rows in each draw; one where nothing is drawn
Draws = list[Examples]


def fit(learner: Learner[Any], draws: Draws, runs: Sequence[Run]) -> Any:
    """``learner.fit``, each run on its seed's draw."""
    groups, parts = _by_draw([run.seed for run in runs], draws), []
    for k, at in groups.items():
        _forget_others(draws, k)
        parts.append(learner.fit(draws[k], [runs[i] for i in at]))
    return _join(parts, groups)


def tune(
    learner: Learner[Any], source: Any, draws: Draws, runs: Sequence[Run], head_only: bool, depths: Sequence[float]
) -> tuple[Any, list[Any]]:
    """``learner.tune``, each run on its seed's draw."""
    groups, parts = _by_draw([run.seed for run in runs], draws), []
    for k, at in groups.items():
        _forget_others(draws, k)
        parts.append(learner.tune(source.take(at), draws[k], [runs[i] for i in at], head_only, depths))
    along = [_join([there[n] for _, there in parts], groups) for n in range(min(len(there) for _, there in parts))]
    return _join([tuned for tuned, _ in parts], groups), along


def predict(learner: Learner[Any], model: Any, draws: Draws) -> NDArray[np.float64]:
    """``learner.predict``, each member on its seed's draw: shape (members, rows)."""
    result = np.empty((len(model.seeds), len(draws[0])))
    for k, at in _by_draw(model.seeds, draws).items():
        _forget_others(draws, k)
        result[at] = learner.predict(model.take(at), draws[k])
    return result


def _forget_others(draws: Draws, k: int) -> None:
    """Keep what a learner computed from the first draw, which is searched on, and from draw ``k``: that of all draws
    would fill the memory."""
    for other, draw in enumerate(draws):
        if other not in (0, k):
            draw.cache.clear()


def _by_draw(seeds: Sequence[int], draws: Draws) -> dict[int, list[int]]:
    """The members of each draw, by position; all of them in the one draw where nothing is drawn."""
    groups: dict[int, list[int]] = {}
    for i, seed in enumerate(seeds):
        groups.setdefault(seed - 1 if len(draws) > 1 else 0, []).append(i)
    return groups


def _join(models: Sequence[Any], groups: dict[int, list[int]]) -> Any:
    """One model of all groups' members, in their order."""
    if len(models) == 1:
        return models[0]
    at = [i for group in groups.values() for i in group]
    return models[0].join(models[1:]).take(np.argsort(at).tolist())
