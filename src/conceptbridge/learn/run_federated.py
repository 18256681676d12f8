"""The model of all sources by federated training: a process per site, none of which sees another site's rows."""

from pathlib import Path

from conceptbridge.core.atomic_files import atomic_folder
from conceptbridge.learn.arm_files import write_arm
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.processes import Serve, processes, serve
from conceptbridge.learn.federated.server import ALL, federate, refusal, refused
from conceptbridge.learn.training import Arm


def run_federated(job: ArmJob, results: Path, out: Path, at_once: int = 1, run: Serve = serve) -> None:
    """Train the model of the job's sources, which all targets share, and write its folder to ``out``.

    At most ``at_once`` sites compute at a time, which changes no number. ``run`` is what a site's process runs. That
    there is no model for such a learner or embedding, or too little at the sites, is a finding: arm.json says why.

    Raises StudyError when a site's process ends or finds its files wrong; then nothing is written.
    """
    with atomic_folder(out) as folder:
        if (reason := refusal(job)) is not None:
            result = refused(reason)
        else:
            with processes(job, dict.fromkeys(job.sources, results), at_once, run) as sites:
                result = federate(Arm(job, folder), sites)
        write_arm(folder, None, {ALL: result})
