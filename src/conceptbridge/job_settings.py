"""What each rule's job gets from the study: the parts of the config that it reads, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conceptbridge.core.text import canonical
from conceptbridge.evaluate.schemas import ELSEWHERE, EXTERNAL
from conceptbridge.learn.looking import Looking
from conceptbridge.learn.resampling import Resampling
from conceptbridge.study.strategies import JOINT, LOCAL
from conceptbridge.study.strategies import strategy as find_strategy
from conceptbridge.translate.corrections import digest_of
from conceptbridge.translate.translation_job import TranslationJob

if TYPE_CHECKING:
    from conceptbridge.plan import Plan

Settings = dict[str, Any]


class JobSettings:
    """One method per rule, of its name; a rule without one gets nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.study = plan, plan.study

    def review(self, task: str, target: str) -> Settings:
        first = next(e for e in self.study.translated if not e.drawn)
        return self.translate(task, first.id, target) | {"embedding": first.id}

    def units(self, **wildcards: str) -> Settings:
        return {"min_cell_count": self.study.config["min_cell_count"]}

    learn_vectors = profile = receive_profile = summarise_translations = units

    def tables(self) -> Settings:
        return self.units() | {"more": self._plan.more_tables}

    def train(self, **wildcards: str) -> Settings:
        return {"arm": self._plan.arm(**wildcards).to_json()}

    pool = pool_sources = transfer = federate = use_federated = train
    pool_translated = pool_sources_translated = transfer_translated = train
    federate_translated = use_federated_translated = train

    def translate(self, task: str, embedding: str, target: str) -> Settings:
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
            digest_of(self.study.translations, task, target),
            target in self.study.scored,
        )
        return {"translation": job.to_json()}

    def simulate(self, site: str) -> Settings:
        return dict(self.study.config["simulate"])

    def convert(self, site: str) -> Settings:
        converter = self.study.converter(site)
        if converter is None:
            return {"converter": "", "settings": "{}"}
        return {"converter": converter.name, "settings": canonical(converter.told(self.study.conversion(site)))}

    def ingest(self, site: str) -> Settings:
        study = self.study
        return {
            "extract": study.extract(site),
            "reading": study.reading(site),
            "vocabulary": study.vocabulary or "",
        }

    def vocabulary(self, site: str) -> Settings:
        config = self.study.config
        return {
            "owner": self.study.owner(site),
            "texts": canonical(config["texts"] | {"states": config["states"]}),
            "roll_up": canonical(config["roll_up"]),
            "min_cell_count": config["min_cell_count"],
        }

    def cohort(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.cohort_settings(task, site),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def sequences(self, task: str, site: str) -> Settings:
        return {
            "owner": self.study.owner(site),
            "task": self.study.sequences_settings(task),
            "roll_up": canonical(self.study.config["roll_up"]),
        }

    def leaks(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.task(task, "outcome"),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def survey(self, task: str, site: str) -> Settings:
        return {
            "task": self.study.task(task, "min_events", "min_rows"),
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def compute_terms(self, embedding: str) -> Settings:
        return {"data": self.study.config["data"]}

    def compute_texts(self, embedding: str, site: str) -> Settings:
        # local and unmapped texts need permission only if a service would read them
        allowed = self.study.config["send_local_text"] or not self.study.by_id[embedding].remote
        return {"data": self.study.config["data"], "local_text": "--local-text" if allowed else ""}

    embed = compute_texts

    def represent(self, embedding: str, task: str, site: str) -> Settings:
        predictors = self.study.config["tasks"][task]["predictors"]
        windows = [predictors["days"]] if predictors["windows"] == "none" else predictors["windows"]
        # who has made vectors knows what they saw
        return {"windows": canonical(windows if self.study.by_id[embedding].parent else [])}

    def embedding_quality(self, embedding: str) -> Settings:
        config = self.study.config
        return {"data": config["data"], "min_cell_count": config["min_cell_count"]}

    def evaluate(self, task: str, target: str) -> Settings:
        config = self.study.config
        settings = {key: value for key, value in config["evaluation"].items() if key not in ("training", "resamples")}
        more = {"min_cell_count": config["min_cell_count"], "drawn": [e.name for e in self._plan.embeddings if e.drawn]}
        more["trained_as"] = {e.name: self.study.trained_as[e.name].name for e in self.study.translated}
        return {
            "settings": canonical(settings | more),
            "controls": canonical(self.study.controls()),
            "without": self._without,
        }

    def write_meds(self, task: str, site: str) -> Settings:
        return {"without": self._without}

    @property
    def _without(self) -> str:
        """The strategies that have no arms on a translation."""
        study = self.study
        without = {e.name: [n for n in study.strategies if not study.has_arms(e, n)] for e in study.translated}
        return canonical(without)

    def resample_local(self, task: str, site: str) -> Settings:
        return self.resampling(task, site, [LOCAL])

    def resample(self, task: str, target: str) -> Settings:
        return self.resampling(task, target, self.study.strategies)

    def resampling(self, task: str, site: str, strategies: Sequence[str]) -> Settings:
        evaluation = self.study.config["evaluation"]
        here = [site for site in self.study.sources if site in self.study.own]
        arms = [
            self._plan.arm(task, e.id, learner, name, site)
            for e in self._plan.embeddings
            for learner in self._plan.learners
            for name in strategies
            if self.study.has_arms(e, name)
        ]
        fewest = max(evaluation["min_persons"], self.study.config["min_cell_count"])
        as_trained = {e.name: self.study.trained_as[e.name].name for e in self.study.translated}
        what = Resampling(arms, evaluation["resamples"], evaluation["seed"], here, fewest, as_trained)
        return {"resampling": what.to_json()}

    def importance(self, task: str, site: str) -> Settings:
        plan, study = self._plan, self.study
        needs = JOINT if study.translated else ()
        together = [name for one in needs for name in study.strategies_that_need(one)]
        what = Looking(
            {plan.arm_embeddings[e.id].name: plan.arm_embeddings[e.id] for e in plan.embeddings},
            {e.name: study.trained_as[e.name].name for e in plan.embeddings},
            study.windows(task),
            {name: plan.hub(name, site) for name in together},
            [name for name in study.strategies if plan.shares_model(name, site)],
            study.config["min_cell_count"],
        )
        return {"looking": what.to_json()}

    def feasibility(self) -> Settings:
        config = self.study.config
        few = config["min_cell_count"]
        return {"title": config["name"], "min_cell_count": few, "warnings": canonical(self.study.warnings)}

    report = feasibility

    def provenance(self) -> Settings:
        return {
            "config": canonical(self.study.told),
            "origins": canonical({site: self.study.origin(site) for site in self.study.sites}),
            "fingerprints": canonical({e.name: e.fingerprint for e in self._plan.embeddings}),
            "simulated": "--simulated" if self._plan.simulated else "",
        }

    def write_bundle(self, site: str, task: str, embedding: str, learner: str) -> Settings:
        study = self.study
        model = study.model(site, task, study.by_id[embedding], learner)
        return {
            "about": canonical(model | {"min_cell_count": study.config["min_cell_count"]}),
            # the config's dates are not secret
            "config": canonical({key: study.config[key] for key in ("tasks", "sites")}),
            "folder": study.extract(site),
        }

    def receive(self, received: str, task: str, embedding: str, learner: str) -> Settings:
        e = self.study.by_id[embedding]
        return {
            "expected": canonical(self.study.model(received, task, e, learner)),
            "width": e.spec.get("width", ""),
        }

    def receive_federated(self, task: str, embedding: str, learner: str, strategy: str) -> Settings:
        return self.receive(str(find_strategy(strategy).source), task, embedding, learner)

    def predict(self, embedding: str, **others: str) -> Settings:
        return {
            "fingerprint": self._plan.arm_embeddings[embedding].fingerprint,
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def coverage_sheet(self, task: str, site: str, source: str, embedding: str) -> Settings:
        return {
            "title": f"{task} at {site}, {self.study.by_id[embedding].name} from {source}",
            "min_cell_count": self.study.config["min_cell_count"],
        }

    def write_aggregates(self, site: str) -> Settings:
        study = self.study
        about = {
            "site": site,
            "role": study.config["sites"][site]["role"],
            "simulated": study.simulated(site),
            "study": study.compared(),
        }
        return {"about": canonical(about), "config": canonical(study.told), "folder": study.extract(site)}

    def receive_aggregates(self, reported: str) -> Settings:
        # the names that a received table may have; `others`, the tokens of all other sites, is a source in any study
        strategies = self.study.config["strategies"]
        joint = {source for name in strategies if (source := find_strategy(name).source)}
        external = [EXTERNAL] if self.study.external else []
        names = {
            "embedding": [*(e.name for e in self._plan.embeddings), *self.study.external],
            "learner": [*self._plan.learners, *external],
            "strategy": [*strategies, *external],
            "source": [*self.study.sites, *sorted(joint | {"others"}), *([ELSEWHERE] if external else [])],
        }
        return {"names": canonical(names)}
