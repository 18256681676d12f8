"""One entry for an arm on a translation: the one-hot models of sources, or one of all sites' rows, in other words."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from conceptbridge import layout
from conceptbridge.core.read_parquet import read_table
from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.run_arm import as_seen, make_arm, read_events_of, read_site_of
from conceptbridge.learn.site import Site
from conceptbridge.learn.translated import read_as_tokens, translate_draws
from conceptbridge.study.strategies import LOCAL, Needs, strategy
from conceptbridge.translate.run_translation import read_translations


def run_translated_arm(job: ArmJob, results: Path, out: Path) -> None:
    """Make an arm on a translation from the files below ``results`` and write its folder to ``out``.

    The models of single sources are one-hot's, translated. Where the rows of several sites are joined, all are read in
    the words of the job's ``hub``. Raises StudyError when a translation is missing.
    """
    where = (job.task, job.embedding.local_arms, job.learner, LOCAL)
    if strategy(job.strategy).needs == Needs.SOURCE_MODELS:
        assert job.target is not None
        source_arms = {source: layout.arm(results, *where, source) for source in job.sources}
        make_arm(job, out, read_site_of(job, results, job.target), (), source_arms, None, translators(job, results))
        return
    target = None if job.target is None else in_words_of_hub(job, results, job.target)
    if job.from_shared_model:
        shared_arm = layout.sources_model(results, job.task, job.embedding.folder, job.learner, job.strategy)
        make_arm(job, out, target, shared_arm=shared_arm)
    else:
        make_arm(job, out, target, [in_words_of_hub(job, results, site) for site in job.sources])


def translators(job: ArmJob, results: Path) -> Mapping[str, Callable[[TrainedModel], TrainedModel]]:
    """What brings each source's model in the target's words."""
    assert job.target is not None
    return {
        source: partial(translate_draws, translations=_translations(job, results, job.target, source))
        for source in job.sources
    }


def in_words_of_hub(job: ArmJob, results: Path, name: str) -> Site:
    """A site's rows, as the job's learner sees them, in the words of the job's hub."""
    site = read_events_of(job, results, name)
    if job.hub is None or job.hub == name:
        return as_seen(job, site)
    keys = read_table(layout.rows(results, job.task, job.hub)[1], columns=["key"])["key"].to_pylist()
    translation = _translations(job, results, name, job.hub)[0]
    return as_seen(job, replace(site, rows=read_as_tokens(site.rows, translation, set(keys))))


def _translations(job: ArmJob, results: Path, target: str, source: str) -> list[pa.Table]:
    folder = layout.place(layout.TRANSLATIONS, task=job.task, embedding=job.embedding.folder, target=target)
    return read_translations(results / folder / f"{source}.parquet")
