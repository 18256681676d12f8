"""Rows that are seen as one vector each, not as tokens."""

from dataclasses import replace

import numpy as np

from conceptbridge.learn.rows import SiteRows


def represented(site: str, rows: SiteRows) -> SiteRows:
    """The rows with one token each, of its own, which stands in no slot, on no day and in no window."""
    count = len(rows.row_ids)
    keys = [f"{site} {row}" for row in rows.row_ids.tolist()]
    whole = replace(
        rows,
        keys=keys,
        texts=[*keys],
        slots=np.zeros(count, np.int64),
        tokens=np.arange(count, dtype=np.int32),
        offsets=np.arange(count + 1),
        days=None,
        values=None,
        weights=None,
        windows=None,
        added=None,
        whole=True,
    )
    return whole.trained_on(whole.of("train"))
