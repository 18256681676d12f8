"""Translated: the source's one-hot model, in a target's words (docs/translation.md). It has no vectors itself."""

from collections.abc import Mapping
from typing import ClassVar

from conceptbridge.study.backends import Backend, Schema

#: what `profiles` may be: the tokens' own, those of other tokens (a control), or none at all
OWN, SHUFFLED, NONE = "own", "shuffled", "none"


class Translated(Backend):
    """The target's tokens are read as the source's, by their names and by what they keep company with."""

    name = "translated"
    vectors = "translated"
    fields: ClassVar[Mapping[str, Schema]] = {
        "parent": {
            "type": "string",
            "description": "the embedding that names are compared by; by default the study's first, or `lexical`",
        },
        "profiles": {
            "enum": [OWN, SHUFFLED, NONE],
            "description": "what tokens keep company with, which is their `own` (default), `none`, or `shuffled` over "
            "tokens; a translation by shuffled profiles, or by a control, is a control, drawn anew for every seed",
        },
    }
    identity = ("profiles",)
