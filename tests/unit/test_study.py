"""A study's config is checked before anything runs, and every embedding has its identity."""

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.study.backends import find_backend
from conceptbridge.study.config import _paths, config_schema, package_data, read_study
from conceptbridge.study.embeddings import catalogue_schema, embedding_of_folder, find_embedding, of_each_parent
from conceptbridge.study.study import Study

ROOT = Path(__file__).parents[2]


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


CATALOGUE = package_data("catalogue")
SCHEMA = config_schema()
CATALOGUE_SCHEMA = catalogue_schema()


def study(config: Any, catalogue: Any = CATALOGUE) -> Study:
    return read_study(config, catalogue)


@pytest.fixture
def three_winters() -> Any:
    return read_yaml("config/studies/three-winters.yaml")


@pytest.mark.parametrize("path", ["config/config.yaml", *sorted(str(p) for p in ROOT.glob("config/studies/*.yaml"))])
def test_the_studies_of_the_project_are_valid(path: str) -> None:
    assert study(read_yaml(path)).sites


def test_defaults_are_filled_in_at_every_depth(three_winters: Any) -> None:
    full = study(three_winters).config
    assert full["min_cell_count"] == 10
    assert full["tasks"]["influenza"]["outcome"]["descendants"] is True
    assert full["learners"]["cnn"]["filters"] == 100
    assert full["texts"]["absent"] == "Not {name}"


def test_a_learner_may_be_named_without_settings(three_winters: Any) -> None:
    three_winters["learners"] = {"lightgbm": None}
    assert study(three_winters).config["learners"]["lightgbm"]["min_data_in_leaf"] == 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"learners": {"cnn": None, "lightgbm": None}}, None),
        ({"learners": {"cnn": None}}, "no model of logistic or lightgbm (in learners), which"),
        ({"embeddings": ["minilm"]}, "no model of one-hot tokens (`onehot` in embeddings), which"),
        (
            {"evaluation": {"reference": {"embedding": "minilm", "learner": "cnn"}}},
            "embeddings) and logistic or lightgbm",
        ),
    ],
)
def test_a_weak_reference_is_named(three_winters: Any, change: dict[str, Any], said: str | None) -> None:
    warnings = study(three_winters | change).warnings
    if said is None:
        assert warnings == []
    else:
        [text] = warnings
        assert said in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(seedz=3), r"unknown key 'seedz' \(did you mean 'seeds'\?\)"),
        (lambda c: c["embeddings"].append("minillm"), r"'minillm' is not in the catalogue.*did you mean 'minilm'"),
        (lambda c: c["sites"]["prairie"].clear(), r"sites\.prairie: the key 'extract' is missing"),
        (
            lambda c: c["sites"]["prairie"].update(bundles="received"),
            r"prairie: give exactly one of extract, findings, .*, results_file \(found extract and bundles\)",
        ),
        (
            lambda c: c["sites"].update(prairie={"bundles": "received", "role": "target"}),
            r"sites\.prairie: it has only bundles, so there are no rows to predict",
        ),
        (
            lambda c: c["sites"].update(prairie={"bundles": "received", "patients": "list.csv"}),
            r"sites\.prairie: it has only bundles",
        ),
        (
            lambda c: c["sites"].update(prairie={"bundles": "received"}) or c["strategies"].append("pooled"),
            r"strategies: pooled needs the rows of all sites",
        ),
        (
            lambda c: c["sites"].update(hilltop={"extract": "simulated"}),
            r"sites\.hilltop: only hospitals of the built-in",
        ),
        (
            lambda c: c["sites"].update({"St Mary": {"extract": "x"}}),
            r"sites: 'St Mary' cannot be a name.*write st-mary",
        ),
        (lambda c: c.pop("tasks"), r"the key 'tasks' is missing"),
        (lambda c: c["strategies"].append("tune-heads"), r"'tune-heads' is not one of .*did you mean 'tune-head'"),
        (
            lambda c: c["sites"].update(others={"extract": "others"}) or c["strategies"].append("leave-one-out"),
            r"sites\.others: tables use this name for the source of leave-one-out; give the site another name",
        ),
        (lambda c: c["strategies"].remove("local"), r"strategies: .*does not contain"),
        (lambda c: c["learners"].update(cmn={}), r"learners: unknown key 'cmn' \(did you mean 'cnn'\?\)"),
        (
            lambda c: c["learners"].update(cnn={"filter": 3}),
            r"learners\.cnn: unknown key 'filter' \(did you mean 'filters'\?\)",
        ),
        (
            lambda c: c["learners"].update(transformer={"width": 10, "heads": 4}),
            r"learners\.transformer: a width of 10 cannot be shared by 4 heads",
        ),
        (
            lambda c: c["learners"].update(attention={"units": 8}),
            r"config: learners\.attention: this key is now `transformer`",
        ),
        (
            lambda c: c["learners"].update(cnn={"learning_rate": [0.1, 0]}),
            r"learners\.cnn\.learning_rate\.1: 0 is too small; give above 0",
        ),
        (
            lambda c: c["learners"].update(cnn={"filters": [50, 100]}),
            r"cnn\.filters: \[50, 100\] is a list; give a whole number",
        ),
        (
            lambda c: c["learners"].update(cnn={"widths": [1]}),
            r"config: learners\.cnn\.widths: unknown key; it was removed, delete it",
        ),
        (
            lambda c: c["learners"].update(lightgbm={"leaves": 7}),
            r"config: learners\.lightgbm\.leaves: this key is now `num_leaves`",
        ),
        (
            lambda c: c["learners"].update(lightgbm={"tune-all": {"min_leaf": 7}}),
            r"config: learners\.lightgbm\.tune-all\.min_leaf: this key is now `min_data_in_leaf`",
        ),
        (
            lambda c: c.update(evaluation={"reference": {"learner": "cmn"}}),
            r"evaluation\.reference\.learner: 'cmn' is not one of cnn, .*did you mean 'cnn'",
        ),
        (lambda c: c.update(learners=[["cnn"]]), r"learners: \[\['cnn'\]\] is a list; give a section of keys"),
        (
            lambda c: c.update(evaluation={"reference": {"embedding": "minilmm"}}),
            r"evaluation\.reference\.embedding: the study has no 'minilmm' \(did you mean 'minilm'\?\)",
        ),
        (lambda c: c.update(seeds=0), r"seeds: 0 is too small; give at least 1"),
        (lambda c: c["simulate"].update(persons="many"), r"simulate\.persons: 'many' is text; give a whole number"),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(days=[0, 7]),
            r"tasks\.influenza\.outcome\.days: the outcome window begins on day 0.*begin it on day 1",
        ),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(days=[7, 1]),
            r"tasks\.influenza\.outcome\.days: the window \[7, 1\] ends before it begins",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].update(concepts="sets/nsaid.json"),
            r"tasks\.influenza\.index\.concepts: the concept set sets/nsaid\.json does not exist",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].pop("concepts"),
            r"influenza\.index: the key 'concepts' is missing",
        ),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(domain="conditions"),
            r"tasks\.influenza\.outcome\.domain: 'conditions' is not one of .*did you mean 'condition'",
        ),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(days=[-9, -2]),
            r"tasks\.influenza\.outcome\.days: the outcome window begins on day -9, not after the predictors",
        ),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(value={"at_least": 3}),
            r"influenza\.outcome\.value: records of the domain condition have no value",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].update(domain="cohort", file="{site}.csv"),
            r"influenza\.index\.file: the cohort riverside\.csv of the site riverside does not exist",
        ),
        (
            lambda c: c["tasks"]["influenza"].update(split={"by": "given"}),
            r"influenza\.split\.by: `given` reads the split from a handed-in cohort",
        ),
        (
            lambda c: c["tasks"]["influenza"]["predictors"].update(days=[-30, 2]),
            r"predictors\.days: the window ends 2 days after the index",
        ),
        (
            lambda c: c["tasks"]["influenza"]["predictors"].update(domains=["drugs"]),
            r"domains\.0: 'drugs' is not one of .*did you mean 'drug'",
        ),
        (
            lambda c: c["tasks"]["influenza"]["split"].update(test="2021-09-01"),
            r"influenza\.split: the test period must begin after the validation period",
        ),
        (
            lambda c: c["tasks"]["influenza"]["split"].update(test="2023-02-30"),
            r"split\.test: '2023-02-30' is not a date",
        ),
        (
            lambda c: c["tasks"]["influenza"].update(min_time_at_risk=3),
            r"influenza\.min_time_at_risk: has no effect with `censoring: keep`; use `drop`",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].update(definition=3),
            r"influenza\.index\.definition: needs `domain: cohort`, but the domain is `visit`",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].update(domain="cohort", file="cohort.csv"),
            r"influenza\.index\.file: every site would read the cohort cohort\.csv; put \{site\} in its name",
        ),
        (
            lambda c: c["tasks"]["influenza"]["index"].update(domain="cohort", file="{hospital}/{site}.csv"),
            r"influenza\.index\.file: the cohort \{hospital\}/riverside\.csv of the site riverside does not exist",
        ),
        (
            lambda c: c["tasks"]["influenza"]["outcome"].update(
                domain="measurement", value={"at_least": 9, "at_most": 3, "unit": "mg/dL"}
            ),
            r"influenza\.outcome\.value: at_least is 9, above at_most \(3\)",
        ),
        (
            lambda c: c["tasks"]["influenza"].update(split={"by": "hash", "shares": [0.6, 0.3, 0.3]}),
            r"split\.shares: .* must add up to 1, not 1\.2",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(three_winters: Any, change: Any, message: str) -> None:
    change(three_winters)
    with pytest.raises(StudyError, match=message):
        study(three_winters)


def test_a_renamed_key_is_found_below_any_name_and_is_no_key_any_more(three_winters: Any) -> None:
    assert list(_paths({"a": {"x": {"b": 1}, "y": {"c": 1}, "z": {"b": 2}, "n": None}}, ["a", "*", "b"])) == [
        "a.x.b",
        "a.z.b",
    ]
    for old in package_data("renamed_keys"):
        node = SCHEMA
        *path, key = old.split(".")
        for name in path:
            node = node.get("items", node.get("additionalProperties")) if name == "*" else node["properties"][name]
        assert key not in node.get("properties", {})


def test_identity_changes_with_what_changes_a_vector_and_with_nothing_else() -> None:
    was = find_embedding("minilm", CATALOGUE, "test")
    for key, value, same in [("pooling", "cls", False), ("max_length", 128, False), ("licence", "MIT", True)]:
        catalogue = deepcopy(CATALOGUE)
        catalogue["minilm"][key] = value
        assert (find_embedding("minilm", catalogue, "test").id == was.id) is same


def test_a_control_follows_its_parent() -> None:
    before = with_parents()
    catalogue = deepcopy(before)
    catalogue["minilm"]["pooling"] = "cls"
    for control, same in [("shuffled", False), ("random", True), ("onehot", True)]:
        was, now = (find_embedding(control, c, "test").id for c in (before, catalogue))
        assert (was == now) is same
    shuffled = find_embedding("shuffled", before, "test")
    assert shuffled.tables == shuffled.parent
    assert find_embedding("onehot", CATALOGUE, "test").tables is None


def with_parents() -> dict[str, Any]:
    """The catalogue as a study with one embedding sees it."""
    catalogue = deepcopy(CATALOGUE)
    of_each_parent(["random", "shuffled", "minilm"], catalogue)
    return catalogue


def test_each_embedding_of_the_study_is_a_parent_of_its_controls(three_winters: Any) -> None:
    three_winters["evaluation"] = {"reference": {"embedding": None}}
    several = study({**three_winters, "embeddings": ["onehot", "minilm", "bge-small", "biolord", "random", "shuffled"]})
    controls = several.controls()
    assert controls["shuffled-bge-small"] == ["bge-small"]
    assert controls["random-384"] == ["minilm", "bge-small"]
    assert controls["random-768"] == ["biolord"]
    assert controls["onehot"] == ["minilm", "bge-small", "biolord"]
    assert len(controls) == 6
    asked = study({**three_winters, "embeddings": ["minilm", "biolord", {"shuffled": {"parent": "biolord"}}]})
    assert asked.controls() == {"shuffled": ["biolord"]}
    assert study({**three_winters, "embeddings": ["random"]}).embeddings["random"].spec["width"] == 384
    with pytest.raises(StudyError, match="shuffled shuffles the vectors of the study's embeddings, and there are none"):
        study({**three_winters, "embeddings": ["onehot", "cooccurrence", "shuffled"]})


def test_a_control_has_as_many_seeds_as_draws(three_winters: Any) -> None:
    s = study({**three_winters, "seeds": 3, "draws": 4})
    assert [json.loads(s.budget("influenza", "cnn", "local", drawn))["seeds"] for drawn in (False, True)] == [3, 4]


def test_a_text_has_no_place_for_a_state_that_is_a_slot(three_winters: Any) -> None:
    assert study({**three_winters, "texts": {"other": "{name}: {state}"}}).config["states"] == "slots"
    assert study({**three_winters, "preset": "paper"}).config["states"] == "words"
    with pytest.raises(StudyError, match=r"texts\.absent: with `states: slots` a text is the concept's name"):
        study({**three_winters, "texts": {"absent": "No {name}"}})


def test_a_folder_names_its_embedding_until_the_catalogue_changes() -> None:
    minilm = find_embedding("minilm", CATALOGUE, "test")
    assert embedding_of_folder(minilm.id, CATALOGUE) == minilm
    with pytest.raises(StudyError, match="minilm has changed since the run was planned"):
        embedding_of_folder("minilm-000000000000", CATALOGUE)


def test_a_study_may_change_an_entry_or_add_one(three_winters: Any) -> None:
    changed = {"minilm": {"dtype": "bfloat16"}}
    added = {"mine": {**CATALOGUE["minilm"], "model": "/models/mine", "weights_sha256": "1" * 64}}
    was, now = study(three_winters), study({**three_winters, "embeddings": ["onehot", changed, added]})
    assert list(now.embeddings) == ["onehot", "minilm", "mine"]
    assert now.embeddings["minilm"].id != was.embeddings["minilm"].id
    assert now.catalogue["minilm"]["dtype"] == "bfloat16"
    assert "bge-base" not in now.catalogue
    wrong: Any = {**three_winters, "embeddings": [{"minilm": {"poolin": "cls"}}]}
    with pytest.raises(StudyError, match=r"minilm: unknown key 'poolin' \(did you mean 'pooling'\?\)"):
        study(wrong)


def test_a_model_without_a_version_has_to_be_pinned(three_winters: Any) -> None:
    mine = {key: value for key, value in CATALOGUE["bge-base"].items() if key != "revision"}
    asked: Any = {**three_winters, "embeddings": [{"mine": mine}]}
    with pytest.raises(StudyError, match=r"mine: nothing says which version .* \[\{mine: \{revision: \.\.\.\}\}\]"):
        study(asked)
    asked["embeddings"] = [{"mine": {**mine, "revision": "0123456789abcdef0123456789abcdef01234567"}}]
    assert study(asked).embeddings["mine"].spec["pooling"] == "cls"


def test_an_entry_that_needs_itself_is_told(three_winters: Any) -> None:
    for entry in ({"backend": "random", "parent": "loop"}, {"backend": "shuffled", "parent": "random"}):
        asked: Any = {**three_winters, "embeddings": [{"random": {"parent": "loop"}}, {"loop": entry}]}
        with pytest.raises(StudyError, match="is made from itself"):
            study(asked)


def test_every_entry_of_the_catalogue_is_complete() -> None:
    entries = with_parents()
    for name, entry in entries.items():
        # of some models no commit could be read: a study takes the newest
        if "weights_sha256" in find_backend(entry["backend"]).fields and "weights_sha256" not in entry:
            entry.setdefault("revision", hashlib.sha1(name.encode()).hexdigest())
    assert len({find_embedding(name, entries, "test").id for name in CATALOGUE}) == len(CATALOGUE)
    for name, entry in CATALOGUE.items():
        ours = ("onehot", "ontology", "random", "shuffled", "cooccurrence", "lexical", "translated", "record-text")
        assert entry["backend"] in ours or "licence" in entry, name
        assert not entry.get("pickled_weights"), name


def test_where_a_model_comes_from_and_how_it_is_asked_is_no_identity() -> None:
    far = {"backend": "openai", "model": "m", "url": "http://127.0.0.1:1", "width": 8}
    ids = {
        find_embedding("far", {"far": far | change}, "test").id
        for change in ({}, {"url": "http://127.0.0.1:2"}, {"price": 1.0, "concurrency": 9}, {"key_env": "KEY"})
    }
    assert len(ids) == 1
    assert find_embedding("far", {"far": far | {"dimensions": 8}}, "test").id not in ids
    here = {"backend": "transformers", "model": "/a/model", "weights_sha256": "0" * 64, "pooling": "cls"}
    moved = here | {"model": "/another/place"}
    assert find_embedding("here", {"here": here}, "test").id == find_embedding("here", {"here": moved}, "test").id


def test_the_identities_of_published_runs_stay() -> None:
    """Changing what an identity is made of would make every user pay again."""
    known = {"onehot": "f73201e1b2da", "random": "a1d6c69d9bc0", "shuffled": "24e99b2799d5", "minilm": "4e982370eeb4"}
    for name, fingerprint in known.items():
        assert find_embedding(name, with_parents(), "test").id == f"{name}-{fingerprint}"


def test_term_pairs_have_to_be_there(three_winters: Any, tmp_path: Path) -> None:
    assert study(three_winters).term_pairs == []
    asked = study({**three_winters, "data": str(tmp_path), "term_pairs": "rated"})
    with pytest.raises(StudyError, match=r"term_pairs: .*/rated has no UMNSRS_similarity\.csv"):
        _ = asked.term_pairs


def test_an_earlier_key_is_answered_with_its_name_today(three_winters: Any) -> None:
    with pytest.raises(StudyError, match=r"^config: benchmarks: this key is now `term_pairs`$"):
        study({**three_winters, "benchmarks": "rated"})
    published = {"backend": "precomputed", "file": "a.h5", "by": "code"}
    with pytest.raises(StudyError, match=r"^config: embeddings\.1\.theirs\.by: this key is now `key`$"):
        study({**three_winters, "embeddings": ["onehot", {"theirs": published}]})


def test_equal_specs_are_equal_text() -> None:
    assert canonical({"b": 1.0, "a": [2]}) == canonical({"a": [2], "b": 1})


def test_a_budget_holds_only_what_its_strategy_uses(three_winters: Any) -> None:
    s = study(three_winters)
    budgets = {strategy: json.loads(s.budget("influenza", "cnn", strategy)) for strategy in s.strategies}
    assert budgets["local"]["searched"] == {"learning_rate": [0.001, 0.003, 0.01, 0.03]}
    assert budgets["local"]["settings"]["max_passes"] == 100
    assert budgets["direct"]["settings"] == budgets["direct"]["searched"] == {}
    assert budgets["direct"]["max_trials"] == 1
    # what another strategy alone uses is not in it
    three_winters["learners"] = {"cnn": {"tune-head": {"learning_rate": 0.5}}}
    other = study(three_winters)
    pairs = {name: [one.budget("influenza", "cnn", name) for one in (s, other)] for name in s.strategies}
    assert [name for name, (was, now) in pairs.items() if was != now] == ["tune-head"]
    assert json.loads(pairs["tune-head"][1])["searched"] == {}


def test_the_papers_preset_is_the_papers(three_winters: Any) -> None:
    s = study({**three_winters, "preset": "paper"})
    given = json.loads(s.budget("influenza", "cnn", "local"))
    assert given["scale"] is False
    assert given["max_trials"] == 1
    wanted = {"batch": 32, "dropout": 0.5, "filters": 100, "learning_rate": 0.001, "momentum": 0.9}
    # 50 x 100 steps, a look after each hundred, and none of them left out
    passes = {"max_passes": 50, "min_pass_steps": 100, "max_pass_steps": 100, "checks_per_pass": 1, "patience": 50}
    assert given["settings"] == wanted | passes | {"weight_decay": 0.001}
    assert json.loads(s.budget("influenza", "cnn", "tune-all"))["settings"]["learning_rate"] == 0.01


def test_values_are_for_states_in_slots(three_winters: Any) -> None:
    def values(**change: Any) -> list[bool]:
        return [task["predictors"]["values"] for task in study({**three_winters, **change}).config["tasks"].values()]

    assert set(values()) == {True}
    assert set(values(preset="paper")) == set(values(states="words")) == {False}
    assert set(values(preset="paper", states="slots")) == {False}
    three_winters["tasks"]["influenza"]["predictors"] = {"values": False}
    assert values() == [False]
    three_winters["tasks"]["influenza"]["predictors"] = {"values": True}
    assert values(preset="paper", states="slots") == [True]
    with pytest.raises(StudyError, match=r"tasks.influenza.predictors.values: with `states: words`"):
        values(states="words")


def test_rows_of_several_sites_meet_only_where_the_study_allows_it(three_winters: Any) -> None:
    three_winters["strategies"] = ["local", "direct", "pooled", "leave-one-out"]
    assert study(three_winters).strategies == three_winters["strategies"]
    assert study({**three_winters, "share_rows": False}).strategies == ["local", "direct"]
    alone = {**three_winters, "sites": {"prairie": three_winters["sites"]["prairie"]}}
    assert study(alone).strategies == ["local"]


def test_leave_one_out_needs_two_other_sources(three_winters: Any) -> None:
    three_winters["strategies"] = ["local", "direct", "pooled", "leave-one-out"]
    two = {name: three_winters["sites"][name] for name in ("riverside", "lakeshore")}
    assert study({**three_winters, "sites": two}).strategies == ["local", "direct", "pooled"]
    with_target = study({**three_winters, "sites": two | {"prairie": {"extract": "simulated", "role": "target"}}})
    assert with_target.strategies == three_winters["strategies"]
    assert with_target.strategies_at("riverside") == ["local", "direct", "pooled"]
    assert with_target.strategies_at("prairie") == three_winters["strategies"]


def test_a_site_of_bundles_is_a_source_alone_and_one_of_patients_takes_no_part(three_winters: Any) -> None:
    three_winters["sites"] |= {"prairie": {"bundles": "received"}}
    three_winters["sites"]["riverside"]["patients"] = "list.csv"
    del three_winters["strategies"]
    s = study(three_winters)
    assert (s.own, s.bundled, s.scored, s.targets) == (["lakeshore"], ["prairie"], ["riverside"], ["lakeshore"])
    assert s.reviewed == ["lakeshore", "riverside"]
    assert s.others("lakeshore") == ["prairie"]
    assert s.others("riverside") == ["lakeshore", "prairie"]
    assert s.strategies == ["local", "direct", "recalibrate", "tune-head", "tune-all"]


def test_a_task_s_definition_is_what_a_prediction_means_and_names_no_place(three_winters: Any, tmp_path: Path) -> None:
    before = study(three_winters).definition("influenza")
    three_winters["tasks"]["influenza"] |= {"split": {"by": "hash"}, "min_events": 50}
    assert study(three_winters).definition("influenza") == before
    three_winters |= {"states": "words", "texts": {"absent": "No {name}"}}
    assert study(three_winters).definition("influenza") != before
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("concept_id\n9203\n")
    told = []
    for name in ("a.csv", "b.csv"):
        three_winters["tasks"]["influenza"]["index"]["concepts"] = str(tmp_path / name)
        told.append(study(three_winters).definition("influenza"))
    assert told[0] == told[1]
    assert str(tmp_path) not in json.dumps(told[0])


def test_a_bundle_tells_how_to_get_its_embedding_but_no_folder_of_this_machine(three_winters: Any) -> None:
    three_winters["embeddings"] = [
        {"own": {"backend": "sentence-transformers", "model": "/home/me/model", "dtype": "float32"}}
    ]
    three_winters["embeddings"][0]["own"] |= {"width": 8, "weights_sha256": "a" * 64, "licence": "MIT"}
    s = study({**three_winters, "evaluation": {"reference": {"embedding": None}}})
    entry = s.model("riverside", "influenza", s.embeddings["own"], "cnn")["embedding"]["entry"]
    assert entry == {"dtype": "float32", "weights_sha256": "a" * 64, "width": 8, "licence": "MIT"}
