"""The job of translating a target's tokens: all that it needs to be told, as one line of JSON. A plan asks for it, so
nothing heavy is imported here."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TranslationJob:
    """The ``target``'s tokens of a ``task`` in the words of each of ``sources``.

    ``names`` is the folder of the names' vectors, ``names_backend`` what made them; ``profiles`` is ``own``,
    ``shuffled`` or ``none``. A control is drawn anew ``draws`` times. ``corrections`` is the digest of a clinician's
    words on this target's tokens; None where there are none. ``patients``: the target has a list of patients to score,
    whose tokens are read as well.
    """

    task: str
    target: str
    sources: Sequence[str]
    names: str
    names_backend: str
    profiles: str
    draws: int
    min_cell_count: int
    corrections: str | None = None
    patients: bool = False

    def to_json(self) -> str:
        """The job as JSON, the same text for the same job."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "TranslationJob":
        """The job that ``to_json`` wrote."""
        return cls(**json.loads(text))
