"""Which arm is recommended, by validation rows alone, and paired differences between arms on the same test rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.chance import against_chance, any_above_chance
from conceptbridge.evaluate.delong import Clusters, variance
from conceptbridge.evaluate.intervals import AT_THE_END, NO_LIMITS, sandwich
from conceptbridge.evaluate.metric_columns import AUROC, DELONG, SANDWICH
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.scales import FISHER_Z, LOGIT, degrees, limits_on, p_on
from conceptbridge.evaluate.schemas import (
    ANY_ABOVE_CHANCE,
    CHANCE,
    CONTROL,
    EXTERNAL,
    RECOMMENDATION,
    TRANSFER_GAIN,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
    VS_CONTROL,
    VS_EXTERNAL,
    VS_LOCAL_CONTROL,
    Arm,
)

LOCAL = "local"
"""The strategy that others are compared with. Any arm whose source is the target was trained there."""

_COMPARED = [METRICS.index(name) for name in ("auroc", "auprc", "brier")]


class Reference(NamedTuple):
    """The arms that others are compared with: those of this strategy, embedding and learner; None is any."""

    strategy: str
    embedding: str | None
    learner: str | None


class Controls(NamedTuple):
    """The embeddings without meaning.

    ``beside`` maps each control to the embeddings whose place it takes. Those that are ``drawn`` have vectors that say
    nothing, so that nobody would use a model on them; one-hot codes are a control that a hospital can use. The
    embedding of the ``reference`` may be recommended, control or not. ``trained_as`` maps a translation to the
    embedding whose local models it uses. A model of ``external`` predictions is not here, so it is compared and never
    recommended.
    """

    beside: Mapping[str, Sequence[str]]
    drawn: Sequence[str] = ()
    reference: str | None = None
    trained_as: Mapping[str, str] = {}
    external: Sequence[str] = ()

    def local_of(self, arm: Arm, target: str) -> Arm:
        """Return the local arm at the target that a transferred one is compared with: of its embedding and learner."""
        return arm._replace(embedding=self.trained_as.get(arm.embedding, arm.embedding), strategy=LOCAL, source=target)

    def of(self, embedding: str) -> list[str]:
        """Return the controls that are compared with an embedding."""
        return [name for name, embeddings in self.beside.items() if embedding in embeddings]

    def may_be_recommended(self, embedding: str) -> bool:
        """Say whether an arm on the embedding may be recommended."""
        usable = embedding not in self.beside or embedding == self.reference
        return usable and embedding not in self.external


class Choice(NamedTuple):
    """The arms that validation rows choose; None where no candidate is estimable there.

    ``local_control`` is the best local arm on a control of an embedding, where it does better than the best local arm
    on validation rows.
    """

    recommended: Arm | None
    reference: Arm | None
    best_local: Arm | None
    local_control: Arm | None
    best_transferred: Arm | None


class Pair(NamedTuple):
    """One comparison to make. ``reference`` None is chance, or nothing where there is a ``reason``."""

    question: str
    arm: Arm | None
    reference: Arm | None
    reason: str | None


class Difference(NamedTuple):
    """A difference on test rows, first arm minus reference; where there is none, ``reason`` says why."""

    metric: str
    estimate: float | None
    lower: float | None
    upper: float | None
    error: float | None
    p: float | None
    method: str | None
    reason: str | None


def choose(results: Mapping[Arm, ArmResult], target: str, controls: Controls, reference: Reference) -> Choice:
    """Choose the arms with the highest mean AUROC over seeds on validation rows; the first of equals.

    The recommended arm is the best of all arms that may be recommended (``Controls``). The best transferred arm comes
    from the same candidates. The best local arm may be on one-hot codes in any study, as a hospital can use it. The
    reference is the best of the arms that it describes, in any embedding where the study lacks the one it names.
    """
    candidates = [arm for arm in results if controls.may_be_recommended(arm.embedding)]
    of_reference = [
        arm
        for arm in results
        if arm.strategy == reference.strategy
        and reference.embedding in (None, arm.embedding)
        and reference.learner in (None, arm.learner)
    ]
    local = [arm for arm in results if arm.source == target]
    usable = [arm for arm in local if arm in candidates or arm.embedding not in controls.drawn]
    best_of_all, best_local = _best(results, local), _best(results, usable)
    return Choice(
        recommended=_best(results, candidates),
        reference=_best(results, of_reference),
        best_local=best_local,
        local_control=None if best_of_all == best_local else best_of_all,
        best_transferred=_best(results, [arm for arm in candidates if arm.source != target]),
    )


def pairs(results: Mapping[Arm, ArmResult], target: str, controls: Controls, choice: Choice) -> Iterator[Pair]:
    """Yield the comparisons in the order of the table. The first four questions lead to claims:

    - *any_above_chance*: all arms that may be recommended, against an AUROC of 0.5;
    - *recommendation*: the recommended arm against the reference;
    - *vs_best_local*: the recommended arm against the best local arm;
    - *vs_local_control*: the recommended arm against the best local arm on a control, where that is better still on
      validation rows: what it reaches can be had at home, without any meaning.

    All others are exploratory:

    - *chance*: the recommended arm against an AUROC of 0.5 (AUROC alone);
    - *vs_best_transferred*: the recommended arm, where it is local, against the best transferred arm;
    - *vs_external*: the recommended arm against each model whose predictions come from a file;
    - *control*: the recommended arm against each control in its embedding's place;
    - *vs_control*: each embedding against each of its controls, all else equal;
    - *transfer_gain*: each transferred arm against the local arm of its embedding and learner (``local_of``).
    """
    recommended = choice.recommended
    if recommended is not None:
        yield Pair(ANY_ABOVE_CHANCE, None, None, None)
        why = "no arm of the reference is estimable on validation rows" if choice.reference is None else None
        why = "the recommended arm is the reference" if recommended == choice.reference else why
        yield Pair(RECOMMENDATION, recommended, choice.reference, why)
        for question, other in (
            (VS_BEST_LOCAL, choice.best_local),
            (VS_LOCAL_CONTROL, choice.local_control),
            (VS_BEST_TRANSFERRED, choice.best_transferred if recommended.source == target else None),
        ):
            if other is not None and other != recommended:
                yield Pair(question, recommended, other, None)
        yield Pair(CHANCE, recommended, None, None)
        for arm in results:
            if arm.strategy == EXTERNAL:
                yield Pair(VS_EXTERNAL, recommended, arm, None)
        of_it = [name for name in controls.of(recommended.embedding) if recommended._replace(embedding=name) in results]
        for control in of_it:
            yield Pair(CONTROL, recommended, recommended._replace(embedding=control), None)
        if recommended.embedding not in controls.beside and not set(of_it) & set(controls.drawn):
            name = "translated-shuffled" if recommended.embedding in controls.trained_as else "shuffled or random"
            why = f"the study has no control of {recommended.embedding}: add {name} to its embeddings"
            yield Pair(CONTROL, recommended, None, why)
    for arm in results:
        if arm.embedding not in controls.beside:
            for control in controls.of(arm.embedding):
                if (in_its_place := arm._replace(embedding=control)) in results:
                    yield Pair(VS_CONTROL, arm, in_its_place, None)
    for arm in results:
        local = controls.local_of(arm, target)
        if arm.source != target and local in results:
            yield Pair(TRANSFER_GAIN, arm, local, None)


def compare(
    results: Mapping[Arm, ArmResult], asked: Sequence[Pair], controls: Controls, clusters: Clusters
) -> Iterator[tuple[Pair, list[Difference]]]:
    """Make the comparisons ``asked`` for, in AUROC, AUPRC and Brier score.

    The variance of a difference has two parts. The first is that between persons of the difference of the means over
    seeds, on the same rows: DeLong's, clustered, for AUROC; the sandwich for the others. The second is that of each
    arm's mean between seeds, over its number of seeds. Limits and the two-sided p, not corrected for the number of
    comparisons, come from this variance, on the scale of Fisher's z (of logits against chance), by t with Welch and
    Satterthwaite's degrees of freedom.
    """
    for pair in asked:
        metrics = _COMPARED if pair.reference is not None or pair.reason else _COMPARED[:1]
        metrics = _COMPARED[:1] if pair.arm is None or pair.question == CHANCE else metrics
        reason = _why_not(pair, results)
        if reason:
            yield pair, [Difference(METRICS[at], None, None, None, None, None, None, reason) for at in metrics]
        elif pair.arm is None:
            of_arms = [result for arm, result in results.items() if controls.may_be_recommended(arm.embedding)]
            p, why = any_above_chance(of_arms, clusters), next((one.reason["test"] for one in of_arms), None)
            method, reason = (f"{DELONG}, {LOGIT.name}", None) if p is not None else (None, why)
            yield pair, [Difference("auroc", None, None, None, None, p, method, reason)]
        elif pair.reference is None:
            one = against_chance(results[pair.arm], clusters)
            yield pair, [_difference(AUROC, np.array(one), f"{DELONG}, {LOGIT.name}")]
        else:
            yield pair, list(_differences(results[pair.arm], results[pair.reference], clusters))


def _why_not(pair: Pair, results: Mapping[Arm, ArmResult]) -> str | None:
    of_arms = (results[arm].reason["test"] for arm in (pair.arm, pair.reference) if arm is not None)
    return pair.reason or next((reason for reason in of_arms if reason), None)


def _differences(first: ArmResult, second: ArmResult, clusters: Clusters) -> Iterator[Difference]:
    estimate = first.mean("test")[_COMPARED] - second.mean("test")[_COMPARED]
    assert first.components is not None
    assert second.components is not None
    auroc = variance(
        first.components.events - second.components.events,
        first.components.non_events - second.components.non_events,
        clusters,
    )
    person = np.r_[auroc, sandwich(first.influence.astype(np.float64) - second.influence, clusters)]
    seeds, seed_freedom = _seed_variance(first, second)
    total = person + seeds
    freedom = degrees(np.stack([person, seeds]), np.stack([np.full(len(person), clusters.freedom), seed_freedom]))
    lower, upper = limits_on(FISHER_Z, estimate, total, freedom)
    numbers = np.column_stack([estimate, lower, upper, np.sqrt(total), p_on(FISHER_Z, estimate, 0.0, total, freedom)])
    for column, of_metric in zip(_COMPARED, numbers, strict=True):
        yield _difference(column, of_metric, f"{DELONG if column == AUROC else SANDWICH}, {FISHER_Z.name}")


def _difference(column: int, numbers: NDArray[np.float64], method: str) -> Difference:
    estimate, lower, upper, error, p = (None if np.isnan(number) else float(number) for number in numbers)
    reason = None if lower is not None else NO_LIMITS if error is None else AT_THE_END
    return Difference(METRICS[column], estimate, lower, upper, error, p, method, reason)


def _seed_variance(first: ArmResult, second: ArmResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of a difference between seeds, and its degrees of freedom: (metrics,) each.

    It is the sum of both arms' own. Two arms need not have the same seeds, and seeds of the same number mean nothing to
    two of them; where they share a model (one that is tuned, say), the sum is too large rather than too small. It also
    has more degrees of freedom than the variance of three differences, whose t test is too sure of itself beside the
    variance between persons.
    """
    arms = [first, second]
    parts = np.stack([arm.seed_variance()[_COMPARED] for arm in arms])
    freedom = np.array([[max(len(arm.seeds) - 1.0, 1.0)] for arm in arms])
    return parts.sum(axis=0), degrees(parts, freedom)


def _best(results: Mapping[Arm, ArmResult], among: Sequence[Arm]) -> Arm | None:
    estimable = [arm for arm in among if results[arm].reason["validation"] is None]
    return max(estimable, key=lambda arm: float(results[arm].mean("validation")[AUROC]), default=None)
