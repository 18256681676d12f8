"""What a target's tokens stand for at a source, by name and by behaviour."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge import layout
from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.embed.backends.random import RandomVectors
from conceptbridge.embed.lexical import lexical_vectors
from conceptbridge.embed.vectors import vector_table
from conceptbridge.translate import translation
from conceptbridge.translate.corrections import check_sites, corrections, digest_of, read_corrections
from conceptbridge.translate.profile import Profile, count_profile
from conceptbridge.translate.profile_file import profile_table, write_profile
from conceptbridge.translate.run_translation import FILE_SCHEMA, read_words
from conceptbridge.translate.sheet import review_sheet
from conceptbridge.translate.summary import write_summary
from conceptbridge.translate.translation import MASS, MOST, Words, translate
from conceptbridge.translate.translation_job import TranslationJob

FINDINGS = (
    *("Cough", "Fever", "Headache", "Muscle pain", "Vomiting", "Wheezing", "Chest pain", "Sprain of ankle"),
    *("Laceration of hand", "Back pain", "Rash", "Sore throat", "Chill", "Fatigue", "Dizziness", "Dysuria"),
)
STATES = ("present", "absent")
#: tokens that both hospitals have under one code, and so serve as anchors
SHARED = 24
CAUSES = 10
PERSONS = 4000


def patients(seed: int, persons: int = PERSONS) -> np.ndarray:
    """Who has what: (persons, tokens), findings in two states, and shared tokens; by what ails them."""
    rng = np.random.default_rng(seed)
    habits = np.random.default_rng(0)
    chances = habits.uniform(0.02, 0.5, (CAUSES, len(FINDINGS))) * habits.uniform(0.2, 1, (CAUSES, len(FINDINGS)))
    anchors = habits.uniform(0.05, 0.6, (CAUSES, SHARED))
    cause = rng.integers(0, CAUSES, persons)
    there = rng.random((persons, len(FINDINGS))) < chances[cause]
    absent = ~there & (rng.random(there.shape) < 0.3)
    return np.concatenate([there, absent, rng.random((persons, SHARED)) < anchors[cause]], axis=1)


@cache
def hospital(name: str, seed: int, renamed: bool = True, names: tuple[str, ...] = FINDINGS) -> Words:
    """A hospital whose findings have codes of its own, or those that all have."""
    own = f"{name}:" if renamed else ""
    keys = [f"{own}{finding}|{state}" for state in STATES for finding in FINDINGS]
    keys += [f"shared {i}|present" for i in range(SHARED)]
    texts = [*names, *names, *(f"shared {i}" for i in range(SHARED))]
    profile = count_profile(keys, *np.nonzero(patients(seed)), PERSONS, 10)
    return Words(keys, texts, lexical_vectors(texts), profile)


def finding(key: str | None) -> str:
    return "" if key is None else key.split(":")[-1]


def truth(table: pa.Table) -> float:
    """The mean weight on what a token truly is, of tokens that the source has under another key."""
    rows = [row for row in table.to_pylist() if row["token"] != row["stands_for"]]
    tokens = {row["token"] for row in rows}
    return sum(row["weight"] for row in rows if finding(row["token"]) == finding(row["stands_for"])) / len(tokens)


def without(words: Words, *, names: bool = False, profile: bool = False) -> Words:
    return Words(words.keys, words.texts, None if names else words.vectors, None if profile else words.profile)


def test_the_same_site_twice_is_the_identity() -> None:
    here = hospital("here", 1)
    table = translate(here, here)
    assert table["token"].to_pylist() == table["stands_for"].to_pylist() == sorted(here.keys)
    assert set(table["weight"].to_pylist()) == {1.0}
    np.testing.assert_allclose(table["profile_cosine"].to_numpy(), 1, atol=1e-5)
    assert set(table["agreement"].to_pylist()) == {1.0}
    assert set(table["by"].to_pylist()) == {"same code"}


def test_behaviour_finds_what_names_do_not_tell_and_names_what_behaviour_does_not() -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    opaque = hospital("there", 2, names=tuple(f"finding no. {i}" for i in range(len(FINDINGS))))
    assert truth(translate(there, here)) > 0.95
    assert truth(translate(without(there, profile=True), without(here, profile=True))) > 0.8
    by_behaviour = truth(translate(opaque, here))
    assert by_behaviour > 5 / len(FINDINGS)  # five times the mean of the state
    assert by_behaviour == pytest.approx(truth(translate(without(there, names=True), here)), abs=0.1)


def test_a_random_parent_is_no_better_than_the_mean_of_the_state() -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    drawn = []
    for words, of in ((here, "here"), (there, "there")):
        vectors = np.concatenate([v for _, v in RandomVectors(384).encode([f"{of} {key}" for key in words.keys])])
        drawn.append(Words(words.keys, words.texts, vectors, None))
    assert truth(translate(drawn[1], drawn[0])) < 2 / len(FINDINGS)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(2 * len(FINDINGS) + SHARED)))
def test_the_order_of_tokens_does_not_matter(order: list[int]) -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    assert there.vectors is not None
    moved = Words([there.keys[i] for i in order], [there.texts[i] for i in order], there.vectors[order], there.profile)
    first = translate(there, here)
    assert translate(moved, here).equals(first)
    assert len(first)


def test_weights_sum_to_one_and_stay_within_a_state() -> None:
    table = translate(hospital("there", 2), hospital("here", 1)).to_pandas()
    np.testing.assert_allclose(table.groupby("token")["weight"].sum(), 1, rtol=1e-6)
    assert (table["token"].str.split("|").str[1] == table["stands_for"].str.split("|").str[1]).all()
    assert not table.duplicated(["token", "stands_for"]).any()
    falling = table.groupby("token")["weight"].apply(lambda w: w.is_monotonic_decreasing)
    assert falling.all()


def test_a_state_that_the_source_never_records_is_left_out() -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    present = [i for i, key in enumerate(here.keys) if not key.endswith("absent")]
    assert here.vectors is not None
    only = Words([here.keys[i] for i in present], [here.texts[i] for i in present], here.vectors[present], here.profile)
    table = translate(there, only).to_pandas()
    absent = table[table["token"].str.endswith("absent")]
    assert len(absent) == len(FINDINGS)
    assert absent["stands_for"].isna().all()
    assert absent["weight"].isna().all()
    assert set(absent["by"]) == {"left out"}


def test_where_few_codes_are_shared_the_nearest_names_serve_as_anchors() -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    keys = [f"there:{key}" if key.startswith("shared") else key for key in there.keys]
    assert there.profile is not None
    of = there.profile
    renamed = Profile(sorted(keys), *_in_order(of, there.keys, keys), of.min_cell_count)
    apart = Words(keys, there.texts, there.vectors, renamed)
    table = translate(apart, here).to_pandas()
    assert table["profile_cosine"].notna().all()
    assert truth(translate(apart, here)) > 0.9
    no_names = translate(without(apart, names=True), here).to_pandas()
    assert no_names["profile_cosine"].isna().all()


def _in_order(of: Profile, old: Sequence[str], new: Sequence[str]) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    name = dict(zip(old, new, strict=True))
    keys = [name[key] for key in of.keys]
    order = np.argsort(keys)
    place = np.argsort(order)
    at = place[of.anchors]
    return of.persons[order], of.total, np.sort(at), of.pairs[order][:, np.argsort(at)]


def test_an_equal_code_that_is_used_for_something_else_shows_in_the_agreement() -> None:
    here, there = hospital("here", 1, renamed=False), hospital("there", 2, renamed=False)
    assert there.profile is not None
    keys = list(there.keys)
    a, b = keys.index("Cough|present"), keys.index("Laceration of hand|present")
    keys[a], keys[b] = keys[b], keys[a]
    swapped = Words(keys, there.texts, there.vectors, count_profile(keys, *np.nonzero(patients(2)), PERSONS, 10))
    table = translate(swapped, here).to_pandas().set_index("token")
    assert (table["stands_for"] == table.index).all()
    others = table.drop(["Cough|present", "Laceration of hand|present"])["agreement"]
    assert table.loc[["Cough|present", "Laceration of hand|present"], "agreement"].max() < others.quantile(0.1)


def test_light_weights_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    many = Words([f"s{i}|present" for i in range(300)], [None] * 300, rng.normal(size=(300, 8)), None)
    few = Words(["t|present"], ["t"], rng.normal(size=(1, 8)), None)
    table = translate(few, many)
    assert len(table) <= MOST
    monkeypatch.setattr(translation, "MASS", 0.5)
    assert len(translate(few, many)) < len(table)
    assert MASS < 1


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = translate(hospital("there", 2), hospital("here", 1)).to_pandas()
    monkeypatch.setattr(translation, "BLOCK", 50)
    parts = translate(hospital("there", 2), hospital("here", 1)).to_pandas()
    assert whole["stands_for"].equals(parts["stands_for"])
    np.testing.assert_allclose(whole["weight"], parts["weight"], rtol=1e-4)


def test_a_token_of_which_nothing_is_known_is_left_out() -> None:
    source = Words(["s|present", "r|present"], ["s", "r"], np.array([[1.0, 0], [0, 1]]), None)
    table = translate(Words(["t|present"], ["t"], np.zeros((1, 2)), None), source)
    assert table["by"].to_pylist() == ["left out"]
    assert table["stands_for"].null_count == table["weight"].null_count == table["agreement"].null_count == 1
    # a name that resembles none of them tells as little of each
    apart = Words(source.keys, source.texts, np.array([[1.0, 0, 0], [0, 1, 0]]), None)
    table = translate(Words(["t|present"], ["t"], np.array([[0, 0, 1.0]]), None), apart)
    assert table["weight"].to_pylist() == [0.5, 0.5]
    assert table["name_cosine"].to_pylist() == [0, 0]
    assert table["profile_cosine"].null_count == table["agreement"].null_count == 2


def test_nothing_to_translate_is_an_empty_table() -> None:
    nothing = Words([], [], None, None)
    assert translate(nothing, nothing).schema == translation.SCHEMA
    assert len(translate(nothing, hospital("here", 1))) == 0
    assert translate(hospital("here", 1), nothing)["stands_for"].null_count == len(hospital("here", 1).keys)


def test_names_alike_have_lexical_vectors_alike() -> None:
    cough, coughing, ankle, case, none = lexical_vectors(["Cough", "coughing", "Sprain of ankle", "COUGH!", "?"])
    assert cough @ coughing > 0.4 > 0.1 > abs(cough @ ankle)
    np.testing.assert_array_equal(cough, case)
    assert np.linalg.norm(cough) == pytest.approx(1)
    assert not none.any()


# -- a clinician's word


def write(folder: Path, *lines: str) -> Path:
    (folder / "words.csv").write_text(
        "\n".join(["target,source,token,stands_for", *(f"there,here,{line}" for line in lines)]), encoding="utf-8"
    )
    return folder / "words.csv"


def said_of(files: list[Path], target: Words, source: Words) -> dict[str, str | None]:
    return read_corrections(files, "made", ("there", target.keys), ("here", source.keys))


def test_a_correction_overrides_the_translation_and_an_equal_code(tmp_path: Path) -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    file = write(
        tmp_path,
        "there:Cough|present,here:Rash|present",
        "there:Fever|absent,nothing",
        "shared 3|present,here:Chill|present",
        "there:Chill|present,",  # not looked at yet
    )
    table = translate(there, here, said_of([file], there, here)).to_pandas()
    made = table[table["by"] == "corrected"].set_index("token")
    assert made["stands_for"].fillna("").to_dict() == {
        "there:Cough|present": "here:Rash|present",
        "there:Fever|absent": "",
        "shared 3|present": "here:Chill|present",
    }
    assert made["weight"].dropna().tolist() == [1, 1]
    others = table[table["by"] != "corrected"].reset_index(drop=True)
    before = translate(there, here).to_pandas()
    assert others.equals(before[~before["token"].isin(made.index)].reset_index(drop=True))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("there:Coughh|present,nothing", "line 3: there has no token 'there:Coughh|present' (did you mean"),
        ("there:Cough|present,here:Coughs|present", "line 3: here has no token 'here:Coughs|present' (did you"),
        ("there:Fever|present,nothing", "line 3: 'there:Fever|present' is named twice"),
        ("there:Cough|present,here:Cough|absent", "of the state present, and 'here:Cough|absent' of absent"),
    ],
)
def test_a_wrong_correction_stops_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    file = write(tmp_path, "there:Fever|present,here:Fever|present", line)
    with pytest.raises(StudyError, match=re.escape(said)):
        said_of([file], hospital("there", 2), hospital("here", 1))


def test_a_file_that_is_no_table_of_corrections_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("target,source,token,means\n")
    with pytest.raises(StudyError, match="no column 'stands_for'"):
        list(corrections([tmp_path / "a.csv"]))
    with pytest.raises(StudyError, match="cannot be read"):
        list(corrections([tmp_path / "none.csv"]))


def test_a_line_counts_for_its_own_two_sites_alone(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    file.write_text("target,source,token,stands_for\nthere,elsewhere,there:Cough|present,nothing\n")
    assert said_of([file], hospital("there", 2), hospital("here", 1)) == {}
    before = digest_of([file], "made", "there"), digest_of([file], "made", "here")
    assert before[0] is not None
    assert before[1] is None
    check_sites([file], ["there", "elsewhere"], ["elsewhere"], ["made"])
    with pytest.raises(StudyError, match="line 2: elsewhere is no source of the study"):
        check_sites([file], ["there", "elsewhere"], ["there"], ["made"])
    with pytest.raises(StudyError, match=re.escape("line 2: the source 'elsewhere' is no site of the study")):
        check_sites([file], ["there", "here"], ["here"], ["made"])


def test_a_line_counts_for_its_own_task_alone(tmp_path: Path) -> None:
    """A sheet per task can be filled in: a token of one task need not be one of another."""
    file = tmp_path / "words.csv"
    lines = ["made,there,here,there:Cough|present,nothing", "other,there,here,there:Cough|present,here:Rash|present"]
    lines += ["other,there,here,in no row of made|present,nothing"]
    file.write_text("\n".join(["task,target,source,token,stands_for", *lines]))
    assert said_of([file], hospital("there", 2), hospital("here", 1)) == {"there:Cough|present": None}
    before = digest_of([file], "made", "there")
    file.write_text("\n".join(["task,target,source,token,stands_for", lines[0]]))
    assert digest_of([file], "made", "there") == before
    assert digest_of([file], "other", "there") is None
    with pytest.raises(StudyError, match=re.escape("line 2: the task 'made' is no task of the study")):
        check_sites([file], ["there", "here"], ["here"], ["other"])


# -- the review sheet


def test_a_sheet_that_is_filled_in_is_a_file_of_corrections(tmp_path: Path) -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    table = translate(there, here)
    assert there.profile is not None
    persons = dict(zip(there.profile.keys, there.profile.persons.tolist(), strict=True))
    sheet = pd.read_csv(StringIO(review_sheet(table, "made", ("there", there), ("here", here))))
    assert sorted(sheet["token"]) == sorted(there.keys)
    assert sheet["persons"].is_monotonic_decreasing
    assert sheet["persons"].tolist() == [persons[token] for token in sheet["token"]]
    best = table.to_pandas().drop_duplicates("token").set_index("token")["stands_for"]
    assert sheet.set_index("token")["reading_1"].to_dict() == best.to_dict()
    assert sheet["stands_for"].isna().all()
    sheet["stands_for"] = sheet["stands_for"].astype(object)
    sheet.loc[0, "stands_for"] = sheet.loc[0, "reading_2"] if sheet.loc[0, "by"] == "translated" else "nothing"
    sheet.to_csv(tmp_path / "sheet.csv", index=False)
    assert list(said_of([tmp_path / "sheet.csv"], there, here)) == [sheet.loc[0, "token"]]


def test_a_hidden_count_is_not_on_the_sheet_and_its_token_comes_last() -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    assert there.vectors is not None
    rare = Words(
        [*there.keys, "there:rare|present"], [*there.texts, "Rare, with, commas"], there.vectors[[*range(56), 0]],
        there.profile,
    )  # fmt: skip
    sheet = pd.read_csv(StringIO(review_sheet(translate(rare, here), "made", ("there", rare), ("here", here))))
    assert sheet["token"].iloc[-1] == "there:rare|present"
    assert np.isnan(sheet["persons"].iloc[-1])
    assert sheet["text"].iloc[-1] == "Rare, with, commas"


def test_what_was_said_before_is_filled_in(tmp_path: Path) -> None:
    here, there = hospital("here", 1), hospital("there", 2)
    said = {"there:Cough|present": "here:Rash|present", "there:Fever|absent": None}
    table = translate(there, here, said)
    (tmp_path / "sheet.csv").write_text(review_sheet(table, "made", ("there", there), ("here", here)))
    assert said_of([tmp_path / "sheet.csv"], there, here) == said


def test_the_tokens_of_listed_patients_are_read_too(tmp_path: Path) -> None:
    """They can have some that no row of the site's own cohort has."""
    job = TranslationJob("made", "there", ["here"], "lexical", "lexical", "own", 1, 10)
    there = hospital("there", 2)
    assert there.profile is not None
    texts = {*there.texts, "Wheeze"} - {None}
    for artefact, table in (
        (layout.TOKENS, {"key": there.keys, "text": there.texts}),
        (layout.PATIENTS_TOKENS, {"key": ["there:Wheeze|present", there.keys[0]], "text": ["Wheeze", there.texts[0]]}),
        (layout.VECTORS, vector_table(sorted(map(str, texts)), lexical_vectors(sorted(map(str, texts))))),
    ):
        file = tmp_path / layout.place(artefact, task="made", site="there", embedding="lexical")
        write_parquet(table if isinstance(table, pa.Table) else pa.table(table), file)
    write_profile(there.profile, tmp_path / layout.place(layout.PROFILE, task="made", site="there"))
    own, listed = (
        read_words(replace(job, patients=some), tmp_path, "there", at_home=True) for some in (False, True)
    )  # fmt: skip
    assert list(own.keys) == there.keys
    assert list(listed.keys) == [*there.keys, "there:Wheeze|present"]
    readings = translate(listed, hospital("here", 1)).to_pandas()
    assert readings.set_index("token").loc[["there:Wheeze|present"], "by"].unique().tolist() == ["translated"]
    before = translate(own, hospital("here", 1)).to_pandas()
    others = readings[readings["token"] != "there:Wheeze|present"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, before, rtol=1e-5)  # a product of another shape is rounded otherwise


# -- the summary


def test_the_summary_says_how_much_is_read_by_what_and_what_disagrees(tmp_path: Path) -> None:
    rows = [
        {"token": "a|present", "stands_for": "a|present", "by": "same code", "weight": 1.0, "agreement": 0.2},
        {"token": "b|present", "stands_for": "x|present", "by": "translated", "weight": 0.6, "agreement": 0.3},
        {"token": "b|present", "stands_for": "y|present", "by": "translated", "weight": 0.4, "agreement": 0.9},
        {"token": "c|present", "stands_for": None, "by": "left out"},
        {"token": "d|present", "stands_for": "y|present", "by": "translated", "name_cosine": 0.9, "agreement": 0.4},
        {"token": "rare|present", "stands_for": "y|present", "by": "translated", "weight": 1.0},
    ]
    keys, persons = [f"{name}|present" for name in "abcd"], np.array([500, 300, 200, 400])
    there = ["a|present", "y|present"]
    pairs = np.zeros((4, 0), np.int64)
    places = {
        "profiles/t/there.parquet": profile_table(Profile(keys, persons, 2000, np.zeros(0, np.int64), pairs, 10)),
        "profiles/t/here.parquet": profile_table(
            Profile(there, np.array([90, 400]), 2000, np.zeros(0, np.int64), pairs[:2], 10)
        ),
        "translations/t/translated-1/there/here.parquet": pa.Table.from_pylist(
            [{"draw": 1} | row for row in rows], schema=FILE_SCHEMA
        ),
        "tasks/t/here/tokens.parquet": pa.table({"key": ["a|present", "x|present"], "text": ["A", "X"]}),
    }
    for name, table in places.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / name)
    files = tmp_path / "readings.parquet", tmp_path / "shares.parquet"
    write_summary("t", "there", ["here"], {"translated": "translated-1"}, tmp_path, 10, *files)
    readings, [shares] = pd.read_parquet(files[0]), pq.read_table(files[1]).to_pylist()
    assert shares["tokens"] == 4
    assert [shares[by] for by in ("same_code", "translated", "corrected", "left_out")] == [5 / 14, 0.5, 0, 2 / 14]
    assert readings["kind"].tolist() == ["read", "read", "disagrees"]  # too few have a there
    assert [token[0] for token in readings["token"]] == ["d", "b", "d"]
    assert readings["stands_for_text"].fillna("").tolist() == ["", "X", ""]
    assert readings["persons"].tolist() == [400, 300, 400]
