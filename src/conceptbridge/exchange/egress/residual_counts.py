"""Find small counts that no table shows, but that those of one site and task, taken together, leave over.

Known of the cohort are rows, events and persons in all (the last step of attrition), by split (``splits``, ``site``,
``metrics``, ``training_budget``) and by subgroup. Persons of all splits can be more than persons in all: the excess are
those in several splits. Metrics at a cut, bins of a curve and tokens make further counts of these.
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
_WITHOUT_EVENT = "rows without the event"
#: an estimate is a quotient of counts, up to the last bits
_TOLERANCE = 1e-6

#: a count that is published, None where it is not
Count = float | None


def check_residual_counts(folder: Path, min_cell_count: int) -> None:
    """Raise StudyError where a small count can be worked out from the files of one site and task below ``folder``.

    These are the files of ``metrics/{task}/{site}`` and ``tasks/{task}/{site}``.
    """
    cohorts = {Path(*at.parts[-2:]) for kind in ("metrics", "tasks") for at in folder.glob(f"{kind}/*/*")}
    for cohort in sorted(cohorts):
        at, task_folder = folder / "metrics" / cohort, folder / "tasks" / cohort
        tables = {path.stem: pd.read_parquet(path) for path in at.glob("*.parquet")}
        if (task_folder / "splits.parquet").exists():
            tables["splits"] = pd.read_parquet(task_folder / "splits.parquet")
        if tables:
            _check_site(at.relative_to(folder).as_posix(), tables, task_folder, min_cell_count)


def _check_site(name: str, tables: Mapping[str, pd.DataFrame], task_folder: Path, min_cell_count: int) -> None:
    known = _by_split(tables)
    if (task_folder / "attrition.csv").exists():
        last = pd.read_csv(task_folder / "attrition.csv").iloc[-1]
        for count, of_splits in known.items():
            small = _remainder_is_small(_total(last, count), list(of_splits.values()), min_cell_count)
            _reject(small, f"{name}: attrition and splits: {count}")
        small = _few_in_several_splits(_total(last, "persons"), list(known["persons"].values()), min_cell_count)
        _reject(small, f"{name}: attrition and splits: persons in more than one split")
    for row in tables["site"].to_dict("records") if "site" in tables else []:
        left = (row["persons"] - row["persons_with_event"], row["events"] - row["persons_with_event"])
        small = any(is_small(count, min_cell_count) for count in left)  # of an unknown count: NaN, which is not small
        _reject(small, f"{name}/site.parquet: persons_with_event")
    test = {count: known[count]["test"] for count in ("rows", "events")}
    for count, groups in _by_group(tables.get("subgroups")):
        small = _remainder_is_small(test[count], groups, min_cell_count)
        _reject(small, f"{name}/subgroups.parquet: {count}")
    if (task_folder / "tokens.parquet").exists() and known["rows"]["train"] is not None:
        tokens = pd.read_parquet(task_folder / "tokens.parquet", columns=["key", "rows"]).dropna()
        of_states = tokens.groupby(tokens["key"].str.rpartition("|")[0])["rows"].sum().to_numpy()
        small = bool(is_small(known["rows"]["train"] - of_states, min_cell_count).any())
        _reject(small, f"{name}: training rows and tokens.parquet: rows")
    if test["rows"] is not None and test["events"] is not None:
        rows, events = test["rows"], test["events"]
        small = _small_at_cuts(tables.get("seeds"), rows, events, min_cell_count)
        _reject(small, f"{name}/seeds.parquet: metrics at a cut")
        small = _small_in_bins(tables.get("binned_curves"), rows, min_cell_count)
        _reject(small, f"{name}/binned_curves.parquet: rows of a bin")


def _reject(small: bool, where: str) -> None:
    if small:
        raise StudyError(
            f"{where}: a count under min_cell_count can be worked out from the published ones; blank another of them"
        )


def _remainder_is_small(total: Count, parts: list[Count], min_cell_count: int) -> bool:
    """Say whether a known total less its published parts is a small count of the parts that are not published."""
    published = [part for part in parts if part is not None]
    if total is None or len(published) == len(parts):
        return False
    return remainder_is_small(total, published, min_cell_count)


def _few_in_several_splits(total: Count, parts: list[Count], min_cell_count: int) -> bool:
    """Say whether the persons of all splits add up to a small count more than there are persons."""
    published = [part for part in parts if part is not None]
    if total is None or len(published) < len(parts):
        return False
    return is_small(sum(published) - total, min_cell_count)


def _total(last: pd.Series, count: str) -> Count:
    total = last["rows"] - last["events"] if count == _WITHOUT_EVENT else last[count]
    return None if pd.isna(total) else float(total)


def _by_split(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Count]]:
    """Return count -> split -> what any table publishes of it."""
    known: dict[str, dict[str, Count]] = {
        count: dict.fromkeys(_SPLITS) for count in ("persons", "rows", "events", _WITHOUT_EVENT)
    }

    def note(split: str, **counts: Any) -> None:
        for count, value in counts.items():
            if not pd.isna(value):
                known[count][split] = float(value)

    for table in ("site", "splits"):
        if table in tables:
            of_splits = tables[table][tables[table]["split"].isin(_SPLITS)]
            for row in of_splits.to_dict("records"):
                note(row["split"], persons=row["persons"], rows=row["rows"], events=row["events"])
    if "metrics" in tables:
        for row in tables["metrics"][["split", "rows", "events"]].drop_duplicates().to_dict("records"):
            note(row["split"], rows=row["rows"], events=row["events"])
    if "training_budget" in tables:
        budget = tables["training_budget"]
        local = budget[budget["source"] == budget["target"]]
        for row in local[["train_rows", "train_events"]].drop_duplicates().to_dict("records"):
            note("train", rows=row["train_rows"], events=row["train_events"])
    for split in _SPLITS:
        rows, events = known["rows"][split], known["events"][split]
        known[_WITHOUT_EVENT][split] = None if rows is None or events is None else rows - events
    return known


def _by_group(subgroups: pd.DataFrame | None) -> Iterator[tuple[str, list[Count]]]:
    if subgroups is None or not len(subgroups):
        return
    one = subgroups.drop_duplicates(["source", "dimension", "group"])
    for _, groups in one.groupby(["source", "dimension"]):
        for count in ("rows", "events"):
            yield count, [None if pd.isna(n) else float(n) for n in groups[count]]


def _small_at_cuts(seeds: pd.DataFrame | None, rows: float, events: float, min_cell_count: int) -> bool:
    """Say whether a cell of a confusion matrix is small, or a count between two cuts of one seed of an arm is.

    ``rows`` and ``events`` are those of the test split.
    """
    if seeds is None:
        return False
    at_cut = seeds[seeds["metric"].isin(["sensitivity", "specificity"]) & (seeds["split"] == "test")]
    if not len(at_cut):
        return False
    cut = at_cut["threshold"].fillna(-1).astype(str) + "/" + at_cut["alert_rate"].fillna(-1).astype(str)
    wide = (
        at_cut.assign(cut=cut)
        .pivot_table(index=[*_ARM, "seed", "cut"], columns="metric", values="estimate", aggfunc="first")
        .reindex(columns=["sensitivity", "specificity"])  # where few have the event, one of them is blank everywhere
        .dropna()
    )
    true_positives = (wide["sensitivity"] * events).round()
    false_positives = ((1 - wide["specificity"]) * (rows - events)).round()
    for counts, total in ((true_positives, events), (false_positives, rows - events)):
        of_seed = counts.groupby(level=[*_ARM, "seed"])
        ordered = counts.sort_values().groupby(level=[*_ARM, "seed"])
        differences = pd.concat([counts, total - counts, ordered.diff().dropna(), total - of_seed.max()])
        if is_small(differences.to_numpy(), min_cell_count).any():
            return True
    return False


def _small_in_bins(bins: pd.DataFrame | None, rows: float, min_cell_count: int) -> bool:
    """Say whether a bin of a curve holds few events or few others; ``rows`` are those of the test split."""
    if bins is None or not len(bins):
        return False
    of_bin = bins["share"] * rows  # of each seed, on average
    return any(
        not is_enough(np.asarray(count) + min_cell_count * _TOLERANCE, min_cell_count).all()
        for count in (of_bin * bins["observed"], of_bin * (1 - bins["observed"]))
    )
