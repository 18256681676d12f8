"""The sites of a checked study: which have rows here, which only models or results, and where their files are.

Planning the workflow imports this module, so it imports nothing heavy.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conceptbridge import layout
from conceptbridge.core.text import canonical
from conceptbridge.sites.converters.converter import CONVERTERS, Converter, Settings, find_converter

SIMULATED = "simulated"


@dataclass(frozen=True)
class StudySites:
    """The sites of ``config``, a study's with all defaults filled in."""

    config: dict[str, Any]

    @cached_property
    def sites(self) -> list[str]:
        """Names of the sites, in the config's order."""
        return list(self.config["sites"])

    @cached_property
    def bundled(self) -> list[str]:
        """The sites that have only bundles."""
        return [site for site, spec in self.config["sites"].items() if "bundles" in spec]

    @cached_property
    def scored(self) -> list[str]:
        """The sites that only have a list of patients to score, and take no other part."""
        return [site for site, spec in self.config["sites"].items() if spec["patients"]]

    @cached_property
    def reported(self) -> list[str]:
        """The sites that have only an aggregate results file: either none of the sites, or all."""
        return [site for site, spec in self.config["sites"].items() if "results_file" in spec]

    @cached_property
    def own(self) -> list[str]:
        """The sites that take part with rows of their own on this machine."""
        return [site for site in self.sites if site not in self.bundled + self.scored + self.reported]

    @cached_property
    def tabled(self) -> list[str]:
        """The sites in the joint tables, figures and page."""
        return [site for site in self.sites if site not in self.bundled + self.scored]

    def results_file(self, site: str) -> str:
        """The aggregate results file that a site has sent."""
        return self._data(self.config["sites"][site]["results_file"])

    def bundles(self, site: str) -> Path:
        """The folder of the bundles that a site has sent."""
        return Path(self._data(self.config["sites"][site]["bundles"]))

    def patients(self, site: str) -> str:
        """The file that lists a site's patients to score."""
        return self._data(self.config["sites"][site]["patients"])

    def simulated(self, site: str) -> bool:
        """Whether the site is a hospital of the built-in network."""
        return bool(self.config["sites"][site].get("extract") == SIMULATED)

    @cached_property
    def targets(self) -> list[str]:
        """The sites that models are transferred to and tested at."""
        return [site for site in self.tabled if self.config["sites"][site]["role"] != "source"]

    def converter(self, site: str) -> Converter | None:
        """The converter that makes a site's extract from another input; None if the site has an extract of its own."""
        return self._converters.get(site)

    @cached_property
    def _converters(self) -> dict[str, Converter]:
        sites = self.config["sites"].items()
        return {site: find_converter(name) for site, spec in sites for name in CONVERTERS if name in spec}

    def conversion(self, site: str) -> Settings:
        """The settings of a site's converter, with its files as paths. The site must have a converter."""
        converter = self.converter(site)
        assert converter is not None
        return converter.resolve(self.config["sites"][site][converter.name], Path(self.config["data"]).expanduser())

    def owner(self, site: str) -> str:
        """The owner of a site's local concepts: the site, or a codebook that it shares with other sites."""
        converter = self.converter(site)
        return converter.owner(self.conversion(site), site) if converter else site

    def origin(self, site: str) -> str:
        """The file or folder that a site's rows, models or results come from, as its config names it."""
        spec: dict[str, Any] = self.config["sites"][site]
        if converter := self.converter(site):
            return converter.main_input(spec[converter.name])
        return str(next(spec[key] for key in ("extract", "bundles", "results_file") if key in spec))

    def extract(self, site: str) -> str:
        """Folder or file of a site's extract: below ``data`` unless the path is absolute or the extract simulated."""
        if self.simulated(site):
            return f"{self.config['results']}/simulated/{site}"
        if self.converter(site):
            return f"{self.config['results']}/{layout.place(layout.CONVERTED, site=site)}"
        return self._data(self.config["sites"][site]["extract"])

    def reading(self, site: str) -> str:
        """How to read a site's extract, as canonical JSON."""
        excluded = ("extract", *CONVERTERS, "role", "patients")
        settings = {key: value for key, value in self.config["sites"][site].items() if key not in excluded}
        if "cdm_version" in settings:
            settings["cdm_version"] = str(settings["cdm_version"])  # YAML reads 5.4 as a number
        return canonical(settings)

    def _data(self, path: str) -> str:
        return str(Path(self.config["data"]).expanduser() / Path(path).expanduser())

    @cached_property
    def sources(self) -> list[str]:
        """The sites whose models can be transferred."""
        roles = {site: spec["role"] for site, spec in self.config["sites"].items() if site not in self.scored}
        return [site for site, role in roles.items() if role != "target"]

    def others(self, target: str) -> list[str]:
        """The sources whose models can be transferred to ``target``."""
        return [site for site in self.sources if site != target]
