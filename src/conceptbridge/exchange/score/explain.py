"""Say what speaks for and against the outcome in each listed patient: what a prediction owes to each token."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.leave_out import changes
from conceptbridge.learn.site import Site
from conceptbridge.learn.token_words import named, words_of

#: patients who are explained, those with the highest probabilities, and tokens of each that are listed
PATIENTS, LISTED = 500, 10

SCHEMA = pa.schema(
    [
        ("person_id", pa.int64()),
        ("index_date", pa.date32()),
        ("place", pa.int32()),
        ("text", pa.string()),
        ("read_as", pa.string()),
        ("log_odds", pa.float64()),
    ]
)
"""One row per patient and token: what the token adds to the log odds, the largest change first. ``read_as``: what it
stands for in the words of the source, where the model is translated."""


def explain(
    trained: TrainedModel,
    site: Site,
    listed: pa.Table,
    probability: NDArray[np.float64],
    read_as: Mapping[str, str],
    names: Mapping[str, str],
) -> pa.Table:
    """Return the tokens that change the predictions of the ``listed`` patients most (``SCHEMA``).

    ``site`` has these patients' rows alone, as the model sees them, in their order; ``probability`` (patients,).
    ``read_as`` has the source's token that each token stands for, ``names`` those of the source's tokens.
    """
    rows, windows = site.rows, site.rows.windows
    most = np.sort(np.argsort(-probability, kind="stable")[:PATIENTS])
    row_of = np.repeat(np.arange(len(rows.row_ids)), np.diff(rows.offsets))
    inside = np.isin(row_of, most)
    known = max(len(rows.keys), 1)
    row, token = np.divmod(np.unique(row_of[inside] * known + rows.tokens[inside]), known)
    change = changes(trained, site, row, token)
    order = np.lexsort((token, -np.abs(change), row))
    row, token, change = row[order], token[order], change[order]
    place = np.arange(len(row)) - np.searchsorted(row, row) + 1
    kept = (place <= LISTED) & (change != 0)
    words = words_of(rows)
    read = [named(read_as[key], names, windows) if key in read_as else None for key in rows.keys]
    at = pa.array(row[kept])
    columns = {
        "person_id": listed["person_id"].take(at),
        "index_date": listed["index_date"].take(at),
        "place": pa.array(place[kept]),
        "text": pa.array([words[t] for t in token[kept]], pa.string()),
        "read_as": pa.array([read[t] for t in token[kept]], pa.string()),
        "log_odds": pa.array(np.round(change[kept], 4)),
    }
    return pa.table(columns).cast(SCHEMA)


def write_explained(table: pa.Table, out: Path) -> None:
    """Write the table of ``explain`` as CSV."""
    with atomic_file(out) as temporary:
        pacsv.write_csv(table, temporary)
