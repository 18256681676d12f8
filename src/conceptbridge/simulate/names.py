"""Draw the names that a hospital gives to findings, and make its concept tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

FIRST_LOCAL_CONCEPT = 2_000_000_001
SECTIONS = ("symptoms", "measurements", "treatments", "conditions", "drugs", "diagnoses")


@dataclass(frozen=True)
class Name:
    """One way to record a finding: the concept (0: unmapped), the record's source text, the domain."""

    concept_id: int
    text: str
    domain: str


@dataclass(frozen=True)
class Naming:
    """A hospital's names, and for each finding (section/key) the indices of its one or two names."""

    names: tuple[Name, ...]
    of_finding: Mapping[str, tuple[int, ...]]


@cache
def findings() -> dict[str, Any]:
    """Return the facts of findings.yaml."""
    loaded: dict[str, Any] = yaml.safe_load(_text("findings.yaml"))
    return loaded


@cache
def concepts() -> pd.DataFrame:
    """Return the OMOP concepts that the network may use, indexed by concept_id (concepts.csv)."""
    with files(__package__).joinpath("concepts.csv").open(encoding="utf-8") as file:
        # two lines above the header cite the sources
        table = pd.read_csv(file, header=2, dtype=str, keep_default_na=False)
    return table.astype({"concept_id": "int64"}).set_index("concept_id")


def draw_names(naming: Mapping[str, float], rng: np.random.Generator) -> Naming:
    """Draw a hospital's names by the rule of docs/network.md.

    ``naming`` holds the chances of the four kinds of name (usual, related, local, text) and of a second name, and says
    whether influenza's test and drug have local concepts too (own). The draws depend only on the lists in
    findings.yaml: on no cause, no other hospital, no embedding.
    """
    domains = concepts()["domain_id"]
    kinds = ("usual", "related", "local", "text")
    chances = np.array([naming[kind] for kind in kinds])
    names: list[Name] = []
    of_finding: dict[str, tuple[int, ...]] = {}
    local_concepts = 0
    for key, item in _items():
        usual, *related = item["concepts"]
        drawn: list[Name] = []
        for _ in range(1 + int(rng.random() < naming["second"])):
            kind = kinds[int(rng.choice(4, p=chances))]
            concept = int(rng.choice(related)) if kind == "related" and related else usual
            name = Name(concept, item["concepts"][concept], str(domains[concept]))
            if kind in ("local", "text"):
                name = Name(0, str(rng.choice(item["local"])), str(domains[usual]))
            if kind == "local":
                name = Name(FIRST_LOCAL_CONCEPT + local_concepts, name.text, name.domain)
                local_concepts += 1
            if name not in drawn:
                drawn.append(name)
        of_finding[key] = tuple(range(len(names), len(names) + len(drawn)))
        names += drawn
    for section in ("diagnosis", "test", "drug"):
        fixed = findings()["influenza"][section]
        for concept in fixed if section == "diagnosis" else [fixed["concept"]]:
            of_finding[f"influenza/{concept}"] = (len(names),)
            name = Name(concept, concepts().loc[concept, "concept_name"], domains[concept])
            if naming["own"] and section != "diagnosis":
                name = Name(FIRST_LOCAL_CONCEPT + local_concepts, fixed["text"], name.domain)
                local_concepts += 1
            names.append(name)
    return Naming(tuple(names), of_finding)


def concept_tables(hospital: str, naming: Naming) -> dict[str, pa.Table]:
    """Return a hospital's CDM tables ``concept`` and ``concept_ancestor``: what its records use, and ancestors."""
    facts = findings()
    direct: dict[int, list[int]] = facts["ancestors"]
    used = {name.concept_id for name in naming.names} | set(facts["other_concepts"])
    used |= {unit[0] for item in facts["measurements"].values() for unit in item.get("units", {}).values()}
    used &= set(concepts().index)
    levels = {(concept, concept): 0 for concept in concepts().index}
    for ancestor in direct:
        below, level = direct[ancestor], 1
        while below:
            for concept in below:
                levels.setdefault((ancestor, concept), level)
            below, level = [lower for concept in below for lower in direct.get(concept, [])], level + 1
    used |= {ancestor for ancestor, descendant in levels if descendant in used}
    pairs = sorted((a, d, level) for (a, d), level in levels.items() if a in used and d in used)

    table = concepts().loc[sorted(used)].reset_index()
    local = [name for name in naming.names if name.concept_id >= FIRST_LOCAL_CONCEPT]
    own = pd.DataFrame(
        {
            "concept_id": [name.concept_id for name in local],
            "concept_name": [name.text for name in local],
            "domain_id": [name.domain for name in local],
            "vocabulary_id": f"{hospital} local",
            "concept_class_id": "Local",
            "standard_concept": "",
            "concept_code": [f"{hospital[:3].upper()}-{i:03d}" for i in range(1, len(local) + 1)],
        }
    )
    table = pd.concat([table, own], ignore_index=True)
    days = {"valid_start_date": "1970-01-01", "valid_end_date": "2099-12-31"}
    columns: dict[str, pa.Array] = {"concept_id": pa.array(table["concept_id"], pa.int64())}
    for column in table.columns[1:]:
        values = [value or None for value in table[column]] if column == "standard_concept" else table[column]
        columns[column] = pa.array(values, pa.string())
    for column, day in days.items():
        columns[column] = pa.array(np.full(len(table), day, "datetime64[D]"))
    columns["invalid_reason"] = pa.nulls(len(table), pa.string())
    ancestors = np.array(pairs, dtype=np.int64)
    return {
        "concept": pa.table(columns),
        "concept_ancestor": pa.table(
            {
                "ancestor_concept_id": ancestors[:, 0],
                "descendant_concept_id": ancestors[:, 1],
                "min_levels_of_separation": ancestors[:, 2].astype(np.int32),
                "max_levels_of_separation": ancestors[:, 2].astype(np.int32),
            }
        ),
    }


def _items() -> Iterator[tuple[str, dict[str, Any]]]:
    for section in SECTIONS:
        for key, item in findings()[section].items():
            yield f"{section}/{key}", item


def _text(file: str) -> str:
    return files(__package__).joinpath(file).read_text(encoding="utf-8")
