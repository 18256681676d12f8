"""Pooled: trained on the training rows of all sites, the target's included."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.search import Part
from conceptbridge.learn.site import LABELLED, Site
from conceptbridge.learn.strategies.several_sites import SeveralSites
from conceptbridge.learn.training import Arm, split_part, target_parts


class Pooled(SeveralSites):
    """Trained on the training rows of all sites; the target's validation rows decide what is kept."""

    name = "pooled"
    uses_target_labels = True
    has_learning_curve = True
    source = "all"
    label = "all sites' {model}, with this site's rows"
    sentence = "trained on all sites' training rows, the target's included"

    def parts(self, arm: Arm, joined: Site, labelled: NDArray[np.int64]) -> tuple[list[Part], dict[str, Any]]:
        """The other sites' training rows, with all of the target's or a sized subset of them."""
        first = sum(len(site.rows.of(*LABELLED)) for site in arm.other_sites)  # the target's rows come last
        others = split_part(joined, labelled[:first]).train
        at_target = target_parts(arm.target_site, arm.budget)
        parts = [
            replace(part, train=np.concatenate([others, part.train + first]), check=part.check + first)
            for part in at_target.parts
        ]
        return parts, {"sizes": at_target.sizes} if arm.budget.sizes else {}
