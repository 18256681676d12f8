"""The coverage report: how much of what a site records another site's model knows, and how."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_file, write_text
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.embed.ancestors_file import holds_ancestors, read_ancestors
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.tasks.tokens import is_among, read_tokens, seen_by, unseen
from conceptbridge.translate.run_translation import read_translations

#: how a model knows a token, the best way first, and what that means
KNOWN = {
    "key": "the source has the same concept in the same state",
    "text": "the source has another code of the same name",
    "near": "the source has neither; the name's vector places it near what it has",
    "read": "the source has it under other codes; it is read as those",
    "ancestor": "the source has neither; an ancestor of it is one that the source's concepts have, or one of them",
    "unseen": "the model does not see it",
}
#: tokens of each kind that the report lists, and texts compared at once
LISTED, BLOCK = 15, 1_000


def coverage(
    cohort: Path,
    tokens: Path,
    sequences: Path,
    known: Path,
    own_table: Path | None,
    source_table: Path | None,
    min_cell_count: int,
    translation: Path | None = None,
) -> pa.Table:
    """Return one row per token of the listed patients (test rows of ``cohort``), the most frequent first.

    ``known`` are the source's tokens; ``own_table`` and ``source_table`` the vectors of the two sites' texts, or the
    ancestors of their tokens; None for one-hot, where only the same key is known, or the token that one is read as
    (``translation``). Columns: key, text, domain, rows (patients' rows that have it, null if fewer than
    ``min_cell_count``), records (of all its days; null with rows), known (of ``KNOWN``), nearest (the source's text
    with the nearest vector, or that it is read as) and similarity (its name's cosine).
    """
    listed = read_table(cohort, columns=["row_id", "split"])
    events = read_tokens(sequences, tokens, listed.filter(pc.equal(listed["split"], "test"))["row_id"].to_numpy())
    pairs = np.unique(np.stack([events.token, events.row]), axis=1)[0]
    rows = np.bincount(pairs, minlength=len(events.key))
    records = np.bincount(events.token, minlength=len(events.key))
    used = np.flatnonzero(rows)
    used = used[np.argsort(-records[used], kind="stable")]
    seen = seen_by([known], min_cell_count)
    new_key, new_text = (new[used] for new in unseen(events, seen))
    text = events.text.take(pa.array(used))
    nearest: list[str | None] = [None] * len(used)
    similarity = np.full(len(used), np.nan)
    is_kind_of = np.zeros(len(used), np.bool_)
    if own_table is not None and source_table is not None and holds_ancestors(own_table):
        new_text = new_key
        ours, theirs = read_ancestors(own_table), read_ancestors(source_table)
        columns = {column for key in seen.key.to_pylist() for column in (key, *theirs.get(key, ()))}
        keys = events.key.take(pa.array(used)).to_pylist()
        is_kind_of = np.array([not columns.isdisjoint([key, *ours.get(key, ())]) for key in keys], np.bool_)
    elif own_table is not None and source_table is not None:
        indices = np.flatnonzero(new_text)
        neighbours = _nearest(text.take(pa.array(indices)).to_pylist(), own_table, source_table, seen.text)
        for index, (neighbour, cosine) in zip(indices, neighbours, strict=True):
            nearest[index], similarity[index] = neighbour, cosine
    else:
        new_text = new_key
    read = np.zeros(len(used), np.bool_)
    if translation is not None:
        readings = _readings(translation, known)
        for at, key in enumerate(events.key.take(pa.array(used)).to_pylist()):
            if new_key[at] and key in readings:
                read[at], (nearest[at], similarity[at]) = True, readings[key]
    near = ~np.isnan(similarity)
    known_by = {"key": ~new_key, "text": ~new_text, "read": read, "near": near, "ancestor": is_kind_of}
    how = np.select(list(known_by.values()), list(known_by), "unseen")
    shown = is_enough(rows[used], min_cell_count)
    domain = read_table(tokens, columns=["domain"])["domain"].combine_chunks().take(pa.array(used))
    return pa.table(
        {
            "key": events.key.take(pa.array(used)),
            "text": text,
            "domain": domain,
            "rows": pa.array(rows[used], pa.int64(), mask=~shown),
            "records": pa.array(records[used], pa.int64(), mask=~shown),
            "known": pa.array(how, pa.string()),
            "nearest": pa.array(nearest, pa.string()),
            "similarity": pa.array(similarity, from_pandas=True),
        }
    )


def _readings(translation: Path, known: Path) -> dict[str, tuple[str | None, float]]:
    """Return what each token is read as most: its text, and the name's cosine (NaN where there is none)."""
    text_of = dict(zip(*(read_table(known, columns=["key", "text"]).to_pydict().values()), strict=True))
    result: dict[str, tuple[str | None, float]] = {}
    for row in read_translations(translation)[0].select(["token", "stands_for", "name_cosine"]).to_pylist():
        if row["stands_for"] is not None:
            cosine = float("nan") if row["name_cosine"] is None else row["name_cosine"]
            result.setdefault(row["token"], (text_of.get(row["stands_for"]) or row["stands_for"], cosine))
    return result


def _nearest(
    texts: list[str | None], own_table: Path, source_table: Path, known: pa.Array
) -> list[tuple[str | None, float]]:
    """Return the known text nearest to each text, and its cosine; (None, NaN) if a text has no vector."""
    own, vectors = read_vectors(own_table)
    theirs, source_vectors = read_vectors(source_table)
    shared = is_among(pc.utf8_lower(pa.array(theirs, pa.string())), known)
    theirs = [text for text, is_shared in zip(theirs, shared, strict=True) if is_shared]
    index_of = {text: n for n, text in enumerate(own)}
    result: list[tuple[str | None, float]] = [(None, float("nan"))] * len(texts)
    with_vector = [n for n, text in enumerate(texts) if text in index_of]
    source = _unit(source_vectors[shared])
    for first in range(0, len(with_vector) if theirs else 0, BLOCK):
        block = with_vector[first : first + BLOCK]
        cosine = _unit(vectors[[index_of[str(texts[n])] for n in block]]) @ source.T
        for n, best, value in zip(block, cosine.argmax(axis=1), cosine.max(axis=1), strict=True):
            result[n] = (theirs[best], float(value))
    return result


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def write_coverage(table: pa.Table, title: str, min_cell_count: int, csv: Path, report: Path) -> None:
    """Write the table of ``coverage`` as CSV, and the report that people read (Markdown)."""
    with atomic_file(csv) as temporary:
        pacsv.write_csv(table, temporary)
    write_text(_report(table, title, min_cell_count), report)


def _report(table: pa.Table, title: str, min_cell_count: int) -> str:
    known, similarity = table["known"].to_numpy(zero_copy_only=False), table["similarity"].to_numpy()
    records = pc.fill_null(table["records"], 0).to_numpy()
    total = max(int(records.sum()), 1)
    lines = [
        f"# What the model knows of these patients: {title}",
        "",
        f"Tokens of fewer than {min_cell_count} rows are left out of the shares, and their numbers are not shown.",
        "",
        "| known by | | tokens | share of records | median similarity |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for how, meaning in KNOWN.items():
        inside = known == how
        cosine = f"{np.median(similarity[inside]):.2f}" if how == "near" and inside.any() else ""
        share = records[inside].sum() / total
        lines.append(f"| {how} | {meaning} | {int(inside.sum())} | {share:.1%} | {cosine} |")
    listed = {"text": "Known by name alone", "near": "Placed by the nearest name", "read": "Read as other codes"}
    listed |= {"ancestor": "Known by an ancestor alone"}
    for how, head in (listed | {"unseen": "Not seen"}).items():
        rows = table.filter(pc.equal(table["known"], how)).slice(0, LISTED).to_pylist()
        if rows:
            lines += ["", f"## {head}: the most frequent", "", "| text | rows | nearest | similarity |"]
            lines += ["| --- | ---: | --- | ---: |", *map(_line, rows)]
    return "\n".join([*lines, ""])


def _line(row: dict[str, object]) -> str:
    cosine = "" if row["similarity"] is None else f"{row['similarity']:.2f}"
    text, nearest = (str(row[name] or "").replace("|", "\\|") for name in ("text", "nearest"))
    return f"| {text or row['key']} | {'' if row['rows'] is None else row['rows']} | {nearest} | {cosine} |"
