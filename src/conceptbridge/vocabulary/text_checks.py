"""Say how much of a site has a text that tells an encoder something: not none, not a code, in which script."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import keep_enough

#: from this share of the records on, it is told
TOLD = 0.1
_LETTERS = re.compile(r"[^\W\d_]+")
ADVICE = {
    "no text": (
        "have no text, so that no embedding sees them: give the study a `vocabulary` that names their concepts, or the "
        "extract its concept table"
    ),
    "codes": (
        "have a code as their name, of which an encoder knows nothing: give the study a `vocabulary` that names their "
        "concepts, or write the names into the source values"
    ),
    "other scripts": (
        "have a name that is not in Latin letters: an encoder of English knows nothing of it, so use a multilingual "
        "one, or a `vocabulary` with English names"
    ),
}


def text_shares(vocabulary: Path, min_cell_count: int, by: str | None = "records") -> dict[str, float | None]:
    """Return the share of a site's clinical records without a text, with a code for a name, and in another script.

    With ``by`` as None the share of its concepts, which a shared vocabulary tells, too. Concepts of fewer than
    ``min_cell_count`` persons do not count. None where there is nothing.
    """
    columns = ["key", "domain", "name", "records", "persons", "private"]
    table = keep_enough(read_table(vocabulary, columns=columns), "persons", min_cell_count)
    chosen = table.filter(pc.and_(pc.invert(table["private"]), pc.not_equal(table["domain"], "demographic")))
    # the records are of a concept, and stand in the row of each of its states
    concepts = {row["key"].rpartition("|")[0]: row for row in chosen.to_pylist()}
    weights = {key: (row[by] or 0) if by else 1 for key, row in concepts.items()}
    total = sum(weights.values())
    held = dict.fromkeys(ADVICE, 0)
    for key, row in concepts.items():
        if (fault := what_is_wrong(row["name"])) is not None:
            held[fault] += weights[key]
    return {fault: round(records / total, 2) if total else None for fault, records in held.items()}


def what_is_wrong(name: str | None) -> str | None:
    """Return why a name says little: it is none, a code, or in another script; None if it says something."""
    if not name or not name.strip():
        return "no text"
    words = _LETTERS.findall(name)
    letters = "".join(words)
    foreign = sum(not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if foreign * 2 > len(letters):
        return "other scripts"
    digits = sum(c.isdigit() for c in name)
    # a word has three letters and more of them than digits: pH and CRP are words, E11.9 and LAB00123 are none
    if not letters or (digits and max(map(len, words)) < 4 and digits >= len(letters)):
        return "codes"
    return None if digits <= len(letters) or len(words) > 1 else "codes"


def text_warnings(site: str, shares: Mapping[str, Any], of: str = "records") -> list[str]:
    """Return what is odd about a site's texts as sentences, with advice; the shares are ``of`` records or concepts."""
    return [
        f"{site}: {100 * share:.0f} % of the {of} {ADVICE[fault]}"
        for fault, share in shares.items()
        if share is not None and share >= TOLD
    ]
