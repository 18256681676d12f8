"""Read and inspect a study from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.study import study as checked
from conceptbridge.study.config import read_study
from conceptbridge.study.strategies import Needs, strategy
from conceptbridge.study_files import mistakes


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
    """A checked study, with all defaults filled in.

    ``config`` is all of it; ``sites``, ``targets``, ``sources``, ``strategies`` and ``embeddings`` are its parts.
    """

    @classmethod
    def read(cls, study: str | Path | Mapping[str, Any]) -> "Study":
        """Read a study from its YAML file, or from a mapping of the same keys.

        Paths in it are relative to the working folder, as they are in a run. Raises StudyError with the file or key,
        what was found and the nearest valid value.
        """
        result = read_study(study if isinstance(study, Mapping) else _read_yaml(Path(study)))
        return cls(result.config, result.embeddings, result.catalogue)

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return Path(self.config["results"])

    def arms(self) -> list[Arm]:
        """Return the study's arms, one per source, in the config's order; ``pandas.DataFrame(arms)`` gives a table."""
        return [
            Arm(task, target, source, how, learner, embedding)
            for task in self.config["tasks"]
            for target in self.targets
            for embedding in self.embeddings
            for learner in self.config["learners"]
            for how in self.strategies_at(target)
            if self.has_arms(self.embeddings[embedding], how)
            for source in self._sources(how, target)
        ]

    def mistakes(self) -> list[str]:
        """Return one message per mistake in the files that the study names; none if it can run."""
        return mistakes(self)

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
    except (yaml.YAMLError, ValueError) as error:  # also of a day that there is not: 2016-02-30
        raise StudyError(f"{file}: this study is not YAML ({error})") from error
    if not isinstance(config, dict):
        raise StudyError(f"{file}: this study has no keys; `conceptbridge init` writes a study to start from")
    return config
