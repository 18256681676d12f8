"""Train the headline arms again on half-samples of their training persons, for limits of the method.

A job reads the rows of one site: local models are trained at each site (``resample_local``), and brought to a target
there (``resample_arms``). Only ``pooled`` and ``leave-one-out`` read the rows of several sites, as they always do.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_folder, write_json
from conceptbridge.core.read_parquet import read_table
from conceptbridge.evaluate.delong import person_clusters
from conceptbridge.evaluate.measure import flaw, too_few
from conceptbridge.evaluate.method_limits import Tested, headline_arms, headline_pairs, method_rows, score
from conceptbridge.evaluate.predictions import Rows, read_arm
from conceptbridge.evaluate.schemas import METHOD_LIMITS, Arm, schema, to_table
from conceptbridge.learn.arm_files import read_entry
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.half_samples import half_sample
from conceptbridge.learn.resampling import Resampling
from conceptbridge.learn.run_arm import make_arm, read_site_of
from conceptbridge.learn.site import TESTED, Site
from conceptbridge.learn.translated_arm import in_words_of_hub, translators
from conceptbridge.study.strategies import LOCAL, Needs, strategy


def resample_local(
    what: Resampling, task: str, site: str, comparisons: Iterable[Path], results: Path, out: Path, processes: int = 1
) -> None:
    """Train the local models of a site that headline arms use, on each half-sample of its training persons.

    ``comparisons`` are the tables of all targets: they name the headline arms. ``out`` becomes the folder of
    ``{half-sample}/{embedding}/{learner}/``, each the folder of an arm; it is empty where no headline arm uses the
    site's models.
    """
    used = [
        arm
        for path in comparisons
        for arm in headline_arms(headline_pairs(_read(path)))
        if arm.source == site and _is_local_based(arm)
    ]
    needed = {(what.trained_as.get(arm.embedding, arm.embedding), arm.learner) for arm in used}
    jobs = [job for job in what.arms if (job.embedding.name, job.learner) in needed]
    with atomic_folder(out) as folder:
        write_json({"models": sorted(needed)}, folder / "resampled.json")
        _each_half(partial(_train_local, what, task, site, jobs, results, folder), what.resamples, processes)


def resample_arms(
    what: Resampling, task: str, target: str, comparisons: Path, results: Path, processes: int = 1
) -> pa.Table:
    """Make the headline arms of a target from each half-sample, and return the table ``method_limits``.

    Local models are those that ``resample_local`` trained at each site. An arm without limits of the method says why in
    ``reason``.
    """
    pairs, jobs = headline_pairs(_read(comparisons)), {_key(job): job for job in what.arms}
    arms = {arm: jobs[arm.embedding, arm.learner, arm.strategy] for arm in headline_arms(pairs)}
    if not arms:
        return schema(METHOD_LIMITS).empty_table()
    site = read_site_of(next(iter(arms.values())), results, target)
    test = site.rows.of("test")
    label, clusters = site.rows.labels[test], person_clusters(site.rows.labels[test], site.rows.person_ids[test])
    tested: dict[Arm, Tested | str] = {}
    if why := flaw(label, "test") or too_few(clusters, what.min_persons):
        tested = dict.fromkeys(arms, why)
    else:
        whole = {arm: _of_all_persons(job, arm, site, results) for arm, job in arms.items()}
        each = _each_half(partial(_make_arms, what, task, target, arms, results), what.resamples, processes)
        for arm, (reason, probability) in whole.items():
            halves = [of_half[arm] for of_half in each]
            scores = [score(label, of_half, clusters) for _, of_half in halves if of_half is not None]
            lacks = next((f"no limits of the method: in a half-sample, {why}" for why, _ in halves if why), None)
            tested[arm] = (
                str(reason) if probability is None else Tested(score(label, probability, clusters), scores, lacks)
            )
    return to_table(list(method_rows(task, target, pairs, tested, clusters)), schema(METHOD_LIMITS))


def _each_half(work: Callable[[int], Any], resamples: int, processes: int) -> list[Any]:
    """What ``work`` returns for each half-sample, in order; the same in one process or several."""
    if processes <= 1:
        return [work(number) for number in range(resamples)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=threadpool_limits, initargs=(1,)) as pool:
        return list(pool.map(work, range(resamples)))


def _train_local(
    what: Resampling, task: str, site: str, jobs: Sequence[ArmJob], results: Path, folder: Path, number: int
) -> None:
    for job in jobs:
        half = half_sample(read_site_of(job, results, site), number, what.seed, task)
        make_arm(_of_half(job, site, results, site), _local(folder, number, job), half)


def _make_arms(
    what: Resampling, task: str, target: str, arms: Mapping[Arm, ArmJob], results: Path, number: int
) -> dict[Arm, tuple[str | None, NDArray[np.float64] | None]]:
    """What each arm predicts of the test rows (seeds, test rows) when it is made from one half-sample, or why not."""
    with tempfile.TemporaryDirectory(dir=results, prefix=".resample.") as temporary:
        return {
            arm: _make_arm(what, task, target, arm, job, results, Path(temporary) / str(place), number)
            for place, (arm, job) in enumerate(arms.items())
        }


def _make_arm(
    what: Resampling, task: str, target: str, arm: Arm, job: ArmJob, results: Path, out: Path, number: int
) -> tuple[str | None, NDArray[np.float64] | None]:
    needs = strategy(job.strategy).needs
    at = half_sample(in_words_of_hub(job, results, target), number, what.seed, task)
    if job.strategy == LOCAL:
        return _of_test(_local(_resampled(results, task, target), number, job), arm.source, at)
    if needs == Needs.ROUNDS:
        return "rounds of several sites are not run again on half-samples", None
    given: dict[str, Any] = {}
    sources = [site for site in what.sources if site != target]
    if needs == Needs.SOURCE_MODELS:
        sources = [arm.source]
        if arm.source not in what.sources:
            return f"the training persons of {arm.source} are not here", None
        given["source_arms"] = {arm.source: _local(_resampled(results, task, arm.source), number, job)}
        if job.embedding.models:  # what a token is read as is not learned from labels, and is not made again
            given["translations"] = translators(replace(job, sources=sources), results)
    elif needs == Needs.SHARED_ROWS:
        given["other_sites"] = [
            half_sample(in_words_of_hub(job, results, site), number, what.seed, task) for site in sources
        ]
    job = replace(_of_half(job, target, results, arm.source), sources=sources, from_shared_model=False)
    make_arm(job, out, at, **given)
    return _of_test(out, arm.source, at)


def _of_half(job: ArmJob, target: str, results: Path, source: str) -> ArmJob:
    """The job of an arm on a half-sample: with the settings that were chosen with all persons, without curves, and with
    half the events and rows that it has to have."""
    budget = job.budget
    folder = layout.arm(results, job.task, job.embedding.folder, job.learner, job.strategy, target)
    chosen = (read_entry(folder, source).get("spent") or {}).get("chosen", {})
    settings = {**budget.settings, **{name: chosen[name] for name in budget.searched if name in chosen}}
    held = replace(
        budget,
        settings=settings,
        searched={name: values for name, values in budget.searched.items() if name not in chosen},
        min_events=-(-budget.min_events // 2),
        min_rows=-(-budget.min_rows // 2),
        sizes=(),
        replicates=0,
        depths=(),
    )
    return replace(job, budget=held)


def _of_all_persons(job: ArmJob, arm: Arm, site: Site, results: Path) -> tuple[str | None, NDArray[np.float64] | None]:
    folder = layout.arm(results, job.task, job.embedding.folder, job.learner, job.strategy, site.name)
    return _of_test(folder, arm.source, site)


def _of_test(folder: Path, source: str, site: Site) -> tuple[str | None, NDArray[np.float64] | None]:
    """What the arm in ``folder`` from a source predicts of the site's test rows, or why it predicts nothing."""
    rows, tested = site.rows, site.rows.of(*TESTED)
    expected = Rows(rows.row_ids[tested], rows.person_ids[tested], rows.labels[tested], rows.split[tested])
    for predictions in read_arm(folder, expected):
        if predictions.source == source:
            of_test = predictions.probability[:, expected.split.astype(str) == "test"]
            return predictions.reason, of_test if predictions.reason is None else None
    return f"no model from {source}", None


def _read(comparisons: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(comparisons).to_pylist()
    return rows


def _is_local_based(arm: Arm) -> bool:
    """Whether the arm is a local model, or starts from one."""
    return arm.strategy == LOCAL or strategy(arm.strategy).needs == Needs.SOURCE_MODELS


def _key(job: ArmJob) -> tuple[str, str, str]:
    return job.embedding.name, job.learner, job.strategy


def _local(folder: Path, number: int, job: ArmJob) -> Path:
    """The folder of a local arm of one half-sample."""
    return folder / str(number) / job.embedding.local_arms / job.learner


def _resampled(results: Path, task: str, site: str) -> Path:
    return results / layout.place(layout.RESAMPLED, task=task, site=site)
