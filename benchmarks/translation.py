"""Another hospital's words: how well is the source's one-hot model used at a target, by what translates its tokens?

    python benchmarks/translation.py --seeds 1 2 3 --folder /tmp/translation
    python benchmarks/translation.py --seeds 1 2 3 --folder /tmp/translation --tuned 20 50 100 250

Runs no workflow: the library makes the built-in network's hospitals, one network a seed, and a local model at each,
and uses it unchanged at the others. What has been made in ``--folder`` is not made again. Prints the mean AUROC on
test rows of every bridge, its paired difference from the state slots of MiniLM with 95 % limits over seeds (Student's
t of the seeds' means over directions), in how many cells it is better, and for how many of the tokens that the source
has under another key it is the first thing that they are read as, or among the first three, by the simulator's own
dictionary, which no bridge sees.

onehot: what both call the same; slots: the source's model of MiniLM vectors; names, lexical: translated by names;
behaviour: by profiles; both; random: names drawn at random, and no profiles; dictionary: what the simulator knows.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy.stats import t as student
from sklearn.metrics import brier_score_loss, roc_auc_score

from conceptbridge import layout
from conceptbridge.embed.backends.random import RandomVectors
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.lexical import lexical_vectors
from conceptbridge.embed.vectors import read_vectors, vector_table
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.input_space import Table
from conceptbridge.learn.rows import SiteRows, read_rows
from conceptbridge.learn.run_arm import make_arm, run_arm
from conceptbridge.learn.site import Site
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.learn.translated import translate_model
from conceptbridge.plan import Plan
from conceptbridge.simulate.names import draw_names
from conceptbridge.simulate.network import model, streams, write_extract
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
BRIDGES = ("onehot", "slots", "random", "names", "lexical", "behaviour", "both", "both, lexical", "dictionary")
REFERENCE = "slots"


def plan_of(persons: int, seed: int, learners: list[str], events: Sequence[int] = ()) -> Plan:
    """The demo's study, with one-hot and MiniLM alone."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config |= {"simulate": {"persons": persons, "seed": seed}, "embeddings": ["onehot", "minilm"]}
    config |= {"learners": dict.fromkeys(learners), "strategies": ["local", "direct", "tune-all"]}
    config |= {"learning_curve": {"events": list(events), "replicates": 2}, "seeds": 1 if events else 3}
    return Plan.read(config)


def make_site(plan: Plan, site: str, results: Path) -> None:
    """Simulate a hospital, and make its files of the task and its vectors, unless they are there."""
    config, cohort = plan.study.config, layout.rows(results, TASK, site)[0]
    vectors = layout.vectors(results, plan.tabled[0], site)
    if vectors.is_file():
        return
    extract, cdm = results / "simulated" / site, results / layout.place(layout.CDM, site=site)
    vocabulary, task = results / layout.place(layout.VOCABULARY, site=site), config["tasks"][TASK]
    texts = config["texts"] | {"states": config["states"]}
    write_extract(site, config["simulate"]["persons"], config["simulate"]["seed"], extract)
    cdm.parent.mkdir(parents=True)
    ingest(extract, cdm, cdm.parent / "quality.json", json.loads(plan.study.reading(site)))
    least, roll_up = config["min_cell_count"], config["roll_up"]
    make_vocabulary(cdm, site, texts, roll_up, least, vocabulary)
    _, tokens, sequences = layout.rows(results, TASK, site)
    cohort.parent.mkdir(parents=True)
    make_cohort(cdm, site, task, least, cohort, cohort.parent / "attrition.csv", cohort.parent / "splits.parquet")
    make_sequences(cdm, site, vocabulary, cohort, task, roll_up, tokens, sequences)
    [spec] = [e.spec for e in plan.embeddings if e.id == plan.tabled[0]]
    named = sorted(set(site_tokens(vocabulary, True)["text"].to_pylist()))
    vectors.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(vector_table(named, encode_all(load_encoder(spec), named)), vectors)


def trained_at(plan: Plan, site: str, embedding: str, learner: str, results: Path) -> TrainedModel:
    """The local model of a site, trained unless it is there."""
    job = plan.arm(TASK, embedding, learner, "local", site)
    folder = layout.arm(results, TASK, embedding, learner, "local", site)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        run_arm(job, results, folder)
    return load_model(layout.model(folder, site), learner, job.embedding.fingerprint)


def dictionary(target: str, source: str, seed: int, rows: SiteRows, there: SiteRows) -> pa.Table:
    """What the simulator knows: a token stands for those of the same finding and slot, by how many rows have them."""
    of_source = findings_of(source, seed)
    by_finding: dict[tuple[str, int], list[int]] = {}
    for i, key in enumerate(there.keys):
        for finding in of_source.get(key.rpartition("|")[0], ()):
            by_finding.setdefault((finding, int(there.slots[i])), []).append(i)
    of_target, result = findings_of(target, seed), []
    for key, slot in zip(rows.keys, slots_of([key.rpartition("|")[2] for key in rows.keys]).tolist(), strict=True):
        findings = of_target.get(key.rpartition("|")[0], ())
        held = sorted({i for finding in findings for i in by_finding.get((finding, slot), ())})
        total = sum(there.training_rows[i] for i in held)
        result += [{"token": key, "text": None, "stands_for": there.keys[i], "weight": there.training_rows[i] / total}
                   for i in held if total]  # fmt: skip
    return pa.Table.from_pylist(result, schema=SCHEMA)


def findings_of(site: str, seed: int) -> dict[str, set[str]]:
    """The findings that a hospital records under each concept's key."""
    naming = draw_names(model()["naming"], streams(site, seed)[0])
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


def bridges(
    rows: SiteRows, there: SiteRows, profiles: tuple[Profile, Profile], tables: tuple[Table, Table]
) -> Iterator[tuple[str, pa.Table]]:
    """Each translation of the target's tokens (``rows``) into the source's (``there``), by name of the bridge."""
    texts = [sorted({text for text in site.texts if text is not None}) for site in (rows, there)]
    lexical = [(names, lexical_vectors(names)) for names in texts]
    drawn = [(names, np.concatenate([v for _, v in RandomVectors(384).encode(names)])) for names in texts]

    def words(by: Any, behaviour: bool) -> tuple[Words, Words]:
        target, source = (by if by is not None else (None, None)), profiles
        return (
            words_of(rows.keys, rows.texts, rows.keys, target[0], source[0] if behaviour else None),
            words_of(there.keys, there.texts, profiles[1].keys, target[1], source[1] if behaviour else None),
        )

    yield "random", translate(*words(drawn, False))
    yield "names", translate(*words(tables, False))
    yield "lexical", translate(*words(lexical, False))
    yield "behaviour", translate(*words(None, True))
    yield "both", translate(*words(tables, True))
    yield "both, lexical", translate(*words(lexical, True))


def accuracy(table: pa.Table, truth: pa.Table, source_keys: set[str]) -> dict[str, float]:
    """The share of the tokens that the source has under another key alone that are read as what they are: first, or
    among the first three."""
    right: dict[str, set[str]] = {}
    for row in truth.to_pylist():
        right.setdefault(row["token"], set()).add(row["stands_for"])
    read: dict[str, list[str]] = {}
    for row in table.to_pylist():
        read.setdefault(row["token"], []).append(row["stands_for"])
    asked = [token for token in read if token in right and token not in source_keys]
    return {f"@{k}": float(np.mean([bool(right[t] & set(read[t][:k])) for t in asked])) for k in (1, 3)}


def cells(persons: int, seed: int, learners: list[str], folder: Path) -> list[dict[str, Any]]:
    """One row per direction, learner and bridge: AUROC, Brier score over that of the prevalence, accuracy."""
    plan, results = plan_of(persons, seed, learners), folder / f"network-{persons}-{seed}"
    sites = plan.study.sites
    for site in sites:
        make_site(plan, site, results)
    onehot, minilm = (e.id for e in plan.embeddings)
    rows = {site: read_rows(*layout.rows(results, TASK, site)) for site in sites}
    tables = {site: read_vectors(layout.vectors(results, minilm, site)) for site in sites}
    profiles = {site: profile_of(rows[site], plan.study.config["min_cell_count"]) for site in sites}
    found = []
    for source, target in permutations(sites, 2):
        began = time.process_time()
        truth = dictionary(target, source, seed, rows[target], rows[source])
        there = rows[target], rows[source], (profiles[target], profiles[source]), (tables[target], tables[source])
        by = dict(bridges(*there)) | {"dictionary": truth}
        took = time.process_time() - began
        known = set(rows[source].keys)
        at = {"seed": seed, "source": source, "target": target}
        tested = rows[target].of("test")
        labels = rows[target].labels[tested]
        for learner in learners:
            own, dense = (trained_at(plan, source, e, learner, results) for e in (onehot, minilm))
            models = {"onehot": own, "slots": dense}
            models |= {name: translate_model(own, table) for name, table in by.items()}
            models["local"] = trained_at(plan, target, onehot, learner, results)
            for name, one in models.items():
                site = Site(target, rows[target], tables[target] if name == "slots" else None)
                p = one.predict(site.draws(one.space, tested)).mean(axis=0)
                share = labels.mean()
                found.append(
                    at
                    | {"learner": learner, "bridge": name, "auroc": roc_auc_score(labels, p), "seconds": took}
                    | {"brier": brier_score_loss(labels, p) / (share * (1 - share)), "ratio": p.sum() / labels.sum()}
                    | (accuracy(by[name], truth, known) if name in by and name != "dictionary" else {})
                )
    return found


def tuned_cells(persons: int, seed: int, learners: list[str], events: list[int], folder: Path) -> list[dict[str, Any]]:
    """One row per target, source, learner, arm and number of local events: AUROC on test rows, mean of the draws.

    Arms: local one-hot; `tune-all` of the source's one-hot model, of its translation, and of the model of slots."""
    plan, results = plan_of(persons, seed, learners, events), folder / f"network-{persons}-{seed}"
    onehot, minilm = (e.id for e in plan.embeddings)
    sites = plan.study.sites
    rows = {site: read_rows(*layout.rows(results, TASK, site)) for site in sites}
    tables = {site: read_vectors(layout.vectors(results, minilm, site)) for site in sites}
    profiles = {site: profile_of(rows[site], plan.study.config["min_cell_count"]) for site in sites}
    found = []
    for target, learner in product(sites, learners):
        others = [site for site in sites if site != target]
        both = {}
        for s in others:
            there = rows[target], rows[s], (profiles[target], profiles[s]), (tables[target], tables[s])
            both[s] = dict(bridges(*there))["both"]
        arms = {"local": ("local", onehot, None), "translated": ("tune-all", onehot, both)}
        arms |= {"onehot": ("tune-all", onehot, None), "slots": ("tune-all", minilm, None)}
        for name, (strategy, embedding, translations) in arms.items():
            job = plan.arm(TASK, embedding, learner, strategy, target)
            sources = {s: layout.arm(results, TASK, embedding, learner, "local", s) for s in job.sources}
            for s in sources:
                trained_at(plan, s, embedding, learner, results)
            with TemporaryDirectory() as out:
                site = Site(target, rows[target], tables[target] if embedding == minilm else None)
                into = {source: partial(translate_model, translation=of) for source, of in translations.items()}
                make_arm(job, Path(out) / "arm", site, (), sources, None, into)
                curves = pd.read_parquet(Path(out) / "arm/curves.parquet")
            curves = curves[(curves["split"] == "test") & curves["size"].notna()]
            for (source, size), of_size in curves.groupby(["source", "size"]):
                drawn = of_size.groupby(["replicate", "row_id"]).agg(
                    label=("label", "first"), p=("probability", "mean")
                )
                auroc = np.mean([roc_auc_score(d["label"], d["p"]) for _, d in drawn.groupby("replicate")])
                at = {"seed": seed, "learner": learner, "target": target, "arm": name, "events": int(size)}
                # a local arm is its own source
                found += [at | {"source": s, "auroc": auroc} for s in (others if name == "local" else [source])]
    return found


def tuned_summary(found: pd.DataFrame) -> pd.DataFrame:
    """One row per learner and number of events: each arm's mean AUROC, and what the translated one is better by."""
    wide = found.pivot(index=["learner", "events", "seed", "source", "target"], columns="arm", values="auroc").dropna()
    result = []
    for (learner, events), cells_of in wide.groupby(["learner", "events"]):
        row = {"learner": learner, "events": events, **cells_of.mean().round(3).to_dict()}
        for other in ("local", "slots"):
            apart = cells_of["translated"] - cells_of[other]
            row |= {
                f"minus {other}": limits(apart.groupby("seed").mean()),
                "better than " + other: f"{(apart > 0).mean():.0%}",
            }
        result.append(row | {"cells": len(cells_of)})
    return pd.DataFrame(result)


def limits(values: pd.Series) -> str:
    """Mean and 95 % limits of the seeds' means: Student's t."""
    n, mean = len(values), values.mean()
    if n < 2:
        return f"{mean:+.3f}"
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """One row per learner and bridge."""
    wide = found.pivot(index=["learner", "seed", "source", "target"], columns="bridge", values="auroc")
    result = []
    for learner, of_learner in wide.groupby("learner"):
        for bridge in (*BRIDGES, "local"):
            apart = of_learner[bridge] - of_learner[REFERENCE]
            alike = found[(found["learner"] == learner) & (found["bridge"] == bridge)]
            result.append(
                {
                    "learner": learner,
                    "bridge": bridge,
                    "AUROC": f"{of_learner[bridge].mean():.3f}",
                    f"minus {REFERENCE}": limits(apart.groupby("seed").mean()),
                    "better": f"{(apart > 0).sum()} of {len(apart)}",
                    "minus onehot": limits((of_learner[bridge] - of_learner["onehot"]).groupby("seed").mean()),
                    "Brier / prevalence's": f"{alike['brier'].mean():.3f}",
                    "expected / observed": f"{alike['ratio'].mean():.2f}",
                    **{k: f"{alike[k].mean():.2f}" for k in ("@1", "@3") if alike[k].notna().any()},
                }
            )
    return pd.DataFrame(result).fillna("")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--persons", type=int, default=20000)
    parser.add_argument("--learners", nargs="+", default=["logistic"])
    parser.add_argument("--folder", type=Path, required=True, help="where networks and models are kept")
    parser.add_argument("--tuned", type=int, nargs="+", metavar="EVENTS", help="tune on so many local events instead")
    a = parser.parse_args()
    logging.disable(logging.WARNING)
    if a.tuned:
        for seed in a.seeds:
            cells(a.persons, seed, a.learners, a.folder)  # the models that are tuned
        tuned = pd.DataFrame(
            [c for seed in a.seeds for c in tuned_cells(a.persons, seed, a.learners, a.tuned, a.folder)]
        )
        print(tuned_summary(tuned).to_string(index=False))
        return
    found = pd.DataFrame([cell for seed in a.seeds for cell in cells(a.persons, seed, a.learners, a.folder)])
    found.to_csv(a.folder / "translation.csv", index=False)
    print(summary(found).to_string(index=False))
    print("\nAUROC by direction, mean of the seeds\n")
    wide = found.pivot_table(index=["learner", "source", "target"], columns="bridge", values="auroc")
    print(wide[[*BRIDGES, "local"]].round(3).to_string())
    print(f"\nall translations of a direction: {found['seconds'].mean():.2f} CPU seconds")


if __name__ == "__main__":
    main()
