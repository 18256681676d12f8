"""The job of an arm: all that it needs to be told, as one line of JSON. Where its inputs lie follows from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptbridge.study.backends import find_backend


@dataclass(frozen=True)
class Budget:
    """An arm's training budget: the learner's fixed ``settings``, the ``searched`` ones with at most ``max_trials`` of
    their combinations, the number of ``seeds``, and the minimum counts for training. Vectors are brought to one
    ``scale``, and reduced to ``components`` (None where a state is in the text). Curves: ``sizes`` in events,
    ``replicates`` of each, ``depths`` in shares of the tuning steps."""

    settings: Mapping[str, Any]
    searched: Mapping[str, Sequence[Any]]
    max_trials: int
    seeds: int
    min_events: int
    min_rows: int
    min_cell_count: int
    scale: bool
    components: int | None = None
    sizes: Sequence[int] = ()
    replicates: int = 0
    depths: Sequence[float] = ()


@dataclass(frozen=True)
class ArmEmbedding:
    """An arm's embedding: ``folder`` names it below the arms, ``tables`` the folder of its vectors (None for one-hot:
    it has none; a shuffled one permutes its parent's). ``models`` names the folder of the local arms that a translation
    uses: of one-hot, whose fingerprint and backend it then has, as its models are one-hot models."""

    name: str
    fingerprint: str
    backend: str
    folder: str = ""
    tables: str | None = None
    models: str | None = None

    @property
    def local_arms(self) -> str:
        """The folder of its local arms."""
        return self.models or self.folder

    @property
    def drawn(self) -> bool:
        """Whether each seed draws its vectors anew."""
        return find_backend(self.backend).drawn

    @property
    def of_rows(self) -> bool:
        """Whether each row has a vector, not each token."""
        return find_backend(self.backend).vectors == "rows"

    @property
    def learned(self) -> bool:
        """Whether it is learned from a source's training rows, so that its vectors go with the model."""
        return find_backend(self.backend).vectors == "learned"


@dataclass(frozen=True)
class ArmJob:
    """One arm: a learner on an embedding, by one strategy, at one target.

    ``sources`` are the other sites whose models or rows it uses. Without a ``target`` the model of all sources' rows is
    trained alone; with ``from_shared_model`` that model is used at a target that is no source. ``hub``: of a
    translation that joins the rows of several sites, the site in whose words all are read. ``windows``: those in which
    the learner sees rows (``places.Windows``), None for their events.
    """

    task: str
    target: str | None
    sources: Sequence[str]
    strategy: str
    learner: str
    embedding: ArmEmbedding
    budget: Budget
    from_shared_model: bool = False
    hub: str | None = None
    windows: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """The job as JSON, the same text for the same job."""
        # a plan asks for thousands: no copies are made on the way
        fields = vars(self) | {"embedding": vars(self.embedding), "budget": vars(self.budget)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ArmJob":
        """The job that ``to_json`` wrote."""
        fields = json.loads(text)
        fields["embedding"] = ArmEmbedding(**fields["embedding"])
        fields["budget"] = Budget(**fields["budget"])
        return cls(**fields)
