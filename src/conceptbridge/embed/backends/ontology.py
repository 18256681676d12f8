"""One-hot with ancestors: a token is also one of each more general concept, as OMOP's hierarchies have it."""

from collections.abc import Mapping
from typing import ClassVar

from conceptbridge.study.backends import Backend, Schema


class Ontology(Backend):
    """Codes with the meaning that OMOP's concept_ancestor gives them: no names, and so no language."""

    name = "ontology"
    vectors = "none"
    ancestors = True
    fields: ClassVar[Mapping[str, Schema]] = {
        "levels": {
            "type": "integer",
            "minimum": 1,
            "maximum": 6,
            "description": "how far up a concept's ancestors are taken, by `min_levels_of_separation`",
        }
    }
    required = ("levels",)
    identity = ("levels",)
