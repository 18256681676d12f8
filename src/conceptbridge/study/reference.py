"""Whether the reference that arms are compared with is what a hospital would train by itself."""

from collections.abc import Mapping
from typing import Any

from conceptbridge.study.embeddings import Embedding

#: on one-hot tokens, what a hospital would train by itself
STRONG_LEARNERS = ("logistic", "lightgbm")


def weak_reference(config: Mapping[str, Any], embeddings: Mapping[str, Embedding]) -> list[str]:
    """Why the reference of the comparisons is none of the strong local models; nothing where it may be one."""
    reference = config["evaluation"]["reference"]
    named = reference["embedding"]
    onehot = any(e.onehot for name, e in embeddings.items() if named in (None, name))
    learners = {reference["learner"]} if reference["learner"] else {*config["learners"]}
    lacks = [] if onehot else ["one-hot tokens (`onehot` in embeddings)"]
    if not learners & {*STRONG_LEARNERS}:
        lacks.append(f"{' or '.join(STRONG_LEARNERS)} (in learners)")
    if not lacks:
        return []
    return [
        f"evaluation.reference is weak: it is no model of {' and '.join(lacks)}, which is what a hospital would train"
        " by itself; a gain over it may be none over that"
    ]
