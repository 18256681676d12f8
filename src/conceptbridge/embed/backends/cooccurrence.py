"""Vectors learned from the tokens that occur together in patients: the data-driven baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conceptbridge.study.backends import Backend, SiteFiles, Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Cooccurrence(Backend):
    """Positive pointwise mutual information of a source's training rows, then a truncated SVD."""

    name = "cooccurrence"
    vectors = "learned"
    required = ("width",)
    identity = ("width",)

    def learn(
        self, spec: Spec, sites: Sequence[SiteFiles], min_cell_count: int
    ) -> "tuple[list[str], NDArray[np.float32]]":
        """Learn ``width`` numbers per text. A text that occurs with no other often enough has no vector."""
        from conceptbridge.embed.cooccurrence import learn

        return learn(sites, spec["width"], min_cell_count)
