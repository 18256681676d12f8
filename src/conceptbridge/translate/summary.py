"""What a target's tokens are read as, for the page: the most common ones, and where name and behaviour disagree."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from conceptbridge import layout
from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.read_parquet import read_table
from conceptbridge.evaluate.schemas import TRANSLATION_SHARES, TRANSLATIONS, schema, to_table
from conceptbridge.translate.profile_file import read_profile
from conceptbridge.translate.run_translation import read_translations
from conceptbridge.translate.translation import CORRECTED, LEFT_OUT, SAME_CODE, TRANSLATED

#: tokens listed of two sites: the most common that are read as others, and the most common that disagree
LISTED = 15
#: persons with a token, at each of two sites, from whom its behaviour is known well enough to disagree
KNOWN_WELL = 100
#: a name that says the same, and behaviour that does not: the share of other tokens that behave less like it
SAME_NAME, UNLIKE = 0.6, 0.5
READ, DISAGREES = "read", "disagrees"

Row = dict[str, Any]


def write_summary(
    task: str,
    target: str,
    sources: Sequence[str],
    embeddings: Mapping[str, str],
    results: Path,
    min_cell_count: int,
    readings: Path,
    shares: Path,
) -> None:
    """Write what the ``target``'s tokens are read as by each of the ``embeddings`` (name -> folder), in the words of
    each source: ``readings`` (``TRANSLATIONS``), and ``shares`` of what is recorded (``TRANSLATION_SHARES``).

    Only tokens that the target's profile tells of are in them, so no small count is.
    """
    persons = _persons(results, task, target, min_cell_count)
    listed: list[tuple[Any, ...]] = []
    shared: list[tuple[Any, ...]] = []
    for name, folder in embeddings.items():
        translations = results / layout.place(layout.TRANSLATIONS, task=task, embedding=folder, target=target)
        for source in sources:
            [table] = read_translations(translations / f"{source}.parquet")
            named = read_table(layout.rows(results, task, source)[1], columns=["key", "text"]).to_pydict()
            text_of = dict(zip(named["key"], named["text"], strict=True))
            first, there = list(_heaviest(table, persons)), _persons(results, task, source, min_cell_count)
            where = (task, name, source, target)
            shared.append((*where, len(first), *_shares(first)))
            for kind, row in _listed(first, there):
                columns = ("token", "text", "by", "stands_for")
                numbers = ("weight", "name_cosine", "profile_cosine", "agreement")
                words = (*(row[column] for column in columns), text_of.get(row["stands_for"]))
                listed.append((*where, kind, *words, row["persons"], *(row[number] for number in numbers)))
    write_parquet(to_table(listed, schema(TRANSLATIONS)), readings)
    write_parquet(to_table(shared, schema(TRANSLATION_SHARES)), shares)


def _persons(results: Path, task: str, site: str, min_cell_count: int) -> dict[str, int]:
    """Return how many persons have each token at a site, as far as its profile tells."""
    profile = read_profile(results / layout.place(layout.PROFILE, task=task, site=site), min_cell_count)
    return dict(zip(profile.keys, profile.persons.tolist(), strict=True))


def _heaviest(table: pa.Table, persons: Mapping[str, int]) -> Iterator[Row]:
    """Yield what each token of known frequency is read as most, with its persons."""
    seen = set()
    for row in table.to_pylist():
        if row["token"] in persons and row["token"] not in seen:
            seen.add(row["token"])
            yield row | {"persons": persons[row["token"]]}


def _shares(rows: Sequence[Row]) -> Iterator[float | None]:
    """Yield the share of what is recorded, persons counted once per token, by how it is read."""
    total = sum(row["persons"] for row in rows)
    for by in (SAME_CODE, TRANSLATED, CORRECTED, LEFT_OUT):
        yield sum(row["persons"] for row in rows if row["by"] == by) / total if total else None


def _listed(rows: Sequence[Row], there: Mapping[str, int]) -> Iterator[tuple[str, Row]]:
    """Yield the tokens to list: those that are read as others, then those that do not behave as their name says.

    ``there``: the persons of the source with each token.
    """
    by_persons = sorted(rows, key=lambda row: (-row["persons"], row["token"]))
    for row in [row for row in by_persons if row["by"] in (TRANSLATED, CORRECTED)][:LISTED]:
        yield READ, row
    for row in [row for row in by_persons if _disagrees(row, there)][:LISTED]:
        yield DISAGREES, row


def _disagrees(row: Row, there: Mapping[str, int]) -> bool:
    """Say whether a token has the code, or nearly the name, of what it is read as, and behaves unlike it."""
    same = row["by"] == SAME_CODE or (row["name_cosine"] or 0) >= SAME_NAME
    well = min(row["persons"], there.get(row["stands_for"], 0)) >= KNOWN_WELL
    return same and well and row["agreement"] is not None and row["agreement"] < UNLIKE
