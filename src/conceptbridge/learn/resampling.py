"""The job of resampling: all that it needs to be told, as one line of JSON. A plan asks for it, so nothing heavy is
imported here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conceptbridge.learn.arm_job import ArmJob


@dataclass(frozen=True)
class Resampling:
    """What a job of resampling is told: the jobs of the ``arms`` that may be a headline arm at its site, how many
    half-samples (``resamples``, even) and the ``seed`` of their draw, the ``sources`` whose rows are here, of how many
    test persons of each class nothing is shown, and the embedding whose local models a translation uses, by name
    (``trained_as``)."""

    arms: Sequence[ArmJob]
    resamples: int
    seed: int
    sources: Sequence[str]
    min_persons: int
    trained_as: Mapping[str, str]

    def to_json(self) -> str:
        """As JSON, the same text for the same resampling."""
        fields = vars(self) | {"arms": [json.loads(job.to_json()) for job in self.arms]}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Resampling":
        """What ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"arms": [ArmJob.from_json(json.dumps(job)) for job in fields["arms"]]})
