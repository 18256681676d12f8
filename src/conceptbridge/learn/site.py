"""A site as a model sees it: its rows of a task, and the vectors of its texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.ancestors_file import holds_ancestors, read_ancestors
from conceptbridge.embed.row_vectors import holds_row_vectors, read_row_vectors
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.learn.ancestors import with_ancestors
from conceptbridge.learn.draws import Draws
from conceptbridge.learn.input_space import Space, Table, join_tables
from conceptbridge.learn.represented import represented
from conceptbridge.learn.rows import Missing, SiteRows, examples, merge, read_rows

#: splits with labels that a model may learn from, and those that it predicts
LABELLED, TESTED = ("train", "validation"), ("validation", "test")


@dataclass(frozen=True)
class Site:
    """A site's name, its rows of the task, and its table of vectors (None for one-hot, with ancestors or without)."""

    name: str
    rows: SiteRows
    table: Table | None

    def draws(
        self, space: Space, rows: NDArray[np.int64], min_rows: int = 0, learned: NDArray[np.int64] | None = None
    ) -> Draws:
        """These rows as a model of ``space`` sees them.

        Those that it learns from, at the positions ``learned`` among them, are without the tokens of fewer than
        ``min_rows`` training rows. Rows that check a model have all their tokens, as those that it is tested on do.
        """
        rare = self.rows.training_rows < min_rows
        missing = Missing(rare, learned) if learned is not None and rare.any() else None
        placed = space.draws(self.rows, self.table)
        return [examples(self.rows, vectors, index, rows, missing, space.place_width) for vectors, index in placed]

    def without_labels(self) -> "Site":
        """The same site for whom must not see a label: all are -1."""
        return replace(self, rows=replace(self.rows, labels=np.full_like(self.rows.labels, -1)))


def read_site(name: str, rows: Sequence[Path], table: Path | None) -> Site:
    """Read a site's files: its ``rows`` are in cohort, tokens and sequences; ``table`` is its embedding table, None for
    one-hot. Where that is one of ancestors, each token of the rows brings its own; where it has vectors of rows, each
    row is one token. Raises StudyError when a file has other rows than the cohort."""
    held = read_rows(*rows)
    if table is not None and holds_ancestors(table):
        return Site(name, with_ancestors(held, read_ancestors(table)), None)
    if table is not None and holds_row_vectors(table):
        row_ids, vectors = read_row_vectors(table)
        if not np.array_equal(row_ids, held.row_ids):
            raise StudyError(f"{table}: its rows are not those of {rows[0]}; delete both and run again")
        whole = represented(name, held)
        return Site(name, whole, (whole.keys, vectors))
    return Site(name, held, None if table is None else read_vectors(table))


def join_sites(name: str, sites: Sequence[Site]) -> Site:
    """The rows of several sites one after another, as those of one site of this name."""
    tables = [site.table for site in sites if site.table is not None]
    return Site(name, merge([site.rows for site in sites]), join_tables(tables) if tables else None)
