"""Evaluate every arm of one task at one target, on the same rows and the same resamples."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate import table_rows
from conceptbridge.evaluate.binned_curves import points
from conceptbridge.evaluate.bootstrap import draw
from conceptbridge.evaluate.cohort_summary import describe_site
from conceptbridge.evaluate.comparisons import Reference, choose
from conceptbridge.evaluate.measure import Arm, ArmEvaluator, ArmResult, Context, Settings, measure_folders
from conceptbridge.evaluate.predictions import SPLITS, read_cohort, rows_of
from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.evaluate.subgroups import by_share, read_tokens, seen_by, subgroups, unseen

logger = logging.getLogger(__name__)

OTHERS = "others"
"""The source of a model of all other sites (``leave-one-out``)."""


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
    cohort_rows = rows_of(whole)
    test = cohort_rows.of("test")
    events = None if sequences is None else read_tokens(sequences, (tokens or {})[target], test.row_id)
    of_test = whole.filter(pc.equal(whole["split"], "test"))
    unseen_by, unseen_rows = {}, []
    if events is not None and tokens is not None:
        for source, paths in _sources(tokens, target).items():
            share, shares = unseen(events, *seen_by(paths, least))
            unseen_by[source] = by_share(share)
            unseen_rows.append((task, source, target, *shares.values()))
    context = Context(
        cohort_rows.of(*SPLITS),
        draw(test.person_id, measuring.replicates, settings["seed"], task, target),
        measuring,
        subgroups(of_test, settings["age_bands"], events, settings["subgroups"], least),
        unseen_by,
    )

    results: dict[Arm, ArmResult] = {}
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
    choice = choose(results, target, controls, reference)
    bench = ArmEvaluator(context)
    counts = {split: table_rows.counts_of(cohort_rows.of(split).label, least) for split in SPLITS}
    made: dict[str, Iterable[tuple[Any, ...]]] = {
        "metrics": table_rows.metrics(results, task, target, measuring, counts),
        "seeds": table_rows.seeds(results, task, target, measuring),
        "comparisons": table_rows.comparisons(results, task, target, controls, choice, bench, counts["test"]),
        "effects": table_rows.effects(results, task, target, choice, bench),
        "subgroups": ((task, *arm, target, *cell) for arm, one in results.items() for cell in one.groups),
        "unseen": unseen_rows,
        "curves": table_rows.curves(results, task, target, settings["seed"]),
        "breakeven": table_rows.break_evens(results, task, target, choice, bench, cohort_rows, settings["seed"]),
        "points": points(results, task, target, choice, controls, context, dict(folders), least),
        "spent": ((task, *arm, target, *table_rows.spent(one, least)) for arm, one in results.items()),
        "site": describe_site(whole, cohort_rows, task, target, sequences, least),
    }
    return {name: to_table(list(of), SCHEMAS[name]) for name, of in made.items()}


def _sources(tokens: Mapping[str, Path], target: str) -> dict[str, list[Path]]:
    others = {source: [path] for source, path in sorted(tokens.items()) if source != target}
    return others | ({OTHERS: [path for (path,) in others.values()]} if len(others) > 1 else {})


def _check_sources(results: Mapping[Arm, ArmResult], arms: Path) -> None:
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
