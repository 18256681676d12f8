"""The study as its config says it: checked, filled with defaults, every embedding with its identity.

Read whenever the workflow is planned, so nothing heavy is imported here.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from conceptbridge.catalogue import Embedding, canonical, find_embedding, nearest
from conceptbridge.errors import StudyError

HOSPITALS = ("riverside", "lakeshore", "prairie")
SIMULATED = "simulated"


@dataclass(frozen=True)
class Study:
    """A checked study: ``config`` with every default filled in, and its embeddings by name."""

    config: dict[str, Any]
    embeddings: dict[str, Embedding]
    #: the entries of the catalogue that the study uses, with its own changes
    catalogue: dict[str, Any]

    @property
    def sites(self) -> list[str]:
        """Names of the sites, in the config's order."""
        return list(self.config["sites"])

    def simulated(self, site: str) -> bool:
        """Whether the site is a hospital of the built-in network."""
        return bool(self.config["sites"][site]["extract"] == SIMULATED)

    def extract(self, site: str) -> str:
        """Folder of a site's extract: below ``data`` unless it is an absolute path or a simulated one."""
        if self.simulated(site):
            return f"{self.config['results']}/simulated/{site}"
        return str(Path(self.config["data"]).expanduser() / Path(self.config["sites"][site]["extract"]).expanduser())

    @property
    def benchmarks(self) -> list[Path]:
        """Files of rated term pairs. Raises StudyError when the folder that the config names has none."""
        if not self.config["benchmarks"]:
            return []
        folder = Path(self.config["data"]).expanduser() / Path(self.config["benchmarks"]).expanduser()
        found = sorted(folder.glob("UMNSRS_*.csv"))
        if not found:
            raise StudyError(f"config: benchmarks: {folder} has no UMNSRS_similarity.csv or UMNSRS_relatedness.csv")
        return found

    @property
    def by_id(self) -> dict[str, Embedding]:
        """The embeddings by the name of their folder, parents of controls included."""
        all_of_them = [*self.embeddings.values(), *(e.parent for e in self.embeddings.values() if e.parent)]
        return {e.id: e for e in all_of_them}

    def others(self, target: str) -> list[str]:
        """The sources from which a model can be brought to ``target``."""
        return [site for site in self.sites if site != target]

    def task(self, name: str, *keys: str) -> str:
        """The part of a task that one stage depends on, as canonical JSON."""
        return canonical({key: self.config["tasks"][name][key] for key in keys})

    def budget(self, task: str, learner: str, strategy: str) -> str:
        """What an arm of this strategy is given to train with, as canonical JSON; ``direct`` trains nothing."""
        settings = self.config["learners"][learner] if strategy != "direct" else {}
        if strategy == "local":
            settings = {key: value for key, value in settings.items() if not key.startswith(("tune_", "refit_"))}
        part = {key: self.config["tasks"][task][key] for key in ("min_events", "min_rows")}
        part |= {key: self.config[key] for key in ("seeds", "min_cell_count", "standardise")}
        return canonical(part | {"settings": settings})


def read_study(
    config: Mapping[str, Any],
    catalogue: Mapping[str, Any],
    schema: dict[str, Any],
    catalogue_schema: dict[str, Any],
) -> Study:
    """Check ``config`` and ``catalogue`` against their JSON schemas and fill in the defaults.

    Raises StudyError naming the key, what was found and the nearest valid one.
    """
    full = deepcopy(dict(config))
    check(full, schema, "config")
    fill_defaults(full, schema, schema)
    entries = deepcopy(dict(catalogue))
    check(entries, catalogue_schema, "catalogue of embeddings")
    names = _change(entries, full["embeddings"])
    check(entries, catalogue_schema, "config: embeddings")
    _check_tasks(full["tasks"])
    for site, spec in full["sites"].items():
        if spec["extract"] == SIMULATED and site not in HOSPITALS:
            raise StudyError(
                f"config: sites.{site}: only the hospitals of the built-in network ({', '.join(HOSPITALS)}) "
                f"can have `extract: simulated`{nearest(site, HOSPITALS)}; give the folder of {site}'s own extract"
            )
    embeddings = {name: find_embedding(name, entries, "embeddings") for name in names}
    used = [e for one in embeddings.values() for e in (one, one.parent, one.fallback) if e]
    return Study(full, embeddings, {e.name: entries[e.name] for e in used})


def check(value: Any, schema: dict[str, Any], what: str) -> None:
    """Raise StudyError with one message for the most relevant fault of ``value`` against ``schema``."""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is not None:
        raise StudyError(f"{what}: {_message(error)}")


def fill_defaults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Write the ``default`` of every absent property into ``value``, in place."""
    if "$ref" in schema:
        schema = _resolve(schema["$ref"], root)
    for branch in schema.get("oneOf", []):
        if Draft202012Validator({**branch, "$defs": root.get("$defs", {})}).is_valid(value):
            fill_defaults(value, branch, root)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties", {})
    for key, sub in properties.items():
        if key not in value and "default" in sub:
            value[key] = deepcopy(sub["default"])
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        if item is None:  # `cnn:` alone asks for the defaults; the schema allows null nowhere else
            value[key] = item = {}
        sub = properties.get(key, extra if isinstance(extra, dict) else None)
        if sub is not None:
            fill_defaults(item, sub, root)


def _change(catalogue: dict[str, Any], asked: list[str | dict[str, Any]]) -> list[str]:
    """The names that a study asks for; what it says of an entry replaces that key, or makes a new entry."""
    names = []
    for one in asked:
        changes = {one: {}} if isinstance(one, str) else one
        for name, changed in changes.items():
            if changed:
                catalogue[name] = catalogue.get(name, {}) | changed
            names.append(name)
    return names


def _check_tasks(tasks: Mapping[str, Any]) -> None:
    for name, task in tasks.items():
        at = f"config: tasks.{name}"
        outcome, predictors, split = task["outcome"]["days"], task["predictors"]["days"], task["split"]
        for key, (first, last) in (("outcome", outcome), ("predictors", predictors)):
            if last < first:
                raise StudyError(f"{at}.{key}.days: the window [{first}, {last}] ends before it begins")
        if predictors[1] > 0:
            raise StudyError(f"{at}.predictors.days: the window ends {predictors[1]} days after the index; at most 0")
        if outcome[0] <= predictors[1]:
            raise StudyError(
                f"{at}.outcome.days: the outcome window begins on day {outcome[0]}, not after the predictors' last "
                f"day ({predictors[1]}); days have no order within them, so begin it on day {predictors[1] + 1}"
            )
        if split["by"] == "hash" and abs(sum(split["shares"]) - 1) > 1e-9:
            raise StudyError(
                f"{at}.split.shares: training, validation and test add up to {sum(split['shares'])}, not 1"
            )
        if split["by"] == "time":
            for key in ("validation", "test"):
                try:
                    date.fromisoformat(split[key])
                except ValueError as error:
                    raise StudyError(f"{at}.split.{key}: {split[key]!r} is no date ({error})") from error
            if split["test"] <= split["validation"]:
                raise StudyError(f"{at}.split: the test period has to begin after the validation period")


def _message(error: ValidationError) -> str:
    asked: Any = error.validator_value
    schema: Any = error.schema
    found: Any = error.instance
    at = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{at}: " if at else ""
    if error.validator == "additionalProperties":
        known = schema.get("properties", {})
        unknown = [key for key in found if key not in known]
        listed = ", ".join(map(repr, unknown))
        return f"{prefix}unknown key {listed}{nearest(str(unknown[0]), known)}; known keys: {', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in asked if key not in found)
        return f"{prefix}the key {missing!r} is missing"
    if error.validator in ("enum", "const"):
        valid = asked if error.validator == "enum" else [asked]
        return f"{prefix}{found!r} is not one of {', '.join(map(str, valid))}{nearest(str(found), valid)}"
    return f"{prefix}{error.message}"


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)
