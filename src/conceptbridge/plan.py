"""Plan a study: which jobs it has, and what each of them depends on besides its inputs.

The workflow's rules ask the plan thousands of times whenever a run is planned, so this module imports nothing heavy. A
job re-runs when its settings change, so they hold what the job reads from the config, and no more.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from conceptbridge import layout
from conceptbridge.core.errors import StudyError, named_by
from conceptbridge.core.text import canonical
from conceptbridge.exchange.receive.find_aggregates import find_aggregates
from conceptbridge.exchange.receive.find_bundles import find_bundles
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.registry import LEARNERS
from conceptbridge.learn.resampling import Resampling
from conceptbridge.sites.converters.converter import CONVERTERS
from conceptbridge.sites.extract import check_needs, extract_files, find_tables
from conceptbridge.sites.formats.format import FORMATS
from conceptbridge.study.config import read_study
from conceptbridge.study.embeddings import Embedding
from conceptbridge.study.strategies import LOCAL, STRATEGIES, Needs
from conceptbridge.study.strategies import strategy as find_strategy
from conceptbridge.study.study import Study
from conceptbridge.translate.corrections import check_sites, digest_of
from conceptbridge.translate.translation_job import TranslationJob

Settings = dict[str, Any]

#: rule -> its script, if that has another name
_SCRIPTS = {
    **dict.fromkeys(("train", "pool", "pool_sources", "transfer"), "arm"),
    **dict.fromkeys(("pool_translated", "pool_sources_translated", "transfer_translated"), "translated_arm"),
    **dict.fromkeys(("rows_digest", "models_digest"), "digest"),
    "compute_terms": "compute_texts",
    "profile": "count_profile",
    "receive_vocabulary": "receive_tokens",
}
#: rules whose jobs run an embedding's own code
_OF_EMBEDDINGS = ("compute_texts", "compute_terms", "embed", "embedding_quality", "learn_vectors")


@dataclass(frozen=True, eq=False)
class Plan:
    """A checked study, and the files that were on disk when it was read."""

    study: Study
    #: site -> the files that its rows are read from, listed here so that a change inside a folder is noticed
    files: dict[str, list[str]]
    #: site -> the manifest of its aggregate results file
    aggregates: dict[str, dict[str, Any]]
    #: site -> (task, embedding, learner) -> bundle
    bundles: dict[str, dict[tuple[str, str, str], Path]]
    #: files of the study's own vocabulary
    vocabulary: list[str]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Plan":
        """Check the study and find its files.

        Raises StudyError for the first mistake in the config, an unreadable extract, a missing file, or a bundle or
        aggregate results file of another study.
        """
        study = read_study(config)
        check_sites(study.translations, study.sites)
        _data_folder(study)
        study.term_pairs  # noqa: B018 - raises where the files are missing
        return cls(
            study,
            {site: _row_files(study, site) for site in _with_files(study)},
            {site: _aggregates(study, site) for site in study.reported},
            {site: _bundles(study, site) for site in study.bundled},
            _vocabulary_files(study),
        )

    @cached_property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the config's order."""
        return list(self.study.config["tasks"])

    @cached_property
    def embeddings(self) -> list[Embedding]:
        """The embeddings, in the config's order."""
        return list(self.study.embeddings.values())

    @cached_property
    def learners(self) -> list[str]:
        """Names of the learners, in the config's order."""
        return list(self.study.config["learners"])

    @cached_property
    def tabled(self) -> list[str]:
        """Folders of the embeddings that have one table of vectors per site, including those of controls."""
        tables = (e.tables for e in self.embeddings)
        return list(dict.fromkeys(t.id for t in tables if t and not t.learned))

    @cached_property
    def sent(self) -> list[str]:
        """Folders of the embeddings whose models may leave a site."""
        return [e.id for e in self.embeddings if e.shareable]

    @property
    def simulated(self) -> bool:
        """Whether the study has rows of the built-in network."""
        own = any(map(self.study.simulated, self.study.own))
        return own or any(about["simulated"] for about in self.aggregates.values())

    def scores(self) -> Iterator[dict[str, str]]:
        """Yield the models that score the lists of patients: every model that another site has, or has sent."""
        for site in self.study.scored:
            for task in self.tasks:
                for source in self.study.others(site):
                    for e in self.embeddings:
                        for learner in self.learners:
                            name = self.study.trained_as[e.name].name
                            if source not in self.bundles or (task, name, learner) in self.bundles[source]:
                                names = {"task": task, "site": site, "source": source}
                                yield names | {"embedding": e.id, "learner": learner}

    def shares_model(self, name: str, target: str) -> bool:
        """Whether a strategy's model at a target is the one of all sources' rows, trained without the target's."""
        return find_strategy(name).same_for_other_targets and target not in self.study.sources

    def modelled(self, target: str) -> list[str]:
        """The sites whose tokens a model at a target may have seen: all sources, and the target itself."""
        sources = [site for site in self.study.own + self.study.bundled if site in self.study.sources]
        return list(dict.fromkeys([*sources, target]))

    def bundles_of(self, site: str, task: str | None = None, embedding: str = "", learner: str = "") -> list[str]:
        """The bundles that a site has sent: all of them, those of a task, or that of a model, if there is one."""
        wanted = (task, self.study.by_id[embedding].name, learner) if embedding else None
        bundles = self.bundles[site].items()
        return [str(file) for key, file in bundles if (wanted or (task or key[0], *key[1:])) == key]

    def vectors(self, embedding: str, site: str, task: str) -> list[str]:
        """The tables of a site's vectors: none for one-hot, the parent's for shuffled, one per task if learned."""
        tables = self.study.by_id[embedding].tables
        if tables is None:
            return []
        kind = layout.LEARNED_VECTORS if tables.learned else layout.VECTORS
        return [layout.place(kind, embedding=tables.id, site=site, task=task)]

    def known_vectors(self, embedding: str, site: str, task: str) -> list[str]:
        """The same for a transferred model: learned vectors come with the model."""
        tables = self.study.by_id[embedding].tables
        return [] if tables is not None and tables.learned else self.vectors(embedding, site, task)

    def script(self, rule: str) -> str:
        """The name of a rule's script."""
        return _SCRIPTS.get(rule, rule)

    def modules(self, rule: str, **wildcards: str) -> tuple[str, ...]:
        """The modules that a rule's job imports by name: those of its own learner, strategy, embedding and so on. No
        others, so that an edit of one re-runs no job of another."""
        if rule == "ingest":
            return tuple(FORMATS.values())
        if rule == "convert":
            converter = self.study.converter(wildcards["site"])
            return (CONVERTERS[converter.name],) if converter else ()
        if rule in ("figures", "report"):  # strategies label their arms
            return tuple(STRATEGIES[name] for name in self.study.config["strategies"])
        if rule in ("resample_local", "resample"):  # the headline arms may be any
            return (*map(STRATEGIES.__getitem__, self.study.strategies), *map(LEARNERS.__getitem__, self.learners))
        if "learner" not in wildcards:
            return tuple(self.study.by_id[wildcards["embedding"]].modules) if rule in _OF_EMBEDDINGS else ()
        own = (STRATEGIES[wildcards["strategy"]],) if "strategy" in wildcards else ()
        return (LEARNERS[wildcards["learner"]], *own)

    def arms_at(self, target: str) -> list[dict[str, str]]:
        """The arms of a task at a target: names of embedding (its folder), learner and strategy."""
        return [
            {"embedding": e.id, "learner": learner, "strategy": name}
            for e in self.embeddings
            for learner in self.learners
            for name in self.study.strategies_at(target)
            if self.study.has_arms(e, name)
        ]

    def arm(self, task: str, embedding: str, learner: str, strategy: str, target: str | None = None) -> ArmJob:
        """The job of an arm; without a target, that of the shared model of all sources."""
        needs = find_strategy(strategy).needs
        shared = target is not None and self.shares_model(strategy, target)
        # a job that uses no other site must not depend on which sites there are
        others = self.study.others(target) if target else self.study.sources
        sources = [] if shared or needs == Needs.OWN_ROWS else others
        e = self.study.by_id[embedding]
        budget = self._budget(task, learner, strategy, e.drawn and not e.translated)
        hub = self.hub(strategy, target) if e.translated and needs == Needs.SHARED_ROWS else None
        return ArmJob(task, target, sources, strategy, learner, self._arm_embeddings[embedding], budget, shared, hub)

    def hub(self, strategy: str, target: str | None) -> str:
        """The site in whose words the rows of several are read: the target, where it is a source and its own rows are
        among them, else the first source."""
        if target in self.study.sources and find_strategy(strategy).uses_target_labels:
            return str(target)
        return (self.study.others(target) if target else self.study.sources)[0]

    @cached_property
    def _arm_embeddings(self) -> dict[str, ArmEmbedding]:
        result = {}
        for folder, e in self.study.by_id.items():
            seen = self.study.trained_as.get(e.name, e)
            tables, models = seen.tables.id if seen.tables else None, None if seen is e else seen.id
            result[folder] = ArmEmbedding(e.name, seen.fingerprint, seen.spec["backend"], folder, tables, models)
        return result

    @cache  # noqa: B019 - a plan lives as long as the run
    def _budget(self, task: str, learner: str, strategy: str, drawn: bool) -> Budget:
        return Budget(**json.loads(self.study.budget(task, learner, strategy, drawn)))

    def given(self, rule: str, **wildcards: str) -> list[str]:
        """The files that a rule's job reads and no job of the study has made."""
        study, task, site = self.study, wildcards.get("task", ""), wildcards.get("site", "")
        if rule == "ingest":
            return [*(self.files.get(site, []) if study.converter(site) is None else []), *self.vocabulary]
        if rule == "convert":
            return self.files[site]
        if rule == "cohort":
            return study.task_files(task, site)
        if rule in ("sequences", "leaks"):
            return study.concept_files(task)
        if rule == "patients":
            return [study.patients(site)]
        if rule in ("receive", "receive_tokens", "receive_vocabulary"):
            model = (wildcards.get("embedding", ""), wildcards.get("learner", ""))
            return self.bundles_of(wildcards["received"], task or None, *model)
        if rule == "receive_aggregates":
            return [study.results_file(wildcards["reported"])]
        if rule in ("compute_terms", "embedding_quality"):
            return [str(file) for file in study.term_pairs]
        return []

    def settings(self, rule: str, **wildcards: str) -> Settings:
        """What a rule's job gets from the study, by option of its script: JSON as text, numbers and names."""
        settings = getattr(self, f"_{rule}", None)
        return settings(**wildcards) if settings else {}

    def _review(self, task: str, target: str) -> Settings:
        first = next(e for e in self.study.translated if not e.drawn)
        return self._translate(task, first.id, target) | {"embedding": first.id}

    def _units(self, **wildcards: str) -> Settings:
        return {"min_cell_count": self.study.config["min_cell_count"]}

    _learn_vectors = _profile = _receive_profile = _summarise_translations = _units

    def _tables(self) -> Settings:
        return self._units() | {"more": self.more_tables}

    @property
    def more_tables(self) -> list[str]:
        """The tables of each task and target besides those of evaluation."""
        of_translations = ["translations", "translation_shares"] if self.study.translated else []
        return [*(["method_limits"] if self.resampled else []), *of_translations]

    def _train(self, **wildcards: str) -> Settings:
        return {"arm": self.arm(**wildcards).to_json()}

    _pool = _pool_sources = _transfer = _train
    _pool_translated = _pool_sources_translated = _transfer_translated = _train

    def _translate(self, task: str, embedding: str, target: str) -> Settings:
        e = self.study.by_id[embedding]
        assert e.parent is not None and e.parent.tables is not None
        job = TranslationJob(
            task,
            target,
            self.study.others(target),
            e.parent.tables.id,
            e.parent.spec["backend"],
            e.spec.get("profiles", "own"),
            self.study.seeds(False) if e.drawn else 1,
            self.study.config["min_cell_count"],
            digest_of(self.study.translations, target),
        )
        return {"translation": job.to_json()}

    def _simulate(self, site: str) -> Settings:
        return dict(self.study.config["simulate"])

    def _convert(self, site: str) -> Settings:
        converter = self.study.converter(site)
        return {"converter": converter.name if converter else "", "settings": canonical(self.study.conversion(site))}

    def _ingest(self, site: str) -> Settings:
        study = self.study
        return {
            "extract": study.extract(site),
            "reading": study.reading(site),
            "vocabulary": study.vocabulary or "",
        }

    def _vocabulary(self, site: str) -> Settings:
        config = self.study.config
        return {
            "owner": self.study.owner(site),
            "texts": canonical(config["texts"] | {"states": config["states"]}),
            "roll_up": canonical(config["roll_up"]),
            "min_cell_count": config["min_cell_count"],
        }

    def _cohort(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.cohort_settings(task),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def _sequences(self, task: str, site: str) -> Settings:
        return {
            "owner": self.study.owner(site),
            "task": self.study.task(task, "outcome", "predictors", "guards", "min_values"),
            "roll_up": canonical(self.study.config["roll_up"]),
        }

    def _leaks(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.task(task, "outcome"),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def _survey(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.task(task, "min_events", "min_rows"),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def _compute_terms(self, embedding: str) -> Settings:
        return {"data": self.study.config["data"]}

    def _compute_texts(self, embedding: str, site: str) -> Settings:
        # local and unmapped texts need permission only if a service would read them
        allowed = self.study.config["send_local_text"] or not self.study.by_id[embedding].remote
        return {"data": self.study.config["data"], "local_text": "--local-text" if allowed else ""}

    _embed = _compute_texts

    def _embedding_quality(self, embedding: str) -> Settings:
        config = self.study.config
        return {"data": config["data"], "min_cell_count": config["min_cell_count"]}

    def _evaluate(self, task: str, target: str) -> Settings:
        config = self.study.config
        settings = {key: value for key, value in config["evaluation"].items() if key not in ("training", "resamples")}
        more = {"min_cell_count": config["min_cell_count"], "drawn": [e.name for e in self.embeddings if e.drawn]}
        more["trained_as"] = {e.name: self.study.trained_as[e.name].name for e in self.study.translated}
        return {
            "settings": canonical(settings | more),
            "controls": canonical(self.study.controls()),
            "without": canonical(
                {
                    e.name: [name for name in self.study.strategies if not self.study.has_arms(e, name)]
                    for e in self.study.translated
                }
            ),
        }

    @property
    def resampled(self) -> bool:
        """Whether the headline arms are trained again on half-samples of their training persons."""
        return bool(self.study.config["evaluation"]["training"] == "resampled")

    def _resample_local(self, task: str, site: str) -> Settings:
        return self._resampling(task, site, [LOCAL])

    def _resample(self, task: str, target: str) -> Settings:
        return self._resampling(task, target, self.study.strategies)

    def _resampling(self, task: str, site: str, strategies: Sequence[str]) -> Settings:
        evaluation = self.study.config["evaluation"]
        here = [site for site in self.study.sources if site in self.study.own]
        arms = [
            self.arm(task, e.id, learner, name, site)
            for e in self.embeddings
            for learner in self.learners
            for name in strategies
            if self.study.has_arms(e, name)
        ]
        fewest = max(evaluation["min_persons"], self.study.config["min_cell_count"])
        as_trained = {e.name: self.study.trained_as[e.name].name for e in self.study.translated}
        what = Resampling(arms, evaluation["resamples"], evaluation["seed"], here, fewest, as_trained)
        return {"resampling": what.to_json()}

    def _feasibility(self) -> Settings:
        config = self.study.config
        few = config["min_cell_count"]
        return {"title": config["name"], "min_cell_count": few, "warnings": canonical(self.study.warnings)}

    _report = _feasibility

    def _provenance(self) -> Settings:
        return {
            "config": canonical(self.study.told),
            "origins": canonical({site: self.study.origin(site) for site in self.study.sites}),
            "fingerprints": canonical({e.name: e.fingerprint for e in self.embeddings}),
            "simulated": "--simulated" if self.simulated else "",
        }

    def _write_bundle(self, site: str, task: str, embedding: str, learner: str) -> Settings:
        study = self.study
        model = study.model(site, task, study.by_id[embedding], learner)
        return {
            "about": canonical(model | {"min_cell_count": study.config["min_cell_count"]}),
            # the config's dates are not secret
            "config": canonical({key: study.config[key] for key in ("tasks", "sites")}),
            "folder": study.extract(site),
        }

    def _receive(self, received: str, task: str, embedding: str, learner: str) -> Settings:
        e = self.study.by_id[embedding]
        return {
            "expected": canonical(self.study.model(received, task, e, learner)),
            "width": e.spec.get("width", ""),
        }

    def _predict(self, embedding: str, **others: str) -> Settings:
        return {
            "fingerprint": self._arm_embeddings[embedding].fingerprint,
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def _coverage_sheet(self, task: str, site: str, source: str, embedding: str) -> Settings:
        return {
            "title": f"{task} at {site}, {self.study.by_id[embedding].name} from {source}",
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def _write_aggregates(self, site: str) -> Settings:
        study = self.study
        about = {
            "site": site,
            "role": study.config["sites"][site]["role"],
            "simulated": study.simulated(site),
            "study": study.compared(),
        }
        return {"about": canonical(about), "config": canonical(study.told), "folder": study.extract(site)}

    def _receive_aggregates(self, reported: str) -> Settings:
        # the names that a received table may have; `others`, the tokens of all other sites, is a source in any study
        strategies = self.study.config["strategies"]
        joint = {source for name in strategies if (source := find_strategy(name).source)}
        names = {
            "embedding": [e.name for e in self.embeddings],
            "learner": self.learners,
            "strategy": strategies,
            "source": [*self.study.sites, *sorted(joint | {"others"})],
        }
        return {"names": canonical(names)}


def mistakes(study: Study) -> list[str]:
    """Return one message per mistake in the files that a study names; none if it can run."""
    checks: list[Callable[[], Any]] = [
        partial(_data_folder, study),
        *(partial(_row_files, study, site) for site in _with_files(study)),
        *(partial(_aggregates, study, site) for site in study.reported),
        *(partial(_bundles, study, site) for site in study.bundled),
        *(partial(_check_file, study.patients(site), site) for site in study.scored),
        partial(_vocabulary_files, study),
        partial(check_sites, study.translations, study.sites),
        lambda: study.term_pairs,
    ]
    messages = []
    for check in checks:
        try:
            check()
        except StudyError as error:
            messages.append(str(error))
    return messages


def _data_folder(study: Study) -> None:
    """Raise StudyError if the folder that all other paths are below does not exist."""
    data = Path(study.config["data"]).expanduser()
    if _with_files(study) and not data.is_dir():
        raise StudyError(f"config: data: the folder {data} does not exist; give the one that the extracts are in")


def _with_files(study: Study) -> list[str]:
    """The sites whose rows come from files that exist before the run."""
    return [site for site in study.own + study.scored if not study.simulated(site)]


def _row_files(study: Study, site: str) -> list[str]:
    """The files that a site's rows are read from. Raises StudyError if one is missing, or no task can use it."""
    if converter := study.converter(site):
        converter.check(study.conversion(site), site)
        return list(converter.inputs(study.conversion(site)))
    extract = Path(study.extract(site))
    with named_by(f"sites.{site}.extract"):
        tables = find_tables(extract)
    check_needs(site, extract, tables, study.config["tasks"])
    return [str(file) for file in extract_files(tables)]


def _aggregates(study: Study, site: str) -> dict[str, Any]:
    """The manifest of a site's aggregate results file. Raises StudyError if it belongs to another study."""
    role = study.config["sites"][site]["role"]
    return find_aggregates(Path(study.results_file(site)), site, role, study.compared())


def _bundles(study: Study, site: str) -> dict[tuple[str, str, str], Path]:
    """The bundles that a site has sent for the study's models. Raises StudyError if one does not fit them."""
    models = {
        (task, e.name, learner): study.model(site, task, e, learner)
        for task in study.config["tasks"]
        for e in study.embeddings.values()
        if not e.translated
        for learner in study.config["learners"]
    }
    return find_bundles(study.bundles(site), site, models)


def _vocabulary_files(study: Study) -> list[str]:
    if not study.vocabulary:
        return []
    with named_by("vocabulary"):
        return [str(file) for file in extract_files(find_tables(Path(study.vocabulary)))]


def _check_file(file: str, site: str) -> None:
    if not Path(file).is_file():
        raise StudyError(f"{file}: there is no such file (config: sites.{site})")
