"""Check a study's config and fill in its defaults.

This runs whenever the workflow is planned, so this module imports nothing heavy.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import check, fill_defaults
from conceptbridge.core.text import nearest
from conceptbridge.core.written_values import as_meant
from conceptbridge.sites.converters.converter import CONVERTERS, find_converter
from conceptbridge.sites.converters.remote import SCHEMES
from conceptbridge.study.declared_keys import preset_defaults
from conceptbridge.study.embeddings import Embedding, check_catalogue, find_embedding, of_each_parent
from conceptbridge.study.learners import LEARNERS, LearnerSpec, find_learner
from conceptbridge.study.own_encoder import missing_pin, own_entry, told_entry
from conceptbridge.study.strategies import JOINT, STRATEGIES, Needs, strategy
from conceptbridge.study.study import HOSPITALS, Study
from conceptbridge.study.study_sites import SIMULATED
from conceptbridge.tasks.check import check_date, check_task
from conceptbridge.tasks.windows import cut


def package_data(name: str) -> dict[str, Any]:
    """Read a YAML file of this package: ``config.schema``, ``catalogue`` or ``renamed_keys``."""
    text = files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    # the same in C, where PyYAML has it: a tenth of the time
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def config_schema(learners: Collection[str] | None = None, site_keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a study's config, with the settings of these ``learners`` and of the converters among
    ``site_keys``; None means all.

    Other learners and converters are named but not imported. Raises StudyError if one of these cannot be imported.
    """
    schema = package_data("config.schema")
    schema["$defs"]["strategy"]["enum"] = list(STRATEGIES)
    schema["properties"]["learners"]["properties"] = {
        name: find_learner(name).schema() if learners is None or name in learners else {} for name in LEARNERS
    }
    reference = schema["properties"]["evaluation"]["properties"]["reference"]["properties"]
    reference["learner"]["enum"] = [*LEARNERS, None]
    site = schema["properties"]["sites"]["additionalProperties"]
    converters = {
        name: find_converter(name).schema if site_keys is None or name in site_keys else {} for name in CONVERTERS
    }
    site["properties"] = converters | site["properties"]
    return schema


def read_study(config: Mapping[str, Any], catalogue: Mapping[str, Any] | None = None) -> Study:
    """Check ``config`` against its JSON schema, and fill in the defaults and the study's preset.

    ``catalogue``: the embeddings to choose from; None for the package's own.

    Raises StudyError with the key, what was found and the nearest valid value.
    """
    full = deepcopy(dict(config))
    _check_renamed(full)
    learners = full["learners"] = _named(full.get("learners"))
    site_keys = {path.rpartition(".")[2] for path in _paths(full, ["sites", "*", "*"])}
    schema = config_schema(learners if isinstance(learners, dict) else (), site_keys)
    if learners is None:
        del full["learners"]
    full = as_meant(full, schema, schema)
    check(full, schema, "config")
    fill_defaults(full, schema, schema)
    for key, value in preset_defaults(schema["properties"], full["preset"]).items():
        full.setdefault(key, value)
    task_keys = schema["properties"]["tasks"]["additionalProperties"]["properties"]
    of_tasks = preset_defaults(task_keys["predictors"]["properties"], full["preset"])
    for name, task in full["tasks"].items():
        _fill_predictors(f"config: tasks.{name}.predictors", task["predictors"], of_tasks, full["states"])
    for name, settings in full["learners"].items():
        _fill_learner(find_learner(name), settings, full["preset"])
    check(full, schema, "config")
    entries = deepcopy(dict(catalogue)) if catalogue is not None else package_data("catalogue")
    if catalogue is not None:  # the package's own is right, and checking it takes longer than all else here
        check_catalogue(entries, "catalogue of embeddings")
    names = _change(entries, full["embeddings"])
    check_catalogue({name: entries[name] for name in names if name in entries}, "config: embeddings")
    names = of_each_parent(names, entries)
    placed = {"present", "absent"} & set(config.get("texts") or {}) if full["states"] == "slots" else set()
    if placed:
        raise StudyError(
            f"config: texts.{min(placed)}: with `states: slots` a text is the concept's name, and the state is a place "
            "in the vector; write `states: words`, or leave this key out"
        )
    for name, task in full["tasks"].items():
        for event in (task["index"], task["outcome"]):
            if event["file"] is not None:  # handed-in cohorts are below `data`, as extracts are
                event["file"] = str(Path(full["data"]).expanduser() / Path(event["file"]).expanduser())
        with_rows = [site for site, spec in full["sites"].items() if not {"bundles", "results_file"} & set(spec)]
        check_task(name, task, with_rows, _with_splits(full))
    for site, spec in full["sites"].items():
        _check_site_input(site, spec)
    not_results = [site for site, spec in full["sites"].items() if "results_file" not in spec]
    if not_results and len(not_results) < len(full["sites"]):
        raise StudyError(
            f"config: sites.{not_results[0]}: a study of aggregate results files has no other sites; run "
            f"{not_results[0]}'s own study, and give its `results_file`"
        )
    joint = [needs for needs in JOINT if needs != Needs.ROUNDS or "federated_models" not in full]
    sharing = [name for name in config.get("strategies", []) if strategy(name).needs in joint]
    if sharing and any("bundles" in spec for spec in full["sites"].values()):
        raise StudyError(
            f"config: strategies: {sharing[0]} needs the rows of all sites, but some sites have only bundles; "
            f"remove {sharing[0]}"
        )
    for name in full["strategies"]:
        if (source := strategy(name).source) in full["sites"]:
            raise StudyError(
                f"config: sites.{source}: tables use this name for the source of {name}; give the site another name"
            )
    if all(spec["role"] == "source" for spec in full["sites"].values()):
        raise StudyError("config: sites: every site has the role `source`; at least one must be a target")
    for site, spec in full["sites"].items():
        if spec["headerless"] and "cdm_version" not in spec:
            raise StudyError(
                f"config: sites.{site}: `headerless: true` needs `cdm_version` (5.2, 5.3.1, 5.3 or 5.4): without a "
                "header, only the version tells the order of columns"
            )
        if "last_date" in spec:
            check_date(f"config: sites.{site}.last_date", spec["last_date"])
        if spec.get("extract") == SIMULATED and site not in HOSPITALS:
            raise StudyError(
                f"config: sites.{site}: only hospitals of the built-in network ({', '.join(HOSPITALS)}) "
                f"can have `extract: simulated`{nearest(site, HOSPITALS)}; give the folder of {site}'s own extract"
            )
    embeddings = {name: find_embedding(name, entries, "embeddings") for name in names}
    if (read := [name for name, e in embeddings.items() if e.translated]) and not _onehot(embeddings):
        raise StudyError(f"config: embeddings: {read[0]} uses the one-hot models of the study; add onehot")
    if same := [name for name in full["external"] if name in embeddings]:
        raise StudyError(
            f"config: external.{same[0]}: an embedding of the study has this name; give the model another one"
        )
    _check_reference(full["evaluation"]["reference"], embeddings, full["learners"], full["strategies"])
    used = [e for one in embeddings.values() for e in one.needed]
    return Study(full, embeddings, {e.name: entries[e.name] for e in used})


def _with_splits(config: Mapping[str, Any]) -> list[str]:
    """The sites whose input has a split for each person."""
    data = Path(config["data"]).expanduser()
    return [
        site
        for site, spec in config["sites"].items()
        for converter in (find_converter(name) for name in CONVERTERS if name in spec)
        if converter.splits(converter.resolve(spec[converter.name], data))
    ]


def _named(learners: Any) -> Any:
    """Return learners that are named without settings, alone or in a list, as the section that they stand for."""
    entries = [learners] if isinstance(learners, str) else learners
    if not isinstance(entries, list) or not all(isinstance(entry, str | dict) for entry in entries):
        return learners
    return {name: settings for e in entries for name, settings in (e.items() if isinstance(e, dict) else [(e, {})])}


def _check_renamed(config: Mapping[str, Any]) -> None:
    """Raise StudyError for an old key, with its new name, or that it was removed."""
    for old, new in package_data("renamed_keys").items():
        for path in _paths(config, old.split(".")):
            what = f"this key is now `{new}`" if new else "unknown key; it was removed, delete it"
            raise StudyError(f"config: {path}: {what}")


def _paths(value: Any, path: Sequence[str]) -> Iterator[str]:
    """Yield each match of ``path`` in ``value``; `*` stands for any key, or any index in a list."""
    if not path:
        yield ""
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if path[0] in ("*", str(key)):
            yield from (f"{key}.{rest}".rstrip(".") for rest in _paths(item, path[1:]))


def _check_site_input(site: str, spec: dict[str, Any]) -> None:
    """Check where a site's rows, models or results come from. A site with only bundles becomes a source."""
    extract = spec.get("extract")
    if isinstance(extract, str) and extract.partition("://")[0] in SCHEMES and "://" in extract:
        spec["remote"] = spec.pop("extract")
    inputs = ("extract", *CONVERTERS, "bundles", "results_file")
    keys = [key for key in inputs if key in spec]
    if not keys:
        titles = {name: find_converter(name).title for name in CONVERTERS}
        titles |= {"bundles": "models that it has sent", "results_file": "its results"}
        others = ", or ".join(f"`{key}`, for {title}" for key, title in titles.items())
        raise StudyError(f"config: sites.{site}: the key 'extract' is missing (or {others})")
    if len(keys) > 1:
        raise StudyError(f"config: sites.{site}: give exactly one of {', '.join(inputs)} (found {' and '.join(keys)})")
    for key in (*(key for key in keys if key != "remote"), "patients"):
        if isinstance(place := spec[key], str) and "://" in place:
            scheme = place.partition("://")[0]  # the rest can hold a password
            raise StudyError(
                f"config: sites.{site}.{key}: found {scheme}://..., but only files of this machine are read; give a "
                "folder, s3://, gs:// or abfss://, or name a database under `database` (docs/doors.md)"
            )
    if "results_file" in spec and spec["patients"]:
        raise StudyError(f"config: sites.{site}: it has only results, so there are no patients to score")
    if "bundles" in spec:
        if spec["role"] == "target" or spec["patients"]:
            raise StudyError(
                f"config: sites.{site}: it has only bundles, so there are no rows to predict; it can only be a source"
            )
        spec["role"] = "source"


def _fill_predictors(where: str, predictors: dict[str, Any], of_preset: Mapping[str, Any], states: str) -> None:
    """Fill the preset's keys into a task's ``predictors``, in place. Values and windows need states in slots; windows
    are cut to the task's days."""
    slots, windows = states == "slots", of_preset["windows"]
    for key, what, nothing in (("values", "value", False), ("windows", "window", "none")):
        if predictors.get(key, nothing) != nothing and not slots:
            raise StudyError(
                f"{where}.{key}: with `states: words` a state is in the text, and a {what} has no place beside it; "
                "write `states: slots`, or leave this key out"
            )
    filled = {
        **of_preset,
        "values": of_preset["values"] and slots,
        "windows": cut(windows, predictors["days"]) if slots and windows != "none" else "none",
    }
    predictors.update(filled | predictors)


def _fill_learner(learner: type[LearnerSpec], settings: dict[str, Any], preset: str) -> None:
    """Fill the learner's defaults into the study's ``settings``, in place, and check them together."""
    for key, value in deepcopy(learner.default(preset)).items():
        settings[key] = value | settings.get(key, {}) if key in learner.tuning else settings.get(key, value)
    if wrong := learner.check(settings):
        raise StudyError(f"config: learners.{learner.name}: {wrong}")


def _onehot(embeddings: Mapping[str, Embedding]) -> list[str]:
    return [name for name, e in embeddings.items() if e.onehot]


def _check_reference(
    reference: Mapping[str, Any],
    embeddings: Mapping[str, Embedding],
    learners: Mapping[str, Any],
    strategies: list[str],
) -> None:
    valid = {"strategy": strategies, "embedding": [*embeddings, "onehot"], "learner": learners}
    for key, known in valid.items():
        if reference[key] is not None and reference[key] not in known:
            raise StudyError(
                f"config: evaluation.reference.{key}: the study has no {reference[key]!r}"
                f"{nearest(reference[key], known)}; it has {', '.join(known)}"
            )
    named = embeddings.get(reference["embedding"])
    if named is not None and named.translated and strategy(reference["strategy"]).needs == Needs.OWN_ROWS:
        raise StudyError(
            f"config: evaluation.reference: {named.name} has no {reference['strategy']} models of its own; name the "
            "one-hot embedding, whose models it uses, or another strategy"
        )


def _own_model(name: str, given: str | dict[str, Any], catalogue: Mapping[str, Any]) -> bool:
    """Whether an entry names a model and leaves it to the model's files how to use it."""
    if isinstance(given, str) and name in catalogue:
        raise StudyError(
            f"config: embeddings: {name} is in the catalogue; give your model {given!r} another name, or change a "
            f"key, as `{name}: {{model: {given}}}`"
        )
    return isinstance(given, str) or (name not in catalogue and "model" in given and "backend" not in given)


def _change(catalogue: dict[str, Any], requested: list[str | dict[str, Any]]) -> list[str]:
    """Apply a study's changes and additions to the catalogue, in place, and return the names it requests."""
    names = []
    for i, entry in enumerate(requested):
        changes = {entry: {}} if isinstance(entry, str) else entry
        for name, changed in changes.items():
            if _own_model(name, changed, catalogue):
                catalogue[name] = own_entry(name, changed)
                # what was read from its files is part of the study
                requested[i] = {name: told_entry(catalogue[name])}
            elif name in catalogue:
                catalogue[name] |= changed
                if pin := missing_pin(name, catalogue[name]):
                    catalogue[name] |= pin
                    requested[i] = {name: told_entry(changed | pin)}
            elif changed:
                catalogue[name] = changed
            names.append(name)
    return names
