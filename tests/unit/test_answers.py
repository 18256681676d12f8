"""The verdict follows Holm's p of the primary family, and nothing is claimed that was not tested there."""

import re

import pytest

from conceptbridge.report.answers import answers
from conceptbridge.report.case import Interval

NAMES = ("embedding", "learner", "strategy", "source")
ARM = {"task": "t", "learner": "cnn", "target": "here", "reason": None}
TRANSFERRED = {**ARM, "embedding": "minilm", "strategy": "tune-head", "source": "there"}
LOCAL = {**ARM, "embedding": "onehot", "strategy": "local", "source": "here"}
OWN = {**LOCAL, "embedding": "minilm"}
ON_RANDOM = {**LOCAL, "embedding": "random-minilm"}

BETTER = Interval(0.05, 0.01, 0.09, 0.01, 3)
LEVEL = Interval(0.003, -0.02, 0.026, 0.8, 3)
WORSE = Interval(-0.05, -0.09, -0.01, 0.01, 3)
NOT_TESTED = Interval(0.01, -0.01, 0.03, None, 3)


def compared(question: str, arm: dict | None, reference: dict | None, difference: Interval, reason=None) -> dict:
    return {
        "task": "t",
        "target": "here",
        "question": question,
        "reason": reason,
        **{name: None if arm is None else arm[name] for name in NAMES},
        **{f"ref_{name}": None if reference is None else reference[name] for name in NAMES},
        "difference": difference.estimate,
        "lower": difference.lower,
        "upper": difference.upper,
        "p_holm": difference.p,
    }


def answer_to(
    reference: Interval | None = None,
    best_local: tuple[dict, Interval] | None = None,
    local_control: Interval | None = None,
    *,
    recommended=TRANSFERRED,
    others=(),
    chance=0.001,
    sites=(),
    breakeven=(),
):
    """The answer where the recommended arm is compared with the reference, one-hot at home, and with these."""
    rows = [compared("any_above_chance", None, None, Interval(None, None, None, chance))]
    none = Interval(None, None, None)
    why = None if reference else "the recommended arm is the reference"
    rows += [compared("recommendation", recommended, LOCAL if reference else recommended, reference or none, why)]
    if best_local is not None:
        rows.append(compared("vs_best_local", recommended, *best_local))
    if local_control is not None:
        rows.append(compared("vs_local_control", recommended, ON_RANDOM, local_control))
    rows += [compared("chance", recommended, None, Interval(0.3, 0.2, 0.4)), *others]
    numbers = {"auroc": 0.8, "auroc_lower": 0.7, "auroc_upper": 0.9}
    keys = {tuple(row[prefix + name] for name in NAMES) for row in rows for prefix in ("", "ref_")}
    arms = [
        {**ARM, **dict(zip(NAMES, key, strict=True)), **numbers} for key in sorted(keys, key=str) if None not in key
    ]
    [answer] = answers(arms, rows, list(sites), list(breakeven))
    return answer


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (BETTER, "Use there's model on minilm, head tuned here."),
        (
            LEVEL,
            "Keep your own model for now: no difference is seen between there's model on minilm, head tuned here, and "
            "your own model on codes.",
        ),
        (WORSE, "Keep your own model on codes: the model chosen on the validation rows did worse on the test rows."),
    ],
)
def test_where_the_reference_is_the_best_local_model_it_decides(difference, verdict):
    answer = answer_to(difference, (LOCAL, difference))
    assert answer.verdict.startswith(verdict)
    assert str(difference) in answer.sentence
    assert answer.sentence.count("reaches") == 2  # the same arm is not told twice
    assert [line.role for line in answer.evidence] == ["recommended", "reference"]


def test_beating_the_reference_alone_is_no_reason_to_transfer():
    """The case that once said "Borrow": better than one-hot at home, level with another local model."""
    answer = answer_to(BETTER, (OWN, LEVEL))
    assert answer.verdict == (
        "Keep your own model for now: there's model on minilm, head tuned here, beats your own model on codes, but is "
        "not shown to beat your own model on minilm."
    )
    assert "may come from another embedding or learner at home" in answer.sentence
    assert [line.role for line in answer.evidence] == ["recommended", "reference", "best local model"]


@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        (BETTER, "Use there's model on minilm, head tuned here."),
        (
            LEVEL,
            "Keep your own model for now: there's model on minilm, head tuned here, beats your own model on codes, but "
            "is not shown to beat your own model on random-minilm, a control without meaning.",
        ),
        (WORSE, "Keep your own model: the model chosen on the validation rows did worse on the test rows."),
    ],
)
def test_a_local_model_without_meaning_has_to_be_beaten_too_and_is_never_recommended(control, verdict):
    answer = answer_to(BETTER, (OWN, BETTER), control)
    assert answer.verdict == verdict
    roles = {line.role: line.arm for line in answer.evidence}
    assert roles["best local model"] == "local cnn on minilm"
    assert roles["local, on a control"] == "local cnn on random-minilm"
    assert "whose vectors have no meaning" in answer.sentence


def test_no_local_model_leaves_nothing_to_compare_with():
    assert answer_to(None).verdict == "No model of your own can be trained here, so there is nothing to compare with."


@pytest.mark.parametrize(
    ("difference", "recommended", "verdict", "gain"),
    [
        (BETTER, OWN, "Keep your own model, built on minilm.", "another embedding at home"),
        (
            BETTER,
            {**LOCAL, "learner": "logistic"},
            "Keep your own model, trained by logistic.",
            "another learner at home",
        ),
        (
            BETTER,
            {**OWN, "learner": "logistic"},
            "Keep your own model, trained by logistic on minilm.",
            "another learner and its embedding at home",
        ),
        (
            LEVEL,
            OWN,
            "Keep your own model: no difference is seen between your own model on minilm and your own model on codes.",
            None,
        ),
        (
            LEVEL,
            {**LOCAL, "learner": "logistic"},
            "Keep your own model: no difference is seen between your own model on codes (logistic) and your own model "
            "on codes (cnn).",
            None,
        ),
        (
            WORSE,
            OWN,
            "Keep your own model on codes: the model chosen on the validation rows did worse on the test rows.",
            None,
        ),
    ],
)
def test_a_gain_at_home_is_called_what_it_is(difference, recommended, verdict, gain):
    answer = answer_to(difference, recommended=recommended)
    assert answer.verdict == verdict
    assert (gain in answer.sentence) if gain else ("gain" not in answer.sentence)


def test_the_reference_is_compared_with_nothing():
    answer = answer_to(
        None, recommended=LOCAL, others=[compared("vs_best_transferred", LOCAL, TRANSFERRED, NOT_TESTED)]
    )
    assert answer.verdict == "Keep your own model: no model from elsewhere did better on the validation rows."
    assert [line.role for line in answer.evidence] == ["recommended", "best transferred model (exploratory)"]


def test_where_nothing_was_transferred_nothing_is_said_of_it():
    answer = answer_to(None, recommended=LOCAL)
    assert answer.verdict == "Keep your own model: there is no other to compare with."
    assert len(answer.evidence) == 1


def test_what_is_not_better_than_chance_is_not_recommended():
    answer = answer_to(Interval(0.3, 0.2, 0.4, 0.06, 3), (LOCAL, Interval(0.3, 0.2, 0.4, 0.06, 3)), chance=0.06)
    assert answer.verdict == "No model is shown to do better than chance."
    assert answer.above_chance is False
    assert [line.role for line in answer.evidence] == ["highest on the validation rows", "reference"]
    assert answer.gain is None


@pytest.mark.parametrize(
    ("persons", "verdict"),
    [
        (14, "Not enough patients to tell (14 with the event among the test rows)."),
        (None, "Not enough patients to tell."),
    ],
)
def test_too_few_patients_are_said_with_their_number_where_it_may_be_shown(persons, verdict):
    site = {"task": "t", "site": "here", "split": "test", "events": None, "persons_with_event": persons}
    assert answer_to(chance=None, sites=[site]).verdict == verdict


def test_the_gain_is_over_the_local_model_that_decides():
    assert answer_to(BETTER, (OWN, LEVEL)).gain.difference == LEVEL
    assert answer_to(BETTER, (OWN, BETTER), LEVEL).gain.arm["embedding"] == "random-minilm"
    assert answer_to(BETTER, (OWN, BETTER)).gain.arm["embedding"] == "minilm"
    assert answer_to(BETTER, recommended=OWN).gain.arm["embedding"] == "onehot"
    assert answer_to(None, recommended=LOCAL).gain is None


def test_controls_in_its_place_are_exploratory():
    control = compared("control", TRANSFERRED, {**TRANSFERRED, "embedding": "shuffled-minilm"}, NOT_TESTED)
    answer = answer_to(BETTER, (LOCAL, BETTER), others=[control])
    assert "Exploratory: in place of minilm, shuffled-minilm 0.80" in answer.sentence
    assert "leave open whether the meaning of the names matters" in answer.sentence
    assert answer.evidence[-1].role == "control (exploratory)"
    assert answer.evidence[-1].difference.sign == 0


def test_a_study_without_a_control_says_what_it_cannot_tell():
    why = "the study has no control of minilm: add shuffled or random to its embeddings"
    answer = answer_to(BETTER, (LOCAL, BETTER), others=[compared("control", TRANSFERRED, None, NOT_TESTED, why)])
    assert answer.sentence.endswith(f"Whether the meaning of the names matters here cannot be told: {why}.")


@pytest.mark.parametrize(
    ("events", "persons", "said"),
    [
        (1234, 1100, "chosen on 1,234 validation events of 1,100 persons."),
        (48, None, "chosen on 48 validation events."),
        (22, 22, "chosen on 22 validation events."),
        (None, None, "chosen on so few validation events"),
    ],
)
def test_the_choice_says_on_how_many_events_it_rests(events, persons, said):
    site = {"task": "t", "site": "here", "split": "validation", "events": events, "persons_with_event": persons}
    assert said in answer_to(BETTER, (LOCAL, BETTER), sites=[site]).sentence


@pytest.mark.parametrize(
    ("found", "said", "short"),
    [
        (("within the sizes", 900.4, 600, None), "at about 900 local events [600, over 2,000].", "about 900"),
        (("not reached within the largest size", *3 * [None]), "not catch up within 2,000 local", "more than 2,000"),
        (("at the smallest size already", *3 * [None]), "the smallest number of local events tried, 50.", "at most 50"),
    ],
)
def test_the_break_even_is_said(found, said, short):
    row = {"task": "t", "target": "here", **{name: TRANSFERRED[name] for name in NAMES}}
    row |= {"local_embedding": "onehot", "local_learner": "cnn", "smallest": 50, "largest": 2000}
    row |= dict(zip(("status", "events", "lower", "upper"), found, strict=True))
    answer = answer_to(BETTER, (LOCAL, BETTER), breakeven=[row])
    assert said in answer.sentence
    assert answer.level_from == short


@pytest.mark.parametrize(
    ("why", "verdict"),
    [
        ("fewer than 20 test persons with the event", "Not enough patients to tell."),
        ("trees cannot be averaged", "Nothing can be said: no model could be tested here."),
    ],
)
def test_a_target_without_any_estimate_says_why(why: str, verdict: str):
    arms = [{**arm, "auroc": None, "reason": why} for arm in (TRANSFERRED, LOCAL)]
    [answer] = answers(arms, [], [], [])
    assert (answer.verdict, answer.evidence) == (verdict, [])
    assert why in answer.sentence


def test_no_sentence_reads_an_absence_of_evidence_as_evidence_of_absence():
    """Whatever is not seen is "not shown" or "not seen"; it never "does not help", and models are never "equal"."""
    cases = [
        answer_to(one, (OWN, other), third)
        for one in (BETTER, LEVEL)
        for other in (BETTER, LEVEL)
        for third in (LEVEL,)
    ]
    told = " ".join(f"{case.verdict} {case.sentence}" for case in cases)
    assert not re.search(
        r"(did|does) not help|no better|just as|\bequal|same as|no difference(?! (is )?seen)", told, re.I
    )
