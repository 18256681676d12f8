"""Limits for methods: half-samples of persons, the variance that their differences give, and arms made from them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from conceptbridge import layout
from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.comparisons import Controls, Pair, compare
from conceptbridge.evaluate.delong import Components, components, mean_of, person_clusters, variance
from conceptbridge.evaluate.intervals import auroc_limits
from conceptbridge.evaluate.method_limits import HEADLINES, Scored, method_limits, score, training_variance
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.scales import FISHER_Z, LOGIT
from conceptbridge.evaluate.schemas import ARM, RECOMMENDATION, SCHEMAS, Arm
from conceptbridge.learn.half_samples import half_sample
from conceptbridge.learn.resample import _of_half, resample_arms, resample_local
from conceptbridge.learn.resampling import Resampling
from conceptbridge.learn.rows import SiteRows
from conceptbridge.learn.site import Site
from conceptbridge.study.strategies import strategy
from test_strategies import EMBEDDING, LEARNER, OWN, SOURCES, TARGETS, TASK, arm_of, job_of, write_study


def made_site(random: np.random.Generator, persons: int, rows_each: int) -> Site:
    """A site whose persons have up to ``rows_each`` rows, in any splits."""
    person = np.sort(random.integers(0, persons, persons * rows_each)) + 100
    rows = len(person)
    lengths = random.integers(0, 4, rows)
    tokens = random.integers(0, 5, lengths.sum()).astype(np.int32)
    split = random.choice(["train", "validation", "test"], rows).astype(object)
    site = SiteRows(
        keys=[str(n) for n in range(5)],
        texts=[None] * 5,
        slots=np.zeros(5, np.int64),
        training_rows=np.zeros(5, np.int64),
        row_ids=np.arange(rows),
        person_ids=person,
        labels=(random.random(rows) < 0.3).astype(np.int8),
        split=split,
        tokens=tokens,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
    return Site("made", site.trained_on(site.of("train")), None)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 3), st.integers(0, 6))
def test_two_halves_share_nobody_and_hold_everybody(seed: int, persons: int, rows_each: int, number: int) -> None:
    whole = made_site(np.random.default_rng(seed), persons, rows_each)
    halves = [half_sample(whole, 2 * number + side, 1, "task").rows for side in (0, 1)]
    labelled = [half.of("train", "validation") for half in halves]
    persons_of = [set(half.person_ids[rows].tolist()) for half, rows in zip(halves, labelled, strict=True)]
    assert not persons_of[0] & persons_of[1]
    assert persons_of[0] | persons_of[1] == set(whole.rows.person_ids[whole.rows.of("train", "validation")].tolist())
    events = [
        len(np.unique(half.person_ids[rows][half.labels[rows] == 1]))
        for half, rows in zip(halves, labelled, strict=True)
    ]
    assert abs(events[0] - events[1]) <= 3  # one for each kind of split that a person has rows in
    for half, mine in zip(halves, persons_of, strict=True):
        # whole persons with all their labelled rows, and every test row, each with its own tokens
        is_test = whole.rows.split == "test"
        expected = np.flatnonzero(is_test | np.isin(whole.rows.person_ids, list(mine)))
        assert half.row_ids.tolist() == whole.rows.row_ids[expected].tolist()
        for place, row in enumerate(expected):
            held = half.tokens[half.offsets[place] : half.offsets[place + 1]]
            assert held.tolist() == whole.rows.tokens[whole.rows.offsets[row] : whole.rows.offsets[row + 1]].tolist()
        counts = [
            sum(token in half.tokens[half.offsets[row] : half.offsets[row + 1]] for row in half.of("train"))
            for token in range(5)
        ]
        assert half.training_rows.tolist() == counts


def test_a_split_is_the_same_in_every_job_and_another_for_another_number_task_or_seed() -> None:
    whole = made_site(np.random.default_rng(0), 60, 2)
    ids = [
        half_sample(whole, *words).rows.row_ids.tolist()
        for words in [(0, 1, "a"), (0, 1, "a"), (2, 1, "a"), (0, 1, "b"), (0, 2, "a")]
    ]
    assert ids[0] == ids[1]
    assert all(ids[0] != other for other in ids[2:])


def scored(auroc: float, events: int = 50, sd: float = 0.02, by_seed: tuple[float, ...] = (0.0,)) -> Scored:
    """An AUROC whose standard error between test persons is about ``sd``, and the distance of each seed from it."""
    pattern = np.tile([1.0, -1.0], events) * sd / np.sqrt(2 * events)
    of = np.arange(2 * events) < events
    return Scored((auroc + np.array(by_seed),), Components(auroc, np.where(of, pattern, 0), np.where(of, 0, pattern)))


CLUSTERS = person_clusters(np.repeat([1, 0], 50), np.arange(100))


def test_the_variance_of_training_samples_is_a_quarter_of_the_squared_difference_of_halves_less_its_noise() -> None:
    halves = [(scored(0.8, by_seed=(-0.01, 0.01)), scored(0.7, sd=0.0)), (scored(0.75), scored(0.78))]
    found, gross = training_variance(halves, CLUSTERS)
    assert gross == pytest.approx((0.1**2 + 0.03**2) / 2 / 4)
    # the second pair's components are the same, and those of one half of the first are 0; its seeds are two and one
    first = halves[0][0].mean
    noise = float(variance(first.events, first.non_events, CLUSTERS)) + 0.02**2 / 2 / 2
    assert found == pytest.approx(gross - noise / 2 / 4)


def test_the_noise_of_test_persons_and_seeds_alone_is_no_draw_of_training_persons() -> None:
    random = np.random.default_rng(1)
    label = np.repeat([1, 0], [60, 240])
    clusters = person_clusters(label, np.arange(300))
    # models that are equally good, each with an error of its own on every test row
    halves = [tuple(score(label, random.normal(label, 1, (1, 300)), clusters) for _ in "ab") for _ in range(300)]
    found, gross = training_variance(halves, clusters)  # type: ignore[arg-type]
    assert found < gross / 8


def test_half_samples_find_the_variance_that_training_samples_have() -> None:
    """A method whose AUROC is linear in a mean over training persons, as 400 persons give it."""
    random = np.random.default_rng(2)
    persons, sd = 400, 0.3
    truth = sd**2 / persons
    found = []
    for _ in range(200):
        value = random.normal(0, sd, persons)
        pairs = []
        for _ in range(10):
            first = random.permutation(persons) < persons // 2
            pairs.append((scored(0.7 + value[first].mean(), sd=0.0), scored(0.7 + value[~first].mean(), sd=0.0)))
        found.append(training_variance(pairs, CLUSTERS)[0])
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0, 0.1), st.lists(st.floats(0, 0.3), min_size=2, max_size=10), st.booleans())
def test_limits_of_the_method_are_never_narrower_and_stay_on_the_scale(
    auroc: float, sd: float, apart: list[float], difference: bool
) -> None:
    halves = [(scored(0.5 + one / 2), scored(0.5 - one / 2)) for one in apart]
    limits = method_limits(
        scored(auroc, sd=sd, by_seed=(-0.01, 0.01)), halves, CLUSTERS, FISHER_Z if difference else LOGIT
    )
    assert limits.lower is not None
    assert limits.upper is not None
    assert limits.method_lower is not None
    assert limits.method_upper is not None
    assert limits.method_lower <= limits.lower + 1e-12
    assert limits.method_upper >= limits.upper - 1e-12
    assert difference or 0 <= limits.method_lower <= limits.method_upper <= 1


def test_limits_add_the_variances_once_and_take_satterthwaite_s_degrees_of_freedom() -> None:
    whole = scored(0.8, sd=0.02, by_seed=(-0.01, 0.0, 0.01))
    person = float(variance(whole.mean.events, whole.mean.non_events, CLUSTERS))
    seed, training = 0.01**2 / 3, 0.06**2 / 4
    limits = method_limits(whole, [(scored(0.83), scored(0.77))] * 10, CLUSTERS, LOGIT)
    assert limits.training_sd == pytest.approx(0.03)
    total = person + seed + training
    freedom = total**2 / (person**2 / 49 + seed**2 / 2 + training**2 / 10)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(total) / (0.8 * 0.2)
    assert limits.method_lower == pytest.approx(expit(logit(0.8) - reach))
    assert limits.method_upper == pytest.approx(expit(logit(0.8) + reach))
    freedom = (person + seed) ** 2 / (person**2 / 49 + seed**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(person + seed)
    alone = method_limits(whole, [], CLUSTERS, FISHER_Z)
    reach /= 1 - 0.8**2
    assert [alone.lower, alone.upper] == pytest.approx(
        [np.tanh(np.arctanh(0.8) - reach), np.tanh(np.arctanh(0.8) + reach)]
    )
    assert alone.method_lower is None


def test_two_arms_add_the_variances_of_their_seeds_and_an_arm_s_halves_pair_them() -> None:
    first, second = scored(0.8, by_seed=(-0.01, 0.01)), scored(0.7, by_seed=(-0.02, 0.0, 0.02))
    (_, *seeds), freedom = first.minus(second).variances(CLUSTERS)
    assert seeds == pytest.approx([0.02**2 / 2 / 2, 0.02**2 / 3])
    assert freedom == [49, 1, 2]
    # the same draws of a control in both halves: their luck is in neither half alone
    (_, *seeds), _ = first.apart_from(scored(0.7, by_seed=(-0.01, 0.01))).variances(CLUSTERS)
    assert seeds == pytest.approx([0])


def measured(arm: Arm, parts: list[Components], persons: int) -> ArmResult:
    """What evaluation measures of an arm, with no other metric than AUROC."""
    by_seed = np.zeros((len(parts), len(METRICS)))
    by_seed[:, METRICS.index("auroc")] = [part.auroc for part in parts]
    none, influence = np.full(len(METRICS), np.nan), np.zeros((2, persons), np.float32)
    rest = (none, none, influence, mean_of(parts), [], None, [])
    return ArmResult(arm, {}, [*range(len(parts))], {"test": None}, {"test": by_seed}, [], *rest)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_limits_for_the_trained_models_are_those_of_metrics_and_comparisons(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, person = np.repeat([1, 0], [30, 90]), random.integers(0, 60, 120)
    clusters = person_clusters(label, person)
    results = {}
    for name, seeds in (("first", 3), ("second", 2)):
        parts = [components(label, random.normal(label, 1), clusters) for _ in range(seeds)]
        arm = Arm(name, "cnn", "local", "here")
        results[arm] = (parts, Scored((np.array([one.auroc for one in parts]),), mean_of(parts)))
    (arm, (parts, whole)), (other, (_, second)) = results.items()
    found = method_limits(whole, [], clusters, LOGIT)
    expected = auroc_limits(whole.mean, whole.by_seed[0], clusters)
    assert [found.lower, found.upper] == pytest.approx(list(expected))
    asked = [Pair(RECOMMENDATION, arm, other, None)]
    compared = {arm: measured(arm, parts, clusters.persons) for arm, (parts, _) in results.items()}
    [(_, differences)] = compare(compared, asked, Controls({}), clusters)
    found = method_limits(whole.minus(second), [], clusters, FISHER_Z)
    assert [found.estimate, found.lower, found.upper] == pytest.approx(list(differences[0][1:4]))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("results"))


def table_of(results: Path, target: str, *pairs: tuple[str, str]) -> Path:
    """The table of comparisons of a target: for each question the strategies of both arms."""
    rows = []
    for question, (first, second) in zip(HEADLINES, pairs, strict=False):
        arms = []
        for name in (first, second):
            arm_of(results, name, target)
            source = strategy(name).source or (target if name == "local" else next(s for s in SOURCES if s != target))
            arms.append(Arm(EMBEDDING.name, LEARNER, name, source))
        names = dict(zip((*ARM, *(f"ref_{part}" for part in ARM)), (*arms[0], *arms[1]), strict=True))
        rows.append({"task": TASK, "target": target, "question": question, "metric": "auroc"} | names)
    path: Path = results / layout.place(layout.METRICS, task=TASK, target=target, table="comparisons")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMAS["comparisons"]), path)
    return path


def resampled(
    results: Path,
    target: str,
    comparisons: Path,
    sources: tuple[str, ...] = SOURCES,
    processes: int = 1,
    min_persons: int = 5,
) -> list[dict[str, Any]]:
    """The table of the target, its local models and those of its sources made before."""
    for site in dict.fromkeys([*sources, target]):
        out = results / layout.place(layout.RESAMPLED, task=TASK, site=site)
        resample_local(
            Resampling([job_of("local", site)], 4, 1, sources, 5, {}), TASK, site, [comparisons], results, out
        )
    what = Resampling.from_json(
        Resampling([job_of(name, target) for name in OWN], 4, 1, sources, min_persons, {}).to_json()
    )
    found: list[dict[str, Any]] = resample_arms(what, TASK, target, comparisons, results, processes).to_pylist()
    return found


@pytest.mark.parametrize("target", [SOURCES[0], TARGETS[0]])
def test_every_strategy_has_limits_of_the_method(results: Path, target: str) -> None:
    transferred = [name for name in OWN if name not in ("local", "federated")]
    for start in range(0, len(transferred), 3):
        names = transferred[start : start + 3]
        rows = resampled(results, target, table_of(results, target, *((name, "local") for name in names)))
        assert [row["strategy"] for row in rows] == [names[0], "local", *names[1:], *names]
        assert [row["quantity"] for row in rows] == ["auroc"] * (1 + len(names)) + ["difference"] * len(names)
        for row in rows:
            assert row["reason"] is None
            assert row["resamples"] == 4
            assert row["method_lower"] <= row["lower"] < row["estimate"] < row["upper"] <= row["method_upper"]
        by_arm = {row["strategy"]: row["estimate"] for row in rows if row["quantity"] == "auroc"}
        for row in rows[-len(names) :]:
            assert row["estimate"] == pytest.approx(by_arm[row["strategy"]] - by_arm["local"])


def test_what_is_trained_in_rounds_of_several_sites_says_why_it_has_none(results: Path) -> None:
    rows = resampled(results, SOURCES[0], table_of(results, SOURCES[0], ("federated", "local")))
    reason = "no limits of the method: in a half-sample, rounds of several sites are not run again on half-samples"
    assert [row["reason"] for row in rows] == [reason, None, reason]


def test_it_is_the_same_in_two_processes(results: Path) -> None:
    comparisons = table_of(results, SOURCES[0], ("direct", "local"))
    assert resampled(results, SOURCES[0], comparisons) == resampled(results, SOURCES[0], comparisons, processes=2)


def test_a_source_whose_rows_are_elsewhere_is_a_reason(results: Path) -> None:
    rows = resampled(results, SOURCES[0], table_of(results, SOURCES[0], ("direct", "local")), sources=SOURCES[:1])
    reason = f"no limits of the method: in a half-sample, the training persons of {SOURCES[1]} are not here"
    assert [row["reason"] for row in rows] == [reason, None, reason]
    assert [row["resamples"] for row in rows] == [0, 4, 0]
    assert all(row["lower"] is not None for row in rows)
    assert [row["method_lower"] is None for row in rows] == [True, False, True]


def test_of_too_few_test_persons_nothing_is_shown(results: Path) -> None:
    rows = resampled(results, SOURCES[0], table_of(results, SOURCES[0], ("direct", "local")), min_persons=60)
    assert len(rows) == 3
    assert {row["reason"] for row in rows} == {"fewer than 60 test persons with the event"}
    numbers = ("estimate", "lower", "upper", "method_lower", "method_upper", "training_sd")
    assert all(row[name] is None for row in rows for name in numbers)


def test_a_site_that_no_headline_arm_uses_trains_nothing(results: Path, tmp_path: Path) -> None:
    comparisons = table_of(results, SOURCES[0], ("pooled", "local"))
    what = Resampling([job_of("local", SOURCES[1])], 4, 1, SOURCES, 5, {})
    resample_local(what, TASK, SOURCES[1], [comparisons], results, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["resampled.json"]


def test_a_half_sample_holds_the_settings_that_all_persons_chose(results: Path, tmp_path: Path) -> None:
    job = job_of("local", SOURCES[0])
    searched = replace(
        job.budget, settings={"l1_share": 0.5}, searched={"penalty": [0.1, 0.003]}, max_trials=2, sizes=[20]
    )
    job = replace(job, budget=searched)
    folder = layout.arm(tmp_path, TASK, EMBEDDING.folder, LEARNER, "local", SOURCES[0])
    folder.mkdir(parents=True)
    (folder / "arm.json").write_text(
        f'{{"sources": {{"{SOURCES[0]}": {{"spent": {{"chosen": {{"penalty": 0.003}}}}}}}}}}'
    )
    half = _of_half(job, SOURCES[0], tmp_path, SOURCES[0]).budget
    assert (half.settings, half.searched) == ({"l1_share": 0.5, "penalty": 0.003}, {})
    assert half.sizes == ()
    assert (half.min_events, half.min_rows) == (3, 1)
