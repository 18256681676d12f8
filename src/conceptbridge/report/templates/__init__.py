"""The page's templates, its style, its words and the reporting checklist."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from markupsafe import Markup

NOTHING = "\N{EN DASH}"
PAGE = "page.html"
PARTS = ("macros.html", "answers.html", "models.html", "data.html", "methods.html")
"""What the page includes: one file per group of sections."""
STYLE, SCRIPT = "page.css", "page.js"
GLOSSARY, CHECKLIST = "glossary.yaml", "checklist.yaml"


class Word(NamedTuple):
    """A word of the glossary: ``heads`` are heads of tables that say the same."""

    id: str
    word: str
    means: str
    heads: tuple[str, ...] = ()


def render(about: Mapping[str, Any]) -> str:
    """Return the page's HTML; ``about`` holds all that its templates name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "count": lambda value: NOTHING if value is None else f"{value:,}",
        "share": lambda value: NOTHING if value is None else f"{100 * value:.1f} %",
        "decimal": lambda value: NOTHING if value is None else f"{value:.3f}",
        "round0": lambda value: NOTHING if value is None else f"{value:,.0f}",
        "p": lambda value: "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}",
        "size": lambda value: f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{max(value / 1e3, 1):.0f} kB",
    }
    return environment.get_template(PAGE).render({**about, "css": inline(STYLE), "js": inline(SCRIPT)})


def inline(name: str) -> Markup:
    """Return a file of this folder, to be put in as it is."""
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def glossary(**facts: str) -> list[Word]:
    """Return the words of the page, with ``facts`` of this study filled in."""
    return [
        Word(one["id"], one["word"], one["means"].format(**facts), tuple(one.get("heads", ())))
        for one in read_yaml(GLOSSARY)
    ]


@cache
def read_yaml(name: str) -> Any:
    """Return what a YAML file of this folder holds."""
    return yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
