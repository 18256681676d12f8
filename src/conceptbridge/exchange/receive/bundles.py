"""Receive bundles from other sites: check them, and put their models where local arms would be."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from conceptbridge.core.atomic_files import atomic_folder, write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, plain_text, read_package, shown, strict_json
from conceptbridge.exchange.receive.find_bundles import check_bundle
from conceptbridge.exchange.receive.model_files import TOGETHER, check_model
from conceptbridge.study.backends import find_backend
from conceptbridge.tasks.sequences import TOKENS
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY

#: characters of a text (a concept's name in a state), and tokens in a bundle
MAX_TEXT, MAX_TOKENS = 2_000, 1_000_000

#: of a one-hot model: what the source's tokens keep company with
PROFILE = "profile.parquet"

_TEXTS = ("key", "domain", "state")
_OPTIONAL_TEXTS = ("vocabulary", "concept_code", "name", "named_by", "text")
_COUNTS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["trained", "cohort", "metrics"],
    "properties": {
        "trained": {
            "type": "object",
            "additionalProperties": False,
            "required": ["train_rows", "train_events"],
            "properties": {
                "train_rows": {"type": ["integer", "null"], "minimum": 0, "maximum": 10**12},
                "train_events": {"type": ["integer", "null"], "minimum": 0, "maximum": 10**12},
                # of a model that hospitals trained together
                "spent": {"type": ["object", "null"]},
            },
        },
        "cohort": {"type": "array"},
        "metrics": {"type": "array"},
    },
}


def receive(bundle: Path | None, expected: Mapping[str, Any], width: int | None, out: Path) -> None:
    """Check ``bundle`` and write its model to the folder ``out`` of its source's local arm: arm.json and models/.

    ``expected``: what its manifest must say of source, task, definition, embedding, learner and seeds; ``width`` is
    that of the embedding's vectors, None for one-hot. Without a bundle, arm.json says that none was sent.

    Raises StudyError, naming bundle, file and field, if anything is not as expected; nothing is written then.
    """
    source = expected["source"]
    with atomic_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent, prefix=".received.") as temporary:
        (folder / "models").mkdir()
        entry: dict[str, Any]
        if bundle is None:
            name, learner, task = expected["embedding"]["name"], expected["learner"], expected["task"]
            entry = {"reason": f"{source} has sent no bundle of {learner} on {name} for {task}"}
            if source == TOGETHER:
                entry = {"reason": f"no {learner} on {name} has been trained over a network for {task}"}
        else:
            files, about = unpacked(bundle, expected, Path(temporary) / "files")
            metrics = strict_json((files / "metrics.json").read_bytes(), f"{bundle}: metrics.json")
            check_fields(metrics, _COUNTS, f"{bundle}: metrics.json")
            entry = {**metrics["trained"], "reason": about["reason"]}
            if about["reason"] is None:
                check_model(files / "model", about, width, f"{bundle}: model")
                (files / "model").rename(folder / "models" / source)
        write_json({"sources": {source: entry}}, folder / "arm.json")


def receive_tokens(bundles: Sequence[Path], source: str, tokens: Path) -> None:
    """Write the tokens of a task that ``source`` shares in its ``bundles`` (``TOKENS``; the counts stayed there)."""
    shared = ("key", "text", "concept_id", "state", "domain")
    rows = [{name: token[name] for name in shared} | {"token": n} for n, token in enumerate(_tokens(bundles, source))]
    write_parquet(pa.Table.from_pylist(rows, schema=TOKENS), tokens)


def receive_vocabulary(bundles: Sequence[Path], source: str, vocabulary: Path) -> None:
    """Write the vocabulary of ``source`` (``VOCABULARY``, without counts) from all of its ``bundles``."""
    rows = [token | {"private": False} for token in _tokens(bundles, source)]
    write_parquet(pa.Table.from_pylist(rows, schema=VOCABULARY), vocabulary)


def _tokens(bundles: Sequence[Path], source: str) -> list[dict[str, Any]]:
    """Return the tokens of all bundles, each key once, in the order of keys."""
    tokens: dict[str, dict[str, Any]] = {}
    for bundle in bundles:
        with tempfile.TemporaryDirectory() as temporary:
            files, _ = unpacked(bundle, {"source": source}, Path(temporary) / "files")
            for token in _read_tokens(files / "vocabulary.json", f"{bundle}: vocabulary.json"):
                tokens.setdefault(token["key"], token)
    return [tokens[key] for key in sorted(tokens)]


def unpacked(bundle: Path, expected: Mapping[str, Any], into: Path) -> tuple[Path, dict[str, Any]]:
    """Unpack a bundle, and return its folder and what it says of itself. Raises StudyError if it is not as expected."""
    about = read_package(bundle, "bundle", into)
    check_bundle(about, expected, bundle)
    names = {"vocabulary.json", "metrics.json", "card.md"} | ({"model"} if about["reason"] is None else set())
    present = {path.name for path in into.iterdir() if path.is_dir() == (path.name == "model")}
    if PROFILE in present and find_backend(about["embedding"]["backend"]).vectors == "none":
        names.add(PROFILE)  # where the sender's study translates
    for name in sorted(present ^ names | {path.name for path in into.iterdir()} - names):
        fault = "is missing" if name in names else "does not belong in such a bundle"
        raise StudyError(f"{bundle}: {name}: {fault}")
    plain_text((into / "card.md").read_bytes(), f"{bundle}: card.md")
    return into, about


def _read_tokens(path: Path, where: str) -> Iterator[dict[str, Any]]:
    value = strict_json(path.read_bytes(), where)
    if not isinstance(value, dict) or set(value) != {"tokens"} or not isinstance(value["tokens"], list):
        raise StudyError(f"{where}: must have exactly the field tokens, a list")
    if len(value["tokens"]) > MAX_TOKENS:
        raise StudyError(f"{where}: tokens: are more than {MAX_TOKENS}")
    keys: set[str] = set()
    fields = {*_TEXTS, *_OPTIONAL_TEXTS, "concept_id"}
    for number, token in enumerate(value["tokens"]):
        at = f"{where}: tokens: {number}"
        if not isinstance(token, dict) or set(token) != fields:
            raise StudyError(f"{at}: must have exactly the fields {', '.join(sorted(fields))}")
        if type(token["concept_id"]) is not int or not 0 <= token["concept_id"] < 2**63:
            raise StudyError(f"{at}: concept_id: is not a concept id")
        for name in (*_TEXTS, *_OPTIONAL_TEXTS):
            absent = token[name] is None and name in _OPTIONAL_TEXTS
            if not absent and not (isinstance(token[name], str) and 0 < len(token[name]) <= MAX_TEXT):
                raise StudyError(f"{at}: {name}: is not a text of 1 to {MAX_TEXT} characters")
        if token["key"] in keys:
            raise StudyError(f"{at}: key: {shown(token['key'])!r} is listed twice")
        keys.add(token["key"])
        yield token
