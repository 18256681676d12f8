"""Make the pairs that an encoder is adapted to from a vocabulary's terms, and keep some concepts out of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from conceptbridge.sites.terms import Terms

#: the share of concepts that no pair is made of
HELD_OUT = 0.1
#: one pair in so many is about absence: "Not X" and "Not Y", and X is what they are not
ABSENT_ONE_IN = 4
KINDS = ("name", "synonym", "maps_to", "parent")


class Pair(NamedTuple):
    """Two texts of one meaning, ``text`` and ``partner``, and a third that says the opposite of the first."""

    kind: str
    text: str
    partner: str
    opposite: str


class Pairs(NamedTuple):
    """What an encoder is adapted to, and what it is measured on.

    ``held_out`` are pairs of text and partner by kind with at least one of ``held_out_terms``; no training pair has
    one. ``names`` are the names of held-out concepts, ``candidates`` all names.
    """

    training: list[Pair]
    found: dict[str, int]
    held_out: dict[str, list[tuple[str, str]]]
    held_out_terms: list[str]
    names: list[str]
    candidates: list[str]

    @property
    def digest(self) -> str:
        """SHA-256 of the training pairs, in their order."""
        lines = (json.dumps(pair, ensure_ascii=False, separators=(",", ":")) + "\n" for pair in self.training)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def used(self) -> dict[str, int]:
        """Training pairs by kind."""
        counts = Counter(pair.kind for pair in self.training)
        return {kind: counts[kind] for kind in KINDS}


def negated(text: str) -> str:
    """Return the text of the absent concept, as vocabularies write it."""
    return f"Not {text}"


def comparable(text: str) -> str:
    """Return what two texts have in common that differ in case and blanks alone."""
    return " ".join(text.casefold().split())


def make_pairs(terms: Terms, max_pairs: int, seed: int) -> Pairs:
    """Make at most ``max_pairs`` training pairs, chosen by a hash; one concept in ten is held out with all its terms.

    A synonym is the partner of its name, a name that of the name it maps to, a child that of its parent. A concept
    with none of them is its own partner: dropout makes two vectors of one text.
    """
    held = {concept for concept in terms.concepts if _share(seed, concept) < HELD_OUT}
    names = terms.names
    pairs: dict[str, list[tuple[str, str]]] = {
        "synonym": [(synonym, names[concept]) for concept, synonym in terms.synonyms],
        "maps_to": [(names[source], names[target]) for source, target in terms.maps_to],
        "parent": [(names[child], names[parent]) for child, parent in terms.parents],
    }
    own = [(concept, names[concept]) for concept in held] + [pair for pair in terms.synonyms if pair[0] in held]
    held_out_terms = sorted({text for _, text in own})
    unseen = set(map(comparable, held_out_terms))
    partnered = {text for of_kind in pairs.values() for pair in of_kind for text in pair}
    alone = ((names[concept], names[concept]) for concept in terms.concepts if names[concept] not in partnered)
    training = [
        (kind, *pair)
        for kind, of_kind in {"name": alone, **pairs}.items()
        for pair in _distinct(of_kind)
        if not {comparable(text) for text in pair} & unseen
    ]
    found = Counter(kind for kind, *_ in training)
    chosen = sorted(training, key=lambda pair: (_share(seed, *pair), pair))[:max_pairs]
    return Pairs(
        [_with_opposite(*pair, absent=_share(seed, "absent", *pair) < 1 / ABSENT_ONE_IN) for pair in chosen],
        {kind: found[kind] for kind in KINDS},
        {
            kind: [pair for pair in _distinct(of_kind) if {comparable(text) for text in pair} & unseen]
            for kind, of_kind in pairs.items()
        },
        held_out_terms,
        sorted({names[concept] for concept in held}),
        sorted(set(names.values())),
    )


def sample(texts: Sequence[str], most: int, seed: int) -> list[str]:
    """Return at most ``most`` of ``texts``, chosen by a hash, in order."""
    return sorted(sorted(texts, key=lambda text: (_share(seed, text), text))[:most])


def _with_opposite(kind: str, text: str, partner: str, absent: bool) -> Pair:
    if absent:
        return Pair(kind, negated(text), negated(partner), text)
    return Pair(kind, text, partner, negated(text))


def _distinct(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(set(pairs))


def _share(seed: int, *what: object) -> float:
    """Return a number from 0 to 1 that a hash of ``what`` gives."""
    told = json.dumps([seed, *what], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:6], "big") / 2**48
