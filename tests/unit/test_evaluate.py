"""One task at one target: every arm has its estimate or its reason, and differences are paired."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

import made_study as made
from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate
from conceptbridge.evaluate.method_limits import headline_arms, headline_pairs
from conceptbridge.evaluate.schemas import SCHEMAS, Arm

TARGET = "lakeside"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made.write_study(folder)
    return folder


def evaluate_made(results: Path, target: str = TARGET, settings=None, processes=1, **changed) -> dict[str, pa.Table]:
    tasks = results / "tasks" / made.TASK
    arms = ArmFolders(results / "arms" / made.TASK, *made.ARMS)._replace(**changed)
    files = TargetFiles(tasks / target / "cohort.parquet")
    if (sequences := tasks / target / "sequences.parquet").is_file():
        files = files._replace(
            sequences=sequences, tokens={site: tasks / site / "tokens.parquet" for site in made.SITES}
        )
    return evaluate(made.TASK, target, arms, files, made.SETTINGS | (settings or {}), processes)


@pytest.fixture(scope="module")
def evaluation(results) -> dict[str, pa.Table]:
    return evaluate_made(results)


def rows(table: pa.Table, **where) -> list[dict]:
    for name, value in where.items():
        table = table.filter(pc.equal(table[name], value))
    return table.to_pylist()


def one_arm(tmp_path: Path, label, probability, person=None, split=None, **changed) -> dict[str, pa.Table]:
    """Evaluate a single local arm with these rows; ``probability`` is (seeds, rows)."""
    count = len(label)
    cohort = pa.table(
        {
            "row_id": pa.array(range(count), pa.int64()),
            "person_id": pa.array(range(count) if person is None else person, pa.int64()),
            "label": pa.array(label, pa.int8()),
            "split": pa.array(["test"] * count if split is None else split, pa.string()),
        }
    )
    path = tmp_path / "tasks" / made.TASK / TARGET / "cohort.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(cohort, path)
    probability = np.atleast_2d(probability)
    folder = tmp_path / "arms" / made.TASK / "minilm-1" / "cnn" / "local" / TARGET
    made.write_arm(folder, cohort, {TARGET: probability}, seeds=range(len(probability)))
    one = {"embeddings": {"minilm": "minilm-1"}, "learners": ["cnn"], "strategies": ["local"], "controls": {}}
    return evaluate_made(tmp_path, **one, **changed)


def test_every_arm_of_the_product_has_an_estimate_or_a_reason(evaluation):
    keys = ["embedding", "learner", "strategy", "source", "split", "metric"]
    found = [tuple(row[key] for key in keys) for row in evaluation["metrics"].to_pylist()]
    arms = [
        (embedding, learner, strategy, source)
        for embedding, learner, strategy in product(made.EMBEDDINGS, made.LEARNERS, made.STRATEGIES)
        for source in ([TARGET] if strategy == "local" else ["prairie", "riverside"])
    ]
    cuts = 2 * ["sensitivity", "specificity", "ppv", "alerted", "net_benefit"]
    calibration = ["calibration_in_the_large", "calibration_slope", "ici", "ece"]
    ranked = ["auroc", "auprc", "brier", "scaled_brier"]
    assert found == [
        (*arm, split, metric)
        for arm in arms
        for split, metrics in (("validation", ranked), ("test", ranked + calibration + cuts))
        for metric in metrics
    ]
    for row in evaluation["metrics"].to_pylist():
        assert (row["reason"] == made.WHY_SCARCE) == (row["source"] == made.SCARCE)
        assert row["reason"] or row["estimate"] is not None
        limits = row["split"] == "test" and row["reason"] is None
        assert (row["lower"] is not None) == (row["method"] is not None) == limits


def test_the_estimate_is_the_mean_of_all_seeds(results, evaluation):
    arm = {"embedding": "minilm", "learner": "cnn", "strategy": "local"}
    folder = results / "arms" / made.TASK / made.EMBEDDINGS["minilm"] / "cnn" / "local" / TARGET
    table = pq.read_table(folder / "predictions.parquet").to_pandas()
    table = table[table["split"] == "test"]
    expected = [roc_auc_score(part["label"], part["probability"]) for _, part in table.groupby("seed")]
    [row] = rows(evaluation["metrics"], **arm, split="test", metric="auroc")
    assert row["estimate"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert row["seed_sd"] == pytest.approx(np.std(expected, ddof=1), abs=1e-12)
    assert row["seeds"] == len(made.SEEDS)
    assert row["rows"] == len(table) / len(made.SEEDS)
    assert row["lower"] < row["estimate"] < row["upper"]
    of_seeds = rows(evaluation["seeds"], **arm, split="test", metric="auroc")
    assert [each["estimate"] for each in of_seeds] == pytest.approx(expected, abs=1e-12)
    assert [each["seed"] for each in of_seeds] == list(made.SEEDS)


def test_comparisons_answer_the_three_questions(evaluation):
    comparisons = evaluation["comparisons"]
    [vs_control] = rows(
        comparisons,
        question="vs_control",
        metric="auroc",
        learner="cnn",
        strategy="direct",
        source="riverside",
        ref_embedding="onehot",
    )
    assert (vs_control["embedding"], vs_control["ref_strategy"], vs_control["ref_source"]) == (
        "minilm",
        "direct",
        "riverside",
    )
    assert vs_control["lower"] > 0.1  # names carry this made-up model across, codes do not
    gain = rows(comparisons, question="transfer_gain", metric="auroc", source="riverside")
    assert len(gain) == len(made.EMBEDDINGS) * len(made.LEARNERS) * 2
    assert all(row["ref_strategy"] == "local" and row["ref_source"] == TARGET for row in gain)
    assert all((row["difference"] > 0) == (row["embedding"] == "minilm") for row in gain)
    brier = rows(comparisons, question="transfer_gain", metric="brier", source="riverside", embedding="minilm")
    assert all(row["difference"] < 0 for row in brier)  # a smaller Brier score is better
    scarce = rows(comparisons, source=made.SCARCE)
    assert {row["reason"] for row in scarce} == {made.WHY_SCARCE}
    assert {row["difference"] for row in scarce} == {None}


def test_the_recommendation_is_chosen_on_validation_rows(evaluation):
    [row] = rows(evaluation["comparisons"], question="recommendation", metric="auroc")
    validation = rows(evaluation["metrics"], split="validation", metric="auroc")
    estimable = [each for each in validation if each["estimate"] is not None]
    best = max((each for each in estimable if each["embedding"] == "minilm"), key=lambda each: each["estimate"])
    local = max((each for each in estimable if each["strategy"] == "local"), key=lambda each: each["estimate"])
    for name in ("embedding", "learner", "strategy", "source"):
        assert row[name] == best[name]
        assert row[f"ref_{name}"] == local[name]
    assert row["lower"] < row["difference"] < row["upper"]


def test_differences_are_paired(tmp_path):
    """Persons move the same predictions alike, however wide their own limits are: seeds alone tell them apart."""
    made.write_study(tmp_path, persons=120)
    arms = tmp_path / "arms" / made.TASK
    (arms / made.EMBEDDINGS["random"]).rename(arms / "other")
    twin = {**made.EMBEDDINGS, "random": made.EMBEDDINGS["minilm"]}
    evaluation = evaluate_made(tmp_path, embeddings=twin)
    table, seeds_of = evaluation["comparisons"], evaluation["seeds"]
    for row in rows(table, question="vs_control", ref_embedding="random", source="riverside"):
        same = {"learner": row["learner"], "strategy": row["strategy"], "source": "riverside", "embedding": "minilm"}
        seeds = rows(seeds_of, **same, split="test", metric=row["metric"])
        between = np.var([each["estimate"] for each in seeds], ddof=1) / len(seeds)
        assert (row["difference"], row["error"]) == (0, pytest.approx(np.sqrt(2 * between)))
        assert row["p"] == 1


def test_a_control_is_compared_with_its_own_embedding_alone(results):
    """Another embedding, level with minilm, has no control of its own."""
    two = {**made.EMBEDDINGS, "other": made.EMBEDDINGS["minilm"]}
    alone = {"onehot": ["minilm", "other"], "random": ["minilm"]}
    table = evaluate_made(results, embeddings=two, controls=alone, learners=["cnn"])["comparisons"]
    pairs = {(row["embedding"], row["ref_embedding"]) for row in rows(table, question="vs_control")}
    assert pairs == {("minilm", "onehot"), ("minilm", "random"), ("other", "onehot")}
    first = evaluate_made(results, embeddings=dict(reversed(two.items())), controls=alone, learners=["cnn"])
    controls = rows(first["comparisons"], question="control", metric="auroc", embedding="other")
    assert [(row["ref_embedding"], row["reason"]) for row in controls] == [
        ("onehot", None),
        (None, "the study has no control of other: add shuffled or random to its embeddings"),
    ]


def test_a_local_arm_on_a_control_is_never_the_best_local_arm(results):
    """It is compared with all the same, where it did better on validation rows."""
    reference = {"reference": {"strategy": "local", "embedding": "minilm", "learner": "cnn"}}
    found = evaluate_made(results, settings=reference, strategies=["local"], learners=["cnn"])
    validation = {
        row["embedding"]: row["estimate"] for row in rows(found["metrics"], split="validation", metric="auroc")
    }
    questions = {
        row["question"]: row["ref_embedding"] for row in rows(found["comparisons"], metric="auroc", embedding="minilm")
    }
    best = max(("minilm", "onehot"), key=validation.get)
    assert questions.get("vs_best_local") == (None if best == "minilm" else best)
    better = validation["random"] > validation[best]
    assert questions.get("vs_local_control") == ("random" if better else None)


def test_another_model_s_predictions_are_compared_and_never_recommended(results, evaluation, tmp_path):
    """Although no arm does better on validation rows; and nothing that is said of the study's own arms changes."""
    cohort = pq.read_table(results / "tasks" / made.TASK / TARGET / "cohort.parquet")
    perfect = np.where(cohort["label"].to_numpy() == 1, 0.9, 0.1)[None]
    made.write_arm(tmp_path / "motor", cohort, {"elsewhere": perfect}, seeds=[1])
    beside = evaluate_made(results, external={"motor": tmp_path / "motor"})
    (auroc,) = rows(beside["metrics"], embedding="motor", split="test", metric="auroc")
    assert (auroc["estimate"], auroc["learner"], auroc["source"]) == (1.0, "external", "elsewhere")
    own = {
        name: table.filter(pc.not_equal(table["embedding"], "motor"))
        for name, table in beside.items()
        if name == "metrics"
    }
    assert own["metrics"].equals(evaluation["metrics"])
    (difference,) = rows(beside["comparisons"], question="vs_external", metric="auroc")
    assert difference["ref_embedding"] == "motor"
    assert difference["difference"] < 0
    others = beside["comparisons"].filter(pc.not_equal(beside["comparisons"]["question"], "vs_external"))
    assert others.equals(evaluation["comparisons"])


def test_arms_with_other_numbers_of_seeds_are_compared_by_welch(tmp_path):
    random = np.random.default_rng(3)
    made.write_study(tmp_path, persons=300)
    folder = tmp_path / "arms" / made.TASK / made.EMBEDDINGS["random"] / "cnn" / "local" / TARGET
    cohort = pq.read_table(tmp_path / "tasks" / made.TASK / TARGET / "cohort.parquet")
    made.write_arm(folder, cohort, {TARGET: random.random((5, len(cohort)))}, seeds=range(1, 6))
    (folder / "curves.parquet").unlink()
    found = evaluate_made(tmp_path, learners=["cnn"], strategies=["local"])
    [row] = rows(found["comparisons"], question="vs_control", ref_embedding="random", metric="auroc")
    of_seed = {
        name: [each["estimate"] for each in rows(found["seeds"], embedding=name, split="test", metric="auroc")]
        for name in ("minilm", "random")
    }
    assert {name: len(values) for name, values in of_seed.items()} == {"minilm": 3, "random": 5}
    assert row["difference"] == pytest.approx(np.mean(of_seed["minilm"]) - np.mean(of_seed["random"]))
    between = sum(np.var(values, ddof=1) / len(values) for values in of_seed.values())
    assert row["error"] > np.sqrt(between)
    assert (row["p"] < 0.05) == (row["lower"] > 0 or row["upper"] < 0)


def test_limits_and_p_of_every_comparison_agree(evaluation):
    tested = [row for row in evaluation["comparisons"].to_pylist() if row["lower"] is not None]
    assert len(tested) > 50
    for row in tested:
        assert -1 < row["lower"] <= row["difference"] <= row["upper"] < 1
        assert (row["p"] < 0.05) == (row["lower"] > 0 or row["upper"] < 0)


def test_the_headline_arms_are_those_of_the_primary_comparisons(evaluation):
    arms = headline_arms(headline_pairs(evaluation["comparisons"].to_pylist()))
    [row] = rows(evaluation["comparisons"], question="recommendation", metric="auroc")
    assert [arms[0].embedding, arms[1].embedding, arms[1].strategy] == ["minilm", "onehot", "local"]
    assert arms[0] == Arm(*(row[name] for name in Arm._fields))
    assert len(arms) == len(set(arms))


def test_an_arm_does_not_depend_on_the_other_arms(results, evaluation):
    alone = evaluate_made(results, embeddings={"minilm": made.EMBEDDINGS["minilm"]}, controls={})
    assert alone["metrics"].equals(evaluation["metrics"].filter(pc.equal(evaluation["metrics"]["embedding"], "minilm")))


def test_one_seed_has_no_spread(tmp_path):
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    [row, *_] = rows(one_arm(tmp_path, label, random.random(60))["metrics"], split="test")
    assert row["seed_sd"] is None
    assert row["seeds"] == 1


@pytest.mark.parametrize(
    ("label", "reason"), [(0, "no events among the test rows"), (1, "only events among the test rows")]
)
def test_one_class_is_not_estimable(tmp_path, label, reason):
    evaluation = one_arm(tmp_path, [label] * 30, [0.5] * 30)
    for row in rows(evaluation["metrics"], split="test"):
        assert (row["estimate"], row["lower"], row["reason"]) == (None, None, reason)
        assert row["events"] is None
    assert {row["reason"] for row in rows(evaluation["metrics"], split="validation")} == {"no validation rows"}
    assert rows(evaluation["comparisons"]) == []


def test_a_cohort_without_rows_to_predict_is_not_estimable(tmp_path):
    evaluation = one_arm(tmp_path, [0, 1] * 20, [0.5] * 40, split=["train"] * 40)
    assert {row["reason"] for row in rows(evaluation["metrics"], split="test")} == {"no test rows"}


def test_few_validation_events_choose_but_have_no_metric(tmp_path):
    """Both Brier scores would give their number away, and so would an AUROC."""
    random = np.random.default_rng(0)
    label = np.r_[np.ones(8, int), np.zeros(92, int), np.ones(40, int), np.zeros(60, int)]
    split = np.repeat(["validation", "test"], 100)
    evaluation = one_arm(tmp_path, label, random.random((2, 200)), split=split)
    found = rows(evaluation["metrics"], split="validation")
    why = "not shown: fewer than 10 persons with or without the event"
    assert {(row["estimate"], row["rows"], row["events"], row["reason"]) for row in found} == {(None, 100, None, why)}
    assert rows(evaluation["seeds"], split="validation") == []
    [site] = rows(evaluation["site"], split="validation")
    assert (site["persons"], site["rows"], site["events"], site["persons_with_event"]) == (100, 100, None, None)
    [row] = rows(evaluation["comparisons"], question="recommendation", metric="auroc")
    assert row["embedding"] == "minilm"


def test_fewer_test_persons_than_a_count_may_show_have_no_numbers(tmp_path):
    label = np.r_[np.ones(8, int), np.zeros(92, int)]
    evaluation = one_arm(tmp_path, label, np.linspace(0, 1, 100), settings={"min_persons": 2})
    [row] = rows(evaluation["metrics"], split="test", metric="auroc")
    assert (row["estimate"], row["rows"], row["events"]) == (None, 100, None)
    assert row["reason"] == "fewer than 10 test persons with the event"


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        (np.r_[np.arange(200) // 20, np.arange(800) + 200], "fewer than 20 test persons with the event"),
        (np.r_[np.arange(200), 200 + np.arange(800) // 50], "fewer than 20 test persons without the event"),
    ],
)
def test_nothing_is_shown_of_too_few_persons_however_many_rows_they_have(tmp_path, person, reason):
    label = np.r_[np.ones(200, int), np.zeros(800, int)]
    split = np.where(np.arange(1000) % 2 == 0, "test", "validation")
    evaluation = one_arm(
        tmp_path, label, np.linspace(1, 0, 1000), person=person, split=split, settings={"min_persons": 20}
    )
    test = rows(evaluation["metrics"], split="test")
    assert {(row["estimate"], row["reason"]) for row in test} == {(None, reason)}
    assert {row["difference"] for row in rows(evaluation["comparisons"])} == {None}
    assert {row["p"] for row in rows(evaluation["comparisons"])} == {None}
    assert {row["reason"] for row in rows(evaluation["comparisons"], question="any_above_chance")} == {reason}
    assert rows(evaluation["seeds"], split="test") == []


def test_a_perfect_arm_is_above_chance(tmp_path):
    """DeLong's variance is 0 there; limits and p are those of as many trials without a failure."""
    label = np.r_[np.ones(30, int), np.zeros(60, int)]
    split = np.where(np.arange(90) % 3 == 0, "validation", "test")
    evaluation = one_arm(tmp_path, label, np.tile(np.linspace(1, 0, 90), (2, 1)), split=split)
    [row] = rows(evaluation["metrics"], split="test", metric="auroc")
    assert (row["estimate"], row["upper"]) == (1, 1)
    assert 0.8 < row["lower"] < 0.9
    [chance] = rows(evaluation["comparisons"], question="chance")
    assert (chance["lower"], chance["p"]) == (pytest.approx(row["lower"] - 0.5), pytest.approx(2 * 0.5**20))
    [gate] = rows(evaluation["comparisons"], question="any_above_chance")
    assert gate["p"] < 1e-4


def test_the_gate_asks_every_arm_that_can_be_recommended(results):
    """One-hot codes can, where they are the reference's: a study may have nothing else, or nothing better."""
    alone = {"embeddings": {"onehot": made.EMBEDDINGS["onehot"]}, "controls": {"onehot": []}}
    found = evaluate_made(results, **alone, strategies=["local"])["comparisons"]
    [chosen] = rows(found, question="recommendation", metric="auroc")
    [gate] = rows(found, question="any_above_chance")
    assert (chosen["embedding"], gate["reason"]) == ("onehot", None)
    assert gate["p"] < 1e-4
    other = {"reference": {"strategy": "local", "embedding": "minilm", "learner": None}}
    without = evaluate_made(results, settings=other)["comparisons"]
    assert (
        rows(without, question="any_above_chance")[0]["p"]
        != rows(evaluate_made(results)["comparisons"], question="any_above_chance")[0]["p"]
    )


def test_few_rows_without_the_event_hide_the_events_too(tmp_path):
    label = np.r_[np.ones(92, int), np.zeros(8, int)]
    evaluation = one_arm(tmp_path, label, np.linspace(0, 1, 100))
    assert {row["events"] for row in rows(evaluation["metrics"], split="test")} == {None}


def test_limits_are_missing_where_one_person_has_all_events(tmp_path):
    random = np.random.default_rng(0)
    label = np.r_[np.ones(12, int), np.zeros(40, int)]
    person = np.r_[np.zeros(12, int), np.arange(1, 41)]
    evaluation = one_arm(
        tmp_path, label, random.random(52), person=person, settings={"min_persons": 1, "min_cell_count": 1}
    )
    found = {row["metric"]: row for row in rows(evaluation["metrics"], split="test")}
    assert found["auroc"]["estimate"] is not None
    assert found["auroc"]["lower"] is None
    assert "one person alone" in found["auroc"]["reason"]
    assert found["brier"]["lower"] is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.slice(1),
        lambda table: table.take([1, 0, *range(2, len(table))]),
        lambda table: pa.concat_tables([table, table.slice(len(table) - 1)]),
        lambda table: table.set_column(
            table.column_names.index("label"), "label", pc.subtract(pa.scalar(1, pa.int8()), table["label"])
        ),
        lambda table: table.set_column(
            table.column_names.index("probability"), "probability", pc.multiply(table["probability"], np.nan)
        ),
    ],
    ids=["a row is missing", "two rows swapped", "a row twice", "labels of others", "no number"],
)
def test_refuses_predictions_that_are_not_the_cohort_s_rows(tmp_path, damage):
    made.write_study(tmp_path, persons=60)
    folder = tmp_path / "arms" / made.TASK / made.EMBEDDINGS["onehot"] / "cnn" / "direct" / TARGET
    path = folder / "predictions.parquet"
    pq.write_table(damage(pq.read_table(path)), path)
    with pytest.raises(StudyError, match=r"onehot-bbbbbbbbbbbb/cnn/direct/lakeside, source riverside"):
        evaluate_made(tmp_path)


def test_refuses_an_arm_that_is_missing_or_of_other_sites(tmp_path):
    made.write_study(tmp_path, persons=60)
    folder = tmp_path / "arms" / made.TASK / made.EMBEDDINGS["onehot"] / "cnn" / "direct" / TARGET
    about = json.loads((folder / "arm.json").read_text())
    about["sources"]["hilltop"] = {"reason": "a site of last year's study"}
    (folder / "arm.json").write_text(json.dumps(about))
    with pytest.raises(StudyError, match="hilltop"):
        evaluate_made(tmp_path)
    (folder / "arm.json").unlink()
    with pytest.raises(StudyError, match=r"arm\.json"):
        evaluate_made(tmp_path)


def test_refuses_a_control_that_is_no_embedding_of_the_study(results):
    with pytest.raises(StudyError, match="shuffled"):
        evaluate_made(results, controls={"shuffled": ["minilm"]})


def test_says_the_same_again_in_any_number_of_processes(results, evaluation):
    again = evaluate_made(results, processes=2)
    assert list(again) == list(evaluation) == list(SCHEMAS)
    for name, table in evaluation.items():
        assert table.equals(again[name]), name


def test_seeds_widen_limits(tmp_path):
    """The same persons and mean, more spread over seeds: the limits have to be wider."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 300)
    noise = random.normal(0, 1, 300)
    alike = 1 / (1 + np.exp(-np.stack([label + noise] * 3)))
    apart = 1 / (1 + np.exp(-np.stack([label * skill + noise for skill in (0.5, 1.0, 1.5)])))
    widths = []
    for name, probability in (("alike", alike), ("apart", apart)):
        [row] = rows(one_arm(tmp_path / name, label, probability)["metrics"], split="test", metric="auroc")
        widths.append(row["upper"] - row["lower"])
    assert widths[1] > 1.5 * widths[0]


def test_the_reference_is_declared(results, evaluation):
    [row] = rows(evaluation["comparisons"], question="recommendation", metric="auroc")
    assert (row["ref_embedding"], row["ref_strategy"]) == ("onehot", "local")
    few = {"learners": ["cnn"], "strategies": ["local", "direct"]}
    other = {"reference": {"strategy": "direct", "embedding": "random", "learner": "cnn"}}
    [row] = rows(
        evaluate_made(results, settings=other, **few)["comparisons"], question="recommendation", metric="auroc"
    )
    assert [row[f"ref_{name}"] for name in ("embedding", "learner", "strategy")] == ["random", "cnn", "direct"]
    absent = {"reference": {"strategy": "local", "embedding": "elsewhere", "learner": None}}
    [row] = rows(
        evaluate_made(results, settings=absent, **few)["comparisons"], question="recommendation", metric="auroc"
    )
    assert row["ref_strategy"] == "local"


def test_a_cut_with_a_small_cell_is_not_shown(tmp_path):
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 200)
    evaluation = one_arm(tmp_path, label, random.random(200), settings={"thresholds": [0.5, 0.99]})
    for row in rows(evaluation["metrics"], split="test", metric="sensitivity"):
        if row["threshold"] == 0.5:
            assert row["lower"] < row["estimate"] < row["upper"]
        if row["threshold"] == 0.99:
            assert row["estimate"] is None
            assert row["reason"] == "not shown: a count under 10 could be worked out"
        if row["alert_rate"] is not None:
            assert row["reason"] == "no validation rows to find the cut of this alert rate"


def test_the_cut_of_an_alert_rate_is_the_validation_rows_(tmp_path):
    random = np.random.default_rng(0)
    label, probability = random.integers(0, 2, 1000), random.random(1000).round(3)
    split = np.repeat(["validation", "test"], 500)
    evaluation = one_arm(tmp_path, label, probability, split=split)
    cut = np.sort(probability[:500])[-150]  # three in ten
    [row] = [row for row in rows(evaluation["metrics"], metric="alerted", split="test") if row["alert_rate"]]
    assert row["estimate"] == pytest.approx((probability[500:] >= cut).mean())


def test_subgroups_hide_small_counts_and_what_would_give_them_away(evaluation):
    arm = {"embedding": "minilm", "learner": "cnn", "strategy": "direct", "source": "riverside", "metric": "auroc"}
    found = rows(evaluation["subgroups"], **arm)
    dimensions = {row["dimension"] for row in found}
    assert dimensions == {"sex", "age", "race", "first-finding", "unseen"}
    for row in found:
        assert (row["estimate"] is None) == (row["reason"] is not None)
        assert row["events"] is None or min(row["events"], row["rows"] - row["events"]) >= 10
    race = {row["group"]: row for row in found if row["dimension"] == "race"}
    assert set(race) == {"Asian", "other", "unknown"}  # fewer than ten persons are White
    assert race["other"]["rows"] is None or race["other"]["rows"] >= 10
    sex = [row for row in found if row["dimension"] == "sex"]
    assert all(row["lower"] < row["estimate"] < row["upper"] for row in sex)


def test_unseen_events_are_those_that_no_training_row_of_the_source_holds(results, evaluation):
    [row] = rows(evaluation["unseen"], source="riverside")
    tasks = results / "tasks" / made.TASK
    cohort = pq.read_table(tasks / TARGET / "cohort.parquet").to_pandas()
    held = pq.read_table(tasks / TARGET / "sequences.parquet").to_pandas().set_index("row_id")["tokens"]
    tokens = np.concatenate(held[cohort.loc[cohort["split"] == "test", "row_id"]].to_numpy())
    # five of the ten keys are the target's own; of these one has a text that the source knows in another case
    assert row["events"] == pytest.approx((tokens >= 5).mean())
    assert row["events_by_text"] == pytest.approx(((tokens >= 5) & (tokens != 9)).mean())


def test_learning_curves_rise_and_cross(evaluation):
    local = rows(evaluation["curves"], embedding="minilm", strategy="local", split="test")
    assert [row["size"] for row in local] == list(made.SIZES)
    aurocs = [row["estimate"] for row in local]
    assert aurocs == sorted(aurocs)
    assert all(row["lower"] < row["estimate"] < row["upper"] for row in local)
    depths = rows(evaluation["curves"], embedding="minilm", strategy="tune-head", source="riverside", split="test")
    assert [row["depth"] for row in depths if row["size"] is None] == list(made.DEPTHS)
    found = rows(evaluation["breakeven"], embedding="onehot", learner="cnn", source="riverside", strategy="direct")
    [row] = [row for row in found if row["local_embedding"] == "onehot"]
    assert row["status"] == "at the smallest size already"  # codes carry nothing in this made-up study
    [row] = [
        row
        for row in rows(
            evaluation["breakeven"], embedding="minilm", learner="cnn", source="riverside", strategy="direct"
        )
        if row["local_embedding"] == "minilm"
    ]
    assert row["status"] == "not reached within the largest size" or row["events"] > 20


def test_drawn_points_have_enough_rows_behind_them(evaluation):
    points = rows(evaluation["binned_curves"])
    assert {row["role"] for row in points} >= {"recommended", "reference", "control random"}
    cohort_events = {row["events"] for row in rows(evaluation["metrics"], split="test", metric="auroc")} - {None}
    rows_of = {row["rows"] for row in rows(evaluation["metrics"], split="test", metric="auroc")} - {None}
    [events], [total] = cohort_events, rows_of
    for row in points:
        inside = row["share"] * total
        assert round(inside * row["observed"], 6) >= 10
        assert round(inside * (1 - row["observed"]), 6) >= 10
    first = next(row for row in points if row["role"] == "recommended")
    assert (first["sensitivity"], first["specificity"], first["ppv"]) == (1, 0, pytest.approx(events / total))
