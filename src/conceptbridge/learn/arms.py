"""Arms: a learner on an embedding, by one strategy, at one target, from every source and with every seed.

An arm's folder holds ``predictions.parquet`` (every validation and test row of the target), ``curves.parquet`` (test
rows at each target size, validation and test rows at each depth of tuning), ``arm.json`` (per source: what it was
trained on and what it spent, or why it is not estimable) and ``models/{source}/``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_folder, write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.learn.input_space import NoVectorError, Space, Table, fit_space, join_tables, load_space
from conceptbridge.learn.registry import learner, strategy_module
from conceptbridge.learn.rows import Examples, SiteRows, examples, merge, read_rows
from conceptbridge.learn.search import Part, Spent, search, sized_parts

logger = logging.getLogger(__name__)

_KEY = [("row_id", pa.int64()), ("split", pa.string()), ("label", pa.int8()), ("probability", pa.float64())]
PREDICTIONS = pa.schema([("source", pa.string()), ("seed", pa.int32()), *_KEY])  # split: validation | test
CURVES = pa.schema(
    [
        ("source", pa.string()),
        ("size", pa.int64()),  # events of the target that were given; null: all
        ("replicate", pa.int32()),  # which order of persons; null: all of them
        ("depth", pa.float64()),  # share of the tuning steps; null: the weights that were kept
        ("seed", pa.int32()),
        *_KEY,
    ]
)
TESTED = ("validation", "test")
#: the source of a model of several sites' rows
SOURCE_OF = {"pooled": "all", "leave-one-out": "others"}

Probability = NDArray[np.float64]
#: size, replicate, depth and probabilities
Curve = tuple[int | None, int | None, float | None, Probability]


@dataclass(frozen=True)
class Site:
    """A site's name, its rows of the task, and its table of vectors (None for one-hot)."""

    name: str
    rows: SiteRows
    table: Table | None


@dataclass(frozen=True)
class Budget:
    """What every arm gets alike: the learner's settings, those that are searched and the ``trials`` at most, the seeds,
    the least a site must have to train on, and the curves: ``sizes`` in events, ``replicates`` of each, ``depths`` in
    shares of the tuning steps."""

    settings: Mapping[str, Any]
    searched: Mapping[str, Sequence[Any]]
    trials: int
    seeds: int
    min_events: int
    min_rows: int
    min_cell_count: int
    standardise: bool
    sizes: Sequence[int] = ()
    replicates: int = 0
    depths: Sequence[float] = ()


@dataclass
class Made:
    """What came of one source: the entry of arm.json, the probabilities (seeds, tested rows) of the arm, and of its
    curves: (size, replicate, depth, probabilities)."""

    entry: dict[str, Any]
    probability: Probability | None = None
    curves: list[Curve] = field(default_factory=list)


def read_site(name: str, rows: Sequence[Path], table: Path | None) -> Site:
    """Read a site's files: its ``rows`` are in cohort, tokens and sequences; ``table`` is its embedding table, None for
    one-hot."""
    return Site(name, read_rows(*rows), None if table is None else read_vectors(table))


def train_local(target: Site, learner_name: str, embedding: Mapping[str, str], budget: Budget, out: Path) -> None:
    """Train at the target itself and write the arm's folder to ``out``; ``embedding`` has name, fingerprint, backend.

    Too few events at the site are a finding, not an error: arm.json gives the reason and there are no predictions.
    """
    parts, sizes, reason = _parts(target, budget)
    with atomic_folder(out) as folder:
        made = Made(_counts(target, budget) | {"reason": reason})
        if reason is None:
            labelled = target.rows.of("train", "validation")
            made = _train(target, target, labelled, parts, "local", learner_name, embedding, budget, folder)
            made.entry |= _counts(target, budget) | ({"sizes": sizes} if budget.sizes else {})
        _write(folder, target, {target.name: made})


def train_pooled(
    target: Site | None,
    others: Sequence[Site],
    strategy: str,
    learner_name: str,
    embedding: Mapping[str, str],
    budget: Budget,
    out: Path,
) -> None:
    """Train on the rows of several sites together and write the target's arm to ``out``.

    ``pooled``: the training rows of all sites; the target's validation rows decide what is kept. ``leave-one-out``:
    those of all other sites, whose own validation rows decide, so that no label of the target is seen. It is the same
    model for every target that is none of them: without a ``target`` it is made alone, for ``bring_pooled``.
    An embedding that was learned at each site alone has no common vectors: arm.json says so.
    """
    with_target = target if strategy == "pooled" else None
    sites = [*others, with_target] if with_target else list(others)
    tables = [site.table for site in sites if site.table is not None]
    all_rows = Site(SOURCE_OF[strategy], merge([site.rows for site in sites]), join_tables(tables) if tables else None)
    labelled = all_rows.rows.of("train", "validation")
    is_train = all_rows.rows.split[labelled].astype(str) == "train"
    of_target = np.repeat([site is target for site in sites], [len(site.rows.labels) for site in sites])[labelled]
    parts, reason = [Part(np.flatnonzero(is_train), np.flatnonzero(~is_train))], None
    sizes: list[dict[str, Any]] = []
    if with_target:
        abroad, first = np.flatnonzero(is_train & ~of_target), int((~of_target).sum())
        own, sizes, _ = _parts(with_target, budget)
        parts = [Part(np.concatenate([abroad, p.train + first]), p.check + first, p.size, p.replicate) for p in own]
    if too_few := _too_few(all_rows.rows.labels[labelled[parts[0].train]], budget.min_events):
        reason = f"{too_few} among the training rows of {' and '.join(site.name for site in sites)}"
    if embedding["backend"] == "cooccurrence":
        reason = f"{embedding['name']} is learned at one site and has no vectors for the rows of several"
    with atomic_folder(out) as folder:
        made = Made({"reason": reason})
        if reason is None:
            made = _train(target, all_rows, labelled, parts, strategy, learner_name, embedding, budget, folder)
            made.entry |= {"sizes": sizes} if budget.sizes and with_target else {}
        made.entry = _shown_counts(all_rows.rows.labels[labelled[parts[0].train]], budget) | made.entry
        _write(folder, target, {all_rows.name: made})


def bring_pooled(target: Site, learner_name: str, trained: Path, fingerprint: str, out: Path) -> None:
    """Write the ``leave-one-out`` arm of a target that is no source to ``out``, with the model that ``train_pooled``
    made without a target and wrote to ``trained``.

    Raises StudyError when that model was made with another embedding than ``fingerprint``.
    """
    source = SOURCE_OF["leave-one-out"]
    made = Made(json.loads((trained / "arm.json").read_text(encoding="utf-8"))["sources"][source])
    with atomic_folder(out) as folder:
        if made.entry["reason"] is None:
            module, model, space = load_model(trained / "models" / source, learner_name, fingerprint)
            made.probability = module.predict(model, _tested(target, space))
        _write(folder, target, {source: made})


def transfer(
    target: Site,
    learner_name: str,
    strategy: str,
    sources: Mapping[str, Path],
    fingerprint: str,
    budget: Budget,
    out: Path,
) -> None:
    """Bring the model of each source to the target by ``strategy`` and write the arm's folder to ``out``.

    ``sources``: name -> folder of the source's local arm. ``direct`` uses the model unchanged and sees no label of the
    target; ``recalibrate`` fits intercept and slope of its logit on the target's rows; ``tune-head`` and ``tune-all``
    go on training on them.

    Raises StudyError when a model was made with another embedding than ``fingerprint``.
    """
    local = strategy != "direct"
    parts, sizes, too_few = _parts(target, budget)
    with atomic_folder(out) as folder:
        made = {}
        for source, arm in sources.items():
            described = json.loads((arm / "arm.json").read_text(encoding="utf-8"))["sources"][source]
            reason = described["reason"] and f"no model from {source}: {described['reason']}"
            reason = reason or (too_few if local else None)
            if reason is None:
                logger.info("%s: %s at %s", source, strategy, target.name)
                saved = arm / "models" / source
                made[source] = _bring(target, saved, parts, learner_name, strategy, fingerprint, budget, folder, source)
                made[source].entry |= {"sizes": sizes} if local and budget.sizes else {}
            else:
                logger.info("%s: not estimable: %s", source, reason)
                made[source] = Made({"reason": reason})
            made[source].entry = (_counts(target, budget) if local else {}) | made[source].entry
        _write(folder, target, made)


def load_model(saved: Path, learner_name: str, fingerprint: str) -> tuple[Any, Any, Space]:
    """The learner's module, its model saved in the folder ``saved``, and the model's space.

    Raises StudyError when the model was made with another embedding than ``fingerprint``.
    """
    module = learner(learner_name)
    description = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    space = load_space(saved, description["space"])
    if space.fingerprint != fingerprint:
        raise StudyError(f"{saved}: made with another {space.embedding} ({space.fingerprint[:12]}); train it again")
    return module, module.load(saved, description), space


def _train(
    target: Site | None,
    home: Site,
    labelled: NDArray[np.int64],
    parts: Sequence[Part],
    strategy: str,
    learner_name: str,
    embedding: Mapping[str, str],
    budget: Budget,
    folder: Path,
) -> Made:
    """Fit space and learner on each of ``parts`` of the ``labelled`` rows of ``home``, save the first model, of all the
    rows, and predict the target, if there is one."""
    module = learner(learner_name)
    name, fingerprint, backend = (embedding[key] for key in ("name", "fingerprint", "backend"))
    made = Made({"reason": None})
    for part in parts:
        # a smaller part knows only its own tokens
        rows = home.rows if part.size is None else home.rows.trained_on(labelled[part.train])
        try:
            space = fit_space(name, fingerprint, backend, rows, home.table, budget.min_rows, budget.standardise)
        except NoVectorError as error:
            if part.size is None:
                return Made({"reason": f"{error} at {home.name}"})
            continue
        given = examples(rows, *space.vectors(rows, home.table), labelled)

        def fit(runs: Any, depths: Sequence[float], given: Examples = given) -> Any:
            return module.fit(given, runs), []

        model, _, [spent] = search(fit, [part], budget.settings, budget.searched, budget.trials, budget.seeds)
        probability = module.predict(model, _tested(target, space)) if target else None
        if part.size is None:
            about = {"strategy": strategy, "source": home.name} | ({"target": target.name} if target else {})
            _save(model, space, learner_name, folder / "models" / home.name, about)
            made.probability, made.entry["spent"] = probability, asdict(spent)
        elif probability is not None:
            made.curves.append((part.size, part.replicate, None, probability))
    return made


def _bring(
    target: Site,
    saved: Path,
    parts: Sequence[Part],
    learner_name: str,
    strategy: str,
    fingerprint: str,
    budget: Budget,
    folder: Path,
    source: str,
) -> Made:
    """Bring one saved model to the target."""
    module, model, space = load_model(saved, learner_name, fingerprint)
    tested = _tested(target, space)
    if strategy == "direct":
        return Made({"reason": None}, module.predict(model, tested))
    given = examples(target.rows, *space.vectors(target.rows, target.table), target.rows.of("train", "validation"))
    about: dict[str, Any] = {"strategy": strategy, "source": source, "target": target.name}
    if strategy == "recalibrate":
        own = strategy_module(strategy)
        found = [own.recalibrate(module.predict(model, given), given.labels, part) for part in parts]
        logits = own.to_logit(module.predict(model, tested))
        each = [np.stack([own.apply(x, c) for x, c in zip(logits, of_part, strict=True)]) for _, of_part in found]
        chosen, of_seeds = found[0]
        _save(model, space, learner_name, folder / "models" / source, about | {"recalibration": of_seeds})
        spent = Spent(3, 0, [0] * budget.seeds, {"recalibration": chosen})
        along: Sequence[Any] = ()
    else:

        def tune(runs: Any, depths: Sequence[float]) -> Any:
            starts = model.take([model.seeds.index(run.seed) for run in runs])
            return module.tune(starts, given, runs, strategy == "tune-head", depths)

        tuned, along, [spent, *_] = search(
            tune, parts, budget.settings, budget.searched, budget.trials, budget.seeds, budget.depths
        )
        _save(tuned.take(range(budget.seeds)), space, learner_name, folder / "models" / source, about)
        each = np.split(module.predict(tuned, tested), len(parts))
    curves: list[Curve] = [(p.size, p.replicate, None, made) for p, made in zip(parts[1:], each[1:], strict=True)]
    for depth, there in zip(budget.depths, along, strict=False):
        curves.append((None, None, depth, module.predict(there.take(range(budget.seeds)), tested)))
    return Made({"reason": None, "spent": asdict(spent)}, each[0], curves)


def _tested(target: Site, space: Space) -> Examples:
    return examples(target.rows, *space.vectors(target.rows, target.table), target.rows.of(*TESTED))


def _parts(target: Site, budget: Budget) -> tuple[list[Part], list[dict[str, Any]], str | None]:
    """All labelled rows of the target and its sized subsets, by position among its training and validation rows; what
    each size holds; and why nothing can be trained there."""
    labelled = target.rows.of("train", "validation")
    labels, people = target.rows.labels[labelled], target.rows.person_ids[labelled]
    is_train = target.rows.split[labelled].astype(str) == "train"
    whole = Part(np.flatnonzero(is_train), np.flatnonzero(~is_train))
    few = _too_few(labels[whole.train], budget.min_events)
    parts, sizes = [whole], []
    for part in sized_parts(labels, people, whole.train, budget.sizes, budget.replicates):
        rows = np.concatenate([part.train, part.check])
        reason = _too_few(labels[rows], budget.min_events)
        held = _shown_counts(labels[rows], budget)
        sizes.append(
            {"size": part.size, "replicate": part.replicate, "rows": held["train_rows"], "events": held["train_events"]}
            | {"reason": reason}
        )
        if reason is None:
            parts.append(part)
    return parts, sizes, few and f"{few} among the training rows at {target.name}"


def _too_few(labels: NDArray[np.int8], min_events: int) -> str | None:
    events = int(labels.sum())
    for count, what in ((events, "events"), (len(labels) - events, "rows without the event")):
        if count < min_events:
            return f"fewer than {min_events} {what}"
    return None


def _counts(site: Site, budget: Budget) -> dict[str, Any]:
    return _shown_counts(site.rows.labels[site.rows.of("train")], budget)


def _shown_counts(labels: NDArray[np.int8], budget: Budget) -> dict[str, Any]:
    rows, events = len(labels), int(labels.sum())
    shown = min(events, rows - events) >= budget.min_cell_count
    return {"train_rows": rows if shown else None, "train_events": events if shown else None}


def _save(model: Any, space: Space, learner_name: str, folder: Path, about: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    description = {"learner": learner_name, **about, **model.save(folder), "space": space.save(folder)}
    write_json(description, folder / "model.json")


def _write(folder: Path, target: Site | None, made: Mapping[str, Made]) -> None:
    (folder / "models").mkdir(exist_ok=True)
    predictions, curves = [], []
    for source, of_source in made.items():
        if target is None:
            break  # nobody was predicted
        if of_source.probability is not None:
            predictions.append(_table(target, of_source.probability, TESTED, {"source": source}, PREDICTIONS))
        for size, replicate, depth, probability in of_source.curves:
            key = {"source": source, "size": size, "replicate": replicate, "depth": depth}
            curves.append(_table(target, probability, ("test",) if depth is None else TESTED, key, CURVES))
    for schema, tables, name in ((PREDICTIONS, predictions, "predictions"), (CURVES, curves, "curves")):
        write_parquet(pa.concat_tables(tables) if tables else schema.empty_table(), folder / f"{name}.parquet")
    write_json({"sources": {source: of_source.entry for source, of_source in made.items()}}, folder / "arm.json")


def _table(
    target: Site, probability: Probability, splits: Sequence[str], key: Mapping[str, Any], schema: pa.Schema
) -> pa.Table:
    tested = target.rows.of(*TESTED)
    assert probability.shape[1] == len(tested), "every validation and test row has its prediction"
    inside = np.isin(target.rows.split[tested].astype(str), splits)
    rows, seeds = tested[inside], len(probability)
    columns: dict[str, Any] = {
        "seed": np.repeat(np.arange(1, seeds + 1), len(rows)),
        "row_id": np.tile(target.rows.row_ids[rows], seeds),
        "split": np.tile(target.rows.split[rows], seeds),
        "label": np.tile(target.rows.labels[rows], seeds),
        "probability": probability[:, inside].ravel(),
    }
    arrays = [
        pa.array(columns[f.name], f.type)
        if f.name in columns
        else pa.repeat(pa.scalar(key[f.name], f.type), seeds * len(rows))
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
