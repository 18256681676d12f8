"""What the models that a study names look at, at one site: the tokens that change their predictions most.

Those are the recommended model of a target, the reference, the best local and the best transferred one; of a source,
the local models that another target's recommended model comes from, on the source's own rows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conceptbridge import layout
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.token_counts import of_enough_persons, read_tokens
from conceptbridge.evaluate.schemas import (
    ARM,
    AT_SOURCE,
    BEST_LOCAL,
    BEST_TRANSFERRED,
    EXTERNAL,
    IMPORTANCE,
    RECOMMENDATION,
    RECOMMENDED,
    REFERENCE,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
    Arm,
    schema,
    to_table,
)
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.arm_job import ArmJob, Budget
from conceptbridge.learn.leave_out import look, two_digits, values_among
from conceptbridge.learn.looking import Looking
from conceptbridge.learn.places import Windows
from conceptbridge.learn.run_arm import read_site_of
from conceptbridge.learn.site import TESTED
from conceptbridge.learn.token_words import named, names_of
from conceptbridge.learn.translated import readings
from conceptbridge.learn.translated_arm import in_words_of_hub, translators
from conceptbridge.study.learners import find_learner
from conceptbridge.study.strategies import JOINT, LOCAL, Needs, strategy
from conceptbridge.translate.run_translation import read_translations

#: tokens listed of each model
LISTED = 30
#: nothing is trained
_NOTHING = Budget({}, {}, 1, 1, 1, 1, 1, False)


def importance(what: Looking, task: str, site: str, comparisons: Iterable[Path], results: Path) -> pa.Table:
    """The tokens that the models named at ``site`` look at most (``IMPORTANCE``), of its validation and test rows.

    ``comparisons`` are the tables of all targets, which name the models. A token is listed if at least
    ``min_cell_count`` persons have it among the training rows, and among those that are looked at.
    """
    named = [row for path in comparisons for row in read_table(path).to_pylist()]
    rows: list[tuple[Any, ...]] = []
    for role, arm in _models(what, site, named):
        rows += [(task, site, role, *arm, *line) for line in _of_model(what, task, site, arm, results)]
    return to_table(rows, schema(IMPORTANCE))


def _models(what: Looking, site: str, comparisons: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Arm]]:
    """The models to look at, each once, and what each is."""
    asked = [row for row in comparisons if row["metric"] == "auroc"]
    at_home = [row for row in asked if row["target"] == site]
    wanted = [
        *((RECOMMENDED, _arm(row)) for row in at_home if row["question"] == RECOMMENDATION),
        *((REFERENCE, _arm(row, "ref_")) for row in at_home if row["question"] == RECOMMENDATION),
        *((BEST_LOCAL, _arm(row, "ref_")) for row in at_home if row["question"] == VS_BEST_LOCAL),
        *((BEST_TRANSFERRED, _arm(row, "ref_")) for row in at_home if row["question"] == VS_BEST_TRANSFERRED),
    ]
    for row in asked:
        arm = _arm(row)
        if row["question"] == RECOMMENDATION and row["target"] != site and arm is not None and arm.source == site:
            wanted.append((AT_SOURCE, arm._replace(embedding=what.trained_as[arm.embedding], strategy=LOCAL)))
    seen = set()
    for role, found in wanted:
        if found is not None and found not in seen:
            seen.add(found)
            yield role, found


def _arm(row: Mapping[str, Any], prefix: str = "") -> Arm | None:
    """An arm of a comparison, if it has a model: nothing was compared, or predictions came in a file, where not."""
    fields = [row[f"{prefix}{name}"] for name in ARM]
    return None if None in fields or row[f"{prefix}strategy"] == EXTERNAL else Arm(*fields)


def _of_model(what: Looking, task: str, site: str, arm: Arm, results: Path) -> Iterator[tuple[Any, ...]]:
    """The tokens of a model: place, token, text, kind, stands_for, stands_for_text, share, effect."""
    job = _job(what, task, site, arm)
    if job.embedding.of_rows:  # it sees no tokens
        return
    trained, slope = _load(job, arm, results)
    at = in_words_of_hub(job, results, site) if job.hub is not None else read_site_of(job, results, site)
    seen = look(trained, at, at.rows.of(*TESTED), what.min_cell_count)
    names = names_at(results, task, site, what.min_cell_count)
    if job.hub is not None:  # in its words
        names |= names_at(results, task, job.hub, what.min_cell_count)
    read_as = _read_as(job, arm, results, trained.space.windows, what.min_cell_count)
    place, is_value = 0, values_among(at.rows)
    for t in np.argsort(-np.nan_to_num(seen.share, nan=-1.0), kind="stable"):
        key, windows = at.rows.keys[t], at.rows.windows
        if not seen.share[t] > 0 or place == LISTED:
            break
        text = named(key, names, windows)
        if text is None:
            continue
        place += 1
        other = read_as.get(key, (None, None))
        kind = "value" if is_value[t] else "finding"
        yield (place, key, text, kind, *other, *(two_digits(n) for n in (seen.share[t], slope * seen.effect[t])))


def _job(what: Looking, task: str, site: str, arm: Arm) -> ArmJob:
    embedding, needs = what.embeddings[arm.embedding], strategy(arm.strategy).needs
    hub = what.hubs.get(arm.strategy) if embedding.models and needs in JOINT else None
    windows = what.windows if find_learner(arm.learner).sees == "windows" else None
    sources = [arm.source] if needs == Needs.SOURCE_MODELS else []
    shared = arm.strategy in what.shared
    return ArmJob(task, site, sources, arm.strategy, arm.learner, embedding, _NOTHING, shared, hub, windows)


def _load(job: ArmJob, arm: Arm, results: Path) -> tuple[TrainedModel, float]:
    """An arm's model in the words of its target, and by what its log odds are multiplied there."""
    assert job.target is not None
    where = (job.task, job.embedding.folder, job.learner)
    folder = layout.arm(results, *where, job.strategy, job.target)
    if job.from_shared_model:
        folder = layout.sources_model(results, *where, job.strategy)
    saved = layout.model(folder, arm.source)
    if (saved / "model.json").is_file():
        about = json.loads((saved / "model.json").read_text(encoding="utf-8"))
        slopes = [slope for _, slope in about.get("recalibration", [])]
        return load_model(saved, job.learner, job.embedding.fingerprint), float(np.mean(slopes)) if slopes else 1.0
    # unchanged: the source's own
    at_source = layout.arm(results, job.task, job.embedding.local_arms, job.learner, LOCAL, arm.source)
    trained = load_model(layout.model(at_source, arm.source), job.learner, job.embedding.fingerprint)
    return translators(job, results)[arm.source](trained) if job.embedding.models else trained, 1.0


def _read_as(
    job: ArmJob, arm: Arm, results: Path, windows: Windows | None, min_cell_count: int
) -> dict[str, tuple[str, str | None]]:
    """What each of the target's tokens is read as most by a translated model, by key and in words."""
    if not job.embedding.models or strategy(job.strategy).needs != Needs.SOURCE_MODELS:
        return {}
    assert job.target is not None
    folder = layout.place(layout.TRANSLATIONS, task=job.task, embedding=job.embedding.folder, target=job.target)
    translation = read_translations(results / folder / f"{arm.source}.parquet")[0]
    names = names_at(results, job.task, arm.source, min_cell_count)
    return {key: (other, named(other, names, windows)) for key, other in readings(translation, windows).items()}


def names_at(results: Path, task: str, site: str, min_cell_count: int) -> dict[str, str]:
    """The names of a site's tokens and concepts that enough persons have."""
    tokens = read_tokens(layout.rows(results, task, site)[1], "key", "text")
    return names_of_enough(tokens, min_cell_count)


def names_of_enough(tokens: pa.Table, min_cell_count: int) -> dict[str, str]:
    """The names of those ``tokens`` (key, text, rows, persons) that enough persons have, and of their concepts."""
    enough = of_enough_persons(tokens, min_cell_count).select(["key", "text"]).to_pydict()
    return names_of(enough["key"], enough["text"])
