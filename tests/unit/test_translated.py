"""A source's one-hot model at a target, in the target's words."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.learn import draws
from conceptbridge.learn.arm_files import TrainedModel, load_model, save_model
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.input_space import fit_space
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import SiteRows
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.search import Part, Run
from conceptbridge.learn.site import Site
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.learn.translated import read_as_tokens, translate_draws, translate_model
from conceptbridge.plan import Plan
from conceptbridge.study.learners import LEARNERS
from conceptbridge.translate.profile_file import read_profile, write_profile
from conceptbridge.translate.translation import SCHEMA, translate, words_of
from made_site import CONCEPTS, site, write_site

ROOT = Path(__file__).parents[2]
KEYS = [f"{i}|{state}" for i in range(6) for state in ("present", "absent")]
OWN = tuple(LEARNERS.own)


def rows_of(keys: Sequence[str], seed: int = 0, rows: int = 400) -> SiteRows:
    """Rows whose first two tokens tell of the outcome; half of them train."""
    rng = np.random.default_rng(seed)
    held = rng.random((rows, len(keys))) < 0.3
    risk = 1 / (1 + np.exp(-(4 * held[:, 0] - 4 * held[:, 1])))
    split = np.where(np.arange(rows) % 2, "test", "train")
    return SiteRows(
        keys=list(keys),
        texts=[key.split("|")[0] for key in keys],
        slots=np.array([int(key.endswith("absent")) for key in keys]),
        training_rows=held[split == "train"].sum(axis=0),
        row_ids=np.arange(rows),
        person_ids=np.arange(rows),
        labels=(rng.random(rows) < risk).astype(np.int8),
        split=split,
        tokens=np.nonzero(held)[1].astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(held.sum(axis=1))]),
    )


def table_of(readings: Mapping[str, Mapping[str | None, float]]) -> pa.Table:
    """A translation: what each token stands for, with which weight."""
    rows = [
        {"token": token, "text": token, "stands_for": s, "weight": weight}
        for token, stands_for in readings.items()
        for s, weight in stands_for.items()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def settings_of(name: str) -> dict[str, Any]:
    one = learner(name)
    given = {key: value for key, value in one.default("fair").items() if key not in one.tuning}
    small = {"num_iterations": 20, "penalties": 11, "width": 16, "blocks": 1, "heads": 2}
    if name == "transformer":
        small |= {"min_pass_steps": 15, "batch": 32, "learning_rate": 0.005}
    first = {key: value[0] if isinstance(value, list) else value for key, value in given.items()}
    passes = {"max_passes": 20, "patience": 5, "checks_per_pass": 1} if one.takes_passes else {}
    return first | {key: value for key, value in small.items() if key in first} | passes


def trained_on(name: str, rows: SiteRows) -> TrainedModel:
    space = fit_space("onehot", "f" * 64, "onehot", rows, None, 1, scale=True)
    given = Site("source", rows, None).draws(space, np.arange(len(rows.labels)))
    part = Part(rows.of("train"), rows.of("test"))
    model = draws.fit(learner(name), given, [Run(seed, settings_of(name), part) for seed in (1, 2)])
    return TrainedModel(learner(name), model, space)


def predicted(trained: TrainedModel, rows: SiteRows) -> np.ndarray:
    return trained.predict(Site("target", rows, None).draws(trained.space, rows.of("test")))


def has_token(rows: SiteRows, token: int) -> np.ndarray:
    """Which of the test rows have it."""
    return np.isin(rows.of("test"), np.repeat(rows.row_ids, np.diff(rows.offsets))[rows.tokens == token])


@pytest.fixture(params=OWN)
def trained(request: pytest.FixtureRequest) -> TrainedModel:
    return deepcopy(trained_once(request.param))


@cache
def trained_once(name: str) -> TrainedModel:
    return trained_on(name, rows_of(KEYS))


def renamed(key: str) -> str:
    return f"there/{key}"


def test_equal_vocabularies_give_the_predictions_of_one_hot_byte_for_byte(trained: TrainedModel) -> None:
    there = rows_of(KEYS, seed=1)
    words = words_of(there.keys, there.texts, KEYS, None, profile_of(there, 10))
    source = rows_of(KEYS)
    table = translate(words, words_of(source.keys, source.texts, KEYS, None, profile_of(source, 10)))
    assert predicted(translate_model(trained, table), there).tobytes() == predicted(trained, there).tobytes()


def test_a_token_that_stands_for_one_alone_is_read_as_that_one(trained: TrainedModel) -> None:
    there = rows_of(KEYS, seed=1)
    hidden = replace(there, keys=[renamed(key) if i % 3 == 0 else key for i, key in enumerate(KEYS)])
    table = table_of({renamed(key): {key: 1.0} for key in KEYS})
    np.testing.assert_allclose(predicted(translate_model(trained, table), hidden), predicted(trained, there), atol=1e-6)
    assert np.abs(predicted(trained, hidden) - predicted(trained, there)).max() > 0.05


def test_the_order_of_the_targets_tokens_does_not_matter(trained: TrainedModel) -> None:
    there = rows_of([renamed(key) for key in KEYS], seed=1)
    order = np.random.default_rng(2).permutation(len(KEYS))
    tokens = np.argsort(order)[there.tokens].astype(np.int32)
    moved = replace(there, keys=[there.keys[i] for i in order], tokens=tokens)
    readings = {renamed(key): {key: 0.75, KEYS[(i + 2) % len(KEYS)]: 0.25} for i, key in enumerate(KEYS)}
    first = predicted(translate_model(trained, table_of(readings)), there)
    table = table_of({key: readings[key] for key in reversed(readings)})
    np.testing.assert_allclose(predicted(translate_model(trained, table), moved), first, atol=1e-6)


def test_rows_without_a_translated_token_keep_their_prediction(trained: TrainedModel) -> None:
    there = rows_of([*KEYS, "new|present"], seed=1)
    with_new = translate_model(trained, table_of({"new|present": {KEYS[0]: 0.6, KEYS[2]: 0.4}}))
    has = has_token(there, len(KEYS))
    before, after = predicted(trained, there), predicted(with_new, there)
    if trained.learner.name == "transformer":  # rows of one length are rounded together
        np.testing.assert_allclose(before[:, ~has], after[:, ~has], atol=1e-6)
    else:
        assert before[:, ~has].tobytes() == after[:, ~has].tobytes()
    assert np.abs(before[:, has] - after[:, has]).max() > 0.01


def test_a_regression_mixes_coefficients() -> None:
    trained = trained_on("logistic", rows_of(KEYS))
    mixed = translate_model(trained, table_of({"new|present": {KEYS[0]: 0.75, KEYS[1]: 0.25}}))
    own = trained.model.coefficients[:, [trained.space.names.index(key) for key in KEYS[:2]]]
    np.testing.assert_allclose(mixed.model.coefficients[:, -1], own @ [0.75, 0.25])
    assert mixed.space.names == [*trained.space.names, "new|present"]


@pytest.mark.parametrize(
    ("name", "read", "shares"), [("cnn", "filters-1", [8, 1]), ("transformer", "projection", [2, 1])]
)
def test_a_network_of_maxima_mixes_with_sharper_weights(name: str, read: str, shares: list[int]) -> None:
    # a third of the token is nothing that the model knows, and stays nothing
    trained = trained_on(name, rows_of(KEYS))
    readings = {KEYS[0]: 0.4, KEYS[1]: 0.2, "unseen|present": 0.4}
    mixed = translate_model(trained, table_of({"new|present": readings}))
    weights = mixed.model.weights[read]
    own = weights[:, [trained.space.names.index(key) for key in KEYS[:2]]]
    expected = 0.6 * np.average(own, axis=1, weights=shares)
    np.testing.assert_allclose(weights[:, -1], expected, rtol=1e-4, atol=1e-6)


def test_trees_read_a_token_as_what_it_stands_for_most() -> None:
    trained = trained_on("lightgbm", rows_of(KEYS))
    mixed = translate_model(trained, table_of({"new|present": {KEYS[1]: 0.4, KEYS[0]: 0.6}}))
    assert mixed.space.read_as == [{"new|present": KEYS[0]}]
    assert mixed.space.with_tokens(["new|present", "newer|present"]).names == [*KEYS, "newer|present"]


def test_what_the_model_has_no_column_for_counts_as_nothing(trained: TrainedModel) -> None:
    there = rows_of([*KEYS, "a|present", "b|present", "c|absent"], seed=1)
    half = translate_model(trained, table_of({"a|present": {"no|present": 0.5, KEYS[0]: 0.5}, "c|absent": {None: 0.0},
                                              "b|present": {"no|present": 1.0}}))  # fmt: skip
    assert {*half.space.names, *(key for one in half.space.read_as for key in one)} == {*KEYS, "a|present"}
    assert predicted(half, there).shape == predicted(trained, there).shape


def test_a_translated_model_can_be_tuned_widened_saved_and_read_again(trained: TrainedModel, tmp_path: Path) -> None:
    keys = [renamed(key) for key in KEYS[:-2]] + ["own|present", KEYS[-1]]
    there = rows_of(keys, seed=1)
    start = translate_model(trained, table_of({renamed(key): {key: 1.0} for key in KEYS}))
    save_model(start.model, start.space, tmp_path / "saved", {})
    again = load_model(tmp_path / "saved", trained.learner.name, "f" * 64)
    np.testing.assert_array_equal(predicted(again, there), predicted(start, there))

    space = again.space.with_tokens(keys)
    [(vectors, _)] = space.draws(there, None)
    model = again.learner.widen(again.model, vectors, False)
    wide = replace(again, model=model, space=space)
    known = ~has_token(there, keys.index("own|present"))
    np.testing.assert_allclose(predicted(wide, there)[:, known], predicted(start, there)[:, known], atol=1e-6)
    given = Site("target", there, None).draws(space, np.arange(len(there.labels)))
    tuning = learner(trained.learner.name).default("fair")["tune-all"]
    asked = settings_of(trained.learner.name) | {k: v[-1] if isinstance(v, list) else v for k, v in tuning.items()}
    runs = [Run(seed, asked, Part(there.of("train"), there.of("test"))) for seed in (1, 2)]
    tuned, _ = draws.tune(trained.learner, wide.model, given, runs, False, ())
    truth = there.labels[there.of("test")]

    def loss(of: TrainedModel) -> float:
        p = predicted(of, there).mean(axis=0)
        return float(-np.log(np.where(truth == 1, p, 1 - p)).mean())

    assert loss(replace(wide, model=tuned)) <= loss(wide) + 1e-3


def test_a_clinicians_word_overrides_an_equal_code(trained: TrainedModel) -> None:
    there = rows_of(KEYS, seed=1)
    swap = {KEYS[0]: KEYS[2], KEYS[2]: KEYS[0]}
    table = pa.Table.from_pylist(
        [{"token": t, "stands_for": s, "by": "corrected", "weight": 1.0} for t, s in swap.items()], schema=SCHEMA
    )
    swapped = replace(there, keys=[swap.get(key, key) for key in KEYS])
    made = translate_model(trained, table)
    np.testing.assert_array_equal(predicted(made, swapped), predicted(trained, there))
    left_out = pa.Table.from_pylist([{"token": KEYS[0], "stands_for": None, "by": "corrected"}], schema=SCHEMA)
    without = replace(there, keys=["unknown|present", *KEYS[1:]])
    np.testing.assert_array_equal(predicted(translate_model(trained, left_out), there), predicted(trained, without))


def test_each_seed_of_a_control_is_read_in_its_own_draw(trained: TrainedModel) -> None:
    there = rows_of([renamed(KEYS[0]), *KEYS[1:]], seed=1)
    tables = [table_of({renamed(KEYS[0]): {key: 1.0}}) for key in KEYS[:2]]
    both = predicted(translate_draws(trained, tables), there)
    for i, table in enumerate(tables):
        np.testing.assert_allclose(both[i], predicted(translate_model(trained, table), there)[i], atol=1e-12)
    assert np.abs(both[0] - predicted(translate_model(trained, tables[1]), there)[0]).max() > 0.01


def test_rows_can_be_read_in_the_words_of_a_hub() -> None:
    there = rows_of(["mine|present", "own|present", "no|present", KEYS[3]], seed=2)
    rows = [
        {"token": "mine|present", "stands_for": KEYS[0], "by": "translated", "weight": 0.6},
        {"token": "mine|present", "stands_for": KEYS[1], "by": "translated", "weight": 0.4},
        {"token": "own|present", "stands_for": None, "by": "left out"},
        {"token": "no|present", "stands_for": None, "by": "corrected"},
        {"token": KEYS[3], "stands_for": KEYS[0], "by": "corrected", "weight": 1.0},
    ]
    read = read_as_tokens(there, pa.Table.from_pylist(rows, schema=SCHEMA))
    assert read.keys == [KEYS[0], "own|present"]
    here, before = held_by(read), held_by(there)
    np.testing.assert_array_equal(here[:, 0], before[:, 0] | before[:, 3])
    np.testing.assert_array_equal(here[:, 1], before[:, 1])
    np.testing.assert_array_equal(read.training_rows, here[there.of("train")].sum(axis=0))
    same = read_as_tokens(there, table_of({key: {key: 1.0} for key in there.keys}))
    assert same.keys == there.keys
    np.testing.assert_array_equal(same.tokens, there.tokens)


def test_a_code_that_the_hub_has_is_read_as_itself_where_its_profile_does_not_tell_of_it() -> None:
    """Of few persons, or of nearly all, it is not among the words that a translation knows of the hub."""
    there = rows_of(KEYS[:4])
    rows = [
        {"token": KEYS[1], "stands_for": KEYS[3], "by": "translated", "weight": 1.0},
        {"token": KEYS[2], "stands_for": KEYS[0], "by": "corrected", "weight": 1.0},
    ]
    read = read_as_tokens(there, pa.Table.from_pylist(rows, schema=SCHEMA), KEYS)
    assert read.keys == [KEYS[0], KEYS[1], KEYS[3]]
    np.testing.assert_array_equal(held_by(read)[:, 1], held_by(there)[:, 1])


def held_by(rows: SiteRows) -> np.ndarray:
    held = np.zeros((len(rows.row_ids), len(rows.keys)), bool)
    held[np.repeat(np.arange(len(held)), np.diff(rows.offsets)), rows.tokens] = True
    return held


@pytest.mark.parametrize("strategy", ["direct", "recalibrate", "tune-head", "tune-all"])
def test_strategies_start_from_the_translated_model(tmp_path: Path, strategy: str) -> None:
    """A hospital of other codes, perfectly translated, has the arm of a hospital of the source's codes."""
    settings = {"penalty": 0.01, "penalties": 11, "patience": 3, "l1_share": 0.5}
    budget = Budget(settings, {}, 1, seeds=2, min_events=5, min_rows=1, min_cell_count=5, scale=True)
    onehot = ArmEmbedding("onehot", "f" * 64, "onehot")
    source = site(write_site(tmp_path / "source", CONCEPTS), "source", table=False)
    make_arm(ArmJob("made", "source", [], "local", "logistic", onehot, budget), tmp_path / "local", source)
    own = [f"pt has {text}" for text in CONCEPTS]
    table = table_of({f"{mine}|present": {f"{text}|present": 1.0} for mine, text in zip(own, CONCEPTS, strict=True)})
    said = {}
    for name, texts, translations in (("same", CONCEPTS, {}), ("other", own, {"source": table}), ("lost", own, {})):
        target = site(write_site(tmp_path / name, texts, seed=3), "target", table=False)
        job = ArmJob("made", "target", ["source"], strategy, "logistic", onehot, budget)
        into = {source: partial(translate_model, translation=of) for source, of in translations.items()}
        make_arm(job, tmp_path / f"{name} arm", target, (), {"source": tmp_path / "local"}, None, into)
        said[name] = pq.read_table(tmp_path / f"{name} arm/predictions.parquet")["probability"].to_numpy()
    np.testing.assert_allclose(said["other"], said["same"], atol=1e-6)
    assert np.abs(said["lost"] - said["same"]).max() > 0.01


def test_a_clinicians_word_changes_the_translations_of_its_target_alone(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    text = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text) | {"embeddings": ["onehot", "lexical", "translated"], "translations": [str(file)]}

    def jobs(*lines: str) -> dict[str, str]:
        file.write_text("\n".join(["target,source,token,stands_for", *lines]))
        plan = Plan.read(config)
        [translated] = plan.study.translated
        return {site: plan.settings("translate", task="influenza", embedding=translated.id, target=site)["translation"]
                for site in plan.study.targets}  # fmt: skip

    none = jobs()
    assert jobs("lakeshore,riverside,a|present,") == none  # not looked at yet
    said = jobs("lakeshore,riverside,a|present,nothing")
    assert {site for site in none if said[site] != none[site]} == {"lakeshore"}
    assert jobs("lakeshore,prairie,b|present,nothing", "lakeshore,riverside,a|present,nothing") != said
    with pytest.raises(StudyError, match="line 2: the target 'lakeshor' is no site of the study"):
        jobs("lakeshor,riverside,a|present,nothing")


def test_a_translation_needs_the_one_hot_models() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    with pytest.raises(StudyError, match="translated uses the one-hot models of the study; add onehot"):
        Plan.read(config | {"embeddings": ["minilm", "translated"], "evaluation": {"reference": {"embedding": None}}})


def test_only_a_translation_uses_the_models_of_another_embedding() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    plan = Plan.read(config | {"embeddings": ["onehot", "shuffled", "minilm", "translated"]})  # one is another's parent
    onehot = next(e.id for e in plan.study.embeddings.values() if e.onehot)
    models = {e.name: e.models for e in plan.arm_embeddings.values()}
    assert models == {"onehot": None, "shuffled": None, "minilm": None, "translated": onehot}


def test_a_reference_that_no_arm_can_be_is_told() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config |= {"embeddings": ["onehot", "minilm", "translated"]}
    with pytest.raises(StudyError, match=r"evaluation\.reference: translated has no local models of its own"):
        Plan.read(config | {"evaluation": {"reference": {"embedding": "translated"}}})
    Plan.read(config | {"evaluation": {"reference": {"embedding": "translated", "strategy": "direct"}}})


def test_a_site_without_training_rows_has_a_profile_of_nothing(tmp_path: Path) -> None:
    there = rows_of(KEYS)
    for empty in (there.take(np.zeros(0, np.int64)), replace(there, split=np.full(len(there.split), "test"))):
        write_profile(profile_of(empty, 10), tmp_path / "profile.parquet")
        profile = read_profile(tmp_path / "profile.parquet", 10)
        assert (profile.keys, profile.total) == ([], 0)
        words = words_of(empty.keys, empty.texts, empty.keys, None, profile)
        table = translate(words, words_of(there.keys, there.texts, KEYS, None, profile_of(there, 10)))
        assert set(table["by"].to_pylist()) <= {"same code"}
        assert len(translate(words, words_of([], [], [], None, profile))) == len(KEYS)


def test_only_one_hot_can_be_translated() -> None:
    trained = trained_on("logistic", rows_of(KEYS))
    other = replace(trained, space=replace(trained.space, backend="random", embedding="random"))
    with pytest.raises(StudyError, match="only one-hot columns are tokens"):
        translate_model(other, table_of({}))


def test_a_profile_is_of_the_training_rows_alone() -> None:
    there = rows_of(KEYS)
    training = there.take(there.of("train"))
    whole, alone = profile_of(there, 10), profile_of(training, 10)
    assert whole.total == 200
    np.testing.assert_array_equal(whole.pairs, alone.pairs)
    flipped = profile_of(replace(there, labels=1 - there.labels), 10)
    np.testing.assert_array_equal(whole.pairs, flipped.pairs)
