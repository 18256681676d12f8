"""Nothing silently wrong on the way in: keys that stand twice, files in odd forms, words that say nothing."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.quotes import quotes_are_syntax
from conceptbridge.sites.table_names import table_named_by
from conceptbridge.vocabulary.build import make_vocabulary
from tiny_extract import GOOD, load, rows, write_extract

CONDITION = GOOD["condition_occurrence"]
TEXTS = {"present": "{name}", "absent": "Not {name}", "other": "{name}, {state}", "states": "words"}
AS_RECORDED = {"drug": "none", "condition": 0}


def athena(folder: Path, concepts: list[tuple[Any, ...]], ancestors: list[tuple[Any, ...]] | None = None) -> Path:
    """A vocabulary download: rows of id, name, standard, class; of ancestor, descendant, levels."""
    folder.mkdir(parents=True)
    header = "concept_id\tconcept_name\tstandard_concept\tconcept_class_id\n"
    (folder / "CONCEPT.csv").write_text(header + "".join("\t".join(map(str, row)) + "\n" for row in concepts))
    if ancestors is not None:
        header = "ancestor_concept_id\tdescendant_concept_id\tmin_levels_of_separation\n"
        lines = "".join("\t".join(map(str, row)) + "\n" for row in ancestors)
        (folder / "CONCEPT_ANCESTOR.csv").write_text(header + lines)
    return folder


def texts(cdm: Path, out: Path) -> list[tuple[str, str | None, bool]]:
    """Key, text and private of the tokens of records."""
    make_vocabulary(cdm, "here", TEXTS, AS_RECORDED, 1, out)
    tokens = pq.read_table(out).to_pylist()
    return [(t["key"], t["text"], t["private"]) for t in tokens if t["domain"] != "demographic"]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_concept_stands_twice_in_the_vocabulary(turn: int, tmp_path: Path) -> None:
    """Two downloads that were joined: whatever their order, one row of each id stays, and that is told."""
    joined = [(4266367, "", "", "x"), (4266367, "Influenza", "S", "x"), (4266367, "Flu (old)", "", "x")][::turn]
    extract = write_extract(tmp_path / "e", concept=None)
    cdm, quality = load(extract, tmp_path / "out", vocabulary=athena(tmp_path / "v", joined))
    assert rows(cdm, "concept", "concept_id", "concept_name") == [(4266367, "Influenza")]
    assert quality["names"]["concepts_twice_in_the_vocabulary"] == 2


def test_ancestors_of_the_vocabulary_are_added_to_those_of_a_partial_extract(tmp_path: Path) -> None:
    extract = write_extract(
        tmp_path / "e",
        concept_ancestor="ancestor_concept_id,descendant_concept_id,min_levels_of_separation\n1,2,1\n5,4266367,2\n",
    )
    ancestors = [(5, 4266367, 7), (6, 4266367, 3), (6, 4266367, 1), (6, 99, 1)]
    names = [(4266367, "Flu", "S", "x"), (6, "Virus infection", "S", "x")]
    cdm, quality = load(extract, tmp_path / "out", vocabulary=athena(tmp_path / "v", names, ancestors))
    # a pair that the extract has is the extract's; of a pair that is there twice, the nearest
    assert rows(cdm, "concept_ancestor") == [(1, 2, 1), (5, 4266367, 2), (6, 4266367, 1)]
    assert rows(cdm, "concept", "concept_id", "concept_name") == [(6, "Virus infection"), (4266367, "Influenza")]
    assert quality["names"]["ancestors_from_the_vocabulary"] == 1


def test_what_an_extract_does_not_say_of_its_concepts_the_vocabulary_says(tmp_path: Path) -> None:
    """A roll-up to ingredients looks for a concept's class."""
    concept = "concept_id,concept_name\n4266367,Influenza\n"
    names = athena(tmp_path / "v", [(4266367, "Flu", "S", "Disorder")])
    cdm, _ = load(write_extract(tmp_path / "e", concept=concept), tmp_path / "out", vocabulary=names)
    columns = ("concept_name", "standard_concept", "concept_class_id")
    assert rows(cdm, "concept", *columns) == [("Influenza", "S", "Disorder")]


def test_ids_of_a_vocabulary_are_read_as_strictly_as_those_of_an_extract(tmp_path: Path) -> None:
    lost = athena(tmp_path / "lost", [("4.27E+06", "Influenza", "S", "x")])
    with pytest.raises(
        StudyError, match=r"CONCEPT\.csv: row 1 of the data, column concept_id: 4\.27E\+06 went through"
    ):
        load(write_extract(tmp_path / "e"), tmp_path / "out", vocabulary=lost)
    odd = athena(tmp_path / "odd", [("x", "Influenza", "S", "x"), (9203, "ED visit", "S", "x")])
    _, quality = load(tmp_path / "e", tmp_path / "out", vocabulary=odd)
    assert quality["names"]["rows_of_the_vocabulary_skipped"] == 1


# files of a table in another form


@pytest.mark.parametrize(
    "name",
    [
        "death.snappy.parquet",
        "DEATH.pq",
        "death.txt",
        "death.csv.zst",
        "Death.tsv.zst",
        "death.parquet/part-00000-c000.snappy.parquet",
        "death.csv/part-0.csv",
    ],
)
def test_a_table_in_a_less_usual_form_is_read(name: str, tmp_path: Path) -> None:
    file = write_extract(tmp_path / "e") / name
    file.parent.mkdir(exist_ok=True)
    if file.suffix in (".parquet", ".pq"):
        pq.write_table(pa.table({"person_id": [1], "death_date": ["2019-05-01"]}), file)
    else:
        text = "person_id,death_date\n1,2019-05-01\n".replace(",", "\t" if ".tsv" in name else ",")
        if file.suffix == ".zst":
            with pa.CompressedOutputStream(str(file), "zstd") as out:
                out.write(text.encode())
        else:
            file.write_text(text)
    cdm, quality = load(tmp_path / "e", tmp_path / "out")
    assert len(rows(cdm, "death")) == 1
    assert quality["tables"]["death"]["kept"] == 1


def test_a_damaged_zstandard_file_is_refused(tmp_path: Path) -> None:
    write_extract(tmp_path / "e", person=None)
    with pa.CompressedOutputStream(str(tmp_path / "e" / "person.csv.zst"), "zstd") as out:
        out.write((GOOD["person"] + "5,,1960,,,\n" * 100_000).encode())
    data = (tmp_path / "e" / "person.csv.zst").read_bytes()
    (tmp_path / "e" / "person.csv.zst").write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match=r"this Zstandard file is damaged"):
        load(tmp_path / "e", tmp_path / "out")


ODD = (
    "measurement (1).csv",
    "measurement - Copy.csv",
    "dbo.measurement.csv",
    "2b_concept.csv",
    "MEASUREMENT.csv.bz2",
    "measurement.csv.xz",
    "measurement.zip",
    "measurement.xlsx",
    "measurement.jsonl",
    "measurement.feather",
    "measurement.sas7bdat",
    "measurement",
    "measurements.csv",
    "VisitOccurrence.csv",
    "visit-occurrence.csv",
    "omop_person_2024.parquet",
    "measurement_icu/part-0.csv",
    "condition occurrence.tsv",
)


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_seems_to_be_a_table_is_never_passed_over(name: str, tmp_path: Path) -> None:
    file = write_extract(tmp_path / "e") / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")
    with pytest.raises(StudyError, match=r"looks like (the table|a part of) ") as told:
        find_tables(tmp_path / "e")
    assert name.split("/")[0] in str(told.value)


@pytest.mark.parametrize(
    "name",
    [
        *("concept_class.csv", "CONCEPT_CPT4.csv", "concept_relationship.csv", "drug_era.csv", "visit_detail.csv"),
        *("person.sql", "person.csv.md5", "person_mapping.csv", "README_person.txt", "LICENSE.txt", "._person.csv"),
        *(".person.csv.crc", "~$person.xlsx", "person.csv~", "person.csv.bak", "concept_counts.csv", "_SUCCESS"),
    ],
)
def test_other_files_are_passed_over(name: str, tmp_path: Path) -> None:
    (write_extract(tmp_path / "e") / name).write_text("x")
    assert set(find_tables(tmp_path / "e")) == set(GOOD)
    assert table_named_by(name) is None


def test_a_table_of_another_name_in_a_database_is_told_where_the_table_is_missing(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "e.duckdb")) as db:
        db.execute("CREATE TABLE person AS SELECT 1 AS person_id, 1980 AS year_of_birth")
        db.execute("CREATE TABLE person_backup AS FROM person")
        db.execute("CREATE TABLE measurement_2020 AS SELECT 1 AS person_id")
    with pytest.raises(StudyError, match=r"main\.measurement_2020 looks like the table measurement, and there is no"):
        find_tables(tmp_path / "e.duckdb")


# quotes


@pytest.mark.parametrize("delimiter", ["\t", "|"])
@pytest.mark.parametrize("name", ['"A" antigen positive', '"A antigen', '"Whole" and "part"'])
def test_a_quote_far_behind_decides_about_the_whole_file(name: str, delimiter: str, tmp_path: Path) -> None:
    """Beyond the first megabyte, by which the other layout is known."""
    many = "".join(f"{n}{delimiter}Concept {n}\n" for n in range(2, 80_000))
    text = f"concept_id{delimiter}concept_name\n1{delimiter}Influenza\n{many}100000{delimiter}{name}\n"
    (write_extract(tmp_path / "e", concept=None) / "concept.tsv").write_text(text)
    cdm, _ = load(tmp_path / "e", tmp_path / "out")
    names = rows(cdm, "concept", "concept_name")
    assert len(names) == 80_000
    assert names[-1] == (name,)


def test_quotes_of_a_spreadsheet_are_syntax(tmp_path: Path) -> None:
    text = 'concept_id\tconcept_name\n1\t"Cough, dry"\n2\t"12"" stent"\n3\t"tab\there"\n4\tFever\n'
    for encoding in ("utf-8", "utf-16"):
        (write_extract(tmp_path / "e", concept=None) / "concept.tsv").write_text(text, encoding=encoding)
        cdm, _ = load(tmp_path / "e", tmp_path / "out")
        assert [n for (n,) in rows(cdm, "concept", "concept_name")] == ["Cough, dry", '12" stent', "tab\there", "Fever"]


WORD = st.text(st.sampled_from('ab "'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORD, min_size=3, max_size=3), min_size=1, max_size=8), st.integers(1, 9))
def test_quotes_of_any_writer(table: list[list[str]], block: int) -> None:
    """Written as they are, or by a CSV writer: what is read is what was written."""
    plain = "\n".join("\t".join(row) for row in table).encode()
    blocks = [plain[n : n + block] for n in range(0, len(plain), block)]
    begins = [field for row in table for field in row if field.startswith('"')]
    whole = [field for field in begins if re.fullmatch(r'"([^"]|"")*" *', field)]
    told = quotes_are_syntax(blocks, "\t", {3})
    assert told is (None if not begins else len(whole) == len(begins))


# words that say nothing


@pytest.mark.parametrize(
    "nothing",
    [
        *("nan", "NaN", "NAN", "None", "NONE", "<NA>", "NaT", "N/A", "n/a", "#N/A", "NULL", "Null", " null ", "\\N"),
        *("(null)", "[NULL]", "<null>", "undefined", "#VALUE!", "#REF!", "#DIV/0!", "  ", "\t", "NA"),
    ],
)
def test_a_spelling_of_nothing_is_no_text(nothing: str, tmp_path: Path) -> None:
    condition = CONDITION.replace('"cough, dry"', f'"{nothing}"')
    concept = GOOD["concept"] + f'378253,"{nothing}",Condition,SNOMED,S,1\n'
    condition += f'102,1,378253,2015-03-02,"{nothing}","{nothing}","{nothing}"\n'
    extract = write_extract(tmp_path / "e", condition_occurrence=condition, concept=concept)
    cdm, quality = load(extract, tmp_path / "out")
    assert quality["tables"]["condition_occurrence"]["dropped"] == {}
    assert quality["tables"]["condition_occurrence"]["repaired"] == {}
    tokens = texts(cdm, tmp_path / "v.parquet")
    assert tokens == [("378253|present", None, False), ("4266367|present", "Influenza", False)]


@pytest.mark.parametrize("word", ["Na", "na", "Nat", "NAT", "nil", "none of these", "unknown", "0", "-", "N", "Nancy"])
def test_a_word_is_a_text(word: str, tmp_path: Path) -> None:
    extract = write_extract(tmp_path / "e", condition_occurrence=CONDITION.replace('"cough, dry"', word))
    cdm, _ = load(extract, tmp_path / "out")
    assert (f"here/condition:{word}|present", word, False) in texts(cdm, tmp_path / "v.parquet")


def test_none_is_an_answer(tmp_path: Path) -> None:
    concept = GOOD["concept"] + "45883172,None,Meas Value,LOINC,S,LA137-2\n5,None,Condition,SNOMED,S,5\n"
    cdm, quality = load(write_extract(tmp_path / "e", concept=concept), tmp_path / "out")
    assert rows(cdm, "concept", "concept_name")[1:] == [("None",), (None,)]
    assert quality["tables"]["concept"]["repaired"] == {"concept_name stands for no name: left empty": 1}


# local concepts


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(-(2**63), -1) | st.integers(2_000_000_000, 2**63 - 1))
def test_a_local_id_outside_the_range_is_local(concept: int) -> None:
    """Negative, or wrapped at 32 bits: 2,147,483,648 is -2,147,483,648 there."""
    with tempfile.TemporaryDirectory() as place:
        condition = CONDITION.replace(",4266367,", f",{concept},")
        names = GOOD["concept"].replace("4266367", str(concept))
        extract = write_extract(Path(place) / "e", condition_occurrence=condition, concept=names)
        cdm, _ = load(extract, Path(place) / "out")
        out = Path(place) / "v.parquet"
        make_vocabulary(cdm, "here", TEXTS, AS_RECORDED, 2, out)
        tokens = {t["key"]: t["private"] for t in pq.read_table(out).to_pylist()}
    # of one person: private
    assert tokens[f"here/{concept}|present"] is True


def test_a_negative_answer_and_type_of_visit_are_local(tmp_path: Path) -> None:
    observation = (
        "observation_id,person_id,observation_concept_id,observation_date,value_as_concept_id,value_as_number,"
        "unit_concept_id\n1,1,5,2015-03-01,-7,,\n2,1,6,2015-03-01,,4,-9\n"
    )
    concept = GOOD["concept"] + "-7,Of this hospital,Meas Value,local,,x\n5,Smoking,Observation,SNOMED,S,5\n"
    condition = CONDITION.replace("condition_source_value", "condition_source_value,condition_status_concept_id")
    condition = condition.replace(",J11", ",J11,").replace('"cough, dry"', "cough,32902")
    visits = GOOD["visit_occurrence"].replace("9203", "-1")
    extract = write_extract(
        tmp_path / "e",
        observation=observation,
        concept=concept,
        condition_occurrence=condition,
        visit_occurrence=visits,
    )
    cdm, quality = load(extract, tmp_path / "out")
    assert ("5|of this hospital", "Smoking, of this hospital", False) in texts(cdm, tmp_path / "v.parquet")
    assert set(quality["condition_status"]) == {"inpatient visit", "the site's own types"}
