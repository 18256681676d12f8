"""Vectors of names without a model: which runs of characters a name has.

Each run of 3 to 5 characters within a word, its ends marked, has a place and a sign from a hash (Weinberger et al.
2009, "Feature hashing for large scale multitask learning"), so that a name has the same vector at every site.
"""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from conceptbridge.embed.vectors import Matrix

#: lengths of the runs of characters
LENGTHS = (3, 4, 5)


def lexical_vectors(names: Sequence[str], width: int = 1024) -> Matrix:
    """Vectors of ``names``, (names, width), of norm 1; zeros for a name without a letter or digit.

    A run that a name has n times counts as 1 + log(n).
    """
    result = np.zeros((len(names), width), np.float32)
    for i, name in enumerate(names):
        for run, times in sorted(Counter(_runs(name)).items()):
            place = zlib.crc32(run.encode())
            result[i, place % width] += (1 if place & 0x8000_0000 else -1) * (1 + np.log(times))
    norm = np.linalg.norm(result, axis=1, keepdims=True)
    unit: Matrix = np.divide(result, norm, out=np.zeros_like(result), where=norm > 0)
    return unit


def _runs(name: str) -> list[str]:
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    marked = [f" {word} " for word in words]
    return [word[at : at + n] for word in marked for n in LENGTHS for at in range(max(1, len(word) - n + 1))]
