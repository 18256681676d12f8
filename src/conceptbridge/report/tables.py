"""The joint tables of a study, from the aggregates of every task and site; no row of a person is read."""

import csv
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from conceptbridge.errors import StudyError
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.files import whole_file, write_parquet, write_text

ARM = ("task", "embedding", "learner", "strategy", "source", "target")
"""What makes one row of the table of arms."""

ESTIMATED, NOT_ESTIMABLE = "estimated", "not estimable"

NOTES = {
    "arms": "Estimates on test rows, mean over seeds, with 95 % limits (bootstrap of persons).",
    "comparisons": "Differences on the same test rows, first arm minus ref_ arm, with 95 % limits (paired bootstrap of "
    "persons, not corrected for their number). Positive is better for auroc and auprc, negative for brier.",
    "overlap": "Shares of the target's tokens that the source has too.",
    "leaks": "Predictors nearest to the outcome: auroc is that of the token's presence alone, on training rows; "
    "similarity is the cosine of its text with the nearest of the outcome's names. suspicious: one token tells as much "
    "as a whole model should.",
}
"""What a reader of a table alone has to know."""

NEAREST = 5
"""How many predictors of a cohort are listed by each of the two measures of nearness to the outcome."""

_LEAK_COLUMNS = ("text", "domain", "rows", "auroc", "similarity", "nearest", "suspicious")

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
    metrics: Path, tasks: Path, task: Sequence[str], site: Sequence[str], target: Sequence[str] | None = None
) -> dict[str, pa.Table]:
    """Join what is known of every task and site, in the order of ``task`` and ``site``; models are tested at
    ``target`` (None: at all of them).

    ``metrics`` holds ``{task}/{site}/{metrics,seeds,comparisons,site}.parquet``, ``tasks`` holds
    ``{task}/{site}/tokens.parquet``, ``leaks.parquet`` and ``attrition.csv``. Returns:

    - ``arms``: one row for every (task, embedding, learner, strategy, source, target): each metric's estimate
      on test rows, its 95 % limits and standard deviation over seeds; the validation AUROC; ``status`` is
      "estimated" or "not estimable", and ``reason`` says why there is no estimate or no limits.
    - ``seeds``, ``comparisons``: as evaluation wrote them (``evaluate.arms.evaluate`` says what they hold).
    - ``sites``: persons, rows and events of every cohort by split.
    - ``overlap``: for each ordered pair of sites, the number of the target's tokens and the share of them
      whose key, or whose text in lower case, the source has; counted by distinct tokens, and by the training
      rows that hold them. Null where the target has no token.
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

    return {
        "arms": _arms(joined("metrics")),
        "seeds": joined("seeds"),
        "comparisons": joined("comparisons"),
        "sites": joined("site"),
        "overlap": _overlap(tasks, task, site),
        "attrition": _attrition(tasks, task, site),
        "leaks": _leaks(tasks, task, site),
    }


def write_tables(joint: Mapping[str, pa.Table], folder: Path) -> None:
    """Write each table as ``{name}.parquet`` and ``.csv``, in full, and ``.md``, to three decimals."""
    for name, table in joint.items():
        write_parquet(table, folder / f"{name}.parquet")
        with whole_file(folder / f"{name}.csv") as temporary:
            pacsv.write_csv(table, temporary)
        note = f"{NOTES[name]}\n\n" if name in NOTES else ""
        write_text(note + markdown(table), folder / f"{name}.md")


def markdown(table: pa.Table) -> str:
    """Write ``table`` as a Markdown table: three decimals, empty for null, numbers to the right."""
    numeric = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in table.schema]
    lines = [table.column_names, ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(value) for value in row.values()] for row in table.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise StudyError(f"{path} is missing: evaluate this task and site first")
    return path


def _arms(long: pa.Table) -> pa.Table:
    """Turn the rows of one arm (by split and metric) into one wide row, in the order in which arms appear."""
    columns = [
        f"any_value({part}) filter (split = 'test' and metric = '{metric}') as {metric}{suffix}"
        for metric in METRICS
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
            from (select {", ".join([*ARM, *columns])}, min(place) as place from long group by all)
            order by place"""
        ).to_arrow_table()


def _overlap(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    rows = []
    for one in task:
        tokens = {
            at: pq.read_table(_existing(tasks / one / at / "tokens.parquet"), columns=["key", "text", "rows"])
            for at in site
        }
        for source, target in permutations(site, 2):
            theirs, ours = tokens[source], tokens[target]
            shares: list[float | None] = []
            for known, asked in [
                (theirs["key"], ours["key"]),
                (pc.utf8_lower(theirs["text"]), pc.utf8_lower(ours["text"])),
            ]:
                shared = pc.is_in(asked, value_set=known.combine_chunks()).to_numpy()
                weight = ours["rows"].to_numpy()
                shares.append(float(shared.mean()) if len(shared) else None)
                shares.append(float(np.average(shared, weights=weight)) if weight.sum() else None)
            rows.append((one, source, target, len(ours), *shares))
    return _table(rows, _OVERLAP_SCHEMA)


def _attrition(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    rows = []
    for one, at in product(task, site):
        with _existing(tasks / one / at / "attrition.csv").open(encoding="utf-8", newline="") as file:
            for step in csv.DictReader(file):
                counts = [int(step[name]) if step[name] else None for name in ("persons", "rows", "events")]
                rows.append((one, at, step["step"], *counts))
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
