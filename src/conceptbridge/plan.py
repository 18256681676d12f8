"""Plan a study: which jobs it has, and what each of them depends on besides its inputs.

The workflow's rules ask the plan thousands of times whenever a run is planned, so this module imports nothing heavy. A
job re-runs when its settings change, so they hold what the job reads from the config, and no more.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.job_settings import JobSettings, Settings
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.registry import LEARNERS
from conceptbridge.sites.converters.converter import CONVERTERS
from conceptbridge.sites.formats.format import FORMATS
from conceptbridge.study.config import read_study
from conceptbridge.study.embeddings import Embedding
from conceptbridge.study.learners import find_learner
from conceptbridge.study.strategies import JOINT, LOCAL, STRATEGIES, Needs
from conceptbridge.study.strategies import strategy as find_strategy
from conceptbridge.study.study import Study
from conceptbridge.study_files import (
    aggregates_of,
    bundles_of,
    data_folder,
    files_of_models,
    row_files,
    vocabulary_files,
    with_files,
)
from conceptbridge.translate.corrections import check_sites

#: rule -> its script, if that has another name
_SCRIPTS = {
    **dict.fromkeys(("train", "pool", "pool_sources", "transfer", "use_federated"), "arm"),
    **dict.fromkeys(("pool_translated", "pool_sources_translated", "transfer_translated"), "translated_arm"),
    **dict.fromkeys(("rows_digest", "models_digest"), "digest"),
    "compute_terms": "compute_texts",
    "receive_federated": "receive",
    "use_federated_translated": "translated_arm",
    "profile": "count_profile",
    "receive_vocabulary": "receive_tokens",
}
#: rules whose jobs run an embedding's own code
_OF_EMBEDDINGS = ("compute_texts", "compute_terms", "embed", "embedding_quality", "learn_vectors", "represent")


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
        check_sites(study.translations, study.sites, study.sources, study.config["tasks"])
        data_folder(study)
        files_of_models(study)
        study.term_pairs  # noqa: B018 - raises where the files are missing
        return cls(
            study,
            {site: row_files(study, site) for site in with_files(study)},
            {site: aggregates_of(study, site) for site in study.reported},
            {site: bundles_of(study, site) for site in study.bundled},
            vocabulary_files(study),
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
        tables = (e.tables for e in self.embeddings if e.embeds_names)
        return list(dict.fromkeys(t.id for t in tables if t and not t.learned))

    @property
    def with_ancestors(self) -> list[str]:
        """Folders of the embeddings that have one table of ancestors per site."""
        return [e.id for e in self.embeddings if e.backend.ancestors]

    @property
    def of_rows(self) -> list[str]:
        """Folders of the embeddings that have one table of vectors of rows per task and site."""
        return [e.id for e in self.embeddings if e.of_rows]

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
                    for e in (e for e in self.embeddings if not e.of_rows):
                        for learner in self.learners:
                            name = self.study.trained_as[e.name].name
                            if source not in self.bundles or (task, name, learner) in self.bundles[source]:
                                names = {"task": task, "site": site, "source": source}
                                yield names | {"embedding": e.id, "learner": learner}

    def shares_model(self, name: str, target: str) -> bool:
        """Whether a strategy's model at a target is the one of all sources, which a job of its own has trained."""
        how = find_strategy(name)
        return how.needs == Needs.ROUNDS or (how.same_for_other_targets and target not in self.study.sources)

    def modelled(self, target: str) -> list[str]:
        """The sites whose tokens a model at a target may have seen: all sources, and the target itself."""
        sources = [site for site in self.study.own + self.study.bundled if site in self.study.sources]
        return list(dict.fromkeys([*sources, target]))

    def bundles_of(self, site: str, task: str | None = None, embedding: str = "", learner: str = "") -> list[str]:
        """The bundles that a site has sent: all of them, those of a task, or that of a model, if there is one."""
        wanted = (task, self.study.by_id[embedding].name, learner) if embedding else None
        bundles = self.bundles[site].items()
        return [str(file) for key, file in bundles if (wanted or (task or key[0], *key[1:])) == key]

    def federated_jobs(self) -> dict[str, tuple[ArmJob, dict[str, Any]]]:
        """The federated models that can be trained over a network, by the file of the bundle: the job, and what the
        bundle says of the model. Raises StudyError if there is none."""
        study, jobs = self.study, {}
        for name in study.config["strategies"]:
            of_rounds = find_strategy(name).needs == Needs.ROUNDS
            for task in self.tasks if of_rounds else ():
                for e in self.embeddings:
                    for learner in () if e.translated else self.learners:
                        about = study.model(str(find_strategy(name).source), task, e, learner)
                        about["min_cell_count"] = study.config["min_cell_count"]
                        file = Path(layout.place(layout.FEDERATED, task=task, embedding=e.name, learner=learner)).name
                        jobs[file] = (self.arm(task, e.id, learner, name), about)
        if not jobs:
            raise StudyError("config: strategies: there is no model to train over a network; add federated")
        return jobs

    def federated_bundle(self, task: str, embedding: str, learner: str) -> list[str]:
        """The bundle of a model that was trained over a network, if it is there."""
        folder = self.study.federated_models
        assert folder is not None
        file = folder / Path(layout.FEDERATED).name.format(
            task=task, embedding=self.study.by_id[embedding].name, learner=learner
        )
        return [str(file)] if file.is_file() else []

    def vectors(self, embedding: str, site: str, task: str) -> list[str]:
        """The tables of a site's vectors or ancestors: none for one-hot, the parent's for shuffled, one per task if
        learned or of rows."""
        tables = self.study.by_id[embedding].tables
        if tables is None:
            return []
        kind = layout.LEARNED_VECTORS if tables.learned or tables.of_rows else layout.VECTORS
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
            site = wildcards["site"]
            converter = self.study.converter(site)
            return (CONVERTERS[converter.name], *converter.modules(self.study.conversion(site))) if converter else ()
        if rule in ("figures", "report"):  # strategies label their arms
            return tuple(STRATEGIES[name] for name in self.study.config["strategies"])
        if rule in ("resample_local", "resample", "importance"):  # the headline arms may be any
            return (*map(STRATEGIES.__getitem__, self.study.strategies), *map(LEARNERS.__getitem__, self.learners))
        if "learner" not in wildcards:
            return tuple(self.study.by_id[wildcards["embedding"]].modules) if rule in _OF_EMBEDDINGS else ()
        own = (STRATEGIES[wildcards["strategy"]],) if "strategy" in wildcards else ()
        if rule in ("federate", "federate_translated"):
            federation = find_learner(wildcards["learner"]).federation
            own = (*own, *([federation] if federation else []))
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

    def arms_looked_at(self, site: str) -> list[dict[str, str]]:
        """The arms at a site whose models may be looked at there: all of a target, and the local ones of a source."""
        if site in self.study.targets:
            return self.arms_at(site)
        return [
            {"embedding": e.id, "learner": learner, "strategy": LOCAL}
            for e in self.embeddings
            for learner in self.learners
            if not e.translated
        ]

    @property
    def looked_at(self) -> list[str]:
        """The sites where it is told what models look at: targets and sources whose rows are here."""
        return [site for site in self.study.own if site in self.study.targets or site in self.study.sources]

    def arm(self, task: str, embedding: str, learner: str, strategy: str, target: str | None = None) -> ArmJob:
        """The job of an arm; without a target, that of the shared model of all sources."""
        needs = find_strategy(strategy).needs
        shared = target is not None and self.shares_model(strategy, target)
        # a job that uses no other site must not depend on which sites there are
        others = self.study.others(target) if target else self.study.sources
        sources = [] if shared or needs == Needs.OWN_ROWS else others
        e = self.study.by_id[embedding]
        budget = self._budget(task, learner, strategy, e.drawn and not e.translated)
        hub = self.hub(strategy, target) if e.translated and needs in JOINT else None
        seen = self.study.windows(task) if find_learner(learner).sees == "windows" and not e.of_rows else None
        if e.of_rows:  # a row is one token, in no slot
            budget = replace(budget, min_rows=1, components=None)
        return ArmJob(
            task, target, sources, strategy, learner, self.arm_embeddings[embedding], budget, shared, hub, seen
        )

    def hub(self, strategy: str, target: str | None) -> str:
        """The site in whose words the rows of several are read: the target, where it is a source and its own rows are
        among them, else the first source. Of a model that all targets share, it is the first source."""
        if find_strategy(strategy).needs == Needs.ROUNDS:
            return self.study.sources[0]
        if target in self.study.sources and find_strategy(strategy).uses_target_labels:
            return str(target)
        return (self.study.others(target) if target else self.study.sources)[0]

    @cached_property
    def arm_embeddings(self) -> dict[str, ArmEmbedding]:
        """The embeddings as jobs of arms are told of them, by folder."""
        result = {}
        for folder, e in self.study.by_id.items():
            seen = self.study.trained_as.get(e.name, e)
            tables, models = seen.tables.id if seen.tables else None, None if seen.id == folder else seen.id
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
        if rule in ("receive", "receive_tokens", "receive_profile", "receive_vocabulary"):
            model = (wildcards.get("embedding", ""), wildcards.get("learner", ""))
            return self.bundles_of(wildcards["received"], task or None, *model)
        if rule == "receive_federated":
            return self.federated_bundle(task, wildcards["embedding"], wildcards["learner"])
        if rule == "external":
            return [study.of_cohort(study.config["external"][wildcards["external"]], task, wildcards["target"])]
        if rule == "represent":
            spec = study.by_id[wildcards["embedding"]].spec
            return [study.of_cohort(spec["file"], task, site)] if "file" in spec else []
        if rule == "receive_aggregates":
            return [study.results_file(wildcards["reported"])]
        if rule in ("compute_terms", "embedding_quality"):
            return [str(file) for file in study.term_pairs]
        return []

    @property
    def more_tables(self) -> list[str]:
        """The tables of each task and target besides those of evaluation."""
        of_translations = ["translations", "translation_shares"] if self.study.translated else []
        return [*(["method_limits"] if self.resampled else []), *of_translations]

    @property
    def resampled(self) -> bool:
        """Whether the headline arms are trained again on half-samples of their training persons."""
        return bool(self.study.config["evaluation"]["training"] == "resampled")

    def settings(self, rule: str, **wildcards: str) -> Settings:
        """What a rule's job gets from the study, by option of its script: JSON as text, numbers and names."""
        settings = getattr(self._job_settings, rule, None)
        return settings(**wildcards) if settings else {}

    @cached_property
    def _job_settings(self) -> JobSettings:
        return JobSettings(self)
