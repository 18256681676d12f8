"""The joint tables of a study, from the aggregates of every task and site; no row of a person is read."""

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby, permutations, product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from scipy.special import expit, logit

from conceptbridge.core.atomic_files import atomic_file, write_parquet, write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.core.markup import latex, markdown
from conceptbridge.disclosure.token_counts import shared_tokens, train_rows
from conceptbridge.evaluate.calibration import CALIBRATION
from conceptbridge.evaluate.comparisons import CHANCE
from conceptbridge.evaluate.meta_analysis import summarise
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.multiple_testing import gated, holm

ARM = ("task", "embedding", "learner", "strategy", "source", "target")
"""What makes one row of the table of arms."""

ESTIMATED, NOT_ESTIMABLE = "estimated", "not estimable"

LONG = ("metrics", "seeds", "points")
"""Tables that nobody reads line by line: Parquet and CSV alone."""

_CORRECTED = (
    "p is two-sided, of a t test on the difference of means over seeds (DeLong by person for auroc, bootstrap for the "
    "others, plus the spread over seeds); p_holm is corrected by Holm within a family: one task, question and metric, "
    "over all targets, and is never below the p_holm by which the recommended arm at that target is better than chance."
)
NOTES = {
    "arms": "Estimates on test rows, mean over seeds, with 95 % limits that cover the draw of persons (whole persons "
    "are drawn) and of seeds. auroc, auprc, scaled_brier: more is better; brier, ici, ece: less; best calibration in "
    "the large is 0, best slope 1.",
    "main": "AUROC on test rows, mean over seeds, with 95 % limits. One column a direction: source > target, or the "
    "target alone where the model was trained there.",
    "summary": "Random-effects summary over target sites (REML, limits of Hartung and Knapp) with a 95 % prediction "
    "interval for a new site (new_lower, new_upper); mean over sources at each target first. auroc: on the logit "
    "scale, back-transformed; difference: from the reference arm of each target. between: standard deviation between "
    "sites, on the scale of the summary. Where fewer than three targets have an estimate there is none.",
    "comparisons": "Differences on the same test rows, first arm minus ref_ arm, with 95 % limits (not corrected for "
    f"their number). Positive is better for auroc and auprc, negative for brier. {_CORRECTED}",
    "sites": "Cohorts by split. first_year, last_year: of index dates, years with enough rows. events_a_row: recorded "
    "tokens in the predictors' window, mean; without_events: share of rows without any.",
    "overlap": "Shares of the target's tokens that the source has too, of those in at least min_cell_count training "
    "rows of either.",
    "unseen": "Share of the events in the target's test rows whose token the source has not in min_cell_count training "
    "rows; by text: nor the same text.",
    "curves": "AUROC by labelled events of the target given (size), mean over replicates and seeds, limits over test "
    "persons and replicates; and by share of the tuning budget (depth).",
    "breakeven": "Labelled local events at which a local model is as good as the borrowed one, with 95 % limits; empty "
    "where that is beyond the sizes tried (smallest to largest).",
    "attrition": "What is left after each step; a count is blank where it, or its distance from the next, is small.",
    "leaks": "Predictors nearest to the outcome: auroc is that of the token's presence alone, on training rows; "
    "similarity is the cosine of its text with the nearest of the outcome's names. suspicious: one token tells as much "
    "as a whole model should.",
    "spent": "What each arm was given and used; steps: gradient steps or trees of all trials and seeds; kept: of each "
    "seed's model.",
}
"""What a reader of a table alone has to know."""

NEAREST = 5
"""How many predictors of a cohort are listed by each of the two measures of nearness to the outcome."""

_LEAK_COLUMNS = ("text", "domain", "rows", "auroc", "similarity", "nearest", "suspicious")

_SUMMARY_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("task", "embedding", "learner", "strategy", "quantity")),
        ("targets", pa.int32()),
        *((name, pa.float64()) for name in ("estimate", "lower", "upper", "between", "new_lower", "new_upper")),
        *((name, pa.float64()) for name in ("p", "p_holm")),
    ]
)
_OVERLAP_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("task", "source", "target")),
        ("tokens", pa.int64()),
        *((name, pa.float64()) for name in ("shared_keys", "shared_keys_by_rows")),
        *((name, pa.float64()) for name in ("shared_texts", "shared_texts_by_rows")),
    ]
)
_ATTRITION_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("task", "site", "step")),
        *((name, pa.int64()) for name in ("persons", "rows", "events")),
    ]
)


def tables(
    metrics: Path,
    tasks: Path,
    task: Sequence[str],
    site: Sequence[str],
    least: int,
    target: Sequence[str] | None = None,
) -> dict[str, pa.Table]:
    """Join what is known of every task and site, in the order of ``task`` and ``site``; models are tested at
    ``target`` (None: at all of them).

    ``metrics`` holds the tables of ``evaluate.arms.evaluate`` in ``{task}/{site}/``, ``tasks`` holds
    ``{task}/{site}/tokens.parquet``, ``leaks.parquet`` and ``attrition.csv``; ``least`` is min_cell_count. Returns:

    - ``arms``: one row for every (task, embedding, learner, strategy, source, target): each metric's estimate
      on test rows, its 95 % limits and standard deviation over seeds; the validation AUROC; ``status`` is
      "estimated" or "not estimable", and ``reason`` says why there is no estimate or no limits.
    - ``main``: AUROC with limits as text, one row an (embedding, learner, strategy), one column a direction.
    - ``summary``: over target sites, with a prediction interval for a new one.
    - ``comparisons``: as evaluation wrote them, with Holm's p within each family (``NOTES``).
    - ``metrics``, ``seeds``, ``subgroups``, ``unseen``, ``curves``, ``breakeven``, ``points``, ``spent``, ``sites``:
      as evaluation wrote them.
    - ``overlap``: for each ordered pair of sites, the number of the target's tokens (as far as they may be shared)
      and the share of them whose key, or whose text in lower case, the source has; counted by distinct tokens, and by
      the training rows that hold them. Null where the target has no token.
    - ``attrition``: the steps of every cohort.
    - ``leaks``: of every cohort the predictors nearest to the outcome: the ``NEAREST`` of the single-token AUROC, as
      many by name, and all that are suspicious.

    Raises StudyError when a file is missing.
    """

    def joined(name: str) -> pa.Table:
        return pa.concat_tables(
            pq.read_table(_existing(metrics / one / at / f"{name}.parquet"))
            for one, at in product(task, target or site)
        )

    long = joined("metrics")
    arms = _arms(long)
    comparisons, summary = compared(joined("comparisons"), joined("effects"))
    as_they_are = ("seeds", "subgroups", "unseen", "curves", "breakeven", "points", "spent")
    return {
        "arms": arms,
        "main": _main(arms),
        "summary": summary,
        "comparisons": comparisons,
        "metrics": long,
        **{name: joined(name) for name in as_they_are},
        "sites": joined("site"),
        "overlap": _overlap(metrics, tasks, task, site, least),
        "attrition": _attrition(tasks, task, site),
        "leaks": _leaks(tasks, task, site),
    }


def compared(comparisons: pa.Table, effects: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Correct the comparisons of all targets (``comparisons``), and summarise over targets (``summary``)."""
    corrected = _corrected(comparisons)
    return corrected, _summary(effects, corrected)


def write_tables(joint: Mapping[str, pa.Table], folder: Path) -> None:
    """Write each table as ``{name}.parquet`` and ``.csv``, in full, and ``.md`` and ``.tex``, to three decimals."""
    for name, table in joint.items():
        write_parquet(table, folder / f"{name}.parquet")
        with atomic_file(folder / f"{name}.csv") as temporary:
            pacsv.write_csv(table, temporary)
        if name not in LONG:
            note = f"{NOTES[name]}\n\n" if name in NOTES else ""
            write_text(note + markdown(table), folder / f"{name}.md")
            write_text(latex(table, NOTES.get(name, "")), folder / f"{name}.tex")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise StudyError(f"{path} is missing: evaluate this task and site first")
    return path


def _arms(long: pa.Table) -> pa.Table:
    """Turn the rows of one arm (by split and metric) into one wide row, in the order in which arms appear."""
    columns = [
        f"any_value({part}) filter (split = 'test' and metric = '{metric}') as {metric}{suffix}"
        for metric in (*METRICS, *CALIBRATION)
        for part, suffix in [
            ("estimate", ""),
            *((part, f"_{part}") for part in ("lower", "upper", "seed_sd")),
        ]
    ]
    columns += ["any_value(estimate) filter (split = 'validation' and metric = 'auroc') as validation_auroc"]
    columns += [
        f"any_value({name}) filter (split = 'test' and metric = 'auroc') as {name}"
        for name in ("seeds", "rows", "events", "reason")
    ]
    status = f"if(auroc is null, '{NOT_ESTIMABLE}', '{ESTIMATED}') as status"
    placed = long.append_column("place", pa.array(range(len(long)), pa.int64()))
    with duckdb.connect() as connection:
        connection.register("long", placed)
        return connection.sql(
            f"""select * exclude (reason, place), {status}, reason
            from (
                select {", ".join([*ARM, *columns])}, min(place) as place
                from long where threshold is null and alert_rate is null group by all
            )
            order by place"""
        ).to_arrow_table()


def _main(arms: pa.Table) -> pa.Table:
    """Lay out the AUROCs of all arms: one row an (embedding, learner, strategy), one column a direction."""
    targets = pc.unique(arms["target"]).to_pylist()
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    columns: dict[tuple[int, bool, str], str] = {}
    for row in arms.to_pylist():
        own = row["source"] == row["target"]
        direction = row["target"] if own else f"{row['source']} > {row['target']}"
        columns[targets.index(row["target"]), not own, row["source"]] = direction
        key = tuple(row[name] for name in ("task", "learner", "embedding", "strategy"))
        value = NOT_ESTIMABLE if row["auroc"] is None else f"{row['auroc']:.3f}"
        if row["auroc_lower"] is not None:
            value += f" [{row['auroc_lower']:.3f}, {row['auroc_upper']:.3f}]"
        cells.setdefault(key, {})[direction] = value
    names = ("task", "learner", "embedding", "strategy")
    keys = {name: pa.array([key[place] for key in cells], pa.string()) for place, name in enumerate(names)}
    ordered = [columns[place] for place in sorted(columns)]
    return pa.table(keys | {one: pa.array([row.get(one) for row in cells.values()], pa.string()) for one in ordered})


def _corrected(comparisons: pa.Table) -> pa.Table:
    """Add Holm's p, behind the gate of chance, and the size of each family."""
    rows = comparisons.select(["task", "target", "question", "metric", "difference", "p"]).to_pylist()
    p = np.array([np.nan if row["p"] is None else row["p"] for row in rows])
    adjusted, size = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.int32)
    places = sorted(range(len(rows)), key=lambda place: _family(rows[place]))
    for _, family in groupby(places, key=lambda place: _family(rows[place])):
        inside = np.array(list(family))
        adjusted[inside] = holm(p[inside])
        size[inside] = int(np.isfinite(p[inside]).sum())
    gate = {
        (row["task"], row["target"]): float(value)
        for row, value in zip(rows, adjusted, strict=True)
        if row["question"] == CHANCE and (row["difference"] or 0) > 0
    }
    through = [gate.get((row["task"], row["target"]), np.nan) for row in rows]
    chance = np.array([row["question"] == CHANCE for row in rows], dtype=bool)
    adjusted = np.where(chance, adjusted, gated(adjusted, through)) if rows else adjusted
    place = comparisons.column_names.index("p") + 1
    return comparisons.add_column(place, "p_holm", pa.array(adjusted, pa.float64(), from_pandas=True)).add_column(
        place + 1, "family", pa.array(size, pa.int32())
    )


def _family(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["question"], row["metric"]


def _summary(effects: pa.Table, comparisons: pa.Table) -> pa.Table:
    """Summarise AUROC, and its difference from the reference, over the targets of each task."""
    gates: dict[str, float] = {}
    for row in comparisons.filter(pc.equal(comparisons["question"], CHANCE)).to_pylist():
        if row["p_holm"] is not None and row["difference"] > 0:
            gates[row["task"]] = min(gates.get(row["task"], 1.0), row["p_holm"])
    grouped: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in effects.to_pylist():
        grouped.setdefault(tuple(row[name] for name in ("task", "embedding", "learner", "strategy")), []).append(row)
    made: list[dict[str, Any]] = []
    for key, rows in grouped.items():
        for quantity in ("auroc", "difference"):
            effect, variance = (
                np.array([row[name] for row in rows], dtype=np.float64) for name in (quantity, f"{quantity}_variance")
            )
            if quantity == "auroc":
                inside = (effect > 0) & (effect < 1)
                variance = np.where(inside, variance / (effect * (1 - effect)) ** 2, np.nan)
                effect = np.where(inside, logit(np.where(inside, effect, 0.5)), np.nan)
            found = summarise(effect, variance)
            line = dict(zip(_SUMMARY_SCHEMA.names, (*key, quantity), strict=False))
            line["targets"] = int((np.isfinite(effect) & (variance > 0)).sum())
            if found is not None:
                back = expit if quantity == "auroc" else float
                shown = ("estimate", "lower", "upper", "new_lower", "new_upper")
                line |= {name: float(back(getattr(found, name))) for name in shown}
                line |= {"between": float(np.sqrt(found.between))}
                line |= {"p": found.p if quantity == "difference" else None}
            made.append(line)
    for task in {line["task"] for line in made}:
        family = [line for line in made if line["task"] == task and line.get("p") is not None]
        adjusted = gated(holm([line["p"] for line in family]), np.full(len(family), gates.get(task, np.nan)))
        for line, value in zip(family, adjusted, strict=True):
            line["p_holm"] = float(value)
    return pa.Table.from_pylist(made, _SUMMARY_SCHEMA)


def _overlap(metrics: Path, tasks: Path, task: Sequence[str], site: Sequence[str], least: int) -> pa.Table:
    rows = []
    for one in task:
        tokens = {}
        for at in site:
            read = pq.read_table(_existing(tasks / one / at / "tokens.parquet"), columns=["key", "text", "rows"])
            tokens[at] = shared_tokens(read, train_rows(metrics / one / at / "site.parquet"), least)
        for source, target in permutations(site, 2):
            theirs, ours = tokens[source], tokens[target]
            shares: list[float | None] = []
            for known, asked in [
                (theirs["key"], ours["key"]),
                (pc.utf8_lower(theirs["text"]), pc.utf8_lower(ours["text"])),
            ]:
                shared = pc.is_in(asked, value_set=known.combine_chunks()).to_numpy()
                weight = pc.fill_null(ours["rows"], 0).to_numpy()
                shares.append(float(shared.mean()) if len(shared) else None)
                shares.append(float(np.average(shared, weights=weight)) if weight.sum() else None)
            rows.append((one, source, target, len(ours), *shares))
    return _table(rows, _OVERLAP_SCHEMA)


def _attrition(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    for one, at in product(task, site):
        with _existing(tasks / one / at / "attrition.csv").open(encoding="utf-8", newline="") as file:
            steps = list(csv.DictReader(file))
        names = ("persons", "rows", "events")
        rows += [
            (one, at, step["step"], *(int(step[name]) if step[name] else None for name in names)) for step in steps
        ]
    return _table(rows, _ATTRITION_SCHEMA)


def _leaks(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    parts = []
    for one, at in product(task, site):
        listed = pq.read_table(_existing(tasks / one / at / "leaks.parquet"))
        near = pc.or_kleene(
            pc.less_equal(listed["auroc_rank"], NEAREST), pc.less_equal(listed["similarity_rank"], NEAREST)
        )
        kept = listed.filter(pc.or_kleene(near, listed["suspicious"]))
        place = {"task": pa.array([one] * len(kept), pa.string()), "site": pa.array([at] * len(kept), pa.string())}
        parts.append(pa.table(place | {name: kept[name] for name in _LEAK_COLUMNS}))
    return pa.concat_tables(parts)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
