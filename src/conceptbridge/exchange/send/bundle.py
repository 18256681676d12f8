"""Write a bundle: the local model of one site, all its seeds, and what another site needs to run and to judge it.

manifest.json      ``about_schema``: source, task and its definition, embedding and how to get it, learner, versions
model/             model.json and weights (safetensors or LightGBM's text); absent if there was too little to train on
vocabulary.json    the source's concepts of at least min_cell_count training persons, with their texts
profile.parquet    of a one-hot model, where the study translates: persons with each concept, and with pairs of them
metrics.json       how the model performs at its source: the aggregates of the joint tables
card.md            the same for readers
"""

import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import write_json, write_parquet, write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.disclosure.token_counts import of_enough_persons, read_tokens
from conceptbridge.embed.ancestors_file import read_ancestors
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.release_report import write_release_report
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.exchange.package import showable, strict_json, write_package
from conceptbridge.exchange.send.model_card import card
from conceptbridge.learn.arm_files import load_model
from conceptbridge.learn.leave_out import look, two_digits
from conceptbridge.learn.places import LAST, MEAN, NUMBER, NUMBERS, Windows, concept_of, value_key, window_key
from conceptbridge.learn.registry import learner
from conceptbridge.learn.site import TESTED, read_site
from conceptbridge.learn.token_words import named, names_of
from conceptbridge.learn.windows import in_windows, persons_with
from conceptbridge.study.backends import find_backend
from conceptbridge.translate.profile_file import profile_table, read_profile

#: tokens that the card names
LISTED = 10
#: fields of a token; its counts stay at the site
TOKEN = ("key", "concept_id", "vocabulary", "concept_code", "domain", "name", "named_by", "state", "text")
METRIC = ("split", "metric", "estimate", "lower", "upper", "seed_sd", "seeds", "rows", "events", "reason")
COHORT = ("split", "persons", "rows", "events", "first_year", "last_year", "tokens_per_row")


def write_bundle(
    about: Mapping[str, Any],
    arm: Path,
    vocabulary: Path,
    tokens: Path,
    measured: Path | None,
    secrets: SiteSecrets,
    out: Path,
    report: Path,
    profile: Path | None = None,
    ancestors: Path | None = None,
    table: Path | None = None,
) -> None:
    """Write the bundle of the local arm in the folder ``arm`` to ``out``, and what leaves with it to ``report``.

    ``about``: the fields of a bundle's manifest but ``version`` and ``reason``. ``vocabulary`` and ``tokens`` are the
    site's and the task's; ``measured`` is the folder of its metrics, None if it was not tested at its source;
    ``profile`` that of its tokens, to go with it; ``ancestors`` the table of what they are as well; ``table`` that of
    their vectors, if there is one. A one-hot column of
    fewer than ``min_cell_count`` training persons is sent without its name, so that no target matches it; so is that of
    an ancestor, unless a token of enough persons is one: then those who have the ancestor are as many at least. Who has
    a token in a window is told by cohort and sequences, which lie beside the ``tokens``.

    Raises StudyError if something must not leave the site.
    """
    min_cell_count = about["min_cell_count"]
    entry = json.loads((arm / "arm.json").read_text(encoding="utf-8"))["sources"][about["source"]]
    trained = _trained(entry, tokens.with_name("splits.parquet"))
    reason = entry["reason"]
    if reason is None and trained["train_events"] is None:  # a model predicts as many as it was trained on
        reason = f"not sent: fewer than {min_cell_count} training persons with or without the event"
    about = {**about, "version": version("conceptbridge"), "reason": reason}
    shared = _shared_tokens(vocabulary, tokens, min_cell_count)
    metrics = {
        "trained": trained,
        "cohort": [] if measured is None else _rows(read_table(measured / "site.parquet"), COHORT, {}),
        "metrics": [] if measured is None else _metrics(read_shared(measured, "metrics", min_cell_count), about),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        if about["reason"] is None:
            keys = {token["key"] for token in shared}
            if ancestors is not None:
                also = read_ancestors(ancestors)
                keys |= {other for key in keys for other in also.get(key, ())}
            _copy_model(arm / "models" / about["source"], folder / "model", keys, tokens, ancestors, min_cell_count)
        write_json({"tokens": shared}, folder / "vocabulary.json")
        if profile is not None:
            told = profile_table(read_profile(profile, min_cell_count), {token["key"] for token in shared})
            write_parquet(told, folder / "profile.parquet")
        write_json(metrics, folder / "metrics.json")
        seen = [] if about["reason"] is not None else _looks_at(about, arm, tokens, ancestors or table, shared, secrets)
        write_text(card(about, metrics, len(shared), seen), folder / "card.md")
        for path in folder.rglob("*.json"):  # the sender learns what a receiver would reject
            strict_json(path.read_bytes(), f"{out.name}: {path.name}")
        check_about(about, secrets)
        released = check_egress(folder, secrets, about["learner"])
        write_package(folder, "bundle", about, out)
    purpose = (
        f"The model of {about['task']} that {about['learner']} learned on {about['embedding']['name']} at "
        f"{about['source']}, for other hospitals to use. Send the zip; keep this report."
    )
    write_release_report(out.name, purpose, released, secrets, report)


def _looks_at(
    about: Mapping[str, Any],
    arm: Path,
    tokens: Path,
    table: Path | None,
    shared: Sequence[Mapping[str, Any]],
    secrets: SiteSecrets,
) -> list[dict[str, Any]]:
    """Return the ``shared`` tokens that change the model's predictions most: text, share and effect, two digits each.

    Of a token in its window, and of a value, at least ``min_cell_count`` persons have it too. What holds anything that
    stays at the site is left out.
    """
    files = [tokens.with_name(f"{name}.parquet") for name in ("cohort", "tokens", "sequences")]
    trained = load_model(arm / "models" / about["source"], about["learner"], about["embedding"]["fingerprint"])
    if table is None and find_backend(trained.space.backend).vectors not in ("none", "learned"):
        return []
    site = read_site(about["source"], files, table)
    site = replace(site, rows=in_windows(site.rows, trained.space.windows))
    found = look(trained, site, site.rows.of(*TESTED), about["min_cell_count"])
    names = names_of([token["key"] for token in shared], [token["text"] for token in shared])
    listed: list[dict[str, Any]] = []
    for t in np.argsort(-np.nan_to_num(found.share, nan=-1.0), kind="stable"):
        text = named(site.rows.keys[t], names, site.rows.windows)
        if not found.share[t] > 0 or len(listed) == LISTED:
            break
        if text is not None and showable(text) and secrets.finding(text, program=True) is None:
            numbers = {name: two_digits(value[t]) for name, value in (("share", found.share), ("effect", found.effect))}
            listed.append({"text": text} | numbers)
    return listed


def _trained(entry: Mapping[str, Any], splits: Path) -> dict[str, Any]:
    """Return the training rows and events, as far as the table of splits beside the tokens shows them."""
    trained = {name: entry.get(name) for name in ("train_rows", "train_events")}
    if splits.is_file():
        [told] = [row for row in read_table(splits).to_pylist() if row["split"] == "train"]
        trained = {name: None if told[name.partition("_")[2]] is None else n for name, n in trained.items()}
    return trained


def _shared_tokens(vocabulary: Path, tokens: Path, min_cell_count: int) -> list[dict[str, Any]]:
    keys = of_enough_persons(read_tokens(tokens, "key"), min_cell_count)["key"]
    site = read_table(vocabulary, columns=[*TOKEN, "private"]).filter(~pc.field("private"))
    kept: list[dict[str, Any]] = (
        site.filter(pc.is_in(site["key"], value_set=keys.combine_chunks())).select(TOKEN).sort_by("key").to_pylist()
    )
    filled = [{name: None if value == "" else value for name, value in token.items()} for token in kept]
    return [token for token in filled if all(showable(value) for value in token.values() if isinstance(value, str))]


def _copy_model(
    saved: Path, to: Path, shared: set[str], tokens: Path, ancestors: Path | None, min_cell_count: int
) -> None:
    model = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    declared = {"model.json", "space.safetensors", *learner(model["learner"]).saves.files(model["seeds"])}
    for path in saved.iterdir():
        if path.name not in declared:
            raise StudyError(f"{path}: {model['learner']} does not declare this file, so it is not sent")
    shutil.copytree(saved, to)
    if find_backend(model["space"]["backend"]).vectors == "none":  # the names are keys of columns
        names, windows = model["space"]["names"], Windows.read(model["space"].get("windows"))
        if windows is not None:
            shared = _in_windows(shared, tokens, ancestors, windows, min_cell_count)
        model["space"]["names"] = [key if key in shared else f"not shared {n}" for n, key in enumerate(names)]
        write_json(model, to / "model.json")


def _in_windows(
    shared: set[str], tokens: Path, ancestors: Path | None, windows: Windows, min_cell_count: int
) -> set[str]:
    """Return the keys in windows of enough persons: of tokens that are ``shared``, of such a token's concept, and of
    numbers that no concept has."""
    files = [tokens.with_name(f"{name}.parquet") for name in ("cohort", "tokens", "sequences")]
    rows = in_windows(read_site("", files, ancestors).rows, windows)
    held = persons_with(rows)
    enough = {key for key, persons in zip(rows.keys, held.tolist(), strict=True) if is_enough(persons, min_cell_count)}
    concepts = {concept_of(key) for key in shared}.union(NUMBERS)
    known = {window_key(key, w) for key in shared for w in range(len(windows.days))}
    known |= {
        value_key(concept, kind, w)
        for concept in concepts
        for kind in (LAST, MEAN, NUMBER)
        for w in range(len(windows.days))
    }
    return enough & known


def _metrics(table: pa.Table, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    where = {"embedding": about["embedding"]["name"], "learner": about["learner"], "strategy": "local"}
    return _rows(table, METRIC, where | {"threshold": None, "alert_rate": None})


def _rows(table: pa.Table, columns: tuple[str, ...], where: Mapping[str, str | None]) -> list[dict[str, Any]]:
    for name, value in where.items():
        table = table.filter(pc.is_null(table[name]) if value is None else pc.equal(table[name], value))
    rows = table.select(columns).to_pylist()
    # a limit can be infinite, which JSON cannot express
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]
