"""One-hot with ancestors: an unseen concept reaches a model by what it is a kind of."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.embed.ancestors import write_ancestors
from conceptbridge.embed.ancestors_file import SCHEMA, holds_ancestors, read_ancestors
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.exchange.score.coverage_report import coverage, write_coverage
from conceptbridge.exchange.send.bundle import write_bundle
from conceptbridge.learn.ancestors import with_ancestors
from conceptbridge.learn.arm_job import Budget
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import SiteRows, merge
from conceptbridge.learn.site import Site, read_site
from conceptbridge.plan import Plan
from conceptbridge.study.learners import LEARNERS
from conceptbridge.tasks.sequences import TOKENS
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY
from conceptbridge.vocabulary.build import make_vocabulary
from made_arms import train_local, train_together, transfer
from made_site import CONCEPTS, NOBODY, write_site
from test_translated import settings_of
from tiny_site import concept, condition, measurement, person, write_cdm

FINGERPRINT = "f" * 64
EMBEDDING = {"name": "ontology", "fingerprint": FINGERPRINT, "backend": "ontology"}
TEXTS = {"states": "slots", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
KIND, OTHER = "100|present", "200|present"
FILES = ("cohort", "tokens", "sequences")


def budget(settings: dict[str, Any]) -> Budget:
    return Budget(settings, {}, 1, 2, 5, min_rows=1, min_cell_count=5, scale=True)


def ancestor(above: int, below: int, levels: int) -> dict[str, Any]:
    names = ("ancestor_concept_id", "descendant_concept_id", "min_levels_of_separation")
    return dict(zip(names, (above, below, levels), strict=True))


def table_of(folder: Path, *pairs: dict[str, Any], levels: int = 2) -> dict[str, list[str]]:
    """What the tokens of a small site are as well: a condition, a local one, one of few persons and a value."""
    people = [person(n) for n in range(4)]
    day, own = date(2020, 5, 1), 2_000_000_001
    local = condition(1, day, own, condition_source_value="our code")
    records = [*(condition(n, day, 2) for n in range(4)), *(local | {"person_id": n} for n in range(4)),
               local | {"condition_concept_id": own + 1}]  # fmt: skip
    values = [measurement(n, day, 7, value_as_number=v, range_low=2.0, range_high=3.0) for n, v in enumerate([1, 2, 4])]
    values += [measurement(3, day, 7, value_as_concept_id=9191)]
    cdm = write_cdm(
        folder / "cdm", person=people, condition_occurrence=records, measurement=values,
        concept=[concept(2, "Influenza"), concept(7, "Glucose"), concept(own, "Ours"), concept(own + 1, "Rare")],
        concept_ancestor=list(pairs),
    )  # fmt: skip
    make_vocabulary(cdm, "here", TEXTS, {"drug": "none", "condition": 0}, 2, folder / "vocabulary.parquet")
    write_ancestors(folder / "vocabulary.parquet", [cdm], levels, "here", folder / "also.parquet")
    assert holds_ancestors(folder / "also.parquet")
    return read_ancestors(folder / "also.parquet")


def test_a_token_is_also_its_ancestors_up_to_so_many_levels(tmp_path: Path) -> None:
    pairs = [ancestor(2, 2, 0), ancestor(3, 2, 1), ancestor(4, 2, 2), ancestor(5, 2, 3), ancestor(9, 8, 1)]
    found = {n: table_of(tmp_path / str(n), *pairs, levels=n)["2|present"] for n in (1, 2, 3)}
    assert found == {
        1: ["3|present"],
        2: ["4|present", "3|present"],  # the most general first
        3: ["5|present", "4|present", "3|present"],
    }


def test_an_ancestor_has_the_broad_state_of_its_token(tmp_path: Path) -> None:
    found = table_of(tmp_path, ancestor(70, 7, 1))
    assert found["7|low"] == ["70|low"]
    assert found["7|high"] == ["70|high"]
    assert found["7|positive"] == ["70|high", "7|high"]


def test_a_local_concept_has_the_ancestors_that_the_site_says_and_is_none(tmp_path: Path) -> None:
    pairs = [ancestor(3, 2_000_000_001, 1), ancestor(3, 2_000_000_002, 1), ancestor(2_000_000_009, 2, 1)]
    found = table_of(tmp_path, *pairs)
    assert {key: also for key, also in found.items() if not key.startswith("7|")} == {
        "here/2000000001|present": ["3|present"]  # the other one is of few persons: it is used nowhere
    }


def test_a_site_without_ancestors_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"here has no concept_ancestor table, .*; add the table .* or leave out"):
        table_of(tmp_path)


def rows_of(keys: list[str], held: np.ndarray, slots: list[int] | None = None) -> SiteRows:
    """Rows that hold these tokens: (rows, tokens). They train."""
    rows = len(held)
    return SiteRows(
        keys=keys,
        texts=[f"name of {key}" for key in keys],
        slots=np.array(slots or [0] * len(keys)),
        training_rows=held.sum(axis=0),
        row_ids=np.arange(rows),
        person_ids=np.arange(rows),
        labels=np.zeros(rows, np.int8),
        split=np.full(rows, "train"),
        tokens=np.nonzero(held)[1].astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int64),
    )


def held_by(rows: SiteRows) -> list[list[str]]:
    return [
        [rows.keys[at] for at in rows.tokens[rows.offsets[i] : rows.offsets[i + 1]]] for i in range(len(rows.row_ids))
    ]


ALSO = {"1|present": ["3|present"], "2|high": ["1|high", "4|high"], "3|present": ["5|present"]}


def test_each_token_of_a_row_is_followed_by_what_it_is_as_well() -> None:
    keys = ["1|present", "2|high", "3|present", "sex|female"]
    rows = rows_of(keys, np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]], bool), [0, 2, 0, 5])
    more = with_ancestors(rows, ALSO)
    assert held_by(more) == [
        ["1|present", "3|present", "2|high", "1|high", "4|high"],
        ["3|present", "5|present", "sex|female"],
        [],
        ["1|present", "3|present", "3|present", "5|present"],
    ]
    assert dict(zip(more.keys, more.training_rows.tolist(), strict=True)) == {
        "1|present": 2, "2|high": 1, "3|present": 3, "sex|female": 1, "1|high": 1, "4|high": 1, "5|present": 2,
    }  # fmt: skip
    assert dict(zip(more.keys, more.slots.tolist(), strict=True))["4|high"] == 2
    text_of = dict(zip(more.keys, more.texts, strict=True))
    assert (text_of["3|present"], text_of["5|present"]) == ("name of 3|present", None)
    assert more.keys.index("5|present") < more.keys.index("3|present") < more.keys.index("1|present")
    circle = {"1|present": ["3|present"], "3|present": ["1|present"]}
    assert held_by(with_ancestors(rows, circle))[3] == ["1|present", "3|present", "3|present", "1|present"]
    assert with_ancestors(rows, {}).tokens.tolist() == rows.tokens.tolist()


def test_the_order_of_rows_plays_no_part() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(["1|present", "2|high", "3|present"], rng.random((50, 3)) < 0.5)
    order = rng.permutation(50)
    first, then = with_ancestors(rows, ALSO), with_ancestors(rows.take(order), ALSO)
    assert first.keys == then.keys
    assert first.training_rows.tolist() == then.training_rows.tolist()
    assert [held_by(first)[i] for i in order] == held_by(then)


def test_two_sites_are_merged_by_the_keys_of_ancestors() -> None:
    here = with_ancestors(rows_of(["1|present"], np.ones((2, 1), bool)), {"1|present": ["9|present"]})
    there = with_ancestors(rows_of(["2|present", "0|present"], np.ones((3, 2), bool)), {"2|present": ["9|present"]})
    both = merge([here, there])
    assert both.keys == ["9|present", "1|present", "2|present", "0|present"]
    assert both.training_rows.tolist() == [5, 2, 3, 3]
    assert held_by(both)[2] == ["2|present", "9|present", "0|present"]


def site(folder: Path, name: str, also: dict[str, list[str]]) -> Site:
    """The site that ``write_site`` wrote, with the ancestors of its tokens."""
    out = folder / "also.parquet"
    pq.write_table(pa.table({"key": list(also), "also": list(also.values())}, schema=SCHEMA), out)
    return read_site(name, [folder / f"{kind}.parquet" for kind in FILES], out)


def siblings(folder: Path) -> tuple[Site, Site]:
    """A source and a target without one code in common: their first two concepts are kinds of the same two."""
    here, there = (write_site(folder / name, [f"{name}{n}" for n in range(3)], seed=n) for n, name in enumerate("ab"))
    return tuple(
        site(f, name, {f"{name}0|present": [KIND], f"{name}1|present": [OTHER]})
        for f, name in ((here, "a"), (there, "b"))
    )  # type: ignore[return-value]


def auroc(out: Path) -> float:
    found = pq.read_table(out / "predictions.parquet").to_pandas()
    tested = found[found.split == "test"].groupby("row_id").agg({"label": "first", "probability": "mean"})
    return float(roc_auc_score(tested.label, tested.probability))


@pytest.mark.parametrize("name", LEARNERS)
def test_an_unseen_sibling_reaches_the_model_by_the_common_parent(tmp_path: Path, name: str) -> None:
    source, target = siblings(tmp_path)
    settings = settings_of(name)
    train_local(source, name, EMBEDDING, budget(settings), tmp_path / "local")
    arms = {"a": tmp_path / "local"}
    moved, joined = ("direct", "tune-head", "tune-all"), ("pooled", "leave-one-out")
    if name == "transformer":  # ten times as slow, and its rows are made as those of the others
        moved, joined = moved[:1], joined[:1]
    for strategy in moved:
        section = learner(name).default("fair").get(strategy, {})
        tuned = settings | {key: value[0] if isinstance(value, list) else value for key, value in section.items()}
        given = {} if strategy == "direct" else tuned
        transfer(target, name, strategy, arms, FINGERPRINT, budget(given), tmp_path / strategy)
    for strategy in joined:
        train_together(target, [source], strategy, name, EMBEDDING, budget(settings), tmp_path / strategy)
    found = {s: auroc(tmp_path / s) for s in ("local", *moved, *joined)}
    assert min(found.values()) > 0.8, found
    # the same model without ancestors knows nothing of anybody
    plain = {**EMBEDDING, "backend": "onehot"}
    alone = [Site(s.name, read_site(s.name, [tmp_path / s.name / f"{k}.parquet" for k in FILES], None).rows, None)
             for s in (source, target)]  # fmt: skip
    train_local(alone[0], name, plain, budget(settings), tmp_path / "plain")
    transfer(alone[1], name, "direct", {"a": tmp_path / "plain"}, FINGERPRINT, budget({}), tmp_path / "unseen")
    assert auroc(tmp_path / "unseen") == 0.5


def test_a_model_that_is_tuned_gets_columns_for_the_target_s_ancestors(tmp_path: Path) -> None:
    source, target = siblings(tmp_path)
    settings = settings_of("logistic")
    train_local(source, "logistic", EMBEDDING, budget(settings), tmp_path / "local")
    arms = {"a": tmp_path / "local"}
    transfer(target, "logistic", "tune-all", arms, FINGERPRINT, budget(settings), tmp_path / "tuned")
    space = json.loads((tmp_path / "tuned/models/a/model.json").read_text())["space"]
    assert set(space["names"]) == {*source.rows.keys, *target.rows.keys}
    assert space["names"].count(KIND) == 1


def sent(folder: Path, learner_name: str) -> tuple[Path, Path, dict[str, Any]]:
    """A site whose rarest token is of too few rows to be told, its arm, and what its bundle says."""
    home = write_site(folder / "home", CONCEPTS, seed=1)
    tokens = pq.read_table(home / "tokens.parquet").to_pylist()
    tokens[-1]["rows"] = 4
    pq.write_table(pa.Table.from_pylist(tokens, schema=TOKENS), home / "tokens.parquet")
    beside = {"vocabulary": "SNOMED", "named_by": "concept", "private": False}
    vocabulary = [
        {k: t[k] for k in ("key", "concept_id", "domain", "state", "text")} | {"name": t["text"]} | beside
        for t in tokens
    ]
    pq.write_table(pa.Table.from_pylist(vocabulary, schema=VOCABULARY), home / "vocabulary.parquet")
    also = {"cough|present": [KIND], "fever|present": [KIND], "thirst|present": ["300|present", KIND]}
    train_local(site(home, "home", also), learner_name, EMBEDDING, budget(settings_of(learner_name)), folder / "arm")
    about = {
        "source": "home",
        "task": "influenza",
        "definition": {"index": {"domain": "visit", "concepts": []}, "outcome": {"domain": "condition", "concepts": [1],
                       "days": [1, 7]}, "predictors": {"days": [-365, 0], "domains": ["condition"]}},
        "embedding": {**EMBEDDING, "entry": {"levels": 4}},
        "learner": learner_name,
        "seeds": 2,
    }  # fmt: skip
    return home, folder / "arm", about


@pytest.mark.parametrize("name", LEARNERS)
def test_a_bundle_names_the_ancestors_of_tokens_that_it_names(tmp_path: Path, name: str) -> None:
    home, arm, about = sent(tmp_path, name)
    out = tmp_path / "bundle.zip"
    files = (home / "vocabulary.parquet", home / "tokens.parquet", None)
    more = {"ancestors": home / "also.parquet"}
    write_bundle(about | {"min_cell_count": 5}, arm, *files, NOBODY, out, tmp_path / "sheet.md", **more)
    receive(out, about, None, tmp_path / "received")
    names = json.loads((tmp_path / "received/models/home/model.json").read_text())["space"]["names"]
    assert KIND in names  # of cough and fever
    assert not {"thirst|present", "300|present"} & {*names}  # few persons have either
    assert sum(one.startswith("not shared ") for one in names) == 2
    there = write_site(tmp_path / "there", ["sneeze", "sprain"], seed=2)
    target = site(there, "there", {"sneeze|present": [KIND]})
    predicted = []
    for source in (arm, tmp_path / "received"):
        transfer(target, name, "direct", {"home": source}, FINGERPRINT, budget({}), tmp_path / "direct")
        predicted.append(pq.read_table(tmp_path / "direct/predictions.parquet"))
    assert predicted[0].equals(predicted[1])


def test_the_coverage_report_says_what_is_known_by_an_ancestor(tmp_path: Path) -> None:
    home, _, _ = sent(tmp_path, "logistic")
    there = write_site(tmp_path / "there", ["cough", "sneeze", "hiccup", "drought", "parent"], seed=2)
    also = {"sneeze|present": [KIND], "hiccup|present": ["rash|present"], "drought|present": ["300|present"]}
    site(there, "there", also)
    cohort, tokens, sequences = (there / f"{kind}.parquet" for kind in FILES)
    tables = (there / "also.parquet", home / "also.parquet")
    table = coverage(cohort, tokens, sequences, home / "tokens.parquet", *tables, 5)
    assert dict(zip(table["text"].to_pylist(), table["known"].to_pylist(), strict=True)) == {
        "cough": "key",
        "sneeze": "ancestor",  # the source has other concepts of that kind
        "hiccup": "ancestor",  # the source has the more general concept itself
        "drought": "unseen",  # of its kind the source has few persons
        "parent": "unseen",
    }
    write_coverage(table, "there", 5, tmp_path / "coverage.csv", tmp_path / "coverage.md")
    assert "## Known by an ancestor alone" in (tmp_path / "coverage.md").read_text(encoding="utf-8")


def study(**changed: Any) -> Plan:
    tasks = {"flu": {"index": {"domain": "visit", "concepts": [9203]}, "outcome": {"domain": "condition",
             "concepts": [4266367], "days": [1, 7]}, "split": {"by": "hash"}}}  # fmt: skip
    sites = {name: {"extract": "simulated"} for name in ("riverside", "lakeshore")}
    config = {"name": "made", "sites": sites, "tasks": tasks, "learners": ["logistic"]}
    return Plan.read(config | {"embeddings": ["ontology", "onehot", "lexical", "translated"]} | changed)


def test_it_is_an_embedding_with_meaning_of_its_own_and_without_vectors() -> None:
    plan = study()
    ontology, onehot = plan.study.embeddings["ontology"], plan.study.embeddings["onehot"]
    assert not ontology.control
    assert ontology.shareable
    assert "ontology" in plan.study.controls()["onehot"]
    assert plan.study.trained_as["translated"] == onehot
    assert plan.with_ancestors == [ontology.id]
    assert plan.tabled == [plan.study.embeddings["lexical"].id]
    assert plan.vectors(ontology.id, "riverside", "flu") == [
        layout.place(layout.VECTORS, embedding=ontology.id, site="riverside")
    ]
    job = plan.arm("flu", ontology.id, "logistic", "local", "riverside")
    assert (job.embedding.tables, job.embedding.drawn) == (ontology.id, False)
    assert study(embeddings=["ontology", {"up": {"backend": "ontology", "levels": 1}}]).with_ancestors[1] != ontology.id


@pytest.mark.parametrize("levels", [0, 7, "two"])
def test_levels_are_one_to_six(levels: Any) -> None:
    with pytest.raises(StudyError, match=r"ontology\.levels"):
        study(embeddings=[{"ontology": {"levels": levels}}])


def test_translations_need_models_without_ancestors() -> None:
    with pytest.raises(StudyError, match="translated uses the one-hot models of the study; add onehot"):
        study(embeddings=["ontology", "lexical", "translated"])
