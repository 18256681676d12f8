"""One entry for every arm: read what its strategy needs, let the strategy make it, write its folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_folder
from conceptbridge.learn.arm_files import TrainedModel, write_arm
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.places import Windows
from conceptbridge.learn.site import Site, read_site
from conceptbridge.learn.training import Arm
from conceptbridge.learn.windows import in_windows
from conceptbridge.study.strategies import LOCAL, Needs, strategy


def run_arm(job: ArmJob, results: Path, out: Path) -> None:
    """Make an arm from the files below ``results`` and write its folder to ``out``.

    Too few events at a site are a finding, not an error: arm.json gives the reason and there are no predictions.

    Raises StudyError when there is no such strategy, or a source's model was made with another embedding.
    """
    needs = strategy(job.strategy).needs
    target = read_site_of(job, results, job.target) if job.target is not None else None
    others: list[Site] = []
    source_arms: dict[str, Path] = {}
    shared_arm: Path | None = None
    where = (job.task, job.embedding.folder, job.learner)
    if needs == Needs.SOURCE_MODELS:
        source_arms = {source: layout.arm(results, *where, LOCAL, source) for source in job.sources}
    elif needs == Needs.ROUNDS or (needs == Needs.SHARED_ROWS and job.from_shared_model):
        shared_arm = layout.sources_model(results, *where, job.strategy)
    elif needs == Needs.SHARED_ROWS:
        others = [read_site_of(job, results, site) for site in job.sources]
    make_arm(job, out, target, others, source_arms, shared_arm)


def make_arm(
    job: ArmJob,
    out: Path,
    target: Site | None,
    other_sites: Sequence[Site] = (),
    source_arms: Mapping[str, Path] | None = None,
    shared_arm: Path | None = None,
    translations: Mapping[str, Callable[[TrainedModel], TrainedModel]] | None = None,
) -> None:
    """Make an arm from what has been read and write its folder to ``out``; see ``training.Arm``."""
    how = strategy(job.strategy)
    seen = target if target is None or how.uses_target_labels else target.without_labels()
    with atomic_folder(out) as folder:
        arm = Arm(job, folder, seen, other_sites, source_arms or {}, shared_arm, translations or {})
        write_arm(folder, target, how.run(arm))


def read_site_of(job: ArmJob, results: Path, site: str) -> Site:
    """Read a site's rows of the job's task, as its learner sees them, with the vectors that the job needs there."""
    return as_seen(job, read_events_of(job, results, site))


def as_seen(job: ArmJob, site: Site) -> Site:
    """A site with its events gathered in the job's windows, where it has any."""
    return replace(site, rows=in_windows(site.rows, Windows.read(job.windows)))


def read_events_of(job: ArmJob, results: Path, site: str) -> Site:
    """Read a site's rows of the job's task, with the vectors that the job needs there, from below ``results``."""
    table = None
    if job.embedding.tables is not None and job.embedding.of_rows:
        table = layout.vectors(results, job.embedding.tables, site, job.task)
    elif job.embedding.tables is not None and not job.embedding.learned:
        table = layout.vectors(results, job.embedding.tables, site)
    elif job.embedding.tables is not None and strategy(job.strategy).needs == Needs.OWN_ROWS:
        # learned from the site's own rows; elsewhere the vectors come with the model
        table = layout.vectors(results, job.embedding.tables, site, job.task)
    return read_site(site, layout.rows(results, job.task, site), table)
