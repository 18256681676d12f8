"""Rows in which each token brings its ancestors along, so that an unseen concept reaches a model by what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from conceptbridge.learn.rows import SiteRows


def with_ancestors(rows: SiteRows, also: Mapping[str, Sequence[str]]) -> SiteRows:
    """The rows with, after each of their tokens, the tokens that it is as well (``embed.ancestors``).

    These are tokens as any other: they have keys and slots, and counts of the training rows that hold them. They have
    no text. Each has the day and the value of its event, and is no record of its own (``SiteRows.added``). A row holds
    a token as often as it has records of it or of what is below it.

    A token comes after those that it is as well. Where the same rows hold both, no row can tell them apart, and a
    learner that has to choose (trees, an L1 penalty) takes the first: the one that reaches more of other sites' tokens.
    """
    text_of = dict(zip(rows.keys, rows.texts, strict=True))
    index, slots = _general_first(dict(zip(rows.keys, rows.slots.tolist(), strict=True)), also)
    brought = [[index[one] for one in (key, *also.get(key, ()))] for key in rows.keys]
    lengths = np.array([len(own) for own in brought], np.int64)
    begin = np.cumsum(lengths) - lengths
    repeats = lengths[rows.tokens]
    ends = np.concatenate([[0], np.cumsum(repeats)]).astype(np.int64)
    within = np.arange(ends[-1]) - np.repeat(ends[:-1], repeats)
    flat = np.array([at for own in brought for at in own], np.int32)
    more = replace(
        rows,
        keys=list(index),
        texts=[text_of.get(key) for key in index],
        slots=np.array(slots, np.int64),
        tokens=flat[np.repeat(begin[rows.tokens], repeats) + within],
        offsets=ends[rows.offsets],
        **rows.of_events(np.repeat(np.arange(len(rows.tokens)), repeats)) | {"added": within > 0},
    )
    return more.trained_on(more.of("train"))


def _general_first(slot_of: Mapping[str, int], also: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[int]]:
    """The place of each token among all, those that it is as well before it, and the slot of each place."""
    index: dict[str, int] = {}
    slots: list[int] = []
    seen: set[str] = set()

    def place(key: str, slot: int) -> None:
        if key not in seen:
            seen.add(key)  # a hierarchy that goes in a circle has an end
            for other in also.get(key, ()) if key in slot_of else ():
                place(other, slot)
            index[key] = len(index)
            slots.append(slot)

    for key, slot in slot_of.items():
        place(key, slot)
    return index, slots
