"""Federated training between hospitals that share no disk: a hospital joins, the coordinator leads."""

import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.exchange.network.coordinator import write_refusal
from conceptbridge.exchange.network.flare_kit import ENGAGEMENT, kit_of, prepare, running, train
from conceptbridge.exchange.network.hospital import Engagement
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.server import refusal
from conceptbridge.study.study import Study

Tell = Callable[[str], None]
#: the file of a model's bundle -> its job, and what the bundle says of it (``Plan.federated_jobs``)
Jobs = Mapping[str, tuple[ArmJob, dict[str, Any]]]
#: the coordinator's folder among those of sites
COORDINATOR = "coordinator"
#: seconds for which a hospital stays after the last model, so that the coordinator can end its job
_LAST = 15.0


def engagement(study: Study, jobs: Jobs, site: str) -> Engagement:
    """What a hospital of this study takes part in. Raises StudyError if the study does not say where models go, or the
    site's rows have not been made."""
    results = Path(study.config["results"]).absolute()
    if site not in study.own:
        raise StudyError(
            f"the kit is that of {site}, and the study has no rows of a site of this name (it has those of "
            f"{', '.join(study.own) or 'none'}); name the site as the kit does"
        )
    if study.federated_models is None:
        raise StudyError("config: federated_models: give the folder for the models that are trained over the network")
    told = {}
    for file, (job, about) in jobs.items():
        if refusal(job) is not None:
            continue
        tables = [job.embedding.tables] if job.embedding.tables and not job.embedding.learned else []
        needed = [*layout.rows(results, job.task, site), *(layout.vectors(results, table, site) for table in tables)]
        if missing := [path for path in needed if not path.is_file()]:
            raise StudyError(f"{missing[0]}: there is no such file; run `conceptbridge run STUDY.yaml` first")
        told[file] = {"about": about, "job": json.loads(job.to_json())}
    return Engagement(
        site,
        str(results),
        study.config["min_cell_count"],
        told,
        str(study.federated_models.absolute()),
        str(results / layout.place(layout.LEFT, site=site)),
        canonical(study.told),
        [str(Path(study.extract(site)).absolute())],
    )


def join(study: Study, jobs: Jobs, kit: Path, tell: Tell) -> None:
    """Take part until all models are there. Raises StudyError if a question was refused, or FLARE ended."""
    site = kit_of(kit, "client")
    joined = engagement(study, jobs, site)
    workspace = Path(joined.results) / layout.place(layout.NETWORK, site=site)
    prepare(kit, workspace, "client")
    joined.write(workspace / ENGAGEMENT)
    began, missing, log = time.time(), set(joined.jobs), _Log(Path(joined.log))
    _write_refusals(jobs, Path(joined.models))
    with running(workspace, "client", site) as process:
        tell(f"{site} takes part; what leaves is listed in {joined.log}")
        while missing:
            if process.poll() is not None:
                raise StudyError(f"NVIDIA FLARE has ended; {workspace}/output.txt says why")
            for line in log.new():
                if line["refused"]:
                    raise StudyError(f"{line['question']}: {line['refused']}")
                if line["question"] == "begin":
                    tell(f"training {line['learner']} on {line['embedding']} for {line['task']}")
            for file in sorted(missing):
                path = Path(joined.models) / file
                if path.is_file() and path.stat().st_mtime >= began:
                    missing.remove(file)
                    tell(f"wrote {path}")
            time.sleep(0.5)
        time.sleep(_LAST)


def _write_refusals(jobs: Jobs, bundles: Path) -> None:
    """Write what is known without asking: for which models there is no federated training."""
    for file, (job, about) in jobs.items():
        if (reason := refusal(job)) is not None:
            write_refusal(about, reason, bundles / file)


class _Log:
    """A hospital's log of what left, as it grows."""

    def __init__(self, file: Path) -> None:
        self.file, self.seen = file, 0
        self.new()

    def new(self) -> list[dict[str, str]]:
        """The lines that have come since the last look."""
        if not self.file.is_file():
            return []
        with self.file.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        new, self.seen = lines[self.seen :], len(lines)
        return new


def lead(study: Study, jobs: Jobs, server: Path, admin: Path, tell: Tell) -> list[Path]:
    """Train all federated models of the study with its sources, and return their bundles, for which there is a kit of
    the server and one of its administrator.

    Raises StudyError if a hospital does not answer, or will not; bundles of models that were trained before that stay.
    """
    kit_of(admin, "admin")
    results = Path(study.config["results"]).absolute()
    workspace = results / layout.place(layout.NETWORK, site=COORDINATOR)
    name = kit_of(server, "server")
    prepare(server, workspace, "server")
    tasks, bundles = {}, results / Path(layout.FEDERATED).parent
    for file, (job, about) in jobs.items():
        out = bundles / file
        out.unlink(missing_ok=True)
        told = {"hospitals": study.sources, "job": json.loads(job.to_json()), "about": about, "out": str(out)}
        if refusal(job) is None:
            tasks[out.stem] = told
    _write_refusals(jobs, bundles)
    with running(workspace, "server", name):
        train(workspace, admin, tasks, tell)
    return [Path(task["out"]) for task in tasks.values()]
