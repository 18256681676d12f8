"""Half-samples of a site: its training and validation persons in two halves, each with the site's test rows."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.bootstrap import random
from conceptbridge.learn.site import LABELLED, Site


def half_sample(site: Site, number: int, *seed: int | str) -> Site:
    """The site with one half of its labelled persons: half-samples 2k and 2k + 1 are the two halves of split k.

    ``seed`` names the draw in words, such as the study's seed and the task: the same words split a site in the same way
    in every job, so that arms are paired. A half holds a person with all training and validation rows. Persons with an
    event and those without are halved apart, and so are persons of training rows, of validation rows, and of both.
    Test rows stay as they are.
    """
    rows = site.rows
    labelled = np.isin(rows.split.astype(str), LABELLED)
    _, person = np.unique(rows.person_ids[labelled], return_inverse=True)
    stratum = strata(person, rows.split[labelled].astype(str), rows.labels[labelled])
    first = first_half(stratum, *seed, site.name, number // 2)
    kept = ~labelled
    kept[labelled] = (first if number % 2 == 0 else ~first)[person]
    return replace(site, rows=rows.take(np.flatnonzero(kept)))


def strata(person: NDArray[np.intp], split: NDArray[np.str_], labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Number each person's stratum (persons,) by whether the person has an event and a row of each split.

    ``person`` (rows,) counts from 0; ``split`` and ``labels`` are of the same rows.
    """
    stratum = np.zeros(int(person.max(initial=-1)) + 1, np.int64)
    for bit, rows in enumerate((labels == 1, *(split == name for name in LABELLED))):
        stratum |= (np.bincount(person[rows], minlength=len(stratum)) > 0).astype(np.int64) << bit
    return stratum


def first_half(stratum: NDArray[np.int64], *seed: int | str) -> NDArray[np.bool_]:
    """Which persons (persons,) are in the first half: of each stratum as many as in the second, or one more or less.

    ``seed`` names the draw in words.
    """
    generator = random(*seed)
    first = np.zeros(len(stratum), np.bool_)
    for number in np.unique(stratum):
        members = generator.permutation(np.flatnonzero(stratum == number))
        first[members[: (len(members) + int(generator.integers(2))) // 2]] = True
    return first
