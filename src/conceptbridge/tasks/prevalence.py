"""How often the outcome comes before the split and in each split after it, and whether that is chance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.disclosure.cohort_counts import count_parts, shown_parts
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.tasks.splits import SPLITS

BEFORE = "before the split"
SCHEMA = pa.schema(
    [
        ("split", pa.string()),  # BEFORE, then the splits
        ("persons", pa.int64()),
        ("rows", pa.int64()),
        ("events", pa.int64()),
        ("prevalence", pa.float64()),  # share of the rows with the outcome
        ("returning", pa.float64()),  # share of the rows whose person also has training rows
        ("p", pa.float64()),  # of the same prevalence as before the split, Holm's over the splits
        ("parts", pa.bool_()),  # the prevalence parts from that before the split by more than sampling allows
    ]
)
#: persons, rows, events; None where they may not be shown
Counts = tuple[int | None, int | None, int | None]

#: prevalence parts where Holm's p is below this, and it is this much higher or lower
ALPHA, RATIO = 0.01, 1.1
#: with fewer expected events (of independent rows) a normal approximation does not hold, and nothing is tested
MIN_EXPECTED = 5


class Comparison(NamedTuple):
    """Holm's p of each split (NaN where it is not tested), and whether its prevalence parts from that of all rows."""

    p: NDArray[np.float64]
    parts: NDArray[np.bool_]


def compare_prevalence(
    person: NDArray[np.int64],
    label: NDArray[np.int8],
    group: NDArray[np.intp],
    splits: int,
    judged: NDArray[np.int64] | None = None,
) -> Comparison:
    """Compare the prevalence of each split with that of all rows. All are (rows,); a row of no split has a group >=
    ``splits``. ``judged`` (splits,) are the events to judge a split by, where those that it has are a secret.

    The difference is the sum of a_i (y_i - p) with a_i = [i in the split] / n_split - 1 / n, p the prevalence of all
    rows. Under the hypothesis that all rows have this prevalence, its variance is p (1 - p) times
    (sum a_i^2 + sum over pairs of one person's rows of a_i a_j r_ij). The correlations r of a person's rows, one within
    groups and one between, are moment estimates from all rows: those of a split alone say nothing where it has no
    event. The factor by which pairs raise the variance is the design effect (Kish, Survey Sampling, 1965), at least 1.
    """
    p_value, ratio = np.full(splits, np.nan), np.ones(splits)
    n, events = len(label), int(label.sum())
    if not 0 < events < n:
        return Comparison(p_value, np.zeros(splits, np.bool_))
    p, groups = events / n, int(group.max()) + 1
    _, who = np.unique(person, return_inverse=True)
    cell, at = np.unique(who * groups + group, return_inverse=True)  # a person's rows in one group
    of_person, of_group = np.divmod(cell, groups)
    m = np.bincount(at).astype(np.float64)
    total = np.bincount(at, weights=label - p)
    square = np.bincount(at, weights=(label - p) ** 2)

    def across(of_cell: NDArray[Any]) -> float:
        """The sum over ordered pairs of a person's rows in two groups."""
        whole = np.bincount(of_person, weights=of_cell)
        return float((whole**2).sum() - (of_cell**2).sum())

    variance = p * (1 - p)
    moments = [((total**2 - square).sum(), (m * (m - 1)).sum()), (across(total), across(m))]
    inside, between = (
        float(np.clip(product / count / variance, -1, 1)) if count else 0.0 for product, count in moments
    )
    size = np.bincount(group, minlength=splits)
    of_split = np.bincount(group, weights=label, minlength=splits) if judged is None else judged
    for split in range(splits):
        if not size[split] or size[split] == n:
            continue
        weight = (of_group == split) / size[split] - 1 / n
        alone = (weight**2 * m).sum()
        spread = alone + inside * (weight**2 * m * (m - 1)).sum() + between * across(weight * m)
        design = max(spread / alone, 1.0)
        difference = of_split[split] / size[split] - p
        ratio[split] = 1 + difference / p
        if size[split] * min(p, 1 - p) / design >= MIN_EXPECTED:
            p_value[split] = math.erfc(abs(difference) / math.sqrt(2 * variance * alone * design))
    tested = np.flatnonzero(~np.isnan(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    steps = p_value[order] * np.arange(len(order), 0, -1)
    p_value[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    far = (ratio > RATIO) | (ratio < 1 / RATIO)
    return Comparison(p_value, far & (np.nan_to_num(p_value, nan=1.0) < ALPHA))


def split_table(rows: pa.Table, before: Counts, after: Counts, one_split: bool, min_cell_count: int) -> pa.Table:
    """Return ``SCHEMA`` of ``rows`` (person_id, label, split; the split is null where the row is in none).

    ``before`` and ``after`` are persons, rows and events before the split and of all splits, as far as they may be
    shown. ``one_split``: no person can be in two splits. Small counts are blank, as are those that would give them
    away, with their shares and p. A split with a small number of events, or of rows without, parts only where
    ``min_cell_count`` - 1 would.
    """
    group = pc.index_in(rows["split"], value_set=pa.array(SPLITS)).fill_null(len(SPLITS)).to_numpy().astype(np.intp)
    label, person = rows["label"].to_numpy(), rows["person_id"].to_numpy()
    counts = count_parts(person, label, group, len(SPLITS))
    persons, of_rows, events = counts[:3]
    shown = shown_parts(counts, min_cell_count, total_known=False)[:3]
    most = min_cell_count - 1
    judged = np.where(shown[2], events, np.clip(events, most, np.maximum(of_rows - most, most)))
    test = compare_prevalence(person, label, group, len(SPLITS), judged)
    returns = np.isin(person, person[group == 0])
    lines: list[tuple[Any, ...]] = [
        (BEFORE, *before, _prevalence_before(before, after, min_cell_count), None, None, False)
    ]
    for n, split in enumerate(SPLITS):
        part = group == n
        seen = [int(c[n]) if ok[n] else None for c, ok in zip((persons, of_rows, events), shown, strict=True)]
        safe = shown[1].all() and shown[2].all() and not np.isnan(test.p[n])
        returning = (0.0 if one_split else _returning(person[part], returns[part], min_cell_count)) if n else None
        p = float(f"{test.p[n]:.2g}") if safe else None
        share = returning if seen[1] is not None else None
        lines.append((split, *seen, _prevalence(*seen[1:]), share, p, bool(test.parts[n])))
    return pa.table([pa.array(column) for column in zip(*lines, strict=True)], names=SCHEMA.names).cast(SCHEMA)


def warning(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Say of the lines of one cohort (``SCHEMA``) which splits part from all rows; None if none does."""
    if not any(line["parts"] for line in lines):
        return None

    def share(line: Mapping[str, Any]) -> str:
        return "not shown" if line["prevalence"] is None else f"{100 * line['prevalence']:.1f} %"

    shares = ", ".join(f"{line['split']} {share(line)}{' (parts)' if line['parts'] else ''}" for line in lines)
    return (
        f"Prevalence of the outcome: {shares}. That is more than sampling allows: the split selects rows, or the "
        "outcome drifts. A model expects the prevalence of its training rows, so its probabilities will be off."
    )


def _prevalence_before(before: Counts, after: Counts, min_cell_count: int) -> float | None:
    """Return the prevalence before the split, where counts are hidden as exactly as ``after`` tells it by itself.

    A count is hidden where it is less than ``min_cell_count`` above that of all splits: the prevalence is rounded so
    that all these counts would have the same.
    """
    if None not in before[1:]:
        return _prevalence(*before[1:])
    if not after[1] or after[2] is None:
        return None
    spare = min_cell_count - 1
    rows = (before[1], before[1]) if before[1] is not None else (after[1], after[1] + spare)
    events = (before[2], before[2]) if before[2] is not None else (after[2], after[2] + spare)
    least, most = events[0] / rows[1], events[1] / rows[0]
    return next((round(least, n) for n in (4, 3, 2) if round(least, n) == round(most, n)), None)


def _prevalence(rows: int | None, events: int | None) -> float | None:
    return events / rows if rows and events is not None else None


def _returning(person: NDArray[np.int64], returns: NDArray[np.bool_], min_cell_count: int) -> float | None:
    """Return the share of rows whose person returns, None where few persons or rows do or do not."""
    counts = [(len(np.unique(person[part])), int(part.sum())) for part in (returns, ~returns)]
    return counts[0][1] / len(returns) if all(is_enough(min(pair), min_cell_count) for pair in counts) else None
