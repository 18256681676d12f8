"""A study, read and looked at from Python."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.receive.aggregates import find_aggregates
from conceptbridge.exchange.receive.find_bundles import find_bundles
from conceptbridge.sites.extract import check_needs, find_tables
from conceptbridge.study import study as checked
from conceptbridge.study.config import read_study
from conceptbridge.study.strategies import Needs, strategy


class Arm(NamedTuple):
    """One cell of a study: a learner on an embedding, by one strategy, at one target, from one source.

    The source is ``all`` or ``others`` for a model of several sites' rows.
    """

    task: str
    target: str
    source: str
    strategy: str
    learner: str
    embedding: str


class Study(checked.Study):
    """A study as its file says it: checked, with every default filled in.

    ``config`` is the whole of it; ``sites``, ``targets``, ``sources``, ``strategies`` and ``embeddings`` are its parts.
    """

    @classmethod
    def read(cls, study: str | Path | Mapping[str, Any]) -> "Study":
        """Read a study from its YAML file, or from a mapping of the same keys.

        Paths in it are relative to the working folder, as they are to a run. Raises StudyError naming the file or the
        key, what was found and the nearest valid value.
        """
        found = read_study(study if isinstance(study, Mapping) else _read_yaml(Path(study)))
        return cls(found.config, found.embeddings, found.catalogue)

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return Path(self.config["results"])

    def arms(self) -> list[Arm]:
        """The arms of the study, one per source, in the order of its config; ``pandas.DataFrame(arms)`` is a table."""
        return [
            Arm(task, target, source, how, learner, embedding)
            for task in self.config["tasks"]
            for target in self.targets
            for embedding in self.embeddings
            for learner in self.config["learners"]
            for how in self.strategies
            for source in self._sources(how, target)
        ]

    def mistakes(self) -> list[str]:
        """One message per mistake in the files that the study names; none where a run can begin."""
        checks: list[Callable[[], Any]] = [partial(self._check_files, site) for site in self.sites]
        checks += [lambda: self.vocabulary and find_tables(Path(self.vocabulary)), lambda: self.term_pairs]
        return [message for check in checks if (message := _mistake(check))]

    def _check_files(self, site: str) -> None:
        """Raise StudyError where the files of a site are missing or not what the study needs."""
        spec = self.config["sites"][site]
        if "results_file" in spec:
            find_aggregates(Path(self.results_file(site)), site, spec["role"], self.compared())
        elif "bundles" in spec:
            models = product(self.config["tasks"], self.embeddings.values(), self.config["learners"])
            wanted = {(task, e.name, learner): self.model(site, task, e, learner) for task, e, learner in models}
            find_bundles(self.bundles(site), site, wanted)
        elif converter := self.converter(site):
            converter.check(self.conversion(site), site)
        elif not self.simulated(site):
            extract = Path(self.extract(site))
            check_needs(site, extract, find_tables(extract), self.config["tasks"])
        if spec["patients"]:
            _check_file(Path(self.patients(site)), site)

    def _sources(self, name: str, target: str) -> list[str]:
        how = strategy(name)
        if how.source is not None:
            return [how.source]
        return [target] if how.needs == Needs.OWN_ROWS else self.others(target)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{file}: this study cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: this study is not YAML ({error})") from error
    if not isinstance(config, dict):
        raise StudyError(f"{file}: this study has no keys; `conceptbridge init` writes one to start from")
    return config


def _check_file(file: Path, site: str) -> None:
    if not file.is_file():
        raise StudyError(f"{file}: there is no such file (config: sites.{site})")


def _mistake(check: Callable[[], Any]) -> str | None:
    try:
        check()
    except StudyError as error:
        return str(error)
    return None
