"""The files for developers say what is there: rooms and layers, linters, the workflow catalogue."""

import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from conceptbridge.core.registry import Registry
from conceptbridge.sites.converters.converter import CONVERTERS, Converter
from conceptbridge.sites.formats.format import FORMATS, Format
from conceptbridge.study.backends import BACKENDS, Backend
from conceptbridge.study.learners import LEARNERS
from conceptbridge.study.strategies import STRATEGIES, Strategy

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "src/conceptbridge"
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LEARNER = "conceptbridge.learn.learner.Learner"


def layers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    return [name for layer in contract["layers"] for name in re.split(" [|:] ", layer)]


def texts_of(svg: str) -> list[str]:
    names = ElementTree.parse(ROOT / "docs" / svg).iter("{http://www.w3.org/2000/svg}text")
    return [name.text or "" for name in names if name.get("class") == "name"]


def test_the_picture_of_the_layers_is_the_contract_that_is_checked() -> None:
    assert texts_of("layers.svg") == layers()


def test_each_room_has_its_paragraph_and_no_other_does() -> None:
    section = ARCHITECTURE.split("\n## The rooms\n")[1].split("\n## ")[0]
    rooms = {name.removesuffix(".py") for name in re.findall(r"\*\*`([\w.]+)`\*\*", section)}
    assert rooms == set(layers())
    assert set(texts_of("architecture.svg")) - {"extract", "learn, at another site"} <= rooms


def test_the_modules_that_the_rooms_paragraphs_name_are_there() -> None:
    section = ARCHITECTURE.split("\n## The rooms\n")[1].split("\n## ")[0]
    for paragraph in section.strip().split("\n\n"):
        rooms = [LIBRARY / name for name in re.findall(r"\*\*`([\w]+)`\*\*", paragraph)]
        for name in re.findall(r"(?<!\*)`([\w/]+(?:\.py|/))`", paragraph):
            assert any((room / name).exists() for room in rooms), name


PAGES = [
    "docs/architecture.md",
    "docs/extending.md",
    "CONTRIBUTING.md",
    "README.md",
    "config/README.md",
    "docs/tutorial.md",
]
PAGES += [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs/roles").glob("*.md")]


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|workflow|benchmarks|docs|config)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:core|learn|study|disclosure|exchange|embed|sites)/[\w./]+)`", text):
        assert (LIBRARY / path).exists(), path


def test_the_table_of_what_can_be_added_is_right() -> None:
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    bases: list[tuple[Registry, str, str]] = [
        (LEARNERS, "LEARNERS", LEARNER),
        (BACKENDS, "BACKENDS", f"{Backend.__module__}.Backend"),
        (STRATEGIES, "STRATEGIES", f"{Strategy.__module__}.Strategy"),
        (FORMATS, "FORMATS", f"{Format.__module__}.Format"),
        (CONVERTERS, "CONVERTERS", f"{Converter.__module__}.Converter"),
    ]
    for registry, name, base in bases:
        (row,) = (line for line in page.splitlines() if f"`{name}`" in line and line.startswith("|"))
        _, _, told_base, group, folder, line, _ = (cell.strip().strip("`") for cell in row.split("|"))
        assert (told_base, group) == (base, registry.group)
        assert {module.rpartition(".")[0] for module in registry.own.values()} == {
            f"conceptbridge.{folder.strip('/').replace('/', '.')}"
        }
        assert f"\n{name} = Registry(" in (LIBRARY / line.split("`")[2]).read_text(encoding="utf-8")


def test_every_hook_is_one_of_the_linters_and_needs_no_other_host() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    hooks: list[dict[str, Any]] = repository["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "snakefmt", "lint-imports", "mypy"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in hooks:
        assert hook["language"] == "system"
        assert re.search(rf"^\t{hook['entry'].split(' workflow')[0]}", makefile, re.MULTILINE), hook["entry"]


def test_the_changelog_tells_every_renamed_key() -> None:
    told = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    renamed = yaml.safe_load((LIBRARY / "study/renamed_keys.yaml").read_text(encoding="utf-8"))
    for old, new in renamed.items():
        assert re.search(rf"[`.]{old.split('.')[-1]}`", told), old
        assert new is None or re.search(rf"[`.]{new}`", told), new


def test_the_workflow_catalogue_has_what_it_asks_for() -> None:
    told = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    usage = told.pop("usage")
    assert not told
    assert usage == {
        "mandatory-flags": {"desc": None, "flags": None},
        "software-stack-deployment": {"conda": True},
        "report": True,
    }
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
