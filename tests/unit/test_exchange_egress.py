"""What leaves a site is looked at first: every file of a package, by its type; a finding is named, never shown."""

import base64
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.exchange.egress.allowlist import SHARED_TOKENS
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.site_secrets import SiteSecrets, dates_in, read_site_secrets
from task_site import DAY, Site, task
from tiny_site import condition, person, visit

#: a person's id, a visit's, and a label that one person's record bears
ODD, VISIT, RARE = 918_273_645_017, 918_273_645_018, "Zyxcough per Dr Qwertz"
MINIMUM = 10
CONFIG = '{"split": {"test": "2023-09-01"}}'


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> SiteSecrets:
    """What a site of 40 persons keeps to itself: they are numbered from 1 on, but for one."""
    folder = tmp_path_factory.mktemp("site")
    ids = [*range(1, 40), ODD]
    Site(
        folder,
        task(),
        min_cell_count=MINIMUM,
        person=[person(one, race_source_value="Vulcan" if one == ODD else "white") for one in ids],
        visit_occurrence=[visit(one, DAY) | ({"visit_occurrence_id": VISIT} if one == ODD else {}) for one in ids],
        condition_occurrence=[condition(one, DAY, 0, condition_source_value="dry cough, local") for one in ids]
        + [condition(ODD, DAY, 0, condition_source_value=RARE)],
    )
    return read_site_secrets([folder], [folder / "cohort.parquet"], CONFIG, MINIMUM)


def site_table(**counts: int | None) -> pa.Table:
    numbers = {"persons": 300, "rows": 400, "events": 40, "persons_with_event": None} | counts
    rows = [("influenza", "here", "train", *numbers.values(), 2019, 2021, 3.5, None, None, None)]
    return to_table(rows, SCHEMAS["site"])


def tokens_table(*more: tuple[str, str, int], rows: int = 50) -> pa.Table:
    tokens = [("254761|present", "Cough", 254761), ("here/condition:dry cough, local|present", "dry cough, local", 0)]
    return pa.Table.from_pylist(
        [
            {"key": key, "text": text, "concept_id": concept, "state": "present", "domain": "condition", "rows": rows}
            for key, text, concept in [*tokens, *more]
        ],
        schema=SHARED_TOKENS,
    )


MODEL = {
    "learner": "logistic",
    "seeds": [1, 2],
    "kept": [4, 5],
    "space": {
        "embedding": "onehot",
        "fingerprint": "f7",
        "backend": "onehot",
        "names": ["19051009|present"],
        "scale": 1,
    },
}
ARM = {"sources": {"here": {"reason": None, "train_rows": 400, "train_events": 40, "spent": {"trials": 3, "steps": 7}}}}
ATTRITION = "step,persons,rows,events\nan emergency visit,320,430,52\nin a split,300,400,40\n"


def package(folder: Path) -> Path:
    """A package in which everything may leave."""
    folder.mkdir()
    pq.write_table(site_table(), folder / "site.parquet")
    pq.write_table(tokens_table(), folder / "tokens.parquet")
    (folder / "attrition.csv").write_text(ATTRITION)
    (folder / "model.json").write_text(json.dumps(MODEL))
    (folder / "arm.json").write_text(json.dumps(ARM))
    (folder / "card.md").write_text("Trained on 400 rows before 2023-09-01 (45 % women), 12/18 tokens.\n")
    weights = {"center": np.zeros(8, np.float32), "coefficients": np.zeros((2, 8)), "intercepts": np.zeros(2)}
    save_file(weights, folder / "coefficients.safetensors")
    return folder


def test_a_package_that_may_leave_is_listed_file_by_file(tmp_path: Path, secrets: SiteSecrets) -> None:
    leaving = {one.file: one for one in check_egress(package(tmp_path / "p"), secrets)}
    assert set(leaving) == {path.name for path in (tmp_path / "p").iterdir()}
    assert leaving["site.parquet"].smallest == 40
    assert leaving["attrition.csv"].rows == 2
    assert leaving["tokens.parquet"].texts == 2
    assert leaving["tokens.parquet"].local == {"dry cough, local": "here/condition:dry cough, local|present"}
    check_about({"site": "here", "split": "2023-09-01"}, secrets)


def parquet(name: str, table: pa.Table) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(table, folder / f"{name}.parquet")


def text(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def model(**more: Any) -> Callable[[Path], Any]:
    return text("model.json", json.dumps(MODEL | more))


def booster(folder: Path) -> None:
    rng = np.random.default_rng(0)
    made = lgb.train({"verbose": -1}, lgb.Dataset(rng.normal(size=(200, 3)), rng.random(200)), 2)
    (folder / "seed-1.txt").write_text(made.model_to_string())


def with_column(table: pa.Table, name: str, value: Any, kind: pa.DataType) -> pa.Table:
    return table.append_column(name, pa.array([value] * len(table), kind))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "person ids as a column": (
        parquet("site", with_column(site_table(), "person_id", 7, pa.int64())),
        r"site\.parquet: the column person_id names persons",
    ),
    "a column nobody declared": (
        parquet("site", with_column(site_table(), "note", 0.5, pa.float64())),
        r"site\.parquet: the column note: the table does not declare it",
    ),
    "a table nobody declared": (parquet("values", pa.table({"x": [0.5]})), r"values\.parquet.* no table 'values'"),
    "predictions": (
        parquet("predictions", pa.table({"row_id": [1], "probability": [0.5]})),
        r"predictions\.parquet: the column row_id names persons",
    ),
    "an id as a count": (parquet("site", site_table(rows=ODD)), r"column rows holds a person or visit id"),
    "a visit's id as a float": (
        parquet("site", to_table([("t", "s", "train", *[None] * 6, float(VISIT), *[None] * 3)], SCHEMAS["site"])),
        r"column tokens_per_row holds a person or visit id",
    ),
    "an id in a text": (
        parquet("tokens", tokens_table(("here/condition:x|present", f"seen {ODD}", 0))),
        r"column text holds a person or visit id",
    ),
    "an id in a key": (
        parquet("tokens", tokens_table((f"here/condition:seen {ODD}|present", "x", 0))),
        r"column key holds a person or visit id",
    ),
    "an id in a model": (model(source=f"patient-{ODD}"), r"model\.json: source holds a person or visit id"),
    "an id as a key": (
        text("arm.json", json.dumps({"sources": {str(ODD): {"reason": None}}})),
        r"arm\.json: a key below sources holds a person or visit id",
    ),
    "an id in a text to be read": (text("card.md", f"see {ODD}"), r"card\.md: line 1 holds a person or visit id"),
    "a column of dates": (
        parquet("site", with_column(site_table(), "index_date", date(2020, 1, 1), pa.date32())),
        r"column index_date names persons, visits, rows or dates",
    ),
    "dates in a declared column": (
        parquet("site", site_table().set_column(5, "events", pa.array([date(2020, 1, 1)]))),
        r"column events has the type date32.* expected int64",
    ),
    "a date in a text": (
        parquet("tokens", tokens_table(("here/condition:x|present", "seen on 3/14/2015", 0))),
        r"column text holds a date",
    ),
    "a date in a document": (model(target="2015-03-14"), r"model\.json: target holds a date"),
    "a date in a page": (text("page.html", "<p>\n14.03.2015</p>"), r"page\.html: line 2 holds a date"),
    "a date in a picture of a page": (
        text(
            "page.html", f'<img src="data:image/svg+xml;base64,{base64.b64encode(b"<svg>2015-03-14</svg>").decode()}">'
        ),
        r"page\.html: the data packed into line 1 holds a date",
    ),
    "a picture in pixels": (
        text("page.html", '<img src="data:image/png;base64,iVBORw0KGgo=">'),
        r"page\.html: line 1 holds data that cannot be checked",
    ),
    "rows of one key": (
        parquet("site", pa.concat_tables([site_table(), site_table()])),
        r"site\.parquet: duplicate rows for task, site, split: this looks like patient-level data",
    ),
    "a number of each row in a document": (
        model(recalibration={"x": [0.1] * 40}),
        r"recalibration\.x holds as many numbers as a cohort has rows",
    ),
    "a number of each row as weights": (
        lambda folder: save_file({"intercepts": np.zeros(40)}, folder / "coefficients.safetensors"),
        r"the array intercepts is as long as a cohort has rows",
    ),
    "an array nobody declared": (
        lambda folder: save_file({"scores-of": np.zeros(3)}, folder / "weights.safetensors"),
        r"the array 'scores-of' is not declared",
    ),
    "whole numbers as weights": (
        lambda folder: save_file({"head": np.zeros(3, np.int64)}, folder / "weights.safetensors"),
        r"the array head does not hold floating-point numbers",
    ),
    "a small count": (parquet("site", site_table(events=9)), r"site\.parquet: the column events has counts under"),
    "a small count of a token": (parquet("tokens", tokens_table(rows=3)), r"the column rows has counts under"),
    "a small count in a document": (
        text("arm.json", json.dumps({"sources": {"here": {"train_events": 3}}})),
        r"arm\.json: train_events is one of the counts under min_cell_count",
    ),
    "all but a few have the event": (
        text("arm.json", json.dumps({"sources": {"here": {"train_rows": 400, "train_events": 395}}})),
        r"arm\.json: train_rows minus train_events is one of the counts",
    ),
    "a step that took few away": (
        text("attrition.csv", "step,persons,rows,events\na,300,400,40\nb,297,390,30\n"),
        r"attrition\.csv: persons: counts under min_cell_count .* left over",
    ),
    "a step that took few non-events away": (
        text("attrition.csv", "step,persons,rows,events\na,300,420,60\nb,280,402,47\n"),
        r"attrition\.csv: rows without the event: .* left over",
    ),
    "leaf counts": (booster, r"seed-1\.txt: (split_gain|leaf_count|feature_infos)"),
    "a rare local label": (
        parquet("tokens", tokens_table(("here/condition:z|present", RARE, 0))),
        r"column text holds a text of fewer than 10 persons",
    ),
    "a rare local label within another text": (
        text("card.md", f"Tokens: Cough; {RARE.upper()}, present"),
        r"card\.md: line 1 holds a text of fewer than 10 persons",
    ),
    "a rare local label as a key": (
        model(space=MODEL["space"] | {"names": [f"here/condition:{RARE}|present"]}),  # type: ignore[operator]
        r"model\.json: space\.names holds a text of fewer",
    ),
    "a rare race": (
        parquet("tokens", tokens_table(("here/observation:z|present", "vulcan", 0))),
        r"column text holds a text of fewer",
    ),
    "a folder of the machine": (model(source="/home/somebody/extract"), r"source holds a path or name of this machine"),
    "the home folder": (text("card.md", f"from {Path.home()}/study"), r"line 1 holds a path or name of this machine"),
    "a file of another type": (text("notes.docx", "x"), r"notes\.docx: files of type '\.docx' cannot be checked"),
    "a pickle": (lambda folder: (folder / "model.pkl").write_bytes(b"\x80\x04."), r"files of type '\.pkl' cannot"),
    "a text file that is no model": (text("seed-2.txt", "name=value"), r"seed-2\.txt: is not a LightGBM model"),
    "a broken table": (text("site.parquet", "PAR1"), r"site\.parquet: cannot be read as Parquet"),
    "a document of another name": (text("other.json", "{}"), r"other\.json: no JSON document of this name"),
    "an undeclared key": (model(remarks="fine"), r"model\.json: the key remarks is not declared"),
    "an id's key": (model(person_id=1), r"model\.json: the key person_id names persons"),
    "a link": (lambda folder: (folder / "more.md").symlink_to(folder / "card.md"), r"more\.md: is not a plain file"),
    "metadata beside the columns": (
        parquet("site", site_table().replace_schema_metadata({"pandas": "index"})),
        r"site\.parquet: has metadata that is not declared",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_must_not_leave_is_refused_by_name_and_never_shown(
    tmp_path: Path, secrets: SiteSecrets, case: str
) -> None:
    spoil, message = BAD[case]
    spoil(package(tmp_path / "p"))
    with pytest.raises(StudyError, match=message) as refused:
        check_egress(tmp_path / "p", secrets)
    for secret in (str(ODD), str(VISIT), RARE, "2015", "Vulcan", "vulcan", str(Path.home())):
        assert secret not in str(refused.value)


def test_what_the_manifest_says_is_looked_at(secrets: SiteSecrets) -> None:
    with pytest.raises(StudyError, match=r"the manifest: about\.folder holds a path or name"):
        check_about({"folder": "/data/extract/north"}, secrets)


def test_small_ids_are_no_finding_since_every_count_equals_one(secrets: SiteSecrets) -> None:
    assert secrets.distinguishable_digits == {12}
    assert not secrets.holds_id(np.arange(1, 40))
    assert secrets.holds_id(np.array([5, ODD]))


def test_a_concept_number_that_is_also_a_persons_is_no_finding(tmp_path: Path) -> None:
    flu = 4266367
    Site(tmp_path, task(), 1, person=[person(flu)], visit_occurrence=[visit(flu, DAY)])
    known = read_site_secrets([tmp_path], [], "", 1)
    assert known.holds_id(np.array([flu]))
    Site(
        tmp_path / "b",
        task(),
        1,
        person=[person(flu)],
        visit_occurrence=[visit(flu, DAY)],
        condition_occurrence=[condition(flu, DAY, flu)],
    )
    assert not read_site_secrets([tmp_path / "b"], [], "", 1).holds_id(np.array([flu]))


def test_a_text_that_others_have_too_is_not_private(secrets: SiteSecrets) -> None:
    assert secrets.finding("dry cough, local") is None
    assert secrets.finding("dry cough") is None
    assert secrets.finding(RARE.lower())


@pytest.mark.parametrize(
    "written", ["2015-03-14", "20150314", "14.3.2015", "3/14/2015", "2015/03/14", "on 2015-03-14T10:00"]
)
def test_dates_are_found_however_they_are_written(written: str) -> None:
    assert list(dates_in(written)) == ["2015-03-14"]


@pytest.mark.parametrize("written", ["0.20150314", "4-2-1", "1.2.2015.4", "f20150314e", "12/18", "2015", "20151345"])
def test_other_numbers_are_no_dates(written: str) -> None:
    assert not list(dates_in(written))


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_every_date_is_found_as_itself(day: date) -> None:
    assert list(dates_in(f"seen {day.isoformat()}, well")) == [day.isoformat()]


def test_the_vocabulary_of_the_site_is_where_private_texts_come_from(secrets: SiteSecrets) -> None:
    assert RARE.casefold() in secrets.texts
    assert "vulcan" in secrets.texts
