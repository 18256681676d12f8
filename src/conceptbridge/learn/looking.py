"""The job of looking at what models look at: all that it needs to be told, as one line of JSON. A plan asks for it, so
nothing heavy is imported here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptbridge.learn.arm_job import ArmEmbedding


@dataclass(frozen=True)
class Looking:
    """What a job at a site is told: the ``embeddings`` by name, and that of the local models which a translation uses
    (``trained_as``); the ``windows`` of the task, the ``hubs`` in whose words a strategy of several sites' rows reads
    them, and for which strategies the site gets the model of all sources (``shared``). What fewer than
    ``min_cell_count`` persons have is not told."""

    embeddings: Mapping[str, ArmEmbedding]
    trained_as: Mapping[str, str]
    windows: Mapping[str, Any] | None
    hubs: Mapping[str, str]
    shared: Sequence[str]
    min_cell_count: int

    def to_json(self) -> str:
        """As JSON, the same text for the same job."""
        fields = vars(self) | {"embeddings": {name: vars(one) for name, one in self.embeddings.items()}}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Looking":
        """What ``to_json`` wrote."""
        fields = json.loads(text)
        fields["embeddings"] = {name: ArmEmbedding(**one) for name, one in fields["embeddings"].items()}
        return cls(**fields)
