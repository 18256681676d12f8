"""The converters of input by name, and what each of them declares and does.

A converter turns what is not an OMOP CDM into an extract of one. It is one subclass of ``Converter`` in a module of its
own: in this package, or in another one that names it as an entry point of the group ``conceptbridge.converters``.
Reading a study imports these modules, so they import nothing heavy at their top.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

#: what a site's config says under the converter's key
Settings = dict[str, Any]


class Converter:
    """One kind of input that becomes an OMOP extract. A subclass sets the attributes and writes ``convert``."""

    #: the key of a site in the config, in place of `extract`
    name: ClassVar[str]
    #: what it reads, in messages: "for TITLE"
    title: ClassVar[str]
    #: JSON schema of the value of that key
    schema: ClassVar[Mapping[str, Any]]
    #: the settings that are files: those relative to where the workflow runs, and those below the study's `data`
    files: ClassVar[tuple[str, ...]] = ()
    data_files: ClassVar[tuple[str, ...]] = ()
    #: the CDM tables that it writes
    tables: ClassVar[tuple[str, ...]]

    def resolve(self, settings: Mapping[str, Any], data: Path) -> Settings:
        """The settings with the files below ``data`` in place."""
        below = {key: str(data / Path(settings[key]).expanduser()) for key in self.data_files if settings.get(key)}
        return {**settings, **below}

    def inputs(self, settings: Mapping[str, Any]) -> list[str]:
        """The files that ``convert`` reads; a change of one of them converts again."""
        return [str(settings[key]) for key in (*self.files, *self.data_files) if settings.get(key)]

    def main_input(self, settings: Mapping[str, Any]) -> str:
        """The file that stands for the site in a report."""
        return str(next(settings[key] for key in (*self.data_files, *self.files) if settings.get(key)))

    def owner(self, settings: Mapping[str, Any], site: str) -> str:
        """Whose the site's local concepts are: its own, unless it shares them with other sites."""
        return site

    def check(self, settings: Mapping[str, Any], site: str) -> None:
        """Raise StudyError now, not in a job, where an input is missing or has a mistake that is quickly found."""
        for file in self.inputs(settings):
            if not Path(file).is_file():
                raise StudyError(f"{file}: there is no such file (config: sites.{site})")

    def told(self, settings: Mapping[str, Any]) -> Settings:
        """What the job that converts is told: the settings, and whatever else changes what it writes."""
        return dict(settings)

    def only(self, told: Mapping[str, Any], tables: Collection[str]) -> Settings:
        """What it is told to make no more than these tables; by default all, if it makes them at once."""
        return dict(told)

    def splits(self, settings: Mapping[str, Any]) -> str | None:
        """The file of the split of each person, for tasks with ``split.by: given``; None if the input has none."""
        return None

    def warnings(self, site: str) -> list[str]:
        """What cannot be known of such a site and a reader of the results should know, as sentences."""
        return []

    def modules(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The modules that ``convert`` imports by name: their code counts for the site's job, too."""
        return ()

    def convert(self, settings: Mapping[str, Any], out: Path) -> None:
        """Write ``tables`` as ``out/{table}.parquet``, all or none. Raises StudyError when an input cannot be read."""
        raise NotImplementedError


CONVERTERS = Registry(
    "converter",
    "conceptbridge.converters",
    {
        "findings": "conceptbridge.sites.converters.findings:Findings",
        "meds": "conceptbridge.sites.converters.meds:Meds",
        "remote": "conceptbridge.sites.converters.remote:Remote",
        "database": "conceptbridge.sites.converters.database:DatabaseCopy",
    },
)


def find_converter(name: str) -> Converter:
    """The converter of that name. Raises StudyError when there is none, or it cannot be imported."""
    return CONVERTERS.find(name, Converter)()
