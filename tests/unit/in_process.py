"""Runs a whole study in this process, stage by stage, to the page: what the workflow's rules do, without Snakemake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conceptbridge import layout
from conceptbridge.core import plot_style
from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.provenance import provenance
from conceptbridge.embed.compute import compute_texts
from conceptbridge.embed.learned import write_learned
from conceptbridge.embed.quality import Site, measure
from conceptbridge.embed.quality_tables import write_quality
from conceptbridge.embed.row_vectors import write_row_vectors
from conceptbridge.embed.tables import write_site_table
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate
from conceptbridge.learn.importance import importance
from conceptbridge.learn.looking import Looking
from conceptbridge.learn.run_arm import run_arm
from conceptbridge.plan import Plan
from conceptbridge.report.figures.draw import write_figures
from conceptbridge.report.page import write_page
from conceptbridge.report.tables import tables, write_tables
from conceptbridge.sites.ingest import ingest
from conceptbridge.study.strategies import LOCAL
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.feasibility import write_feasibility
from conceptbridge.tasks.leaks import make_leaks
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.tasks.survey import make_survey
from conceptbridge.tasks.units import make_units
from conceptbridge.vocabulary.build import make_vocabulary

Stage = Callable[[], Any]


class InProcess:
    """A planned study and its folder of results; ``done`` counts the jobs of each stage."""

    def __init__(self, config: dict[str, Any], results: Path) -> None:
        self.plan, self.results = Plan.read(config | {"results": str(results)}), results
        self.study, self.config = self.plan.study, config
        self.few = self.study.config["min_cell_count"]
        self.done: dict[str, int] = {}

    def at(self, artefact: str, **names: Any) -> Path:
        path = self.results / layout.place(artefact, **names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def job(self, stage: str, run: Stage) -> None:
        run()
        self.done[stage] = self.done.get(stage, 0) + 1

    def sites(self) -> None:
        for site in self.study.own:
            told = self.plan.settings("vocabulary", site=site)
            cdm = self.at(layout.CDM, site=site)
            ingest(Path(self.study.extract(site)), cdm, self.at(layout.QUALITY, site=site), {})
            texts, roll_up = json.loads(told["texts"]), json.loads(told["roll_up"])
            make_vocabulary(cdm, told["owner"], texts, roll_up, self.few, self.at(layout.VOCABULARY, site=site))
            make_units(cdm, site, self.few, self.at(layout.UNITS, site=site))

    def rows(self, task: str) -> None:
        for site in self.study.own:
            cdm, vocabulary = self.at(layout.CDM, site=site), self.at(layout.VOCABULARY, site=site)
            at = {name: self.at(getattr(layout, name), task=task, site=site) for name in
                  ("COHORT", "ATTRITION", "SPLITS", "TOKENS", "SEQUENCES", "SURVEY", "LEAKS", "CONCEPTS")}  # fmt: skip
            told = json.loads(self.plan.settings("cohort", task=task, site=site)["task"])
            files = (at["COHORT"], at["ATTRITION"], at["SPLITS"])
            self.job("cohort", lambda: make_cohort(cdm, site, told, self.few, *files, 1, concepts=at["CONCEPTS"]))  # noqa: B023
            spec = json.loads(self.plan.settings("sequences", task=task, site=site)["task"])
            roll_up = self.study.config["roll_up"]
            made = (at["TOKENS"], at["SEQUENCES"])
            rows = (at["COHORT"], spec, roll_up, *made)
            self.job("sequences", lambda: make_sequences(cdm, site, vocabulary, *rows))  # noqa: B023
            survey = json.loads(self.plan.settings("survey", task=task, site=site)["task"])
            self.job("survey", lambda: make_survey(at["COHORT"], *made, survey, self.few, at["SURVEY"]))  # noqa: B023
            leaks = (at["COHORT"], vocabulary, *made, None, spec, self.few, at["LEAKS"])
            self.job("leaks", lambda: make_leaks(cdm, *leaks))  # noqa: B023

    def embed(self, cache: Path) -> None:
        qualities = []
        for folder, e in self.study.by_id.items():
            if e.tables is None or e.tables.id != folder:
                continue
            if e.learned:
                for task in self.plan.tasks:
                    for site in self.study.own:
                        rows = layout.rows(self.results, task, site)
                        out = self.at(layout.LEARNED_VECTORS, embedding=folder, site=site, task=task)
                        self.job("learn vectors", lambda: write_learned([rows], e, self.few, out))  # noqa: B023
                continue
            if e.of_rows:
                for task in self.plan.tasks:
                    windows = json.loads(
                        self.plan.settings("represent", embedding=folder, task=task, site="")["windows"]
                    )
                    for site in self.study.own:
                        rows = layout.rows(self.results, task, site)
                        (file,) = self.plan.given("represent", embedding=folder, task=task, site=site) or [None]
                        out = self.at(layout.LEARNED_VECTORS, embedding=folder, site=site, task=task)
                        write_row_vectors(e, rows, file and Path(file), windows, cache, out)
                continue
            measured = []
            for site in self.study.own:
                vocabulary, out = (
                    self.at(layout.VOCABULARY, site=site),
                    self.at(layout.VECTORS, embedding=folder, site=site),
                )
                compute_texts(e, [vocabulary], [], self.results, cache, True, 1)
                write_site_table(vocabulary, e, self.results, cache, True, out)
                measured.append(Site(site, vocabulary, out))
            quality = self.at(layout.EMBEDDING_QUALITY, embedding=folder)
            write_json(measure(e, measured, [], self.results, cache, self.few), quality)
            qualities.append(quality)
        write_quality(qualities, self.results / "tables", self.results / "figures")

    def arms(self, task: str) -> None:
        targets = self.study.targets
        order = sorted(self.study.strategies, key=lambda name: name != LOCAL)
        for e in self.plan.embeddings:
            for learner in self.plan.learners:
                for name in order:
                    for target in dict.fromkeys([*self.study.sources, *targets]) if name == LOCAL else targets:
                        if name != LOCAL and name not in self.study.strategies_at(target):
                            continue
                        names = {"task": task, "embedding": e.id, "learner": learner, "strategy": name}
                        job, out = self.plan.arm(**names, target=target), self.at(layout.ARM, **names, target=target)
                        self.job("arms", lambda: run_arm(job, self.results, out))  # noqa: B023

    def evaluate(self, task: str) -> None:
        for target in self.study.targets:
            told = self.plan.settings("evaluate", task=task, target=target)
            embeddings = {e.name: e.id for e in self.plan.embeddings}
            arms = ArmFolders(
                self.results / "arms" / task, embeddings, json.loads(told["controls"]), self.plan.learners,
                self.study.strategies_at(target),
            )  # fmt: skip
            cohort, _, sequences = layout.rows(self.results, task, target)
            tokens = {site: layout.rows(self.results, task, site)[1] for site in self.plan.modelled(target)}
            files, settings = TargetFiles(cohort, sequences, tokens), json.loads(told["settings"])

            def run() -> None:
                for name, table in evaluate(task, target, arms, files, settings).items():  # noqa: B023
                    write_parquet(table, self.at(layout.METRICS, task=task, target=target, table=name))  # noqa: B023

            self.job("evaluate", run)

    def look(self, task: str, site: str) -> Path:
        named = [
            self.at(layout.METRICS, task=task, target=target, table="comparisons") for target in self.study.targets
        ]
        what = Looking.from_json(self.plan.settings("importance", task=task, site=site)["looking"])
        out = self.at(layout.IMPORTANCE, task=task, site=site)
        self.job("importance", lambda: write_parquet(importance(what, task, site, named, self.results), out))
        return out

    def page(self) -> str:
        r, tasks, sites = self.results, self.plan.tasks, self.study.tabled
        looked_at = [self.look(task, site) for task in tasks for site in self.plan.looked_at]
        joint = tables(r / "metrics", r / "tasks", tasks, sites, self.few, self.study.targets, (), looked_at)
        self.job("tables", lambda: write_tables(joint, r / "tables"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plot_style, "FORMATS", {"svg": {"Date": None}})  # the others take eight times as long
            self.job("figures", lambda: write_figures(r / "tables", r / "figures"))
        told = self.plan.settings("provenance")
        config, origins, prints = (json.loads(told[key]) for key in ("config", "origins", "fingerprints"))
        write_json(provenance(config, origins, prints, False, Path(__file__).parent), r / layout.PROVENANCE)
        out = self.at(layout.PAGE)
        read = (r / "tables", r / "figures", r / "sites", r / layout.PROVENANCE)
        self.job("page", lambda: write_page(*read, "made here", out, self.few, r / "tasks"))
        page = self.at(layout.FEASIBILITY)
        self.job(
            "feasibility",
            lambda: write_feasibility(r / "tasks", r / "sites", tasks, sites, "made here", self.few, page),
        )
        return out.read_text(encoding="utf-8")
