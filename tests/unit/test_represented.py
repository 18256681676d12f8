"""A vector per prediction, from a file or of the record as text: all strategies, on the same rows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.embed.record_text import embed_records, record_texts
from conceptbridge.embed.representations import read_representations
from conceptbridge.embed.row_vectors import write_row_vectors
from conceptbridge.learn.arm_files import load_model
from conceptbridge.learn.federated.server import refusal
from conceptbridge.learn.input_space import NoVectorError, fit_space
from conceptbridge.learn.run_arm import read_site_of, run_arm
from conceptbridge.learn.site import join_sites, read_site
from conceptbridge.plan import Plan
from conceptbridge.study.config import package_data
from conceptbridge.study.embeddings import find_embedding
from conceptbridge.study.strategies import STRATEGIES
from in_process import InProcess
from made_site import write_site
from test_zero_rows import COUGH, ER, FLU, SPLIT, extract

SITES = ("north", "south")
MOTOR: dict[str, Any] = {"backend": "representation", "file": "motor/{task}-{site}.parquet"}


def config_of(folder: Path, **change: Any) -> dict[str, Any]:
    return {
        "name": "vectors",
        "data": str(folder),
        "sites": {site: {"extract": site} for site in SITES},
        "tasks": {
            "flu": {
                "index": {"domain": "visit", "concepts": [ER], "occurrence": "all"},
                "outcome": {"domain": "condition", "concepts": [FLU], "days": [1, 7]},
                "predictors": {"domains": ["condition", "demographic"]},
                "guards": {"open_visit": "none"},
                "split": SPLIT,
                "min_events": 3,
                "min_rows": 3,
            }
        },
        "embeddings": ["onehot", {"motor": MOTOR}, {"told": {"backend": "record-text", "parent": "lexical"}}],
        "learners": {"logistic": {"penalties": 5}},
        "strategies": [name for name in STRATEGIES if name not in ("federated", "leave-one-out")],
        "max_trials": 1,
        "seeds": 1,
        "min_cell_count": 3,
        "evaluation": {"replicates": 100, "min_persons": 3},
        **change,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "motor").mkdir()
    for seed, site in enumerate(SITES):
        extract(folder / site, seed, False)
        (folder / f"motor/flu-{site}.parquet").touch()
    study = InProcess(config_of(folder), folder / "results")
    study.sites()
    study.rows("flu")
    for site in SITES:
        write_motor(study, site)
    study.embed(folder / "cache")
    study.arms("flu")
    study.evaluate("flu")
    return study


def write_motor(study: InProcess, site: str) -> None:
    """What another model makes of each person: whether there was a cough, and noise."""
    cohort, tokens, sequences = (pq.read_table(file) for file in layout.rows(study.results, "flu", site))
    cough = tokens["key"].to_pylist().index(f"{COUGH}|present")
    held = np.array([cough in row for row in sequences["tokens"].to_pylist()], np.float32)
    noise = np.random.default_rng(1).normal(size=(len(held), 7)).astype(np.float32)
    table = pa.table(
        {
            "subject_id": cohort["person_id"],
            "prediction_time": pa.array(pd.to_datetime(cohort["index_date"].to_pandas()) + pd.Timedelta(hours=23)),
            "vector": list(np.column_stack([held, noise])),
        }
    )
    shuffled = table.take(pa.array(np.random.default_rng(2).permutation(len(table))))
    pq.write_table(shuffled, study.study.of_cohort(MOTOR["file"], "flu", site))


def test_every_arm_stands_in_the_tables_on_the_same_rows(made: InProcess) -> None:
    for target in SITES:
        metrics = pq.read_table(made.at(layout.METRICS, task="flu", target=target, table="metrics")).to_pandas()
        auroc = metrics[(metrics.metric == "auroc") & (metrics.split == "test")]
        cells = auroc.groupby("embedding").size().to_dict()
        assert cells == dict.fromkeys(["onehot", "motor", "told"], len(made.study.strategies_at(target)))
        assert auroc["reason"].isna().all(), auroc[auroc["reason"].notna()].to_dict("records")
        assert len({*auroc["rows"]}) == 1
        assert (auroc[auroc.embedding == "motor"].estimate > 0.65).all()


def test_a_head_sees_each_number_once(made: InProcess) -> None:
    e = made.study.embeddings["motor"]
    model = made.at(layout.ARM, task="flu", embedding=e.id, learner="logistic", strategy="local", target="north")
    about = json.loads((model / "models/north/model.json").read_text())
    assert about["space"]["slots"] is None
    from safetensors.numpy import load_file

    assert load_file(model / "models/north/coefficients.safetensors")["coefficients"].shape == (1, 8)


def test_trees_can_be_the_head(made: InProcess, tmp_path: Path) -> None:
    config = made.config | {"learners": {"lightgbm": {"num_iterations": 3}}}
    for part in ("sites", "tasks", "embeddings"):
        (tmp_path / part).symlink_to(made.results / part)
    (tmp_path / "arms").mkdir()
    study = InProcess(config | {"embeddings": ["onehot", {"motor": MOTOR}]}, tmp_path)
    for target, how in (("south", "local"), ("north", "local"), ("north", "tune-all"), ("north", "pooled")):
        names = {"task": "flu", "embedding": made.study.embeddings["motor"].id, "learner": "lightgbm", "strategy": how}
        out = study.at(layout.ARM, **names, target=target)
        run_arm(study.plan.arm(**names, target=target), tmp_path, out)
        assert len(pq.read_table(out / "predictions.parquet"))


def test_rows_have_their_own_vectors_in_any_order_of_the_file(made: InProcess) -> None:
    e = made.study.embeddings["motor"]
    job = made.plan.arm("flu", e.id, "logistic", "pooled", "north")
    site = read_site_of(job, made.results, "south")
    told = pq.read_table(made.study.of_cohort(MOTOR["file"], "flu", "south")).to_pandas()
    cohort = pq.read_table(layout.rows(made.results, "flu", "south")[0]).to_pandas()
    day = pd.to_datetime(cohort["index_date"]).dt.date
    of = {(p, t.date()): v for p, t, v in zip(told.subject_id, told.prediction_time, told.vector, strict=True)}
    expected = np.stack([of[key] for key in zip(cohort["person_id"], day, strict=True)])
    assert site.table is not None
    np.testing.assert_array_equal(site.table[1], expected)
    assert (job.windows, job.budget.min_rows, job.budget.components) == (None, 1, None)


def test_sites_with_vectors_of_several_widths_are_told(made: InProcess) -> None:
    e = made.study.embeddings["motor"]
    job = made.plan.arm("flu", e.id, "logistic", "pooled", "north")
    north, south = (read_site_of(job, made.results, name) for name in SITES)
    assert north.table is not None
    narrow = replace(north, table=(north.table[0], north.table[1][:, :3]))
    with pytest.raises(StudyError, match="of width 3 at one site and 8 at another; make those of all sites with one"):
        join_sites("all", [narrow, south])
    arm = made.at(layout.ARM, task="flu", embedding=e.id, learner="logistic", strategy="local", target="south")
    trained = load_model(arm / "models/south", "logistic", e.fingerprint)
    with pytest.raises(StudyError, match="motor: vectors of width 8 at one site and 3 at another"):
        narrow.draws(trained.space, narrow.rows.of("test"))


def test_models_of_rows_are_not_sent_and_not_federated(made: InProcess) -> None:
    assert not {"motor", "told"} & {name.rsplit("-", 1)[0] for name in made.plan.sent}
    job = made.plan.arm("flu", made.study.embeddings["motor"].id, "logistic", "federated", None)
    assert "has a vector per row" in str(refusal(job))
    assert not any("motor" in names["embedding"] for names in made.plan.scores())


def test_a_record_is_told_by_window_the_most_recent_first(tmp_path: Path) -> None:
    rows = write_rows(tmp_path)
    assert record_texts(rows, [(0, 0), (-30, -1), (-365, -31)]) == [
        ["female; cough; fever, high", "rash; cough", ""],
        ["female", "", "rash"],
    ]
    assert record_texts(rows, [(-365, 0)])[0] == ["female; cough; fever, high; rash"]


def test_the_same_text_is_read_once_and_no_record_lies_in_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, cache = write_rows(tmp_path), tmp_path / "cache"
    parent = find_embedding("lexical", package_data("catalogue"), "embeddings")
    windows = [(0, 0), (-365, -1)]
    with caplog.at_level("INFO"):
        first = embed_records(parent, rows, windows, cache)
        again = embed_records(parent, rows, windows, cache)
    assert [m for m in caplog.messages if "in the cache" in m] == [
        "lexical: 4 texts, 0 of them in the cache",
        "lexical: 4 texts, 4 of them in the cache",
    ]
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 2 * parent.spec["width"])
    (part,) = (cache / "records" / parent.fingerprint).glob("*.arrow")
    assert b"cough" not in part.read_bytes()


def write_rows(folder: Path) -> tuple[Path, Path, Path]:
    texts = ["cough", "fever", "rash", "female"]
    write_site(folder / "made", texts, rows=2)
    files = tuple(folder / f"made/{name}.parquet" for name in ("cohort", "tokens", "sequences"))
    tokens = pq.read_table(files[1]).to_pylist()
    tokens[1] |= {"key": "fever|high", "state": "high"}
    tokens[3] |= {"domain": "demographic"}
    pq.write_table(pa.Table.from_pylist(tokens, schema=pq.read_schema(files[1])), files[1])
    days = [[-20, -20, 0, 0, 0], [-300, 0]]
    lists = [[2, 0, 0, 1, 3], [2, 3]]
    sequences = [{"row_id": i, "tokens": lists[i], "days": days[i], "values": [None] * len(days[i])} for i in (0, 1)]
    pq.write_table(pa.Table.from_pylist(sequences, schema=pq.read_schema(files[2])), files[2])
    return files[0], files[1], files[2]


def test_a_site_without_rows_is_no_obstacle(made: InProcess, tmp_path: Path) -> None:
    rows = write_rows(tmp_path)
    for file in (rows[0], rows[2]):
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    parent = find_embedding("lexical", package_data("catalogue"), "embeddings")
    assert embed_records(parent, rows, [(0, 0), (-9, -1)], tmp_path).shape == (0, 2 * parent.spec["width"])
    e = made.study.embeddings["motor"]
    write_row_vectors(e, rows, Path(made.study.of_cohort(MOTOR["file"], "flu", "south")), [], tmp_path, tmp_path / "v")
    empty = read_site("empty", rows, tmp_path / "v")
    south = read_site_of(made.plan.arm("flu", e.id, "logistic", "pooled", "north"), made.results, "south")
    joined = join_sites("all", [empty, south])
    assert joined.table is not None
    assert south.table is not None
    np.testing.assert_array_equal(joined.table[1], south.table[1])
    with pytest.raises(NoVectorError):
        fit_space("motor", e.fingerprint, "representation", empty.rows, empty.table, 1, True)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("made") / "site", ["cough", "sprain"], rows=30) / "cohort.parquet"


def vectors(cohort: Path) -> pd.DataFrame:
    rows = pq.read_table(cohort).to_pandas()
    numbers = np.arange(len(rows) * 3, dtype=np.float64).reshape(-1, 3)
    return pd.DataFrame({"person_id": rows["person_id"], "index_date": rows["index_date"], "v": list(numbers)})


def in_columns(table: pd.DataFrame) -> pd.DataFrame:
    numbers = np.stack(table["v"].to_list())
    return table.drop(columns="v").assign(**{f"v{n}": numbers[:, n] for n in range(numbers.shape[1])})


@pytest.mark.parametrize("form", [lambda t: t, in_columns])
def test_vectors_are_a_list_or_columns(cohort: Path, tmp_path: Path, form: Any) -> None:
    more = pd.concat([vectors(cohort), vectors(cohort).assign(person_id=-1)])  # nobody of the cohort
    form(more.sample(frac=1, random_state=1)).to_parquet(tmp_path / "v.parquet")
    expected = np.stack(vectors(cohort)["v"].to_list())
    np.testing.assert_array_equal(read_representations(tmp_path / "v.parquet", cohort), expected)


def spoilt(vector: Any) -> Any:
    return lambda t: t.assign(v=[vector, *t["v"][1:]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[:-2], r"2 of 30 rows have no vector; give one for every row"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "1 of 30 rows have two vectors"),
        (spoilt(np.array([1.0, np.nan, 2.0])), "the vectors of 1 of 30 rows have a number that is missing, NaN"),
        (spoilt(np.array([1.0, np.inf, 2.0])), "the vectors of 1 of 30 rows have a number that is missing, NaN"),
        (spoilt(np.array([1.0, 2.0])), "not numbers of one width"),
        (spoilt(None), "rows of the cohort have an empty vector"),
        (lambda t: t.drop(columns="v"), "has no vectors"),
        (lambda t: t.assign(w=t["v"]), r"has several list columns \(v, w\)"),
        (lambda t: t.rename(columns={"person_id": "pid"}), "a column person_id or subject_id is missing"),
        (lambda t: t.assign(index_date=None), "column index_date: is empty"),
    ],
)
def test_a_file_with_other_rows_is_refused_by_name(cohort: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(vectors(cohort)).to_parquet(tmp_path / "v.parquet")
    with pytest.raises(StudyError, match=rf"v\.parquet: .*({message})"):
        read_representations(tmp_path / "v.parquet", cohort)


def test_rows_are_found_in_a_file_of_several_groups(tmp_path: Path) -> None:
    rows = 50_000
    cohort = write_site(tmp_path / "many", ["cough", "sprain"], rows=300) / "cohort.parquet"
    numbers: NDArray[np.int64] = np.random.default_rng(0).permutation(rows)
    person = pa.array(numbers)
    day = pq.read_table(cohort)["index_date"][0]
    table = pa.table({"person_id": person, "index_date": pa.repeat(day, rows), "v": person.cast(pa.float32())})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=3_000)
    np.testing.assert_array_equal(read_representations(tmp_path / "v.parquet", cohort)[:, 0], np.arange(300))


def test_files_are_looked_for_when_a_run_is_planned(made: InProcess, tmp_path: Path) -> None:
    folder = Path(made.study.config["data"])
    config = config_of(folder)
    entries = ["onehot", {"motor": MOTOR | {"file": "motor/none-{site}.parquet"}}]
    with pytest.raises(
        StudyError, match=r"none-north\.parquet: there is no such file \(config: embeddings\.motor\.file"
    ):
        Plan.read(config | {"embeddings": entries})
    entries = ["onehot", {"motor": MOTOR | {"file": "motor/flu-north.parquet"}}]
    with pytest.raises(StudyError, match=r"embeddings\.motor\.file: flu at south and flu at north have the same file"):
        Plan.read(config | {"embeddings": entries})
    with pytest.raises(StudyError, match=r"its parent text-embedding-3-small must be .* no service may see them"):
        Plan.read(config | {"embeddings": [{"record-text": {"parent": "text-embedding-3-small"}}]})
    given = made.plan.given("represent", embedding=made.study.embeddings["motor"].id, task="flu", site="south")
    assert given == [str(folder / "motor/flu-south.parquet")]
