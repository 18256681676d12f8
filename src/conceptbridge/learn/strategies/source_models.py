"""What all strategies share that begin with the local models of other sources."""

import logging
from collections.abc import Sequence
from typing import Any

from conceptbridge.learn.arm_files import Probability, SourceResult, TrainedModel, read_entry
from conceptbridge.learn.search import Part
from conceptbridge.learn.training import Arm, target_parts, training_counts
from conceptbridge.study.strategies import Needs, Strategy

logger = logging.getLogger(__name__)


class SourceModels(Strategy):
    """Brings the local model of each other source to the target; a subclass says how in ``transfer``."""

    needs = Needs.SOURCE_MODELS

    def transfer(self, arm: Arm, source: str, trained: TrainedModel, parts: Sequence[Part]) -> SourceResult:
        """Bring one source's model to the target.

        ``parts`` are what it may learn from there, by position among the target's training and validation rows: all of
        them, then each point of the learning curve; none where it uses no label.
        """
        raise NotImplementedError

    def run(self, arm: Arm) -> dict[str, SourceResult]:
        """Bring the model of every source that has one, and say of each other one why there is none."""
        target, budget = arm.target_site, arm.budget
        at_target = target_parts(target, budget) if self.uses_target_labels else None
        results = {}
        for source, folder in arm.source_arms.items():
            reason = read_entry(folder, source)["reason"]
            reason = reason and f"no model from {source}: {reason}"
            reason = reason or (at_target.reason if at_target else None)
            if reason is None:
                logger.info("%s: %s at %s", source, self.name, target.name)
                result = self.transfer(arm, source, arm.load(folder, source), at_target.parts if at_target else [])
                result.entry |= {"sizes": at_target.sizes} if at_target and budget.sizes else {}
            else:
                logger.info("%s: not estimable: %s", source, reason)
                result = SourceResult({"reason": reason})
            result.entry = (training_counts(target, budget) if at_target else {}) | result.entry
            results[source] = result
        return results


def result_of_parts(spent: dict[str, Any], parts: Sequence[Part], probability: Sequence[Probability]) -> SourceResult:
    """The result of a model that was trained on each of ``parts``; ``probability`` (seeds, tested rows) of each."""
    curves = [(p.size, p.replicate, None, of_part) for p, of_part in zip(parts[1:], probability[1:], strict=True)]
    return SourceResult({"reason": None, "spent": spent}, probability[0], [*curves])
