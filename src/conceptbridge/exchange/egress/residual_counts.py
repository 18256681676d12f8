"""Counts that are told nowhere, and left over from those that are: of one site and task, across all tables that leave.

What is known of the cohort: rows, events and persons in all (the last step of attrition), by split (``site``,
``metrics``, ``training_budget``), by subgroup; and what metrics at a cut, bins of a curve and tokens make of these.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_enough, is_small, remainder_is_small

_ARM = ["embedding", "learner", "strategy", "source"]
_SPLITS = ("train", "validation", "test")
#: an estimate is a quotient of counts, up to the last bits
_CLOSE = 1e-6


def check_margins(folder: Path, min_cell_count: int) -> None:
    """Raise StudyError where the files of ``metrics/{task}/{site}`` and ``tasks/{task}/{site}`` below ``folder``
    together give a small count away."""
    for at in sorted(folder.glob("metrics/*/*")):
        task, site = at.parts[-2:]
        name = at.relative_to(folder).as_posix()
        tables = {path.stem: pd.read_parquet(path) for path in at.glob("*.parquet")}
        beside = folder / "tasks" / task / site
        if "site" not in tables or "metrics" not in tables:
            continue
        known = _by_split(tables)
        if (beside / "attrition.csv").exists():
            last = pd.read_csv(beside / "attrition.csv").iloc[-1]
            for count, parts in known.items():
                _refuse(
                    _left(_total(last, count), list(parts.values()), min_cell_count),
                    f"{name}: attrition and splits: {count}",
                )
        test = {count: known[count]["test"] for count in ("rows", "events")}
        for count, groups in _by_group(tables.get("subgroups")):
            _refuse(_left(test[count], groups, min_cell_count), f"{name}/subgroups.parquet: {count}")
        if (beside / "tokens.parquet").exists() and known["rows"]["train"] is not None:
            tokens = pd.read_parquet(beside / "tokens.parquet", columns=["key", "rows"]).dropna()
            states = tokens.groupby(tokens["key"].str.rpartition("|")[0])["rows"].sum()
            few = is_small((known["rows"]["train"] - states).to_numpy(), min_cell_count).any()
            _refuse(bool(few), f"{name}: training rows and tokens.parquet: rows")
        if test["rows"] is not None and test["events"] is not None:
            _refuse(_few_at_cuts(tables.get("seeds"), test, min_cell_count), f"{name}/seeds.parquet: metrics at a cut")
            _refuse(
                _few_in_bins(tables.get("binned_curves"), test, min_cell_count),
                f"{name}/binned_curves.parquet: rows of a bin",
            )


def _refuse(found: bool, where: str) -> None:
    if found:
        raise StudyError(
            f"{where}: a count under min_cell_count can be worked out from those that are told; blank another of them"
        )


def _left(total: float | None, parts: list[float | None], min_cell_count: int) -> bool:
    """Whether what is left of a known total for the parts that are not told is a small count."""
    if total is None or all(part is not None for part in parts):
        return False
    return remainder_is_small(total, [part for part in parts if part is not None], min_cell_count)


def _total(last: pd.Series, count: str) -> float | None:
    found = last["rows"] - last["events"] if count == "rows without the event" else last[count]
    return None if pd.isna(found) else float(found)


def _by_split(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    """Count -> split -> what is told of it in any table."""
    known: dict[str, dict[str, float | None]] = {
        count: dict.fromkeys(_SPLITS) for count in ("persons", "rows", "events", "rows without the event")
    }

    def tell(split: str, **counts: Any) -> None:
        for count, value in counts.items():
            if not pd.isna(value):
                known[count][split] = float(value)

    for row in tables["site"].to_dict("records"):
        tell(row["split"], persons=row["persons"], rows=row["rows"], events=row["events"])
    for row in tables["metrics"][["split", "rows", "events"]].drop_duplicates().to_dict("records"):
        tell(row["split"], rows=row["rows"], events=row["events"])
    if "training_budget" in tables:
        budget = tables["training_budget"]
        local = budget[budget["source"] == budget["target"]]
        for row in local[["train_rows", "train_events"]].drop_duplicates().to_dict("records"):
            tell("train", rows=row["train_rows"], events=row["train_events"])
    for split in _SPLITS:
        rows, events = known["rows"][split], known["events"][split]
        known["rows without the event"][split] = None if rows is None or events is None else rows - events
    return known


def _by_group(subgroups: pd.DataFrame | None) -> Iterator[tuple[str, list[float | None]]]:
    if subgroups is None or not len(subgroups):
        return
    one = subgroups.drop_duplicates(["source", "dimension", "group"])
    for _, groups in one.groupby(["source", "dimension"]):
        for count in ("rows", "events"):
            yield count, [None if pd.isna(n) else float(n) for n in groups[count]]


def _few_at_cuts(seeds: pd.DataFrame | None, test: Mapping[str, float | None], min_cell_count: int) -> bool:
    """Whether a cell of a confusion matrix is small, or one between two cuts of a seed of an arm."""
    if seeds is None:
        return False
    at_cut = seeds[seeds["metric"].isin(["sensitivity", "specificity"]) & (seeds["split"] == "test")]
    if not len(at_cut):
        return False
    rows, events = float(test["rows"] or 0), float(test["events"] or 0)
    cut = at_cut["threshold"].fillna(-1).astype(str) + "/" + at_cut["alert_rate"].fillna(-1).astype(str)
    wide = (
        at_cut.assign(cut=cut)
        .pivot_table(index=[*_ARM, "seed", "cut"], columns="metric", values="estimate", aggfunc="first")
        .dropna()
    )
    hits = (wide["sensitivity"] * events).round()
    alarms = ((1 - wide["specificity"]) * (rows - events)).round()
    for counts, total in ((hits, events), (alarms, rows - events)):
        of_seed = counts.groupby(level=[*_ARM, "seed"])
        ordered = counts.sort_values().groupby(level=[*_ARM, "seed"])
        apart = pd.concat([counts, total - counts, ordered.diff().dropna(), total - of_seed.max()])
        if is_small(apart.to_numpy(), min_cell_count).any():
            return True
    return False


def _few_in_bins(points: pd.DataFrame | None, test: Mapping[str, float | None], min_cell_count: int) -> bool:
    if points is None or not len(points):
        return False
    rows = points["share"] * float(test["rows"] or 0)  # of each seed, in the mean
    for count in (rows * points["observed"], rows * (1 - points["observed"])):
        if not is_enough(np.asarray(count) + min_cell_count * _CLOSE, min_cell_count).all():
            return True
    return False
