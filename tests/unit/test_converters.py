"""What is not an OMOP CDM becomes one by a converter: the library's own, or another package's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.converter import CONVERTERS, find_converter
from conceptbridge.study.config import config_schema, read_study
from test_findings import CODEBOOK, NAMES, TABLE
from tiny_extract import load, rows
from toy_package import installed_package

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(CONVERTERS))
def test_a_declaration_holds_together(name: str) -> None:
    converter = find_converter(name)
    assert converter.name == name
    Draft202012Validator.check_schema(dict(converter.schema))
    assert {*converter.files, *converter.data_files} <= {*converter.schema.get("properties", {})}
    assert {"person", "observation_period"} <= {*converter.tables} <= {*TABLES}
    assert config_schema()["properties"]["sites"]["additionalProperties"]["properties"][name] == converter.schema


def config(**site: Any) -> Any:
    """The default study with a site of its own."""
    whole = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return whole | {"sites": {"clinic": site}, "data": "/data"}


def test_a_site_of_findings_is_read_by_its_converter(tmp_path: Path) -> None:
    book = tmp_path / "book.yaml"
    told = {"codebook": str(book), "train": "train.csv", "names": "names.txt"}
    study = read_study(config(findings=told) | {"data": str(tmp_path)})
    converter, settings = study.converter("clinic"), study.conversion("clinic")
    assert type(converter) is type(find_converter("findings"))
    files = [str(tmp_path / name) for name in ("book.yaml", "names.txt", "train.csv")]
    assert converter.inputs(settings) == files
    assert settings["missing"] == "missing"  # the schema's defaults are filled in
    assert (study.owner("clinic"), study.origin("clinic")) == ("book", "train.csv")
    assert study.extract("clinic") == "results/converted/clinic"
    assert json.loads(study.reading("clinic")) == {"headerless": False, "on_error": "drop"}
    for file, text in zip(files, (CODEBOOK, NAMES, TABLE), strict=True):
        with pytest.raises(StudyError, match=rf"{file}: there is no such file \(config: sites\.clinic\)"):
            converter.check(settings, "clinic")
        Path(file).write_text(text, encoding="utf-8")
    converter.check(settings, "clinic")
    converter.convert(settings, tmp_path / "extract")
    assert {path.stem for path in (tmp_path / "extract").iterdir()} == {*converter.tables}
    book.write_text("columns: {}\n")
    with pytest.raises(StudyError, match=r"book\.yaml: the key 'diagnosis' is missing"):
        converter.check(settings, "clinic")


def test_a_site_of_an_extract_has_no_converter() -> None:
    study = read_study(config(extract="clinic.zip"))
    assert study.converter("clinic") is None
    assert (study.owner("clinic"), study.origin("clinic")) == ("clinic", "clinic.zip")
    assert study.extract("clinic") == "/data/clinic.zip"


TOY = """
import json
from pathlib import Path

from conceptbridge.core.atomic_files import atomic_folder
from conceptbridge.sites.converters.converter import Converter


class Register(Converter):
    name = "register"
    title = "a list of births"
    schema = {
        "type": "object",
        "required": ["births"],
        "additionalProperties": False,
        "properties": {"births": {"type": "string"}, "until": {"type": "integer", "default": 2020}},
    }
    data_files = ("births",)
    tables = ("person", "observation_period")

    def convert(self, settings, out):
        born = json.loads(Path(settings["births"]).read_text())
        person = ["person_id,year_of_birth"] + [f"{n},{year}" for n, year in enumerate(born)]
        period = ["person_id,observation_period_start_date,observation_period_end_date"]
        period += [f"{n},{year + 1}-01-01,{settings['until']}-12-31" for n, year in enumerate(born)]
        with atomic_folder(out) as folder:
            (folder / "person.csv").write_text("\\n".join(person))
            (folder / "observation_period.csv").write_text("\\n".join(period))
"""


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    """The file of another package's converter, installed."""
    point, group = "register = toy:Register", "conceptbridge.converters"
    with installed_package(tmp_path / "site-packages", "toy", point, group, toy=TOY) as folder:
        yield folder / "toy.py"


def test_another_package_brings_a_converter(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "births.json").write_text("[1950, 1980]")
    study = read_study(config(register={"births": "births.json"}) | {"data": str(tmp_path)})
    converter, settings = study.converter("clinic"), study.conversion("clinic")
    assert converter is not None
    assert CONVERTERS[converter.name] == "toy"
    assert settings == {"births": str(tmp_path / "births.json"), "until": 2020}
    assert converter.inputs(settings) == [str(tmp_path / "births.json")]
    assert (study.owner("clinic"), study.origin("clinic")) == ("clinic", "births.json")
    assert "register" not in json.loads(study.reading("clinic"))
    converter.check(settings, "clinic")
    converter.convert(settings, tmp_path / "extract")
    cdm, _ = load(tmp_path / "extract", tmp_path / "site")
    assert rows(cdm, "person", "person_id", "year_of_birth") == [(0, 1950), (1, 1980)]


def test_its_key_is_checked_as_the_library_s_own_are(toy: Path) -> None:
    with pytest.raises(StudyError, match=r"clinic\.register: the key 'births' is missing"):
        read_study(config(register={}))
    with pytest.raises(StudyError, match=r"unknown key 'registr' \(did you mean 'register'\?\)"):
        read_study(config(registr={"births": "births.json"}))
    with pytest.raises(StudyError, match=r"exactly one of .*register.* \(found extract and register\)"):
        read_study(config(extract="clinic.zip", register={"births": "births.json"}))
    with pytest.raises(StudyError, match=r"or `findings`, for .* or `register`, for a list of births,"):
        read_study(config())
