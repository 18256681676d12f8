"""The parent's vectors on the wrong names: its geometry without its meaning."""

from collections.abc import Mapping
from typing import ClassVar

from conceptbridge.study.backends import Backend, Schema


class Shuffled(Backend):
    """A control: each seed of a model permutes the parent's vectors of its source's texts."""

    name = "shuffled"
    vectors = "permuted"
    fields: ClassVar[Mapping[str, Schema]] = {
        "parent": {
            "type": "string",
            "description": "the embedding whose vectors it has, on the wrong names; by default each of the study's "
            "(with several, `shuffled-PARENT`)",
        }
    }
    shared = ("parent", "width", "licence")
    control = True
    drawn = True
