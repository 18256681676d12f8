"""A bundle: the local model of one site, all seeds of it, with what another site needs to run and to judge it.

manifest.json      ``about_schema``: source, task and its definition, embedding and how to get it, learner, versions
model/             model.json and weights (safetensors or LightGBM's text); absent where there was too little to train
vocabulary.json    the source's concepts of at least min_cell_count training rows, with their texts
metrics.json       how the model does at its source: the aggregates of the joint tables
card.md            the same for a reader
"""

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import write_json, write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.release_report import write_sheet
from conceptbridge.exchange.egress.site_secrets import Private
from conceptbridge.exchange.package import showable, strict_json, write_package
from conceptbridge.exchange.send.model_card import card
from conceptbridge.learn.registry import learner
from conceptbridge.study.backends import find_backend

#: of a token; what its counts were stays home
TOKEN = ("key", "concept_id", "vocabulary", "concept_code", "domain", "name", "named_by", "state", "text")
METRIC = ("split", "metric", "estimate", "lower", "upper", "seed_sd", "seeds", "rows", "events", "reason")
COHORT = ("split", "persons", "rows", "events", "first_year", "last_year", "tokens_per_row")


def write_bundle(
    about: Mapping[str, Any],
    arm: Path,
    vocabulary: Path,
    tokens: Path,
    measured: Path | None,
    private: Private,
    out: Path,
    sheet: Path,
) -> None:
    """Write the bundle of the local arm in the folder ``arm`` to ``out``, and a sheet of what leaves to ``sheet``.

    ``about``: the fields of a bundle's manifest but ``version`` and ``reason``. ``vocabulary`` and ``tokens`` are the
    site's and the task's; ``measured`` is the folder of its metrics, None where it was not tested at home. A one-hot
    column that fewer than min_cell_count training rows have goes without its name, so that no target has it.

    Raises StudyError where something is found that must not leave the site.
    """
    least = about["min_cell_count"]
    entry = json.loads((arm / "arm.json").read_text(encoding="utf-8"))["sources"][about["source"]]
    about = {**about, "version": version("conceptbridge"), "reason": entry["reason"]}
    shared = _shared_tokens(vocabulary, tokens, least)
    metrics = {
        "trained": {name: entry.get(name) for name in ("train_rows", "train_events")},
        "cohort": [] if measured is None else _rows(measured / "site.parquet", COHORT, {}),
        "metrics": [] if measured is None else _metrics(measured / "metrics.parquet", about),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        if about["reason"] is None:
            _copy_model(arm / "models" / about["source"], folder / "model", {one["key"] for one in shared})
        write_json({"tokens": shared}, folder / "vocabulary.json")
        write_json(metrics, folder / "metrics.json")
        write_text(card(about, metrics, len(shared)), folder / "card.md")
        for path in folder.rglob("*.json"):  # what a receiver would refuse is known here
            strict_json(path.read_bytes(), f"{out.name}: {path.name}")
        check_about(about, private)
        leaving = check_egress(folder, private, about["learner"])
        write_package(folder, "bundle", about, out)
    purpose = (
        f"The model of {about['task']} that {about['learner']} learned on {about['embedding']['name']} at "
        f"{about['source']}, for other hospitals to use. This sheet stays; the zip is what is sent."
    )
    write_sheet(out.name, purpose, leaving, private, sheet)


def _shared_tokens(vocabulary: Path, tokens: Path, least: int) -> list[dict[str, Any]]:
    used = pq.read_table(tokens, columns=["key", "rows"])
    keys = used.filter(pc.greater_equal(used["rows"], least))["key"]
    site = pq.read_table(vocabulary, columns=[*TOKEN, "private"]).filter(~pc.field("private"))
    kept: list[dict[str, Any]] = (
        site.filter(pc.is_in(site["key"], value_set=keys.combine_chunks())).select(TOKEN).sort_by("key").to_pylist()
    )
    plain = [{name: None if value == "" else value for name, value in one.items()} for one in kept]
    return [one for one in plain if all(showable(value) for value in one.values() if isinstance(value, str))]


def _copy_model(saved: Path, to: Path, shared: set[str]) -> None:
    model = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    declared = {"model.json", "space.safetensors", *learner(model["learner"]).saves.files(model["seeds"])}
    for path in saved.iterdir():
        if path.name not in declared:
            raise StudyError(f"{path}: {model['learner']} does not declare that it saves this file, so it is not sent")
    shutil.copytree(saved, to)
    if find_backend(model["space"]["backend"]).vectors == "none":  # the names are keys of columns
        names = model["space"]["names"]
        model["space"]["names"] = [key if key in shared else f"not shared {n}" for n, key in enumerate(names)]
        write_json(model, to / "model.json")


def _metrics(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    where = {"embedding": about["embedding"]["name"], "learner": about["learner"], "strategy": "local"}
    return _rows(path, METRIC, where | {"threshold": None, "alert_rate": None})


def _rows(path: Path, columns: tuple[str, ...], where: Mapping[str, str | None]) -> list[dict[str, Any]]:
    table = pq.read_table(path)
    for name, value in where.items():
        table = table.filter(pc.is_null(table[name]) if value is None else pc.equal(table[name], value))
    rows = table.select(columns).to_pylist()
    # a limit can be without end, which JSON cannot say
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]
