"""Networks of the built-in hospitals, their models, and the bridges to another hospital, for translation.py."""

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from conceptbridge import layout
from conceptbridge.embed.ancestors import write_ancestors
from conceptbridge.embed.ancestors_file import read_ancestors
from conceptbridge.embed.backends.random import RandomVectors
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.lexical import lexical_vectors
from conceptbridge.embed.vectors import read_vectors, vector_table
from conceptbridge.learn.ancestors import with_ancestors
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.input_space import Table
from conceptbridge.learn.rows import SiteRows, read_rows
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import Site
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.learn.translated import translate_model
from conceptbridge.plan import Plan
from conceptbridge.simulate.network import naming_of, write_extract
from conceptbridge.sites.ingest import ingest
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.translate.profile import Profile
from conceptbridge.translate.translation import SCHEMA, Words, translate, words_of
from conceptbridge.vocabulary.build import make_vocabulary
from conceptbridge.vocabulary.states import slots_of
from conceptbridge.vocabulary.texts import site_tokens

ROOT = Path(__file__).parents[1]
TASK = "influenza"
#: hospitals of the network's habits, and those of habits of their own
OLD, NEW = ("riverside", "lakeshore", "prairie"), ("highland", "canyon")
#: what a model is trained on; see ``Network.model``
KINDS = ("onehot", "slots", "frozen", "ontology")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process is in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def plan_of(persons: int, seed: int, learners: Sequence[str], words: bool, events: Sequence[int] = ()) -> Plan:
    """The demo's study at all five hospitals, with one-hot, with ancestors or without, and MiniLM alone.

    ``words``: the paper's way, raw vectors of texts that say the state, "Not X". With ``events`` models are tuned on so
    many, two draws of each, and have one seed.
    """
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
    config |= {"simulate": {"persons": persons, "seed": seed}, "embeddings": ["onehot", "minilm", "ontology"]}
    config |= {"sites": {site: {"extract": "simulated"} for site in (*OLD, *NEW)}}
    config |= {"learners": dict.fromkeys(learners), "strategies": ["local", "direct", "tune-all"]}
    config |= {"learning_curve": {"events": list(events), "replicates": 2}, "seeds": 1 if events else 3}
    if words:
        config |= {"states": "words", "scale": False}
    return Plan.read(config)


@dataclass(frozen=True)
class Network:
    """One network: ``persons`` of the first three hospitals, a ``seed``; what is made lies below ``folder``."""

    persons: int
    seed: int
    folder: Path
    learners: tuple[str, ...]
    sites: tuple[str, ...]
    events: tuple[int, ...] = ()

    @cached_property
    def results(self) -> Path:
        """Where the network lies; the texts that say the state are below it."""
        return self.folder / f"network-{self.persons}-{self.seed}"

    @cached_property
    def plans(self) -> dict[bool, Plan]:
        """By whether the state is in the text."""
        return {words: plan_of(self.persons, self.seed, self.learners, words, self.events) for words in (False, True)}

    @cached_property
    def minimum(self) -> int:
        """The study's ``min_cell_count``."""
        return int(self.plans[False].study.config["min_cell_count"])

    @cached_property
    def rows(self) -> dict[str, SiteRows]:
        """Rows of the task by site."""
        return {site: read_rows(*layout.rows(self.results, TASK, site)) for site in self.sites}

    @cached_property
    def tables(self) -> dict[str, Table]:
        """MiniLM vectors of names by site."""
        return {site: read_vectors(layout.vectors(self.results, self.embedding("slots"), site)) for site in self.sites}

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Profiles by site."""
        return {site: profile_of(self.rows[site], self.minimum) for site in self.sites}

    def embedding(self, kind: str) -> str:
        """The folder of the embedding of this kind of model."""
        onehot, minilm, ontology = (e.id for e in self.plans[kind == "frozen"].embeddings)
        return {"onehot": onehot, "ontology": ontology}.get(kind, minilm)

    def job(self, kind: str, learner: str, strategy: str, target: str) -> ArmJob:
        """The job of an arm; tuned ones use this network's sites alone."""
        job = self.plans[kind == "frozen"].arm(TASK, self.embedding(kind), learner, strategy, target)
        return replace(job, sources=[site for site in job.sources if site in self.sites])

    def arm(self, kind: str, learner: str, site: str) -> Path:
        """The folder of a local arm."""
        return layout.arm(
            self.results / ("words" if kind == "frozen" else "."), TASK, self.embedding(kind), learner, "local", site
        )

    def site(self, kind: str, name: str) -> Site:
        """A site as a model of this kind sees it."""
        if kind == "frozen":
            below = self.results / "words"
            vectors = layout.vectors(below, self.embedding(kind), name)
            return Site(name, read_rows(*layout.rows(below, TASK, name)), read_vectors(vectors))
        if kind == "ontology":
            also = read_ancestors(layout.vectors(self.results, self.embedding(kind), name))
            return Site(name, with_ancestors(self.rows[name], also), None)
        return Site(name, self.rows[name], self.tables[name] if kind == "slots" else None)

    def model(self, kind: str, learner: str, site: str) -> TrainedModel:
        """A site's local model, trained unless it is there, on one-hot tokens; state slots of MiniLM vectors; frozen
        vectors the paper's way; or one-hot tokens with their ancestors ("ontology")."""
        job, folder = self.job(kind, learner, "local", site), self.arm(kind, learner, site)
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            once = replace(job, budget=replace(job.budget, sizes=(), replicates=0))
            make_arm(once, folder, self.site(kind, site))
        return load_model(layout.model(folder, site), learner, job.embedding.fingerprint)

    def translation(self, target: str, source: str) -> pa.Table:
        """By name and behaviour."""
        names = [self.tables[target], self.tables[source]]
        return dict(self.translations(target, source, [("both", names, True)]))["both"]

    def translations(
        self, target: str, source: str, wanted: Sequence[tuple[str, Any, bool]]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Each translation of ``wanted``: its name, vectors of names (target's, source's) or None, and whether by
        behaviour too."""
        sites, known = (self.rows[target], self.rows[source]), (self.rows[target].keys, self.profiles[source].keys)
        profiles = self.profiles[target], self.profiles[source]
        for name, tables, behaviour in wanted:
            words: list[Words] = [
                words_of(rows.keys, rows.texts, keys, table, profile if behaviour else None)
                for rows, keys, table, profile in zip(sites, known, tables or (None, None), profiles, strict=True)
            ]
            yield name, translate(*words)

    def bridges(self, target: str, source: str) -> Iterator[tuple[str, pa.Table]]:
        """Each translation of the target's tokens into the source's, by name of the bridge."""
        sites = self.rows[target], self.rows[source]
        texts = [sorted({text for text in rows.texts if text is not None}) for rows in sites]
        lexical = [(names, lexical_vectors(names)) for names in texts]
        drawn = [(names, np.concatenate([v for _, v in RandomVectors(384).encode(names)])) for names in texts]
        names = [self.tables[target], self.tables[source]]
        yield from self.translations(
            target,
            source,
            [
                ("random", drawn, False),
                ("names", names, False),
                ("lexical", lexical, False),
                ("behaviour", None, True),
                ("both", names, True),
                ("both, lexical", lexical, True),
            ],
        )

    def into(self, target: str) -> dict[str, Callable[[TrainedModel], TrainedModel]]:
        """How the model of each other site is translated."""
        others = [site for site in self.sites if site != target]
        return {source: partial(translate_model, translation=self.translation(target, source)) for source in others}

    def dictionary(self, target: str, source: str) -> pa.Table:
        """What the simulator knows: a token stands for those of the same finding and slot, by how many rows have
        them."""
        rows, there, of_source = self.rows[target], self.rows[source], findings_of(source, self.seed)
        by_finding: dict[tuple[str, int], list[int]] = {}
        for i, key in enumerate(there.keys):
            for finding in of_source.get(key.rpartition("|")[0], ()):
                by_finding.setdefault((finding, int(there.slots[i])), []).append(i)
        of_target, result = findings_of(target, self.seed), []
        for key, slot in zip(rows.keys, slots_of([key.rpartition("|")[2] for key in rows.keys]).tolist(), strict=True):
            findings = of_target.get(key.rpartition("|")[0], ())
            held = sorted({i for finding in findings for i in by_finding.get((finding, slot), ())})
            total = sum(there.training_rows[i] for i in held)
            result += [
                {"token": key, "text": None, "stands_for": there.keys[i], "weight": there.training_rows[i] / total}
                for i in held
                if total
            ]
        return pa.Table.from_pylist(result, schema=SCHEMA)

    def make(self, site: str) -> None:
        """Simulate a hospital, and make its files of the task and its vectors, unless they are there."""
        for words in (False, True):
            below = self.results / "words" if words else self.results
            config, plan = self.plans[words].study.config, self.plans[words]
            vectors = layout.vectors(below, plan.tabled[0], site)
            if vectors.is_file():
                continue
            cdm, cohort = self._cdm(site), layout.rows(self.results, TASK, site)[0]
            vocabulary, task = below / layout.place(layout.VOCABULARY, site=site), config["tasks"][TASK]
            own, tokens, sequences = layout.rows(below, TASK, site)
            for file in (vocabulary, own, vectors):
                file.parent.mkdir(parents=True, exist_ok=True)
            texts, roll_up = config["texts"] | {"states": config["states"]}, config["roll_up"]
            make_vocabulary(cdm, site, texts, roll_up, self.minimum, vocabulary)
            if words:
                own.write_bytes(cohort.read_bytes())
            else:
                more = (cohort.parent / "attrition.csv", cohort.parent / "splits.parquet")
                make_cohort(cdm, site, task, self.minimum, cohort, *more)
            make_sequences(cdm, site, vocabulary, own, task, roll_up, tokens, sequences)
            [spec] = [e.spec for e in plan.embeddings if e.id == plan.tabled[0]]
            named = sorted(set(site_tokens(vocabulary, True)["text"].to_pylist()))
            pq.write_table(vector_table(named, encode_all(load_encoder(spec), named)), vectors)
            if not words:
                e = next(e for e in plan.embeddings if e.backend.ancestors)
                also = layout.vectors(below, e.id, site)
                write_ancestors(vocabulary, [cdm], e.spec["levels"], site, also)

    def _cdm(self, site: str) -> Path:
        extract, cdm = self.results / "simulated" / site, self.results / layout.place(layout.CDM, site=site)
        if not cdm.is_dir():
            write_extract(site, self.persons, self.seed, extract)
            cdm.parent.mkdir(parents=True, exist_ok=True)
            reading = json.loads(self.plans[False].study.reading(site))
            ingest(extract, cdm, cdm.parent / "quality.json", reading)
        return cdm


def findings_of(site: str, seed: int) -> dict[str, set[str]]:
    """The findings that a hospital records under each concept's key."""
    naming = naming_of(site, seed)
    result: dict[str, set[str]] = {}
    for finding, names in naming.of_finding.items():
        for at in names:
            name = naming.names[at]
            local = name.concept_id >= 2_000_000_000
            key = f"{site}/{name.concept_id}" if local else str(name.concept_id)
            if not name.concept_id:
                key = f"{site}/{name.domain.lower()}:{name.text}"
            result.setdefault(key, set()).add(finding)
    return result
