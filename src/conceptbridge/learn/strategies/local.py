"""Local: trained at the target itself."""

from conceptbridge.learn.arm_files import SourceResult
from conceptbridge.learn.site import LABELLED
from conceptbridge.learn.training import Arm, target_parts, train, training_counts
from conceptbridge.study.strategies import Needs, Strategy


class Local(Strategy):
    """Trained at the target itself, which is its own source."""

    name = "local"
    needs = Needs.OWN_ROWS
    uses_target_labels = True
    trains = True
    has_learning_curve = True
    label = "local {model}"
    sentence = "trained at the target"

    def run(self, arm: Arm) -> dict[str, SourceResult]:
        """Train on the target's training rows; its validation rows decide what is kept."""
        target = arm.target_site
        at_target, counts = target_parts(target, arm.budget), training_counts(target, arm.budget)
        if at_target.reason is not None:
            return {target.name: SourceResult(counts | {"reason": at_target.reason})}
        result = train(arm, target, target.rows.of(*LABELLED), at_target.parts)
        result.entry |= counts | ({"sizes": at_target.sizes} if arm.budget.sizes else {})
        return {target.name: result}
