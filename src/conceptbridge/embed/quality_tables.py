"""Tables and a figure of what was measured of each embedding."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pyarrow as pa
import pyarrow.csv as pacsv
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from conceptbridge.core.atomic_files import atomic_file, write_parquet, write_text
from conceptbridge.core.markup import markdown
from conceptbridge.core.plot_style import STYLE

NUMBERS = (
    "similarity",
    "relatedness",
    "polarity",
    "nearest",
    "nearest_unshared",
    "effective_dimension",
    "mean_cosine",
    "norm_mean",
    "norm_sd",
    "norm_least",
    "norm_largest",
)
COUNTS = ("texts", "width", "similarity_pairs", "relatedness_pairs", "polarity_pairs")
EMBEDDINGS = pa.schema(
    [("embedding", pa.string()), ("backend", pa.string()), ("dtype", pa.string())]
    + [(name, pa.int64()) for name in COUNTS]
    + [(name, pa.float64()) for name in NUMBERS]
)
ALIGNMENT = pa.schema(
    [
        ("embedding", pa.string()),
        ("source", pa.string()),
        ("target", pa.string()),
        ("shared_concepts", pa.float64()),
        ("nearest", pa.float64()),
        ("nearest_unshared", pa.float64()),
        ("unshared", pa.int64()),
    ]
)
TEXTS = pa.schema(
    [
        ("embedding", pa.string()),
        ("site", pa.string()),
        ("texts", pa.int64()),
        ("without_text", pa.float64()),
        ("codes", pa.float64()),
        ("unknown_subwords", pa.float64()),
        ("one_vector", pa.float64()),
        ("advice", pa.string()),
    ]
)
NOTES = {
    "embeddings": "No patient is used. similarity, relatedness: Spearman correlation of cosine with physicians' "
    "ratings (UMNSRS), over the pairs counted. polarity, where states are words: distance of opposite states (X and "
    "Not X, low and high) over that of two texts at random; 0 says that the embedding cannot tell them apart. nearest: "
    "cosine of a target's text to the nearest one at the source, mean over ordered pairs of sites; nearest_unshared: "
    "of texts that the source lacks.",
    "alignment": "shared_concepts: share of the target's concepts that the source has. nearest: cosine of a target's "
    "text to the nearest one at the source, mean over texts; nearest_unshared: over the texts that the source lacks.",
    "texts": "What a site's texts say to an embedding. without_text: share of tokens without a name. codes: share of "
    "texts with a digit and no three letters in a row. unknown_subwords: share of sub-words that the model does not "
    "know. one_vector: share of texts whose vector another text has, too. Blank: not measured. Advice: from 5 percent.",
}
PANELS = (
    ("similarity", "UMNSRS similarity"),
    ("relatedness", "UMNSRS relatedness"),
    ("polarity", "polarity"),
    ("nearest_unshared", "alignment of\nunshared texts"),
    ("effective_dimension", "effective dimension"),
)


def write_quality(measured: Sequence[Path], tables: Path, figures: Path) -> None:
    """Write the tables ``embeddings``, ``alignment``, ``texts`` in three formats, and the first as a figure in two."""
    quality = [json.loads(path.read_text(encoding="utf-8")) for path in measured]
    embeddings = pa.Table.from_pylist([_row(one) for one in quality], EMBEDDINGS)
    pairs = [{"embedding": one["embedding"]} | pair for one in quality for pair in one["alignment"]]
    said = [{"embedding": one["embedding"]} | of_site for one in quality for of_site in one["said"]]
    joint = {
        "embeddings": embeddings,
        "alignment": pa.Table.from_pylist(pairs, ALIGNMENT),
        "texts": pa.Table.from_pylist(said, TEXTS),
    }
    for name, table in joint.items():
        write_parquet(table, tables / f"{name}.parquet")
        with atomic_file(tables / f"{name}.csv") as temporary:
            pacsv.write_csv(table, temporary)
        write_text(f"{NOTES[name]}\n\n{markdown(table)}", tables / f"{name}.md")
    figure = draw(embeddings)
    for ending, metadata in [("svg", {"Date": None}), ("png", None)]:
        with atomic_file(figures / f"embeddings.{ending}") as temporary, mpl.rc_context(STYLE):
            figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)


def draw(embeddings: pa.Table) -> Figure:
    """One row per embedding, one panel per measure; what cannot be measured has no bar."""
    names = embeddings["embedding"].to_pylist()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 1.3 + 0.28 * len(names)), layout="constrained")
        FigureCanvasAgg(figure)
        panels: Any = figure.subplots(1, len(PANELS), sharey=True)
        for axes, (measure, title) in zip(panels, PANELS, strict=True):
            values = embeddings[measure].to_pylist()
            axes.barh(range(len(names)), [value or 0 for value in values], color="#31688e", height=0.7)
            for row, value in enumerate(values):
                shown = "not measured" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2f}"
                axes.annotate(
                    shown,
                    (max(value or 0, 0), row),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color="0.35" if value is None else "0",
                )
            axes.set_title(title, fontsize=8)
            axes.margins(x=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=7)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
    return figure


def _row(one: dict[str, Any]) -> dict[str, Any]:
    row = {name: one[name] for name in ("embedding", "backend", "dtype", "texts")} | (one["shape"] or {})
    for name in ("similarity", "relatedness"):
        rated = one["term_pairs"].get(f"UMNSRS_{name}", {})
        row |= {name: rated.get("spearman"), f"{name}_pairs": rated.get("pairs_used")}
    row |= {"polarity": one["polarity"]["polarity"], "polarity_pairs": one["polarity"]["pairs"]}
    for name in ("nearest", "nearest_unshared"):
        values = [pair[name] for pair in one["alignment"] if pair[name] is not None]
        row[name] = sum(values) / len(values) if values else None
    return row
