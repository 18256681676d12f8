"""Federated: trained on the rows of all sources, none of which leaves its site (``learn.federated``)."""

from conceptbridge.learn.arm_files import SourceResult
from conceptbridge.learn.strategies.several_sites import from_shared
from conceptbridge.learn.training import Arm
from conceptbridge.study.strategies import Needs, Strategy


class Federated(Strategy):
    """One model of all sources for all targets: it is trained by a job of its own, and used here."""

    name = "federated"
    needs = Needs.ROUNDS
    uses_target_labels = True  # of a target that is a source, at its own site
    trains = True
    settings_section = "federated"
    source = "all"
    label = "all sites' {model}, federated"
    sentence = "trained on the rows of all sources in rounds: weights or sums travel, no row does"

    def run(self, arm: Arm) -> dict[str, SourceResult]:
        """Use the model that all targets share."""
        assert arm.shared_arm is not None
        return {self.source: from_shared(arm, arm.shared_arm, self.source)}
