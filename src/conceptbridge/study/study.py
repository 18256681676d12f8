"""A checked study: its config with all defaults filled in, and its embeddings.

Planning the workflow imports this module, so it imports nothing heavy.
"""

import hashlib
import json
import os
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.study.embeddings import Embedding
from conceptbridge.study.learners import find_learner
from conceptbridge.study.reference import weak_reference
from conceptbridge.study.strategies import Needs, strategy
from conceptbridge.study.study_sites import StudySites
from conceptbridge.tasks.check import cohort_file

HOSPITALS = ("riverside", "lakeshore", "prairie", "highland", "canyon")


@dataclass(frozen=True)
class Study(StudySites):
    """A checked study: ``config`` with all defaults filled in, and its embeddings by name."""

    embeddings: dict[str, Embedding]
    #: the catalogue entries that the study uses, with its own changes
    catalogue: dict[str, Any]

    @property
    def federated_models(self) -> Path | None:
        """The folder of the models that were trained over a network; None where a job trains them."""
        folder = self.config.get("federated_models")
        return Path(self._data(folder)) if folder else None

    @property
    def told(self) -> dict[str, Any]:
        """The config without the folders of this machine: where they are changes no result."""
        return {key: value for key, value in self.config.items() if key not in ("data", "embedding_cache", "results")}

    @cached_property
    def warnings(self) -> list[str]:
        """What is odd about the study, as sentences: two sites with the same extract, what a site cannot tell, a weak
        reference."""
        places: dict[str, list[str]] = {}
        for site in self.own:
            if "extract" in self.config["sites"][site] and not self.simulated(site):
                places.setdefault(os.path.realpath(self.extract(site)), []).append(site)
        same = [
            f"{' and '.join(sites)} have the same extract, so what is carried from one to the other is nothing new"
            for sites in places.values()
            if len(sites) > 1
        ]
        told = [text for site in self.own if (c := self.converter(site)) for text in c.warnings(site)]
        return same + told + weak_reference(self.config, self.embeddings)

    @property
    def vocabulary(self) -> str | None:
        """Folder of the study's vocabulary (an Athena download), below ``data`` unless it is an absolute path."""
        return self._data(self.config["vocabulary"]) if "vocabulary" in self.config else None

    @property
    def translations(self) -> list[Path]:
        """The files of a clinician's words on what tokens stand for."""
        return [Path(self._data(file)) for file in self.config["translations"]]

    @property
    def term_pairs(self) -> list[Path]:
        """The files of rated term pairs. Raises StudyError if the folder that the config names has none."""
        if not self.config["term_pairs"]:
            return []
        folder = Path(self._data(self.config["term_pairs"]))
        files = sorted(folder.glob("UMNSRS_*.csv"))
        if not files:
            raise StudyError(f"config: term_pairs: {folder} has no UMNSRS_similarity.csv or UMNSRS_relatedness.csv")
        return files

    @cached_property
    def by_id(self) -> dict[str, Embedding]:
        """The embeddings by the name of their folder, including the parents of controls."""
        embeddings = [*self.embeddings.values(), *(e.parent for e in self.embeddings.values() if e.parent)]
        return {e.id: e for e in embeddings}

    @cached_property
    def translated(self) -> list[Embedding]:
        """The embeddings that are translations."""
        return [e for e in self.embeddings.values() if e.translated]

    @property
    def reviewed(self) -> list[str]:
        """The sites whose tokens are read as others' on this machine: targets with rows here, and those with patients
        to score."""
        return [site for site in self.targets if site in self.own] + self.scored if self.translated else []

    @cached_property
    def trained_as(self) -> dict[str, Embedding]:
        """The embedding whose local models are used for each embedding, by name: its own, a translation one-hot's."""
        onehot = next((e for e in self.embeddings.values() if e.onehot), None)
        return {name: onehot if e.translated and onehot else e for name, e in self.embeddings.items()}

    def definition(self, name: str) -> dict[str, Any]:
        """What a prediction of the task means. A model is only used where this is the same.

        Split and minima are not part of it. A concept set's file counts by its content; a handed-in cohort does not
        count.
        """
        task = self.config["tasks"][name]
        keys = ("index", "outcome", "censoring", "min_time_at_risk", "guards", "predictors")
        of_all = ("texts", "states", "roll_up")
        parts = deepcopy({key: task[key] for key in keys} | {key: self.config[key] for key in of_all})
        for event in (parts["index"], parts["outcome"]):
            del event["file"], event["definition"]
            if not event["codes"]:  # as in bundles of studies without MEDS sites
                del event["codes"]
            if isinstance(event["concepts"], str):
                event["concepts"] = {"sha256": hashlib.sha256(Path(event["concepts"]).read_bytes()).hexdigest()}
        result: dict[str, Any] = json.loads(canonical(parts))
        return result

    def compared(self) -> dict[str, Any]:
        """What must be the same at every site whose results share a table: tasks, embeddings, budgets, evaluation."""
        keys = ("learners", "strategies", "max_trials", "max_passes", "seeds", "draws")
        vectors = ("components", "scale", "learning_curve", "tuning_curve")
        tasks = {
            name: self.definition(name) | {key: task[key] for key in ("split", "min_events", "min_rows", "min_values")}
            for name, task in self.config["tasks"].items()
        }
        parts = {
            "tasks": tasks,
            "embeddings": {name: embedding.fingerprint for name, embedding in self.embeddings.items()},
            **{key: self.config[key] for key in (*keys, *vectors, "evaluation", "min_cell_count")},
        }
        parts |= {"external": self.external} if self.external else {}
        parts |= {"translated": [e.name for e in self.translated]} if self.translated else {}
        result: dict[str, Any] = json.loads(canonical(parts))
        return result

    def seeds(self, drawn: bool) -> int:
        """How often each arm is trained; of a control, how often it is ``drawn``."""
        return int(self.config["draws" if drawn else "seeds"])

    def controls(self) -> dict[str, list[str]]:
        """The controls, each with the study's embeddings that it stands beside: all, its parent, or those as wide.

        A control that is a translation stands beside translations.
        """
        result = {}
        for control in (e for e in self.embeddings.values() if e.control):
            beside = [e for e in self.embeddings.values() if not e.control]
            if control.drawn:  # a translation's is a translation
                beside = [e for e in beside if e.translated == control.translated and not e.of_rows]
            if control.parent is not None and control.backend.vectors == "permuted":
                beside = [control.parent]
            elif control.parent is not None and not control.translated:
                beside = [e for e in beside if e.spec.get("width") == control.spec["width"]]
            result[control.name] = [e.name for e in beside]
        return result

    def model(self, source: str, task: str, embedding: Embedding, learner: str) -> dict[str, Any]:
        """What the bundle of a source's model states in this study; ``entry`` says how to get the embedding."""
        about = {
            "name": embedding.name,
            "fingerprint": embedding.fingerprint,
            "backend": embedding.spec["backend"],
            "entry": embedding.backend.shared_entry(embedding.spec),
        }
        return {
            "source": source,
            "task": task,
            "definition": self.definition(task),
            "embedding": about,
            "learner": learner,
            "seeds": self.seeds(embedding.drawn),
        }

    def task(self, name: str, *keys: str) -> str:
        """The part of a task that one stage depends on, as canonical JSON."""
        return canonical({key: self.config["tasks"][name][key] for key in keys})

    def windows(self, name: str) -> dict[str, Any] | None:
        """The windows in which a task's rows are seen, and whether with values; None for none."""
        predictors = self.config["tasks"][name]["predictors"]
        if predictors["windows"] == "none":
            return None
        return {"days": predictors["windows"], "values": bool(predictors.get("values"))}

    def sequences_settings(self, name: str) -> str:
        """The part of a task that its sequences depend on, as canonical JSON: windows are made of them later."""
        task = self.config["tasks"][name]
        parts = {key: task[key] for key in ("outcome", "predictors", "guards", "min_values")}
        parts["predictors"] = {key: value for key, value in task["predictors"].items() if key != "windows"}
        return canonical(parts)

    def cohort_settings(self, name: str, site: str) -> str:
        """The part of a task that its cohort at a site depends on, as canonical JSON."""
        keys = ["index", "outcome", "censoring", "min_time_at_risk", "split", "on_few_events"]
        # `min_events` matters to the cohort only if too few events stop the study
        few = ["min_events"] if self.config["tasks"][name]["on_few_events"] == "fail" else []
        settings: dict[str, Any] = json.loads(self.task(name, *keys, *few))
        if file := self.split_file(name, site):
            settings["split"]["file"] = file
        return canonical(settings)

    @property
    def external(self) -> list[str]:
        """The names of the models whose predictions come from files."""
        return list(self.config["external"])

    def of_cohort(self, pattern: str, task: str, site: str) -> str:
        """The file of a cohort, such as of another model's predictions, from its name with `{task}` and `{site}`."""
        return self._data(pattern.replace("{task}", task).replace("{site}", site))

    def split_file(self, name: str, site: str) -> str | None:
        """The file of the splits of a site's persons, where a task reads it: of a MEDS data set."""
        task, converter = self.config["tasks"][name], self.converter(site)
        if task["split"]["by"] != "given" or task["index"]["domain"] == "cohort" or converter is None:
            return None
        return converter.splits(self.conversion(site))

    def concept_files(self, name: str) -> list[str]:
        """The files of a task's concept sets."""
        events = (self.config["tasks"][name][key] for key in ("index", "outcome"))
        return [event["concepts"] for event in events if isinstance(event["concepts"], str)]

    def task_files(self, name: str, site: str) -> list[str]:
        """The files besides the extract that a task's cohort at a site depends on: concept sets, handed-in cohorts."""
        events = (self.config["tasks"][name][key] for key in ("index", "outcome"))
        handed_in = [str(cohort_file(event["file"], site)) for event in events if event["file"] is not None]
        split_file = self.split_file(name, site)
        return self.concept_files(name) + handed_in + ([split_file] if split_file else [])

    @property
    def strategies(self) -> list[str]:
        """The strategies of the study. Transfer needs a second site. Sharing rows must be allowed, and needs the rows
        of all sites on this machine."""
        possible = {Needs.OWN_ROWS}
        if self.federated_models and self.own:
            possible.add(Needs.ROUNDS)
        if len(self.own + self.bundled) > 1:
            possible.add(Needs.SOURCE_MODELS)
            if self.config["share_rows"] and not self.bundled:
                possible.add(Needs.SHARED_ROWS)
            if len(self.sources) > 1 and not self.bundled:
                possible.add(Needs.ROUNDS)
        wanted = [name for name in self.config["strategies"] if strategy(name).needs in possible]
        return [name for name in wanted if any(self._adds(name, target) for target in self.targets or self.sources)]

    def strategies_at(self, target: str) -> list[str]:
        """The strategies of the arms at a target: without a model of the other sources' rows where there is one other
        source, as that source's own model is the same."""
        return [name for name in self.strategies if self._adds(name, target)]

    def has_arms(self, embedding: Embedding, name: str) -> bool:
        """Whether there are arms of the strategy on the embedding. A translation trains no local model of its own; one
        that is drawn is a control of what single sources' models do. Over a network, no rows are read in a hub's
        words."""
        needs = strategy(name).needs
        return (
            not embedding.translated
            or needs == Needs.SOURCE_MODELS
            or (needs == Needs.SHARED_ROWS and not embedding.drawn)
            or (needs == Needs.ROUNDS and not embedding.drawn and self.federated_models is None)
        )

    def _adds(self, name: str, target: str) -> bool:
        return not strategy(name).same_for_other_targets or len(self.others(target)) > 1

    def strategies_that_need(self, needs: Needs) -> list[str]:
        """The study's strategies with these needs."""
        return [name for name in self.strategies if strategy(name).needs == needs]

    def budget(self, task: str, learner: str, strategy_name: str, drawn: bool = False) -> str:
        """The training budget of an arm, on a control that is ``drawn`` or not, as canonical JSON."""
        how, declared = strategy(strategy_name), find_learner(learner)
        base = self.config["learners"][learner]
        settings = {key: value for key, value in base.items() if key not in declared.tuning}
        if how.settings_section in base:
            searched = declared.searched(settings)
            settings = {key: value for key, value in settings.items() if key not in searched}
            settings |= base[how.settings_section]
        if not how.trains:
            settings = {}
        elif declared.takes_passes:
            settings["max_passes"] = self.config["max_passes"]
        searched = declared.searched(settings)
        part = {key: self.config["tasks"][task][key] for key in ("min_events", "min_rows")}
        part |= {key: self.config[key] for key in ("min_cell_count", "scale")} | {"seeds": self.seeds(drawn)}
        part |= {"components": self.config["components"] if self.config["states"] == "slots" else None}
        part |= {"max_trials": self.config["max_trials"] if searched else 1, "searched": searched}
        if how.has_learning_curve and self.config["learning_curve"]["events"]:
            sizes = self.config["learning_curve"]
            part |= {"sizes": sizes["events"], "replicates": sizes["replicates"]}
        if how.tunes:
            part["depths"] = self.config["tuning_curve"]
        return canonical(part | {"settings": {key: value for key, value in settings.items() if key not in searched}})
