"""Evaluate every arm of one task at one target, on the same rows and the same resamples."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate import table_rows
from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.binned_curves import binned_curves
from conceptbridge.evaluate.bootstrap import draw
from conceptbridge.evaluate.cohort_summary import describe_site
from conceptbridge.evaluate.comparisons import Controls, Reference, choose
from conceptbridge.evaluate.measure import ArmEvaluator, Context
from conceptbridge.evaluate.metric_columns import Settings
from conceptbridge.evaluate.predictions import SPLITS, read_cohort, rows_of
from conceptbridge.evaluate.schemas import EXTERNAL, SCHEMAS, Arm, to_table
from conceptbridge.evaluate.subgroups import by_share, subgroups, unseen_events
from conceptbridge.evaluate.workers import measure_folders
from conceptbridge.tasks.tokens import read_tokens, seen_by

logger = logging.getLogger(__name__)

OTHERS = "others"
"""The source of a model of all other sites (``leave-one-out``)."""


class ArmFolders(NamedTuple):
    """The arms of a task, in the order of the tables, and where they lie.

    ``folder`` holds ``{embedding_id}/{learner}/{strategy}/{target}/``; ``embeddings`` maps names to ids, and
    ``controls`` maps the names among them that carry no meaning to those of the embeddings whose place each takes.
    ``without`` maps an embedding to the strategies that have no arms on it, and ``external`` a model of
    predictions from a file to its folder at the target.
    """

    folder: Path
    embeddings: Mapping[str, str]
    controls: Mapping[str, Sequence[str]]
    learners: Sequence[str]
    strategies: Sequence[str]
    without: Mapping[str, Sequence[str]] = {}
    external: Mapping[str, Path] = {}

    def at(self, target: str) -> dict[Arm, Path]:
        """Return each arm, without its source, and its folder at a target."""
        external = {Arm(name, EXTERNAL, EXTERNAL, ""): folder for name, folder in self.external.items()}
        own = {
            Arm(name, learner, strategy, ""): self.folder / embedding / learner / strategy / target
            for (name, embedding), learner, strategy in product(self.embeddings.items(), self.learners, self.strategies)
            if strategy not in self.without.get(name, ())
        }
        return own | external


class TargetFiles(NamedTuple):
    """The target's ``cohort.parquet`` and ``sequences.parquet``, and the ``tokens.parquet`` of each site."""

    cohort: Path
    sequences: Path | None = None
    tokens: Mapping[str, Path] | None = None


def evaluate(
    task: str, target: str, arms: ArmFolders, files: TargetFiles, settings: Mapping[str, Any], processes: int = 1
) -> dict[str, pa.Table]:
    """Evaluate all arms of ``task`` at ``target``: estimates, their limits and paired differences.

    ``settings`` is the config's ``evaluation`` with ``min_cell_count``, ``drawn``, the controls whose vectors are
    drawn, and ``trained_as`` (``comparisons.Controls``). Returns the tables of :data:`SCHEMAS`, the same for any number
    of ``processes``:

    - ``metrics``: one row per arm, split, metric and cut. The estimate is the mean over all seeds, ``seed_sd`` their
      standard deviation (null with one seed). Test rows have 95 % limits that cover the draw of test persons, whole
      persons at a time, and of seeds; ``method`` names them. Validation rows have none: choices are made on them.
    - ``seeds``: the estimate of every seed.
    - ``comparisons``: differences on the same test rows, first arm minus ``ref_`` arm
      (``comparisons.pairs`` says which, ``comparisons.compare`` how). A positive difference is better for AUROC and
      AUPRC, **a negative one for Brier**.
    - ``effects``: per embedding, learner and strategy, the AUROC and its difference from the reference, mean over
      sources, with variances, for a summary over targets.
    - ``subgroups``: AUROC, Brier score and observed minus expected share by sex, age band, race, the study's own
      subgroups, and the share of events whose token the source has never seen.
    - ``unseen``: per source, the share of the target's events whose token it has never seen.
    - ``curves``: AUROC by labelled events given (``size``; ``replicates`` are draws of the training persons) or by
      share of the tuning budget (``depth``; ``replicates`` are seeds). ``auroc_sd`` is the standard deviation over
      these replicates.
    - ``breakeven``: local events from which local training is as good as each transferred model.
    - ``binned_curves``: calibration, ROC, precision-recall and net benefit of the arms that the answer names, in bins
      of at least ``min_cell_count`` events and non-events, the rows of all seeds together.
    - ``training_budget``: what each arm was given and what it used.
    - ``site``: the target's cohort by split.

    ``reason`` says why there is no estimate, or no limits. Counts below ``min_cell_count``, of persons, rows, events or
    rows without the event, are null, and so are the counts they could be worked out from.

    Raises StudyError when an arm's folder is missing or incomplete, or its predictions are not exactly those of the
    cohort's validation and test rows.
    """
    if unknown := sorted(set(arms.controls) - set(arms.embeddings)):
        raise StudyError(
            f"controls {unknown} are not among the embeddings {list(arms.embeddings)}; name embeddings of the study"
        )
    cohort = read_cohort(files.cohort)
    rows = rows_of(cohort)
    context, unseen_rows = _context(task, target, cohort, files, settings)
    results = _measure_all(task, target, arms, context, processes)
    reference = Reference(**{name: settings["reference"][name] for name in Reference._fields})
    if reference.embedding not in arms.embeddings:
        reference = reference._replace(embedding=None)
    min_cell_count = context.settings.min_cell_count
    controls = Controls(
        arms.controls, settings["drawn"], reference.embedding, settings["trained_as"], list(arms.external)
    )
    counts = table_rows.counts_of(rows, min_cell_count)
    at = table_rows.Measured(
        task,
        target,
        results,
        ArmEvaluator(context),
        controls,
        choose(results, target, controls, reference),
        counts,
        table_rows.sum_of_events(counts),
        settings["seed"],
    )
    tables: dict[str, Iterable[tuple[Any, ...]]] = {
        "metrics": table_rows.metrics(at),
        "seeds": table_rows.seeds(at),
        "comparisons": table_rows.comparisons(at),
        "effects": table_rows.effects(at),
        "subgroups": table_rows.subgroups(at),
        "unseen": unseen_rows,
        "curves": table_rows.curves(at),
        "breakeven": table_rows.break_evens(at),
        "binned_curves": binned_curves(at, arms.at(target)),
        "training_budget": table_rows.training_budget(at),
        "site": describe_site(cohort, rows, task, target, files.sequences, min_cell_count),
    }
    return {name: to_table(list(of_table), SCHEMAS[name]) for name, of_table in tables.items()}


def _context(
    task: str, target: str, cohort: pa.Table, files: TargetFiles, settings: Mapping[str, Any]
) -> tuple[Context, list[tuple[Any, ...]]]:
    """Return what all arms share, and the rows of the table ``unseen``."""
    measured = Settings(**{name: settings[name] for name in Settings._fields})
    rows = rows_of(cohort)
    test = rows.of("test")
    tokens = None
    unseen_by, unseen_rows = {}, []
    if files.sequences is not None and files.tokens is not None:
        tokens = read_tokens(files.sequences, files.tokens[target], test.row_id)
        for source, paths in _sources(files.tokens, target).items():
            share, shares = unseen_events(tokens, seen_by(paths, measured.min_cell_count))
            unseen_by[source] = by_share(share)
            unseen_rows.append((task, source, target, *shares.values()))
    divisions = subgroups(
        cohort.filter(pc.equal(cohort["split"], "test")),
        settings["age_bands"],
        tokens,
        settings["subgroups"],
        measured.min_cell_count,
    )
    resamples = draw(test.person_id, measured.replicates, settings["seed"], task, target)
    return Context(rows.of(*SPLITS), resamples, measured, divisions, unseen_by), unseen_rows


def _measure_all(task: str, target: str, arms: ArmFolders, context: Context, processes: int) -> dict[Arm, ArmResult]:
    """Measure all arms at a target, in the order of the study, sources in alphabetical order."""
    folders = list(arms.at(target).items())
    results: dict[Arm, ArmResult] = {}
    for number, measured in enumerate(measure_folders(context, folders, processes), 1):
        results |= {result.arm: result for result in measured}
        if number % 50 == 0 or number == len(folders):
            logger.info("%s at %s: %d of %d arms evaluated", task, target, number, len(folders))
    _check_sources(results, arms.folder)
    return results


def _sources(tokens: Mapping[str, Path], target: str) -> dict[str, list[Path]]:
    others = {source: [path] for source, path in sorted(tokens.items()) if source != target}
    return others | ({OTHERS: [path for (path,) in others.values()]} if len(others) > 1 else {})


def _check_sources(results: Mapping[Arm, ArmResult], folder: Path) -> None:
    """Refuse arms of one strategy that have different sources: a folder is left over from another study."""
    sources: dict[tuple[str, str, str], list[str]] = {}
    for arm in results:
        sources.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(arm.source)
    expected: dict[str, list[str]] = {}
    for (embedding, learner, strategy), of_arm in sources.items():
        if of_arm != expected.setdefault(strategy, of_arm):
            raise StudyError(
                f"{folder}: {embedding}, {learner}, {strategy} has the sources {of_arm}, other arms of this strategy "
                f"have {expected[strategy]}; run the older ones again"
            )
