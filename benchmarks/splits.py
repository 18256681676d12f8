"""What each way of splitting costs: prevalence, E/O, optimism on returning persons, test rows lost.

    python benchmarks/splits.py [--repeats 8] [--persons 20000] [--network 20000]

Two cases. *Death within 30 days*: visits of a stationary population without drift, about one a month; the persons'
hazards of death differ. `codes`: findings show them in part. `identity`: nothing shows them but a rare token of each
person's own, which is the worst case for a person in training and test. *The network*: influenza at riverside, of the
built-in network, 20,000 persons. `future` is the rule that was: a person's rows stay only in their last period.

`seen`: a logistic model is trained on the training rows of four fifths of the persons; its AUROC on test rows of a
fifth of these, and of the fifth that it has not seen. Persons are drawn at random, so the rows differ in nothing else.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from conceptbridge.simulate.network import write_extract
from conceptbridge.sites.ingest import ingest
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.study.config import read_study
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary

#: days of the three periods, each twelve months but the first
PERIODS = (0, 730, 1095, 1461)
FOLDS = 5


class Rows(NamedTuple):
    """Rows before any split: ``day`` (rows,) from the first, the last day of the outcome window, tokens (rows, n)."""

    person: NDArray[np.int64]
    day: NDArray[np.int64]
    label: NDArray[np.int8]
    tokens: csr_matrix
    starts: tuple[int, int]
    window: int


def stationary(persons: int, case: str, seed: int) -> Rows:
    """Visits of persons who come at a constant rate and stay until death, or for two years on average (`identity`:
    six years)."""
    rng = np.random.default_rng(seed)
    stay = 2200 if case == "identity" else 730
    enters = rng.uniform(-6 * stay, PERIODS[-1], persons)
    findings = rng.random((persons, 5)) < 0.3
    hidden = rng.normal(0, 1.5 if case == "identity" else 0.6, persons)
    shown = 0.0 if case == "identity" else findings @ np.array([1.0, 0.8, 0.6, 0.4, 0.2])
    hazard = 0.25 * np.exp(shown + hidden) / 365
    dies = enters + rng.exponential(1 / hazard)
    leaves = np.minimum(dies, enters + rng.exponential(stay, persons))
    counts = rng.poisson(np.maximum(leaves - enters, 0) / 30)
    who = np.repeat(np.arange(persons), counts)
    day = np.floor(enters[who] + rng.random(len(who)) * (leaves - enters)[who]).astype(np.int64)
    kept = (day >= 0) & (day < PERIODS[-1])
    visits = pd.DataFrame({"person": who[kept], "day": day[kept]}).drop_duplicates().sort_values(["person", "day"])
    person, day = visits["person"].to_numpy(), visits["day"].to_numpy()
    gap = np.floor(dies[person]) - day
    label = ((gap >= 1) & (gap <= 30)).astype(np.int8)
    seen = findings[person] & (rng.random((len(person), 5)) < 0.8)
    blocks = [csr_matrix(seen.astype(float))]
    if case == "identity":
        blocks.append(csr_matrix((np.ones(len(person)), (np.arange(len(person)), person)), (len(person), persons)))
    return Rows(person, day, label, csr_matrix(hstack(blocks)), (PERIODS[1], PERIODS[2]), 30)


def network(persons: int, seed: int) -> Rows:
    """The influenza task of the default study at riverside, before its split."""
    config = {
        "name": "splits", "sites": {"riverside": {"extract": "simulated"}}, "embeddings": ["onehot"],
        "learners": {"logistic": None}, "strategies": ["local"],
        "tasks": {"influenza": {
            "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
            "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]}, "split": {"by": "hash"}}},
    }  # fmt: skip
    study = read_study(config)
    task = study.config["tasks"]["influenza"]
    with tempfile.TemporaryDirectory() as temporary:
        at = Path(temporary)
        write_extract("riverside", persons, seed, at / "extract")
        ingest(at / "extract", at / "cdm", at / "quality.json")
        make_vocabulary(at / "cdm", "riverside", study.config["texts"], AS_RECORDED, 10, at / "vocabulary.parquet")
        cohort, tokens, sequences = (at / f"{name}.parquet" for name in ("cohort", "tokens", "sequences"))
        make_cohort(at / "cdm", "riverside", task, 10, cohort, at / "attrition.csv", at / "splits.parquet", 2)
        make_sequences(
            at / "cdm", "riverside", at / "vocabulary.parquet", cohort, task, AS_RECORDED, tokens, sequences, 2
        )
        rows = pd.read_parquet(cohort)
        lists = pq.read_table(sequences)["tokens"].combine_chunks()
        row = np.repeat(np.arange(len(rows)), lists.value_lengths().to_numpy())
        held = csr_matrix(
            (np.ones(len(row)), (row, lists.flatten().to_numpy())), (len(rows), pq.read_metadata(tokens).num_rows)
        )
    held.data[:] = 1
    day = (pd.to_datetime(rows["index_date"]) - pd.Timestamp("2020-01-01")).dt.days.to_numpy()
    starts = [(pd.Timestamp(f"{year}-09-01") - pd.Timestamp("2020-01-01")).days for year in (2022, 2023)]
    return Rows(rows["person_id"].to_numpy(), day, rows["label"].to_numpy(), held, (starts[0], starts[1]), 7)


def splits(rows: Rows, seed: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each kind of split: 0, 1, 2, or -1 for a row of none."""
    period = np.searchsorted(rows.starts, rows.day, side="right")
    ends = np.array([*rows.starts, np.iinfo(np.int64).max // 2])
    within = rows.day + rows.window < ends[period]
    _, person = np.unique(rows.person, return_inverse=True)
    last = np.zeros(person.max() + 1, np.int64)
    np.maximum.at(last, person, period)
    u = np.random.default_rng(seed + 1000).random(person.max() + 1)[person]
    drawn = np.searchsorted(np.cumsum(np.bincount(period, minlength=3) / len(period))[:2], u, side="right")
    yield "future", np.where(within & (period == last[person]), period, -1)
    yield "returning", np.where(within, period, -1)
    yield "apart", np.where(within & (period == drawn), period, -1)
    yield "hash", np.searchsorted([0.6, 0.8], u, side="right")


def fit(rows: Rows, inside: NDArray[np.bool_]) -> LogisticRegression:
    """A logistic model of these rows' tokens."""
    return LogisticRegression(C=1.0, max_iter=500).fit(rows.tokens[inside], rows.label[inside])


def measures(rows: Rows, split: NDArray[Any], optimism: bool, seed: int) -> dict[str, float]:
    """The figures of one split."""
    train, test = split == 0, split == 2
    found: dict[str, float] = {
        f"prevalence {name}": rows.label[split == n].mean() for n, name in enumerate(("train", "validation", "test"))
    }
    probability = fit(rows, train).predict_proba(rows.tokens[test])[:, 1]
    found |= {
        "E/O": probability.mean() / rows.label[test].mean(),
        "AUROC": roc_auc_score(rows.label[test], probability),
    }
    found |= {"train rows": train.sum(), "test rows": test.sum(), "test events": rows.label[test].sum()}
    found["returning"] = np.isin(rows.person[test], rows.person[train]).mean()
    if optimism:
        _, person = np.unique(rows.person, return_inverse=True)
        fold = np.random.default_rng(seed).integers(0, FOLDS, person.max() + 1)[person]
        seen, unseen = [], []
        for k in range(FOLDS):
            score = fit(rows, train & (fold != k)).predict_proba(rows.tokens)[:, 1]
            for at, to in ((test & (fold == (k + 1) % FOLDS), seen), (test & (fold == k), unseen)):
                to.append(roc_auc_score(rows.label[at], score[at]))
        found["AUROC seen"], found["AUROC unseen"] = np.mean(seen), np.mean(unseen)
    return found


def main() -> None:
    """Print a table per case: the mean over repeats of each figure, by kind of split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--persons", type=int, default=20000)
    parser.add_argument("--network", type=int, default=20000)
    options = parser.parse_args()
    cases = {
        "death, codes": lambda seed: stationary(options.persons, "codes", seed),
        "death, identity": lambda seed: stationary(options.persons, "identity", seed),
        "network": lambda seed: network(options.network, seed),
    }
    for name, make in cases.items():
        lines = []
        for seed in range(1, options.repeats + 1):
            rows = make(seed)
            for kind, split in splits(rows, seed):
                lines.append({"split": kind} | measures(rows, split, kind == "returning", seed))
            if seed == 1:
                before = (
                    f"{len(rows.label)} rows, {len(np.unique(rows.person))} persons, prevalence {rows.label.mean():.4f}"
                )
        table = pd.DataFrame(lines).groupby("split", sort=False)
        print(f"\n{name}: {before}\n{table.mean().round(4).T.to_string()}")
        difference = pd.DataFrame(lines).query("split == 'returning'")
        gap = difference["AUROC seen"] - difference["AUROC unseen"]
        print(f"optimism on persons seen in training: {gap.mean():.4f}, sd {gap.std():.4f} over {len(gap)} repeats")


if __name__ == "__main__":
    main()
