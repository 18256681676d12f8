"""The sections of ``verdict.py`` that run studies: the product as a user runs it, and what its tables then say.

Each study has a folder of its own below ``--folder``; where it is finished it is not run again.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from conceptbridge import layout
from conceptbridge.evaluate.comparisons import Controls, Pair, compare
from conceptbridge.evaluate.delong import components, person_clusters
from conceptbridge.evaluate.schemas import VS_CONTROL, Arm
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.rows import SiteRows, read_rows
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import Site
from conceptbridge.results import Results
from conceptbridge.study.config import read_study
from made_arms import result_of

ROOT = Path(__file__).parents[1]
DEMO: dict[str, Any] = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
TWO = {site: {"extract": "simulated"} for site in ("riverside", "lakeshore")}


class Figure(NamedTuple):
    """One measured figure; ``bound`` says what it should be."""

    what: str
    value: str
    bound: str
    holds: bool


def run_study(folder: Path, changes: dict[str, Any], cores: int) -> Results:
    """Run the demo's study with ``changes`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(DEMO | {"results": "results"} | changes), encoding="utf-8")
    command = [sys.executable, "-m", "conceptbridge.cli", "run", "study.yaml", "--cores", str(cores), "--quiet", "all"]
    subprocess.run(command, cwd=folder, check=True)
    return Results(folder / "results")


def slots(folder: Path, cores: int) -> Iterator[Figure]:
    """Models of riverside used unchanged at lakeshore, and back, on state slots; one-hot tuned; edges."""
    changes = {"sites": TWO, "embeddings": ["onehot", "minilm"], "strategies": ["local", "direct", "tune-all"]}
    found = []
    for seed in (1, 2, 3):
        simulate = {"simulate": {"persons": 20000, "seed": seed}}
        found.append(run_study(folder / f"network-{seed}", changes | simulate, cores))
    arms = pd.concat([one.table("arms") for one in found])
    direct = arms[(arms["strategy"] == "direct") & (arms["embedding"] == "minilm")]
    for (learner, source, target), of_cell in direct.groupby(["learner", "source", "target"]):
        auroc, scaled = of_cell["auroc"].mean(), of_cell["scaled_brier"].mean()
        where = f"{source} > {target}, direct, slots, {learner}, mean of 3 networks"
        yield Figure(f"{where}: AUROC", f"{auroc:.3f}", "at least 0.770", auroc >= 0.77)
        yield Figure(f"{where}: Brier over prevalence's", f"{1 - scaled:.3f}", "below 1", scaled > 0)
    tuned = arms[(arms["strategy"] == "tune-all") & (arms["embedding"] == "onehot")]
    for (learner, source, target), of_cell in tuned.groupby(["learner", "source", "target"]):
        auroc = of_cell["auroc"].mean()
        what = f"{source} > {target}, one-hot, tune-all, {learner}, mean of 3 networks: AUROC"
        yield Figure(what, f"{auroc:.3f}", "at least 0.830", auroc >= 0.83)
    spent = pd.concat([one.table("training_budget") for one in found])
    yield Figure("arms at an edge or cap, after one extension", f"{at_edge(spent)} of {len(spent)}", "", True)


def at_edge(spent: pd.DataFrame) -> int:
    """How many arms chose an edge or cap that one extension did not move."""
    return int((spent["at_edge"].fillna("") != "").sum())


def controls(folder: Path, cores: int) -> Iterator[Figure]:
    """Five draws of a control against five others, in real arms: how often is p below 0.05?"""
    learners: dict[str, None] = dict.fromkeys(("cnn", "lightgbm", "logistic"))
    changes = {"sites": TWO, "embeddings": ["random", "shuffled", "minilm"], "strategies": ["local", "direct"]}
    changes |= {"learners": learners, "draws": 40, "evaluation": {"reference": {"embedding": None}}}
    results = run_study(folder / "controls", changes, cores)
    for control in ("random", "shuffled"):
        for learner in learners:
            p = []
            for target in TWO:
                cohort = pq.read_table(results.folder / f"tasks/influenza/{target}/cohort.parquet").to_pandas()
                said = results.predictions("influenza", target, "direct", learner, control)
                p += _between_draws(said[said["split"] == "test"], cohort.set_index("row_id")["person_id"])
            share = float(np.mean(np.array(p) < 0.05))
            what = f"{control}, {learner}, direct: five draws against five others, p below 0.05 in {len(p)} pairs"
            yield Figure(what, f"{share:.1%}", "at most 8 %", share <= 0.08)


def _between_draws(said: pd.DataFrame, person: "pd.Series[int]") -> list[float]:
    wide = said.pivot(index="row_id", columns="seed", values="probability")
    label = said.drop_duplicates("row_id").set_index("row_id")["label"].loc[wide.index].to_numpy()
    clusters = person_clusters(label, person.loc[wide.index].to_numpy())
    parts = [components(label, wide[seed].to_numpy(), clusters) for seed in wide]
    fives = [parts[k : k + 5] for k in range(0, len(parts), 5)]
    results = {}
    for k, five in enumerate(fives):
        arm = Arm(str(k), "any", "direct", "there")
        results[arm] = result_of(arm, five, [0.0] * 5, clusters.persons)
    asked = [Pair(VS_CONTROL, one, other, None) for one, other in combinations(results, 2)]
    found = compare(results, asked, Controls({}), clusters)
    return [differences[0].p or 0.0 for _, differences in found]


def small(folder: Path, cores: int) -> Iterator[Figure]:
    """A site whose signal is in tokens of 3 to 9 of 600 training rows: one-hot against scikit-learn on all tokens."""
    ours, theirs = [], []
    for seed in range(5):
        site = _small_site(seed)
        out = folder / f"small-{seed}"
        shutil.rmtree(out, ignore_errors=True)
        study = read_study(DEMO | {"embeddings": ["onehot"], "learners": {"logistic": None}, "seeds": 1})
        budget = Budget(**json.loads(study.budget("influenza", "logistic", "local")))
        embedding = ArmEmbedding("onehot", "", "onehot")
        make_arm(ArmJob("small", site.name, [], "local", "logistic", embedding, budget), out, site)
        said = pd.read_parquet(out / "predictions.parquet")
        said = said[said["split"] == "test"]
        ours.append(roc_auc_score(said["label"], said["probability"]))
        theirs.append(_scikit_learn(site.rows))
    one, other = float(np.mean(ours)), float(np.mean(theirs))
    what = f"one-hot, logistic: AUROC (scikit-learn on all tokens {other:.3f}), mean of 5 sites"
    yield Figure(what, f"{one:.3f}", f"at least {other - 0.02:.3f}", one >= other - 0.02)


def _small_site(seed: int) -> Site:
    """24 tokens of many rows, which say nothing, and 63 of 1 in 100: every other one of these raises the log odds by 4,
    the others lower it by 4."""
    rng = np.random.default_rng(seed)
    n, common, rare = 2400, 24, 63
    held = rng.random((n, common + rare)) < np.repeat([0.3, 0.01], [common, rare])
    effect = np.where(np.arange(rare) % 2, 4, -4)
    label = (rng.random(n) < 1 / (1 + np.exp(1 - held[:, common:] @ effect))).astype(np.int8)
    split = np.repeat(["train", "validation", "test"], [600, 200, 1600])
    row, token = np.nonzero(held)
    rows = SiteRows(
        keys=[f"{k}|present" for k in range(common + rare)],
        texts=[str(k) for k in range(common + rare)],
        slots=np.zeros(common + rare, np.int64),
        training_rows=held[:600].sum(axis=0),
        row_ids=np.arange(n),
        person_ids=np.arange(n),
        labels=label,
        split=split,
        tokens=token.astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]),
    )
    return Site("small", rows, None)


def _scikit_learn(rows: SiteRows) -> float:
    """AUROC on test rows of the L1 penalty that validation rows choose, of a fine path."""
    ones, shape = np.ones(len(rows.tokens)), (len(rows.row_ids), len(rows.keys))
    bag = csr_matrix((ones, rows.tokens, rows.offsets), shape=shape)
    train, check, test = (rows.of(split) for split in ("train", "validation", "test"))
    tried = []
    for strength in np.logspace(-2, 2, 25):
        model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear").fit(bag[train], rows.labels[train])
        given, asked = (model.predict_proba(bag[at])[:, 1] for at in (check, test))
        tried.append((log_loss(rows.labels[check], given), roc_auc_score(rows.labels[test], asked)))
    return float(min(tried)[1])


def large(folder: Path, cores: int) -> Iterator[Figure]:
    """Riverside of a network of 200,000 persons: do the searches contain their optimum? Takes half an hour."""
    changes = {"simulate": {"persons": 200000, "seed": 1}, "sites": {"riverside": TWO["riverside"]}}
    changes |= {"strategies": ["local"], "seeds": 2, "draws": 2}
    linear = {"embeddings": ["onehot", "random"], "learners": {"logistic": None}}
    results = run_study(folder / "large-linear", changes | linear, cores)
    spent = [results.table("training_budget")]
    arms = results.table("arms").set_index("embedding")["auroc"]
    rows = read_rows(*layout.rows(results.folder, "influenza", "riverside"))
    best = _scikit_learn(rows)
    trained = len(rows.of("train"))
    what = f"one-hot, logistic, {trained:,} training rows: AUROC (scikit-learn's best of a path {best:.4f})"
    yield Figure(what, f"{arms['onehot']:.4f}", f"at least {best - 0.001:.4f}", arms["onehot"] >= best - 0.001)
    less = arms["onehot"] - arms["random"]
    yield Figure(f"logistic at home: one-hot less random ({arms['random']:.4f})", f"{less:+.4f}", "", True)
    network = {"embeddings": ["minilm"], "learners": {"cnn": None}}
    network |= {"evaluation": {"reference": {"embedding": None}}}
    results = run_study(folder / "large-network", changes | network, cores)
    spent.append(results.table("training_budget"))
    [ours] = results.table("arms")["auroc"]
    passes = round(20_000 * 32 / trained)
    longer = {"max_passes": passes, "learners": {"cnn": {"patience": passes}}}
    [best] = run_study(folder / "large-long", changes | network | longer, cores).table("arms")["auroc"]
    yield Figure(
        f"MiniLM, cnn: AUROC (20,000 steps {best:.4f})",
        f"{ours:.4f}",
        f"at least {best - 0.003:.4f}",
        ours >= best - 0.003,
    )
    all_spent = pd.concat(spent)
    yield Figure("arms at an edge or cap, after one extension", f"{at_edge(all_spent)} of {len(all_spent)}", "", True)


SECTIONS = {"slots": slots, "controls": controls, "small": small, "large": large}
