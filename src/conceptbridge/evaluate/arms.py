"""Evaluate every arm of one task at one target, on the same rows and the same resamples."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.errors import StudyError
from conceptbridge.evaluate.bootstrap import draw, limits, random
from conceptbridge.evaluate.comparisons import LOCAL, MEANING, Choice, Reference, choose, compare, pairs
from conceptbridge.evaluate.curves import Curve, break_even
from conceptbridge.evaluate.delong import variance
from conceptbridge.evaluate.groups import by_share, read_tokens, seen_by, subgroups, unseen
from conceptbridge.evaluate.measured import Arm, Bench, Context, Measured, Settings, mean_of, measure_folders
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.predictions import SPLITS, Rows, read_arm, read_cohort, rows_of
from conceptbridge.evaluate.shown import bins, enough, parts_shown

logger = logging.getLogger(__name__)

_CURVE_BINS, _CALIBRATION_BINS = 40, 10
OTHERS = "others"
"""The source of a model of all other sites (``leave-one-out``)."""

_ARM = [
    ("embedding", pa.string()),
    ("learner", pa.string()),
    ("strategy", pa.string()),
    ("source", pa.string()),
]
_PLACE = [("task", pa.string()), *_ARM, ("target", pa.string())]
_CELL = [*_PLACE, ("split", pa.string()), ("metric", pa.string())]
_CUT = [("threshold", pa.float64()), ("alert_rate", pa.float64())]
_LIMITS = [("lower", pa.float64()), ("upper", pa.float64())]
_COUNTS = [("rows", pa.int64()), ("events", pa.int64())]
_REASON = ("reason", pa.string())

SCHEMAS = {
    "metrics": pa.schema(
        [
            *_CELL,
            *_CUT,
            ("estimate", pa.float64()),
            *_LIMITS,
            ("method", pa.string()),
            ("seed_sd", pa.float64()),
            ("seeds", pa.int32()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "seeds": pa.schema([*_CELL, *_CUT, ("seed", pa.int32()), ("estimate", pa.float64())]),
    "comparisons": pa.schema(
        [
            ("task", pa.string()),
            ("target", pa.string()),
            ("question", pa.string()),
            ("metric", pa.string()),
            *_ARM,
            *((f"ref_{name}", kind) for name, kind in _ARM),
            ("difference", pa.float64()),
            *_LIMITS,
            ("error", pa.float64()),
            ("p", pa.float64()),
            ("method", pa.string()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "effects": pa.schema(
        [
            ("task", pa.string()),
            *_ARM[:3],
            ("target", pa.string()),
            ("sources", pa.int32()),
            ("auroc", pa.float64()),
            ("auroc_variance", pa.float64()),
            ("difference", pa.float64()),
            ("difference_variance", pa.float64()),
        ]
    ),
    "subgroups": pa.schema(
        [
            *_PLACE,
            ("dimension", pa.string()),
            ("group", pa.string()),
            ("metric", pa.string()),
            ("estimate", pa.float64()),
            *_LIMITS,
            ("seed_sd", pa.float64()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "unseen": pa.schema(
        [
            *((name, pa.string()) for name in ("task", "source", "target")),
            *((name, pa.float64()) for name in ("events", "events_by_text", "median_of_rows")),
        ]
    ),
    "curves": pa.schema(
        [
            *_PLACE,
            ("size", pa.int64()),
            ("depth", pa.float64()),
            ("split", pa.string()),
            ("estimate", pa.float64()),
            *_LIMITS,
            ("sd", pa.float64()),
            ("repeats", pa.int32()),
        ]
    ),
    "breakeven": pa.schema(
        [
            *_PLACE,
            ("local_embedding", pa.string()),
            ("local_learner", pa.string()),
            ("events", pa.float64()),
            *_LIMITS,
            ("smallest", pa.int64()),
            ("largest", pa.int64()),
            ("reached", pa.string()),
        ]
    ),
    "points": pa.schema(
        [
            *_PLACE,
            ("role", pa.string()),
            ("bin", pa.int32()),
            ("wide_bin", pa.int32()),
            *(
                (name, pa.float64())
                for name in (
                    "cut",
                    "share",
                    "predicted",
                    "observed",
                    "sensitivity",
                    "specificity",
                    "ppv",
                    "net_benefit",
                    "net_benefit_all",
                )
            ),
        ]
    ),
    "spent": pa.schema(
        [
            *_PLACE,
            ("train_rows", pa.int64()),
            ("train_events", pa.int64()),
            ("trials", pa.int64()),
            ("steps", pa.int64()),
            ("kept", pa.string()),
            ("chosen", pa.string()),
            _REASON,
        ]
    ),
    "site": pa.schema(
        [
            ("task", pa.string()),
            ("site", pa.string()),
            ("split", pa.string()),
            ("persons", pa.int64()),
            *_COUNTS,
            ("first_year", pa.int32()),
            ("last_year", pa.int32()),
            ("events_a_row", pa.float64()),
            *((name, pa.float64()) for name in ("without_events", "sex_unknown", "race_unknown")),
        ]
    ),
}
"""The tables that evaluation of one task at one target makes, each a file of that name."""


def evaluate(
    arms: Path,
    task: str,
    target: str,
    embeddings: Mapping[str, str],
    learners: Sequence[str],
    strategies: Sequence[str],
    cohort: Path,
    controls: Sequence[str],
    settings: Mapping[str, Any],
    sequences: Path | None = None,
    tokens: Mapping[str, Path] | None = None,
    processes: int = 1,
) -> dict[str, pa.Table]:
    """Evaluate all arms of ``task`` at ``target``: estimates, their limits and paired differences.

    ``arms`` is the task's folder of arms (``{embedding_id}/{learner}/{strategy}/{target}/``), ``embeddings``
    maps names to ids, ``controls`` are the names among them that carry no meaning, ``cohort`` and ``sequences`` are
    the target's files, ``tokens`` each site's ``tokens.parquet``. ``settings`` are the config's ``evaluation`` and
    ``min_cell_count``. Arms come in the order of the arguments, sources in alphabetical order. Returns the tables of
    :data:`SCHEMAS`, the same for any number of ``processes``:

    - ``metrics``: one row for every (arm, split, metric, cut). The estimate is the mean over all seeds,
      ``seed_sd`` their standard deviation (null with one seed). Test rows have 95 % limits that cover the draw of
      persons, whole persons at a time, and of seeds; ``method`` names them. Validation rows have none: they are what
      a choice is made on.
    - ``seeds``: the estimate of every seed.
    - ``comparisons``: differences on the same test rows and resamples, first arm minus ``ref_`` arm
      (``comparisons.pairs`` says which, ``comparisons.compare`` how). For AUROC and AUPRC a positive difference is
      better, **for Brier a negative one**.
    - ``effects``: of every (embedding, learner, strategy) the AUROC and its difference from the reference, mean over
      sources, with variances, for a summary over targets.
    - ``subgroups``: AUROC, Brier score and observed minus expected share by sex, age band, race, the study's own
      subgroups, and the share of events whose token the source never saw.
    - ``unseen``: for each source, the share of the target's events whose token it never saw.
    - ``curves``: AUROC by labelled events given (``size``) or share of the tuning budget (``depth``).
    - ``breakeven``: local events at which local training is as good as each borrowed model (``curves.break_even``).
    - ``points``: calibration, ROC, precision-recall and net benefit of the arms that the answer names, in bins of at
      least ``min_cell_count`` events and non-events, the rows of all seeds together.
    - ``spent``: what each arm was given and used.
    - ``site``: the target's cohort by split.

    ``reason`` says why there is no estimate, or no limits. Counts below ``min_cell_count``, of persons, rows,
    events or rows without the event, are null, and so is what they could be worked out from.

    Raises StudyError when an arm's folder is missing or incomplete, or its predictions are not exactly
    those of the cohort's validation and test rows.
    """
    if unknown := sorted(set(controls) - set(embeddings)):
        raise StudyError(f"controls {unknown} are not among the embeddings {list(embeddings)}; name only those")
    least = int(settings["min_cell_count"])
    measuring = Settings(
        settings["replicates"], settings["interval"], settings["thresholds"], settings["alert_rates"], least
    )
    whole = read_cohort(cohort)
    rows = rows_of(whole)
    test = rows.of("test")
    events = None if sequences is None else read_tokens(sequences, (tokens or {})[target], test.row_id)
    of_test = whole.filter(pc.equal(whole["split"], "test"))
    unseen_by, unseen_rows = {}, []
    if events is not None and tokens is not None:
        for source, paths in _sources(tokens, target).items():
            share, shares = unseen(events, *seen_by(paths))
            unseen_by[source] = by_share(share)
            unseen_rows.append((task, source, target, *shares.values()))
    context = Context(
        rows.of(*SPLITS),
        draw(test.person_id, measuring.replicates, settings["seed"], task, target),
        measuring,
        subgroups(of_test, settings["age_bands"], events, settings["subgroups"]),
        unseen_by,
    )

    results: dict[Arm, Measured] = {}
    folders = [
        (Arm(embedding, learner, strategy, ""), arms / embeddings[embedding] / learner / strategy / target)
        for embedding, learner, strategy in product(embeddings, learners, strategies)
    ]
    for number, measured in enumerate(measure_folders(context, folders, processes), 1):
        results |= {one.arm: one for one in measured}
        if number % 50 == 0 or number == len(folders):
            logger.info("%s at %s: %d of %d arms evaluated", task, target, number, len(folders))
    _check_sources(results, arms)

    reference = Reference(**{name: settings["reference"][name] for name in Reference._fields})
    if reference.embedding not in embeddings:
        reference = reference._replace(embedding=None)
    choice = choose(results, controls, reference)
    bench = Bench(context)
    counts = {split: _counts(rows.of(split).label, least) for split in SPLITS}
    made: dict[str, Iterator[tuple[Any, ...]] | list[tuple[Any, ...]]] = {
        "metrics": _metrics(results, task, target, measuring, counts),
        "seeds": _seeds(results, task, target, measuring),
        "comparisons": _comparisons(results, task, target, controls, choice, bench, counts["test"]),
        "effects": _effects(results, task, target, choice, bench),
        "subgroups": [(task, *arm, target, *cell) for arm, one in results.items() for cell in one.groups],
        "unseen": unseen_rows,
        "curves": _curves(results, task, target, settings["seed"]),
        "breakeven": _break_even(results, task, target, choice, bench, rows, settings["seed"]),
        "points": _points(results, task, target, choice, controls, context, dict(folders_of(folders)), least),
        "spent": [(task, *arm, target, *_spent(one, least)) for arm, one in results.items()],
        "site": _site(whole, rows, task, target, sequences, least),
    }
    return {name: _table(list(of), SCHEMAS[name]) for name, of in made.items()}


def folders_of(folders: Sequence[tuple[Arm, Path]]) -> Iterator[tuple[tuple[str, str, str], Path]]:
    """Yield each folder by (embedding, learner, strategy)."""
    for arm, folder in folders:
        yield (arm.embedding, arm.learner, arm.strategy), folder


def _sources(tokens: Mapping[str, Path], target: str) -> dict[str, list[Path]]:
    others = {source: [path] for source, path in sorted(tokens.items()) if source != target}
    return others | ({OTHERS: [path for (path,) in others.values()]} if len(others) > 1 else {})


def _check_sources(results: Mapping[Arm, Measured], arms: Path) -> None:
    """Refuse arms of one strategy that were made for different sites: a folder is left from another study."""
    sources: dict[tuple[str, str, str], list[str]] = {}
    for arm in results:
        sources.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(arm.source)
    expected: dict[str, list[str]] = {}
    for (embedding, learner, strategy), found in sources.items():
        if found != expected.setdefault(strategy, found):
            raise StudyError(
                f"{arms}: {embedding}, {learner}, {strategy} has the sources {found}, other arms of this "
                f"strategy have {expected[strategy]}; run the older ones again"
            )


def _counts(label: NDArray[np.int8], least: int) -> tuple[int | None, int | None]:
    """Return rows and events, null where they, or the rows without the event, are fewer than allowed."""
    rows, events = len(label), int(label.sum())
    return rows if rows >= least else None, events if rows >= least and enough(events, rows, least) else None


def _metrics(
    results: Mapping[Arm, Measured],
    task: str,
    target: str,
    settings: Settings,
    counts: Mapping[str, tuple[int | None, int | None]],
) -> Iterator[tuple[Any, ...]]:
    columns = settings.columns
    for arm, result in results.items():
        seeds = len(result.seeds)
        for split in SPLITS:
            key, of_split = (task, *arm, target, split), columns[: None if split == "test" else len(METRICS)]
            if result.reason[split]:
                for column in of_split:
                    yield *key, *column, None, None, None, None, None, seeds, *counts[split], result.reason[split]
                continue
            spread = result.by_seed[split].std(axis=0, ddof=1) if seeds > 1 else [None] * len(columns)
            means = result.mean(split)
            for place, column in enumerate(of_split):
                bounds: tuple[Any, ...] = (None, None, None)
                if split == "test":
                    method = settings.method(place) if np.isfinite(result.lower[place]) else None
                    bounds = (result.lower[place], result.upper[place], method)
                why = result.column_reason[place] if split == "test" else None
                yield *key, *column, means[place], *bounds, spread[place], seeds, *counts[split], why


def _seeds(results: Mapping[Arm, Measured], task: str, target: str, settings: Settings) -> Iterator[tuple[Any, ...]]:
    columns = settings.columns
    for arm, result in results.items():
        for split in SPLITS:
            if result.reason[split] is None:
                values = result.by_seed[split]
                for place, column in enumerate(columns[: None if split == "test" else len(METRICS)]):
                    for seed, value in zip(result.seeds, values[:, place], strict=True):
                        yield task, *arm, target, split, *column, seed, value


def _comparisons(
    results: Mapping[Arm, Measured],
    task: str,
    target: str,
    controls: Sequence[str],
    choice: Choice,
    bench: Bench,
    counts: tuple[int | None, int | None],
) -> Iterator[tuple[Any, ...]]:
    for pair, differences in compare(results, list(pairs(results, target, controls, choice)), bench.clusters):
        arms = (*pair.arm, *(pair.reference or [None] * len(pair.arm)))
        for found in differences:
            yield (task, target, pair.question, found.metric, *arms, *found[1:-1], *counts, found.reason)


def _effects(
    results: Mapping[Arm, Measured], task: str, target: str, choice: Choice, bench: Bench
) -> Iterator[tuple[Any, ...]]:
    """Average each (embedding, learner, strategy) over its estimable sources, and compare with the reference."""
    grouped: dict[tuple[str, str, str], list[Measured]] = {}
    for arm, result in results.items():
        grouped.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(result)
    reference = None if choice.reference is None else results[choice.reference]
    for key, of_key in grouped.items():
        there = [one for one in of_key if one.components is not None]
        if not there:
            yield task, *key, target, 0, None, None, None, None
            continue
        mean = mean_of([one.components for one in there if one.components is not None])
        seed = sum(float(one.seed_variance()[0]) for one in there) / len(there) ** 2
        spread = float(variance(mean.events, mean.non_events, bench.clusters)) + seed
        difference: tuple[float | None, float | None] = (None, None)
        if reference is not None and reference.components is not None and there != [reference]:
            theirs = reference.components
            paired = variance(mean.events - theirs.events, mean.non_events - theirs.non_events, bench.clusters)
            shared = 0.0 if reference in there else float(reference.seed_variance()[0])
            difference = mean.auroc - theirs.auroc, float(paired) + seed + shared
        yield task, *key, target, len(there), mean.auroc, spread, *difference


def _curves(results: Mapping[Arm, Measured], task: str, target: str, seed: int) -> Iterator[tuple[Any, ...]]:
    for arm, result in results.items():
        if result.sizes is not None:
            curve = result.sizes
            generator = random(seed, task, target, *arm, "sizes")
            lower, upper = limits(curve.redrawn(generator))
            for place, size in enumerate(curve.size):
                found = curve.by_replicate[place][~np.isnan(curve.by_replicate[place])]
                sd = found.std(ddof=1) if len(found) > 1 else None
                number = (curve.estimate[place], lower[place], upper[place], sd, len(found))
                yield task, *arm, target, int(size), None, "test", *number
        for point in result.depths:
            number = (point.estimate, point.lower, point.upper, point.seed_sd, point.seeds)
            yield task, *arm, target, None, point.depth, point.split, *number


def _break_even(
    results: Mapping[Arm, Measured],
    task: str,
    target: str,
    choice: Choice,
    bench: Bench,
    rows: Rows,
    seed: int,
) -> Iterator[tuple[Any, ...]]:
    """Compare every borrowed arm with the local ones of its embedding and learner, and of the reference."""
    events = int(rows.of("train").label.sum())
    curves = {arm: _whole(result, events, bench) for arm, result in results.items() if result.sizes is not None}
    for arm, result in results.items():
        if arm.strategy == LOCAL or result.components is None:
            continue
        locals_ = dict.fromkeys([arm._replace(strategy=LOCAL, source=target), choice.reference])
        for local in locals_:
            if local is None or local.strategy != LOCAL or local not in curves:
                continue
            auroc = result.components.auroc
            constant = (auroc, auroc + bench.moved(result.components).astype(np.float64))
            curve, borrowed = curves[local], curves.get(arm)
            if borrowed is not None and not np.isin(curve.size, borrowed.size).any():
                continue
            found = break_even(curve, borrowed, constant, random(seed, task, target, *arm, *local))
            size = curve.size if borrowed is None else np.intersect1d(curve.size, borrowed.size)
            yield (
                task,
                *arm,
                target,
                local.embedding,
                local.learner,
                *found[:3],
                int(size[0]),
                int(size[-1]),
                found.reached,
            )


def _whole(result: Measured, events: int, bench: Bench) -> Curve:
    """Return a learning curve with all training rows as its last size."""
    curve = result.sizes
    assert curve is not None
    if result.components is None or events <= curve.size[-1]:
        return curve
    replicates = curve.by_replicate.shape[1]
    last = np.full((1, replicates), np.nan)
    moved = np.full((1, replicates, curve.resampled.shape[2]), np.nan, np.float32)
    last[0, 0], moved[0, 0] = result.components.auroc, bench.moved(result.components)
    return Curve(
        np.r_[curve.size, events],
        np.concatenate([curve.by_replicate, last]),
        np.concatenate([curve.resampled, moved]),
    )


def _points(
    results: Mapping[Arm, Measured],
    task: str,
    target: str,
    choice: Choice,
    controls: Sequence[str],
    context: Context,
    folders: Mapping[tuple[str, str, str], Path],
    least: int,
) -> Iterator[tuple[Any, ...]]:
    """Bin the predictions of the arms that the answer names."""
    recommended = choice.recommended
    named = [(arm, role) for role, arm in choice._asdict().items()]
    named += [(recommended and recommended._replace(embedding=control), f"control {control}") for control in controls]
    roles: dict[Arm, str] = {}
    for one, role in named:
        if one is not None:
            roles.setdefault(one, role)
    inside = context.predicted.split == "test"
    label = context.predicted.label[inside]
    for arm, role in roles.items():
        if arm not in results or results[arm].reason["test"] is not None:
            continue
        [predictions] = [
            one
            for one in read_arm(folders[arm.embedding, arm.learner, arm.strategy], context.predicted)
            if one.source == arm.source
        ]
        seeds = len(predictions.seeds)
        probability = predictions.probability[:, inside].ravel()
        yield from (
            (task, *arm, target, role, *point) for point in _binned(np.tile(label, seeds), probability, least * seeds)
        )


def _binned(label: NDArray[np.int8], probability: NDArray[np.float64], least: int) -> Iterator[tuple[Any, ...]]:
    starts = bins(label, probability, least, _CURVE_BINS)
    order = np.argsort(probability, kind="stable")
    event, score = label[order].astype(np.float64), probability[order]
    rows, events = len(event), event.sum()
    for place, start in enumerate(starts):
        stop = starts[place + 1] if place + 1 < len(starts) else rows
        hits, alarms = event[start:].sum(), (1 - event[start:]).sum()
        cut = score[start]
        odds = cut / (1 - cut) if cut < 1 else np.nan
        yield (
            place,
            place * _CALIBRATION_BINS // max(len(starts), _CALIBRATION_BINS),
            cut,
            (stop - start) / rows,
            score[start:stop].mean(),
            event[start:stop].mean(),
            hits / events,
            1 - alarms / (rows - events),
            hits / (hits + alarms),
            (hits - alarms * odds) / rows,
            (events - (rows - events) * odds) / rows,
        )


def _spent(result: Measured, least: int) -> tuple[Any, ...]:
    about, spent = result.about, result.about.get("spent") or {}
    if isinstance(spent, list):  # steps of each seed's kept weights alone
        spent = {"kept": spent}

    def shown(name: str) -> int | None:
        count = about.get(name)
        return count if count is not None and (count == 0 or count >= least) else None

    rows, events = about.get("train_rows"), about.get("train_events")
    hidden = rows is not None and events is not None and not enough(events, rows, least)
    kept = ", ".join(map(str, spent["kept"])) if "kept" in spent else None
    chosen = json.dumps(spent["chosen"], sort_keys=True) if "chosen" in spent else None
    trained = (shown("train_rows"), None if hidden else shown("train_events"))
    return (*trained, spent.get("trials"), spent.get("steps"), kept, chosen, result.about["reason"])


def _site(
    whole: pa.Table, rows: Rows, task: str, target: str, sequences: Path | None, least: int
) -> Iterator[tuple[Any, ...]]:
    """Describe the cohort by split: counts that may be shown, years, and what is missing."""
    splits = ("train", *SPLITS)
    parts = [rows.of(split) for split in splits]
    counts = np.array([[len(np.unique(p.person_id)), len(p.label), int(p.label.sum())] for p in parts])
    persons, of_rows = (parts_shown(column, least) for column in counts.T[:2])
    both = of_rows & parts_shown(counts[:, 2], least, False) & parts_shown(counts[:, 1] - counts[:, 2], least, False)
    lengths = None
    if sequences is not None:
        read = _sequence_lengths(sequences)
        lengths = np.array([read.get(int(one), 0) for one in whole["row_id"].to_numpy()])
    for place, split in enumerate(splits):
        inside = (whole["split"].to_numpy(zero_copy_only=False) == split).astype(bool)
        part, number = whole.filter(inside), int(counts[place, 1])

        def share(count: int, number: int = number) -> float | None:
            return count / number if number and count != number and enough(count, number, least) else None

        years: tuple[int | None, int | None] = (None, None)
        if "index_date" in whole.column_names and number:
            year, found = np.unique(pc.year(part["index_date"]).to_numpy(), return_counts=True)
            often = year[found >= least]
            years = (int(often[0]), int(often[-1])) if len(often) else years
        missing: list[float | None] = [None, None]
        for column, name in enumerate(("sex", "race")):
            if name in whole.column_names and number:
                unknown = pc.is_in(pc.fill_null(part[name], "unknown"), value_set=pa.array(["unknown", ""]))
                missing[column] = share(int(pc.sum(unknown).as_py()))
        of_split = lengths[inside] if lengths is not None and number >= least else None
        yield (
            task,
            target,
            split,
            *(
                int(n) if ok else None
                for n, ok in zip(counts[place], (persons[place], of_rows[place], both[place]), strict=True)
            ),
            *years,
            float(of_split.mean()) if of_split is not None else None,
            share(int((of_split == 0).sum())) if of_split is not None else None,
            *missing,
        )


def _sequence_lengths(sequences: Path) -> dict[int, int]:
    import pyarrow.parquet as pq

    table = pq.read_table(sequences, columns=["row_id", "tokens"])
    lengths = pc.list_value_length(table["tokens"])
    return dict(zip(table["row_id"].to_pylist(), lengths.to_pylist(), strict=True))


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array(column, type=field.type, from_pandas=True)  # NaN is null
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


__all__ = ["LOCAL", "MEANING", "SCHEMAS", "Arm", "evaluate"]
