"""Arms of made-up sites, each strategy by what it needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import atomic_folder
from conceptbridge.learn.arm_files import write_arm
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.federated.client import Client
from conceptbridge.learn.federated.server import federate
from conceptbridge.learn.federated.sites import InProcess
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import Site
from conceptbridge.learn.training import Arm


def train_local(target: Site, learner: str, embedding: Mapping[str, str], budget: Budget, out: Path) -> None:
    """Train at the target itself."""
    make_arm(_job(target, [], "local", learner, embedding, budget), out, target)


def transfer(
    target: Site,
    learner: str,
    strategy: str,
    sources: Mapping[str, Path],
    fingerprint: str,
    budget: Budget,
    out: Path,
) -> None:
    """Bring the models of the sources' local arms to the target."""
    embedding = {"name": "made", "fingerprint": fingerprint, "backend": ""}
    make_arm(_job(target, [*sources], strategy, learner, embedding, budget), out, target, source_arms=sources)


def train_together(
    target: Site | None,
    others: Sequence[Site],
    strategy: str,
    learner: str,
    embedding: Mapping[str, str],
    budget: Budget,
    out: Path,
) -> None:
    """Train on the rows of several sites; without a target, the model that targets which are no source share."""
    make_arm(_job(target, [site.name for site in others], strategy, learner, embedding, budget), out, target, others)


def train_federated(job: ArmJob, sites: Sequence[Site], out: Path) -> None:
    """The model of the sites' rows that is trained in rounds, all in this process."""
    with atomic_folder(out) as folder:
        clients = InProcess({site.name: Client(job, site) for site in sites})
        write_arm(folder, None, {"all": federate(Arm(job, folder), clients)})


def _job(
    target: Site | None,
    sources: Sequence[str],
    strategy: str,
    learner: str,
    embedding: Mapping[str, str],
    budget: Budget,
) -> ArmJob:
    name = target.name if target else None
    return ArmJob("made", name, sources, strategy, learner, ArmEmbedding(**embedding), budget)
