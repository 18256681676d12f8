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
from scipy.special import expit, logit

from conceptbridge.core.atomic_files import atomic_file, write_parquet, write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.core.markup import latex, markdown
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.token_counts import probable_rows, read_tokens, shared_tokens, train_rows
from conceptbridge.evaluate.calibration import CALIBRATION
from conceptbridge.evaluate.meta_analysis import summarise
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.multiple_testing import gated, holm
from conceptbridge.evaluate.schemas import ANY_ABOVE_CHANCE, ARM, ARM_AT_TARGET, PRIMARY, schema, to_table
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.report.characteristics import characteristics, table_one
from conceptbridge.report.study_tables import AS_EVALUATED, EXPLORATORY, GATE, MORE, PRIMARY_TEST, STUDY_TABLES
from conceptbridge.tasks.set_warnings import check_index_events
from conceptbridge.tasks.tokens import is_among, places

ESTIMATED, NOT_ESTIMABLE = "estimated", "not estimable"

NEAREST = 5
"""How many predictors of a cohort are listed by each of the two measures of closeness to the outcome."""

_LEAK_COLUMNS = ("text", "domain", "rows", "auroc", "lift", "similarity", "nearest", "suspicious")
_ARMS = (*ARM, *(f"ref_{name}" for name in ARM))
_SCHEMAS = {table.name: schema(table.columns) for table in STUDY_TABLES if table.columns}


def tables(
    metrics: Path,
    tasks: Path,
    task: Sequence[str],
    site: Sequence[str],
    min_cell_count: int,
    target: Sequence[str] | None = None,
    more: Sequence[str] = (),
    looked_at: Sequence[Path] = (),
) -> dict[str, pa.Table]:
    """Join what is known of every task and site, in the order of ``task`` and ``site``.

    Models are tested at each ``target`` (None: at all sites). ``metrics`` holds the tables of ``evaluate.evaluate`` in
    ``{task}/{site}/``; ``tasks`` holds ``tokens.parquet``, ``leaks.parquet``, ``splits.parquet`` and ``attrition.csv``
    in ``{task}/{site}/``. Returns the tables of :data:`STUDY_TABLES`, whose notes say what is in them; in more detail:

    - ``arms``: each metric's estimate on test rows, its 95 % limits and standard deviation over seeds; the validation
      AUROC; ``status`` and ``reason``.
    - ``auroc_matrix``: AUROC with limits as text, one row per (embedding, learner, strategy).
    - ``comparisons``: as evaluation wrote them, with Holm's p in the one family that claims rest on, all targets and
      tasks together, and in the gate before it.
    - ``overlap``: per ordered pair of sites, the number of the target's tokens (as far as they may be shared) and the
      share of them whose key, or whose text and state slot, the source has: of distinct tokens, and weighted by the
      training rows that hold them. Null where the target has no token.
    - ``method_limits``, ``translations``, ``translation_shares``: as written of each target where they are among
      ``more``, else empty.
    - ``importance``: what was written of each site (the files ``looked_at``), else empty.
    - ``leaks``: per cohort, the ``NEAREST`` predictors by single-token AUROC, as many by name, and all suspicious ones.

    Raises StudyError when a file is missing, or no site has any index event of a task.
    """
    check_index_events(tasks, task, site)

    def joined(name: str) -> pa.Table:
        return pa.concat_tables(
            read_shared(_existing(metrics / one / at / f"{name}.parquet").parent, name, min_cell_count)
            for one, at in product(task, target or site)
        )

    as_evaluated = {name: joined(name) for name in AS_EVALUATED}
    arms = _arms(as_evaluated["metrics"])
    comparisons, summary = compared(joined("comparisons"), as_evaluated["effects"])
    sites = joined("site")
    of_rows = characteristics(sites, as_evaluated["subgroups"])
    joint = as_evaluated | {
        "arms": arms,
        "auroc_matrix": _auroc_matrix(arms),
        "summary": summary,
        "comparisons": comparisons,
        **{name: joined(name) if name in more else _SCHEMAS[name].empty_table() for name in MORE},
        "sites": sites,
        "characteristics": of_rows,
        "table_one": table_one(of_rows),
        "splits": _splits(tasks, task, site),
        "overlap": _overlap(tasks, task, site, min_cell_count),
        "importance": pa.concat_tables(
            [read_table(_existing(path)) for path in looked_at] or [_SCHEMAS["importance"].empty_table()]
        ),
        "attrition": _attrition(tasks, task, site),
        "leaks": _leaks(tasks, task, site),
    }
    return {table.name: joint[table.name] for table in STUDY_TABLES}


def compared(comparisons: pa.Table, effects: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Correct the comparisons of all targets (``comparisons``), and summarise over targets (``summary``)."""
    return _corrected(comparisons), _summary(effects)


def write_tables(joint: Mapping[str, pa.Table], folder: Path) -> None:
    """Write each table as ``{name}.parquet`` and ``.csv``, in full, and as ``.md`` and ``.tex``, to three decimals."""
    for name, note, _, _, long in STUDY_TABLES:
        table = joint[name]
        write_parquet(table, folder / f"{name}.parquet")
        with atomic_file(folder / f"{name}.csv") as temporary:
            pacsv.write_csv(table, temporary)
        if not long:
            write_text(f"{note}\n\n{markdown(table)}", folder / f"{name}.md")
            write_text(latex(table, note), folder / f"{name}.tex")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise StudyError(f"{path} is missing; evaluate this task and site first")
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
    numbered = long.append_column("position", pa.array(range(len(long)), pa.int64()))
    with duckdb.connect() as connection:
        connection.register("long", numbered)
        return connection.sql(
            f"""select * exclude (reason, position), {status}, reason
            from (
                select {", ".join([*ARM_AT_TARGET, *columns])}, min(position) as position
                from long where threshold is null and alert_rate is null group by all
            )
            order by position"""
        ).to_arrow_table()


def _auroc_matrix(arms: pa.Table) -> pa.Table:
    """Lay out the AUROCs of all arms: one row per (embedding, learner, strategy), one column per direction."""
    names = ("task", "learner", "embedding", "strategy")
    targets = pc.unique(arms["target"]).to_pylist()
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    columns: dict[tuple[int, bool, str], str] = {}
    for row in arms.to_pylist():
        own = row["source"] == row["target"]
        direction = row["target"] if own else f"{row['source']} > {row['target']}"
        columns[targets.index(row["target"]), not own, row["source"]] = direction
        key = tuple(row[name] for name in names)
        value = NOT_ESTIMABLE if row["auroc"] is None else f"{row['auroc']:.3f}"
        if row["auroc_lower"] is not None:
            value += f" [{row['auroc_lower']:.3f}, {row['auroc_upper']:.3f}]"
        cells.setdefault(key, {})[direction] = value
    keys = dict(zip(names, zip(*cells, strict=True), strict=True))
    aurocs = {one: [row.get(one) for row in cells.values()] for one in (columns[order] for order in sorted(columns))}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (keys | aurocs).items()})


def _corrected(comparisons: pa.Table) -> pa.Table:
    """Add what kind of test each row is, Holm's p of those that claims rest on, and how many tests it corrects for."""
    rows = comparisons.select(["task", "target", "question", "metric", *_ARMS, "p"]).to_pylist()
    kinds = [_kind(row) for row in rows]
    adjusted, size = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.int32)
    for kind in (GATE, PRIMARY_TEST):
        # the same two arms, asked about by two questions, are one test
        tests: dict[tuple[Any, ...], list[int]] = {}
        for index, row in enumerate(rows):
            if kinds[index] == kind and row["p"] is not None:
                tests.setdefault(tuple(row[name] for name in ("task", "target", *_ARMS)), []).append(index)
        corrected = holm([rows[indices[0]]["p"] for indices in tests.values()])
        for p, indices in zip(corrected, tests.values(), strict=True):
            adjusted[indices], size[indices] = p, len(tests)
    gate = {(row["task"], row["target"]): p for row, kind, p in zip(rows, kinds, adjusted, strict=True) if kind == GATE}
    primary = np.array([kind == PRIMARY_TEST for kind in kinds], dtype=bool)
    gates = [gate.get((row["task"], row["target"]), np.nan) for row in rows]
    adjusted = np.where(primary & np.isfinite(adjusted), gated(adjusted, gates), adjusted) if rows else adjusted
    after_p = comparisons.column_names.index("p") + 1
    more = {
        "p_holm": pa.array(adjusted, pa.float64(), from_pandas=True),
        "kind": pa.array(kinds, pa.string()),
        "family": pa.array([int(n) or None for n in size], pa.int32()),
    }
    for place, (name, column) in enumerate(more.items()):
        comparisons = comparisons.add_column(after_p + place, name, column)
    return comparisons


def _kind(row: Mapping[str, Any]) -> str:
    if row["question"] == ANY_ABOVE_CHANCE:
        return GATE
    return PRIMARY_TEST if row["question"] in PRIMARY and row["metric"] == "auroc" else EXPLORATORY


def _summary(effects: pa.Table) -> pa.Table:
    """Summarise AUROC, and its difference from the reference, over the targets of each task."""
    grouped: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in effects.to_pylist():
        grouped.setdefault(tuple(row[name] for name in ("task", *ARM[:3])), []).append(row)
    lines = [
        dict(zip(_SCHEMAS["summary"].names, (*key, quantity), strict=False)) | _summarised(rows, quantity)
        for key, rows in grouped.items()
        for quantity in ("auroc", "difference")
    ]
    return pa.Table.from_pylist(lines, _SCHEMAS["summary"])


def _summarised(rows: Sequence[Mapping[str, Any]], quantity: str) -> dict[str, Any]:
    """Summarise one quantity over targets: AUROC on the logit scale, differences as they are."""
    effect, variance = (
        np.array([row[name] for row in rows], dtype=np.float64) for name in (quantity, f"{quantity}_variance")
    )
    if quantity == "auroc":
        inside = (effect > 0) & (effect < 1)
        variance = np.where(inside, variance / (effect * (1 - effect)) ** 2, np.nan)
        effect = np.where(inside, logit(np.where(inside, effect, 0.5)), np.nan)
    line: dict[str, Any] = {"targets": int((np.isfinite(effect) & (variance > 0)).sum())}
    summary = summarise(effect, variance)
    if summary is not None:
        back = expit if quantity == "auroc" else float
        names = ("estimate", "lower", "upper", "new_lower", "new_upper")
        line |= {name: float(back(getattr(summary, name))) for name in names}
        line |= {"between": float(np.sqrt(summary.between)), "p": summary.p if quantity == "difference" else None}
    return line


def _overlap(tasks: Path, task: Sequence[str], site: Sequence[str], min_cell_count: int) -> pa.Table:
    rows = []
    for one in task:
        tokens, weights = {}, {}
        for at in site:
            read = read_tokens(_existing(tasks / one / at / "tokens.parquet"), "key", "text", "state")
            training = train_rows(_existing(tasks / one / at / "splits.parquet"))
            tokens[at] = shared_tokens(read, training, min_cell_count)
            weights[at] = probable_rows(tokens[at], training, min_cell_count)
        for source, target in permutations(site, 2):
            theirs, ours, weight = tokens[source], tokens[target], weights[target]
            shares: list[float | None] = []
            for known, asked in (
                (theirs["key"].combine_chunks(), ours["key"].combine_chunks()),
                (places(theirs), places(ours)),
            ):
                shared = is_among(asked, known)
                shares.append(float(shared.mean()) if len(shared) else None)
                shares.append(float(np.average(shared, weights=weight)) if weight.sum() else None)
            rows.append((one, source, target, len(ours), *shares))
    return to_table(rows, _SCHEMAS["overlap"])


def _attrition(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    for one, at in product(task, site):
        with _existing(tasks / one / at / "attrition.csv").open(encoding="utf-8", newline="") as file:
            steps = list(csv.DictReader(file))
        names = ("persons", "rows", "events")
        rows += [
            (one, at, step["step"], *(int(step[name]) if step[name] else None for name in names)) for step in steps
        ]
    return to_table(rows, _SCHEMAS["attrition"])


def _splits(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    parts = []
    for one, at in product(task, site):
        table = read_table(_existing(tasks / one / at / "splits.parquet"))
        parts.append(pa.table(_cohort_columns(one, at, len(table)) | {n: table[n] for n in table.column_names}))
    return pa.concat_tables(parts)


def _cohort_columns(task: str, site: str, rows: int) -> dict[str, pa.Array]:
    return {"task": pa.array([task] * rows, pa.string()), "site": pa.array([site] * rows, pa.string())}


def _leaks(tasks: Path, task: Sequence[str], site: Sequence[str]) -> pa.Table:
    parts = []
    for one, at in product(task, site):
        listed = read_table(_existing(tasks / one / at / "leaks.parquet"))
        near = pc.or_kleene(
            pc.less_equal(listed["auroc_rank"], NEAREST), pc.less_equal(listed["similarity_rank"], NEAREST)
        )
        kept = listed.filter(pc.or_kleene(near, listed["suspicious"]))
        parts.append(pa.table(_cohort_columns(one, at, len(kept)) | {name: kept[name] for name in _LEAK_COLUMNS}))
    return pa.concat_tables(parts)
