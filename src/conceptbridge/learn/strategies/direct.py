"""Direct: the source's model, unchanged."""

from collections.abc import Sequence

from conceptbridge.learn.arm_files import SourceResult, TrainedModel
from conceptbridge.learn.search import Part
from conceptbridge.learn.strategies.source_models import SourceModels
from conceptbridge.learn.training import Arm


class Direct(SourceModels):
    """The source's model, unchanged: it sees no label of the target."""

    name = "direct"
    label = "{source}'s {model}, unchanged"
    sentence = "the source's model, unchanged"

    def transfer(self, arm: Arm, source: str, trained: TrainedModel, parts: Sequence[Part]) -> SourceResult:
        """Predict with the model as it is."""
        return SourceResult({"reason": None}, trained.predict(arm.tested(trained.space)))
