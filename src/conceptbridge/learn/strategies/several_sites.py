"""What all strategies share that train on the rows of several sites together."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.arm_files import SourceResult, read_entry
from conceptbridge.learn.search import Part
from conceptbridge.learn.site import LABELLED, Site, join_sites
from conceptbridge.learn.training import Arm, counts, split_part, too_few, train
from conceptbridge.study.strategies import Needs, Strategy


class SeveralSites(Strategy):
    """Trains one model on the other sites' rows, and on the target's where it uses the target's labels."""

    needs = Needs.SHARED_ROWS
    trains = True

    def parts(self, arm: Arm, joined: Site, labelled: NDArray[np.int64]) -> tuple[list[Part], dict[str, Any]]:
        """What the model learns from, by position among the ``labelled`` rows of all sites ``joined``: all of it, then
        each point of the learning curve; and what arm.json has to say of these."""
        return [split_part(joined, labelled)], {}

    def run(self, arm: Arm) -> dict[str, SourceResult]:
        """Train on all rows together, or use the model that was trained so for all targets that are no source.

        An embedding that was learned at each site alone has no common vectors: arm.json says so.
        """
        assert self.source is not None
        if arm.shared_arm is not None:
            return {self.source: from_shared(arm, arm.shared_arm, self.source)}
        sites = [*arm.other_sites, *([arm.target_site] if self.uses_target_labels else [])]
        joined = join_sites(self.source, sites)
        labelled = joined.rows.of(*LABELLED)
        parts, entry = self.parts(arm, joined, labelled)
        labels = joined.rows.labels[labelled[parts[0].train]]
        reason = too_few(labels, arm.budget.min_events)
        reason = reason and f"{reason} among the training rows of {' and '.join(site.name for site in sites)}"
        if arm.job.embedding.learned:
            reason = f"{arm.job.embedding.name} is learned at one site and has no vectors for the rows of several"
        result = SourceResult({"reason": reason})
        if reason is None:
            result = train(arm, joined, labelled, parts)
            result.entry |= entry
        result.entry = counts(labels, arm.budget) | result.entry
        return {self.source: result}


def from_shared(arm: Arm, shared_arm: Path, source: str) -> SourceResult:
    """The model of several sites' rows that was trained once for several targets, used at this one."""
    result = SourceResult(read_entry(shared_arm, source))
    if result.entry["reason"] is None:
        trained = arm.load(shared_arm, source)
        result.probability = trained.predict(arm.tested(trained.space))
    return result
