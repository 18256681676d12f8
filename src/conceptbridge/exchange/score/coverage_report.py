"""The coverage sheet: how much of what a site records a model from elsewhere knows, and how."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_file, write_text
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.evaluate.subgroups import read_tokens, seen_by

#: how a model knows a token, the best way first, and what that means for a reader
KNOWN = {
    "key": "the source has the same concept in the same state",
    "text": "the source has another code of the same name",
    "near": "the source has neither; the name's vector places it beside what it has",
    "unseen": "the model does not see it",
}
#: tokens of each kind that the sheet lists, and compared at once
LISTED, BLOCK = 15, 1_000


def coverage(
    cohort: Path,
    tokens: Path,
    sequences: Path,
    known: Path,
    own_table: Path | None,
    source_table: Path | None,
    min_cell_count: int,
) -> pa.Table:
    """One row for each token of the listed patients (test rows of ``cohort``), the most frequent first.

    ``known`` are the source's tokens; ``own_table`` and ``source_table`` the vectors of the two sites' texts, None
    where the embedding makes none of a text: only the same key is then known (one-hot). Columns: key, text, domain,
    rows (patients' rows that have it, null where they are fewer than ``min_cell_count``), records (the same for all its
    days), known (of ``KNOWN``), nearest (the source's text with the nearest vector) and similarity (its cosine).
    """
    listed = pq.read_table(cohort, columns=["row_id", "split"])
    events = read_tokens(sequences, tokens, listed.filter(pc.equal(listed["split"], "test"))["row_id"].to_numpy())
    pairs = np.unique(np.stack([events.token, events.row]), axis=1)[0]
    rows = np.bincount(pairs, minlength=len(events.key))
    records = np.bincount(events.token, minlength=len(events.key))
    used = np.flatnonzero(rows)
    used = used[np.argsort(-records[used], kind="stable")]
    keys, texts = seen_by([known], min_cell_count)
    by_key = pc.is_in(events.key, value_set=keys).to_numpy(zero_copy_only=False)[used]
    by_text = pc.is_in(pc.utf8_lower(events.text), value_set=texts).to_numpy(zero_copy_only=False)[used]
    text = events.text.take(pa.array(used))
    nearest: list[str | None] = [None] * len(used)
    similarity = np.full(len(used), np.nan)
    if own_table is not None and source_table is not None:
        places = np.flatnonzero(~by_key & ~by_text)
        found = _nearest(text.take(pa.array(places)).to_pylist(), own_table, source_table, texts)
        for place, (near, cosine) in zip(places, found, strict=True):
            nearest[place], similarity[place] = near, cosine
    else:
        by_text[:] = False
    near = ~np.isnan(similarity)
    how = np.select([by_key, by_text, near], ["key", "text", "near"], "unseen")
    shown = is_enough(rows[used], min_cell_count)
    domain = pq.read_table(tokens, columns=["domain"])["domain"].combine_chunks().take(pa.array(used))
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


def _nearest(
    texts: list[str | None], own_table: Path, source_table: Path, known: pa.Array
) -> list[tuple[str | None, float]]:
    """The known text nearest to each text, and its cosine; (None, NaN) where a text has no vector."""
    own, vectors = read_vectors(own_table)
    theirs, raw = read_vectors(source_table)
    shared = pc.is_in(pc.utf8_lower(pa.array(theirs, pa.string())), value_set=known).to_numpy(zero_copy_only=False)
    theirs = [text for text, one in zip(theirs, shared, strict=True) if one]
    places = {text: n for n, text in enumerate(own)}
    found: list[tuple[str | None, float]] = [(None, float("nan"))] * len(texts)
    asked = [n for n, text in enumerate(texts) if text in places]
    target = _unit(raw[shared])
    for first in range(0, len(asked) if theirs else 0, BLOCK):
        some = asked[first : first + BLOCK]
        cosine = _unit(vectors[[places[str(texts[n])] for n in some]]) @ target.T
        best = cosine.argmax(axis=1)
        for n, at, value in zip(some, best, cosine.max(axis=1), strict=True):
            found[n] = (theirs[at], float(value))
    return found


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def write_coverage(table: pa.Table, title: str, min_cell_count: int, csv: Path, sheet: Path) -> None:
    """Write the table of ``coverage`` as CSV, and as a sheet to be read (Markdown)."""
    with atomic_file(csv) as temporary:
        pacsv.write_csv(table, temporary)
    write_text(_sheet(table, title, min_cell_count), sheet)


def _sheet(table: pa.Table, title: str, min_cell_count: int) -> str:
    known, similarity = table["known"].to_numpy(zero_copy_only=False), table["similarity"].to_numpy()
    records = pc.fill_null(table["records"], 0).to_numpy()
    total = max(int(records.sum()), 1)
    lines = [
        f"# What the model knows of these patients: {title}",
        "",
        f"Records of tokens that fewer than {min_cell_count} rows have are not counted, and their numbers not shown.",
        "",
        "| known by | | tokens | share of records | median similarity |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for how, meaning in KNOWN.items():
        inside = known == how
        cosine = f"{np.median(similarity[inside]):.2f}" if how == "near" and inside.any() else ""
        share = records[inside].sum() / total
        lines.append(f"| {how} | {meaning} | {int(inside.sum())} | {share:.1%} | {cosine} |")
    for how, head in (("text", "Known by name alone"), ("near", "Placed by the nearest name"), ("unseen", "Not seen")):
        some = table.filter(pc.equal(table["known"], how)).slice(0, LISTED).to_pylist()
        if some:
            lines += ["", f"## {head}: the most frequent", "", "| text | rows | nearest | similarity |"]
            lines += ["| --- | ---: | --- | ---: |", *map(_line, some)]
    return "\n".join([*lines, ""])


def _line(row: dict[str, object]) -> str:
    cosine = "" if row["similarity"] is None else f"{row['similarity']:.2f}"
    text, nearest = (str(row[name] or "").replace("|", "\\|") for name in ("text", "nearest"))
    return f"| {text or row['key']} | {'' if row['rows'] is None else row['rows']} | {nearest} | {cosine} |"
