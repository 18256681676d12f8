"""Another hospital's words: how well is the source's one-hot model used at a target, by what translates its tokens?

    python benchmarks/translation.py --folder F --seeds 51 52 53 54 55 56 57 58 59 60
    python benchmarks/translation.py --folder F --seeds 51 52 53 --directions habits
    python benchmarks/translation.py --folder F --seeds 51 52 53 --tuned 20 50 100 250 500

Runs no workflow: the library makes the built-in network's hospitals, one network a seed, and a local model at each, and
uses it unchanged at the others. ``--directions``: between the three hospitals of the demo (old), or to, from and
between the two of other habits. ``--processes`` seeds are under way at once. What has been made or measured in
``--folder`` is not made again, so that a run can be stopped and resumed; remove ``cells`` there after a change of the
library. Prints, per learner and bridge, the mean AUROC on test rows, what ``both`` is better by, with 95 % limits over
seeds (Student's t of the seeds' means over directions), in how many cells it is better, and for how many of the tokens
that the source has under another key it is the first thing that they are read as, or among the first three, by the
simulator's own dictionary, which no bridge sees.

frozen: the paper's way, raw MiniLM vectors of texts that say the state ("Not X"); slots: MiniLM vectors of names in
state slots; ontology: one-hot with ancestors by ``concept_ancestor``; onehot: what both sites call the same; names,
lexical: translated by names; behaviour: by profiles; both; random: names drawn at random, and no profiles; dictionary:
what the simulator knows; local: the target's own one-hot model.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import t as student
from sklearn.metrics import brier_score_loss, roc_auc_score
from translated_network import KINDS, NEW, OLD, Network, locked

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.translated import translate_model

BRIDGES = (*KINDS, "random", "names", "lexical", "behaviour", "both", "both, lexical", "dictionary", "local")
#: tuned at the target: the source's models by kind, and the one-hot one translated
TUNED = ("onehot", "frozen")
DIRECTIONS = {
    "old": [(s, t, "old") for s, t in permutations(OLD, 2)],
    "habits": [(s, t, "to other habits") for s, t in product(OLD, NEW)]
    + [(s, t, "from other habits") for s, t in product(NEW, OLD)]
    + [(s, t, "between other habits") for s, t in permutations(NEW, 2)],
}
Cells = list[dict[str, Any]]


def kept(network: Network, name: str, measure: Callable[[], Cells]) -> Cells:
    """What ``measure`` returns, kept in the folder by this name: it is called if nothing is there."""
    file = network.folder / "cells" / f"{network.persons}-{network.seed}-{name}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = measure()
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    result: Cells = json.loads(file.read_text(encoding="utf-8"))
    return result


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


def direct(network: Network, source: str, target: str, learner: str) -> Cells:
    """One row per bridge: AUROC, Brier score over that of the prevalence, expected over observed, accuracy."""
    began = time.process_time()
    truth = network.dictionary(target, source)
    by = dict(network.bridges(target, source)) | {"dictionary": truth}
    took, known = time.process_time() - began, set(network.rows[source].keys)
    models = {kind: network.model(kind, learner, source) for kind in KINDS}
    models |= {name: translate_model(models["onehot"], table) for name, table in by.items()}
    models["local"] = network.model("onehot", learner, target)
    tested = network.rows[target].of("test")
    labels, found = network.rows[target].labels[tested], []
    share = labels.mean()
    for name, one in models.items():
        site = network.site(name if name in KINDS else "onehot", target)
        p = one.predict(site.draws(one.space, tested)).mean(axis=0)
        found.append(
            {"bridge": name, "auroc": float(roc_auc_score(labels, p)), "seconds": took}
            | {"brier": float(brier_score_loss(labels, p) / (share * (1 - share)))}
            | {"ratio": float(p.sum() / labels.sum())}
            | (accuracy(by[name], truth, known) if name in by and name != "dictionary" else {})
        )
    return found


def tuned(network: Network, target: str, learner: str, arm: str) -> Cells:
    """One row per source and number of local events: AUROC on test rows, mean of the draws of persons.

    ``arm``: local one-hot, or `tune-all` of the source's one-hot model ("onehot"), its translation ("translated"), or
    the frozen model."""
    kind = arm if arm in KINDS else "onehot"
    job = network.job(kind, learner, "local" if arm == "local" else "tune-all", target)
    for source in job.sources:
        network.model(kind, learner, source)
    with TemporaryDirectory() as out:
        sources = {source: network.arm(kind, learner, source) for source in job.sources}
        into = network.into(target) if arm == "translated" else {}
        make_arm(job, Path(out) / "arm", network.site(kind, target), (), sources, None, into)
        curves = pd.read_parquet(Path(out) / "arm/curves.parquet")
    curves = curves[(curves["split"] == "test") & curves["size"].notna()]
    found = []
    for (source, size), of_size in curves.groupby(["source", "size"]):
        drawn = of_size.groupby(["replicate", "row_id"]).agg(label=("label", "first"), p=("probability", "mean"))
        auroc = np.mean([roc_auc_score(one["label"], one["p"]) for _, one in drawn.groupby("replicate")])
        # a local arm is its own source
        for s in [site for site in network.sites if site != target] if arm == "local" else [source]:
            found.append({"arm": arm, "source": s, "events": int(size), "auroc": float(auroc)})
    return found


def measured(
    persons: int, seed: int, learners: Sequence[str], section: str, events: Sequence[int], folder: Path
) -> tuple[Cells, Cells]:
    """The cells of one network: direct ones, and tuned ones where there are ``events``."""
    logging.disable(logging.WARNING)
    directions = DIRECTIONS[section]
    sites = tuple(site for site in (*OLD, *NEW) if any(site in pair for pair in directions))
    network = Network(persons, seed, folder, tuple(learners), sites)
    with locked(network.results):
        for site in sites:
            network.make(site)
        found = []
        for learner, (source, target, group) in product(learners, directions):
            name, at = f"direct-{source}-{target}-{learner}", {"seed": seed, "learner": learner, "group": group}
            for cell in kept(network, name, lambda s=source, t=target, by=learner: direct(network, s, t, by)):
                found.append(at | {"source": source, "target": target} | cell)
        curves: Cells = []
        if events:
            network = Network(persons, seed, folder, tuple(learners), sites, tuple(events))
            for learner, target, arm in product(learners, sites, ("local", "translated", *TUNED)):
                name = f"tuned-{target}-{'-'.join(sites)}-{learner}-{arm}-{'-'.join(map(str, events))}"
                at = {"seed": seed, "learner": learner, "target": target}
                for cell in kept(network, name, lambda t=target, by=learner, a=arm: tuned(network, t, by, a)):
                    curves.append(at | cell)
    return found, curves


def limits(values: "pd.Series[float]") -> str:
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
    for (learner, of_learner), bridge in product(wide.groupby("learner"), BRIDGES):
        apart = of_learner["both"] - of_learner[bridge]
        alike = found[(found["learner"] == learner) & (found["bridge"] == bridge)]
        row = {"learner": learner, "bridge": bridge, "AUROC": f"{of_learner[bridge].mean():.3f}"}
        if bridge != "both":
            row["both minus it"] = limits(apart.groupby("seed").mean())
            row["both better"] = f"{(apart > 0).sum()} of {len(apart)}"
        row |= {
            "Brier / prevalence's": f"{alike['brier'].mean():.3f}",
            "expected / observed": f"{alike['ratio'].mean():.2f}",
        }
        result.append(row | {k: f"{alike[k].mean():.2f}" for k in ("@1", "@3") if alike[k].notna().any()})
    return pd.DataFrame(result).astype(object).fillna("")


def tuned_summary(wide: pd.DataFrame) -> pd.DataFrame:
    """One row per learner and number of events: each arm's mean AUROC, and what the translated one is better by: than
    the local one, the frozen one, and the better of the two in each cell."""
    result = []
    for (learner, events), cells_of in wide.groupby(["learner", "events"]):
        row = {"learner": learner, "events": events, **cells_of.mean().round(3).to_dict()}
        others = {"local": cells_of["local"], "frozen": cells_of["frozen"]}
        for name, other in (others | {"best": cells_of[["local", "frozen"]].max(axis=1)}).items():
            apart = cells_of["translated"] - other
            row |= {f"minus {name}": limits(apart.groupby("seed").mean())}
            row |= {f"better than {name}": f"{(apart > 0).sum()} of {len(apart)}"}
        result.append(row)
    return pd.DataFrame(result)


def break_even(found: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """One row per learner and target: the local events at which a local model is as good as the translated one used
    unchanged, and as the translated one tuned on as many events; means over sources and seeds, on a logarithmic scale
    between the numbers of events that were run."""
    result = []
    unchanged = found[found["bridge"] == "both"].groupby(["learner", "target"])["auroc"].mean()
    for (learner, target), of_target in wide.groupby(["learner", "target"]):
        mean = of_target.groupby("events").mean()
        local, events = mean["local"].to_numpy(), mean.index.to_numpy()
        result.append(
            {
                "learner": learner,
                "target": target,
                "local as good as direct at": crossing(events, local - unchanged[learner, target]),
                "local as good as tuned at": crossing(events, local - mean["translated"].to_numpy()),
            }
        )
    return pd.DataFrame(result)


def crossing(events: "np.ndarray[Any, Any]", ahead: "np.ndarray[Any, Any]") -> str:
    """The number of events from which on ``ahead`` is 0 or more."""
    if ahead[-1] < 0:
        return f"more than {events[-1]}"
    last = len(ahead) - 1 - int(np.argmax(ahead[::-1] < 0)) if (ahead < 0).any() else -1
    if last < 0:
        return f"fewer than {events[0]}"
    share = -ahead[last] / (ahead[last + 1] - ahead[last])
    return f"{np.exp(np.log(events[last]) + share * np.log(events[last + 1] / events[last])):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--persons", type=int, default=20000)
    parser.add_argument("--learners", nargs="+", default=["logistic"])
    parser.add_argument("--directions", choices=list(DIRECTIONS), default="old")
    parser.add_argument("--folder", type=Path, required=True, help="where networks, models and cells are kept")
    parser.add_argument(
        "--tuned", type=int, nargs="+", default=[], metavar="EVENTS", help="tune on so many local events"
    )
    parser.add_argument("--processes", type=int, default=1)
    a = parser.parse_args()
    jobs = [(a.persons, seed, a.learners, a.directions, a.tuned, a.folder) for seed in a.seeds]
    if a.processes > 1:
        with ProcessPoolExecutor(a.processes) as pool:
            made = list(pool.map(measured, *zip(*jobs, strict=True)))
    else:
        made = [measured(*job) for job in jobs]
    found = pd.DataFrame([cell for direct_cells, _ in made for cell in direct_cells])
    print(f"all directions\n\n{summary(found).to_string(index=False)}\n")
    for group, of_group in found.groupby("group", sort=False):
        if len(of_group) < len(found):
            print(f"{group}\n\n{summary(of_group).to_string(index=False)}\n")
    print("AUROC by direction, mean of the seeds\n")
    wide = found.pivot_table(index=["learner", "source", "target"], columns="bridge", values="auroc")
    print(wide[[*BRIDGES]].round(3).to_string())
    print(f"\nall translations of a direction: {found['seconds'].mean():.2f} CPU seconds")
    if a.tuned:
        curves = pd.DataFrame([cell for _, tuned_cells in made for cell in tuned_cells])
        by_arm = curves.pivot(index=["learner", "events", "seed", "source", "target"], columns="arm", values="auroc")
        by_arm = by_arm.dropna()
        print(f"\ntuned\n\n{tuned_summary(by_arm).to_string(index=False)}\n")
        print(break_even(found, by_arm).to_string(index=False))


if __name__ == "__main__":
    main()
