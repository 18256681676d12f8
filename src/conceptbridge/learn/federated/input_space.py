"""The input space of federated training: each site tells of its tokens what adds up to one space for all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.input_space import Space
from conceptbridge.learn.places import Windows
from conceptbridge.learn.projection import onehot_projection, projection_of_moments
from conceptbridge.learn.site import Site
from conceptbridge.study.backends import find_backend
from conceptbridge.vocabulary.states import SLOTS


def tokens_of(site: Site, job: ArmJob, enough: NDArray[np.bool_]) -> Answer:
    """What the input space needs of a site's ``enough`` tokens (tokens,): of one-hot their keys; of vectors how many
    there are, their sum and the sum of their products with themselves, once per draw, and the places that they fill."""
    rows, budget = site.rows, job.budget
    if find_backend(job.embedding.backend).vectors == "none":
        return {"keys": sorted(key for key, there in zip(rows.keys, enough, strict=True) if there)}
    space = _unfitted(job, rows.windows)
    moments: list[NDArray[np.float64]] = []
    known = np.zeros(len(rows.keys), np.bool_)
    for draw in range(1, (budget.seeds if job.embedding.drawn else 1) + 1):
        raw, known = space.raw(rows.texts, site.table, draw)
        wide = raw[known & enough].astype(np.float64)
        moments += [np.array([len(wide)], np.float64), wide.sum(axis=0), wide.T @ wide]
    if rows.windows is not None:
        known = known | rows.windows.is_number(rows.slots)
    places = [] if budget.components is None else sorted(set(rows.slots[known & enough].tolist()))
    return {"moments": moments, "places": places}


def joint_space(job: ArmJob, answers: Sequence[Answer]) -> Space | None:
    """The space of all sites' tokens, in the sites' order; None where no token has a vector."""
    windows = Windows.read(job.windows)
    if "keys" in answers[0]:
        names = sorted({key for answer in answers for key in answer["keys"]})
        onehot = [onehot_projection(len(names), job.budget.scale)]
        return replace(_unfitted(job, windows), names=names, slots=None, projections=onehot) if names else None
    summed: list[Any] = [sum(parts[1:], parts[0]) for parts in zip(*(a["moments"] for a in answers), strict=True)]
    projections = []
    for count, total, products in zip(summed[::3], summed[1::3], summed[2::3], strict=True):
        if not count[0]:
            return None
        projections.append(
            projection_of_moments(int(count[0]), total, products, job.budget.components, job.budget.scale)
        )
    filled = sorted({place for answer in answers for place in answer["places"]})
    slots = None if job.budget.components is None else filled
    return replace(_unfitted(job, windows), slots=slots, projections=projections)


def _unfitted(job: ArmJob, windows: Windows | None) -> Space:
    e = job.embedding
    slots = None if job.budget.components is None else list(range(windows.places if windows else len(SLOTS)))
    return Space(e.name, e.fingerprint, e.backend, [], None, slots, [], windows=windows)
