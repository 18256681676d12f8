"""The joint tables of a study: what a reader has to know of each, and where it is shown.

Plain names alone, so that the rules can read them while they plan.
"""

from typing import NamedTuple

from conceptbridge.evaluate.schemas import (
    ARM,
    COLUMNS,
    IMPORTANCE,
    METHOD_LIMITS,
    TRANSLATION_SHARES,
    TRANSLATIONS,
    Columns,
    columns,
)

GATE, PRIMARY_TEST, EXPLORATORY = "gate", "primary", "exploratory"
"""Kinds of comparisons: whether anything is better than chance; the family that claims rest on; all others."""


class StudyTable(NamedTuple):
    """A joint table: a ``note`` on what its columns say, and the ``section`` of the page that shows it.

    ``columns`` are given where evaluation does not write the table itself and they do not depend on the study. A
    ``long`` table, which nobody reads line by line, is written as Parquet and CSV alone.
    """

    name: str
    note: str
    section: str | None = None
    columns: Columns | None = None
    long: bool = False


CHARACTERISTICS = (
    *columns("string", "task", "site", "characteristic", "level"),
    *columns("int64", "rows", "with_event", "without_event"),
    *columns("double", "share", "share_with_event", "share_without_event", "event_difference", "site_difference"),
)

STUDY_TABLES = (
    StudyTable(
        "arms",
        "One row per arm. Estimates on test rows: the mean over seeds, with 95 % limits that cover the draw of "
        "test persons (whole persons at a time) and of seeds, for the models as they were trained. auroc, auprc, "
        "scaled_brier: more is better; brier, ici, ece: less is better. The best calibration in the large is 0, the "
        "best slope 1. status is `estimated` or `not "
        "estimable`; reason says why there is no estimate, or no limits.",
        "arms",
    ),
    StudyTable(
        "auroc_matrix",
        "AUROC on test rows: the mean over seeds, with 95 % limits. One column per direction: source > target, or the "
        "target alone where the model was trained there.",
    ),
    StudyTable(
        "summary",
        "Random-effects summary over target sites (REML, limits of Hartung and Knapp), of the mean over sources at "
        "each target, with a 95 % prediction interval for a new site (new_lower, new_upper). auroc: on the logit "
        "scale, back-transformed. difference: from the reference arm of each target. between: standard deviation "
        "between sites, on the scale of the summary. p is not corrected: the summary is exploratory. With fewer than "
        "three estimable targets there is no summary.",
        "summary",
        (
            *columns("string", "task", *ARM[:3], "quantity"),
            *columns("int32", "targets"),
            *columns("double", "estimate", "lower", "upper", "between", "new_lower", "new_upper", "p"),
        ),
    ),
    StudyTable(
        "comparisons",
        "Differences on the same test rows, first arm minus ref_ arm, with 95 % limits (not corrected for their "
        "number). A positive difference is better for auroc and auprc, a negative one for brier. p is two-sided and "
        "belongs to the limits: it is below 0.05 where they leave out 0. kind says what may be claimed. `gate`: is "
        "any arm at that target better than chance? `primary`: the recommended arm against the reference and the "
        "best local arm, in AUROC; p_holm is Holm's correction over all of them, all tasks and targets together "
        "(family says how many), and never below the p_holm of the gate. `exploratory`: all others; nothing is "
        "claimed of them.",
        "comparisons",
    ),
    StudyTable(
        "method_limits",
        "The headline arms (quantity auroc) and the differences between them, on test rows. lower, upper: 95 % limits "
        "for these trained models, which cover the draw of test persons and of seeds. method_lower, method_upper: for "
        "the method, with the draw of training persons too; training_sd is the standard deviation that it gives, from "
        "models of half the training persons each (resamples). AUROC: on the logit scale. Empty unless "
        "evaluation.training is resampled.",
        "method-limits",
        METHOD_LIMITS,
    ),
    StudyTable("metrics", "Every metric of every arm.", "decisions", long=True),
    StudyTable(
        "effects",
        "AUROC of each kind of arm at each target, and its difference from the reference, with their variances: the "
        "mean over sources. What the summary is made of.",
        long=True,
    ),
    StudyTable("seeds", "Every metric of every arm and seed.", long=True),
    StudyTable(
        "subgroups",
        "Metrics of every arm in subgroups of the test rows. observed_minus_expected: share of rows with the event "
        "minus the mean prediction. unseen: rows by the share of their events whose token the source has never seen.",
        "subgroups",
    ),
    StudyTable(
        "unseen",
        "Share of the events in the target's test rows whose token fewer than min_cell_count training rows of the "
        "source hold. events_by_text: whose text is not known there either.",
        "overlap",
    ),
    StudyTable(
        "curves",
        "AUROC by labelled events of the target given (size): the mean over replicates and seeds, with limits over "
        "test persons and replicates; replicates are draws of the training persons. Or AUROC by share of the tuning "
        "budget (depth): the mean over seeds; replicates are seeds. auroc_sd is the standard deviation over "
        "replicates.",
        "curves",
    ),
    StudyTable(
        "breakeven",
        "Labelled local events from which a local model is as good as the transferred one, with 95 % limits; empty "
        "where the number lies outside the sizes tried (smallest to largest): status says on which side. Events are "
        "those of all labelled rows that the model needs, rows to choose by included.",
        "curves",
    ),
    StudyTable(
        "binned_curves",
        "Calibration, ROC, precision-recall and net benefit of the arms that the answers name, bin by bin.",
        long=True,
    ),
    StudyTable(
        "training_budget",
        "What each arm was given and what it used. steps: gradient steps, trees or the solver's iterations, over all "
        "trials and seeds. kept: the step, the trees or the penalty of the path that each seed's model has. extended: "
        "settings whose searched range, or cap, was extended once because its edge was chosen. at_edge: those whose "
        "new edge, or doubled cap, was chosen again.",
        "training-budget",
    ),
    StudyTable(
        "sites",
        "Cohorts by split. first_year, last_year: of index dates, among years with enough rows. tokens_per_row: mean "
        "number of tokens recorded in the predictors' window. without_events: share of rows without any. "
        "persons_with_event: blank too where it is close to the number of events.",
        "sites",
    ),
    StudyTable(
        "characteristics",
        "Test rows by sex, age, race and the study's own subgroups, with and without the event. event_difference: "
        "standardised difference between rows with and without the event; site_difference: between this site's rows "
        "and those of all others (Yang and Dalton 2012, over all levels of a characteristic). Blank: a count is small, "
        "or would give a small one away.",
        "sites",
        CHARACTERISTICS,
    ),
    StudyTable(
        "table_one",
        "Table 1: test rows by hospital and outcome, as counts and shares, with the standardised difference between "
        "those with and without the event.",
        "sites",
    ),
    StudyTable(
        "overlap",
        "Share of the target's tokens that the source has too, among tokens of at least min_cell_count training rows "
        "at each of them.",
        "overlap",
        (
            *columns("string", "task", "source", "target"),
            *columns("int64", "tokens"),
            *columns("double", "shared_keys", "shared_keys_by_rows", "shared_texts", "shared_texts_by_rows"),
        ),
    ),
    StudyTable(
        "translations",
        "What the target's tokens are read as in the words of each source, the most common first. kind: `read`, a "
        "token that is read as others; `disagrees`, one that behaves unlike what has its code or name there. "
        "persons: of the target, with the token. weight: of the heaviest reading. agreement: the share of the "
        "source's other tokens of that state that behave less like it.",
        "translations",
        TRANSLATIONS,
    ),
    StudyTable(
        "translation_shares",
        "How much of what the target records is read by the same code, translated, corrected by a clinician, or left "
        "out; of tokens of enough persons, each weighted by its persons.",
        "translations",
        TRANSLATION_SHARES,
    ),
    StudyTable(
        "importance",
        "The tokens that change the predictions of a model most where they are left out, on the validation and test "
        "rows of target. role: of the target, the `recommended` model, the `reference`, the `best_local` and the "
        "`best_transferred`; "
        "`at_source`, the target's own model that another target's recommended one is from. share: of all that tokens "
        "change in the log odds, up or down. effect: what the token adds to the log odds where it is there; of a "
        "value, what one spread more does. stands_for: what a translated token is read as. Two digits. Tokens of too "
        "few persons are left out, as are sites whose rows are not here.",
        "importance",
        IMPORTANCE,
    ),
    StudyTable(
        "attrition",
        "What is left after each step of inclusion. A count is blank where it is small, or close to the next one.",
        "attrition",
        (*columns("string", "task", "site", "step"), *columns("int64", "persons", "rows", "events")),
    ),
    StudyTable(
        "splits",
        "How often the outcome comes before the split and in each split. returning: share of the rows whose person "
        "also has training rows. p: of the same prevalence as before the split, persons counted once as far as their "
        "rows agree, Holm's over the splits. parts: p is below 0.01, and the prevalence is a tenth higher or lower.",
        "attrition",
    ),
    StudyTable(
        "leaks",
        "The predictors closest to the outcome. auroc: of the token's presence alone, on training rows. lift: the "
        "share of its rows with the outcome, divided by that of all rows. similarity: cosine between its text and the "
        "nearest of the outcome's names. suspicious: this token alone predicts as well as a whole model should, or it "
        "nearly always comes with the outcome.",
        "leaks",
    ),
)
"""In the order in which they are made."""

MORE = ("method_limits", "translations", "translation_shares")
"""Tables of each target that not every study has."""

AS_EVALUATED = tuple(table.name for table in STUDY_TABLES if table.name in COLUMNS and table.name != "comparisons")
"""Tables that join what evaluation wrote of each target, unchanged."""

OHDSI = {
    "performances": ("performance_id", "model_design_id", "development_database_id", "validation_database_id"),
    "model_designs": ("model_design_id", "task", "embedding", "learner", "strategy"),
    "database_details": ("database_id", "database_meta_data_id"),
    "evaluation_statistics": ("performance_id", "evaluation", "metric", "value"),
    "threshold_summary": (
        *("performance_id", "evaluation", "prediction_threshold", "sensitivity", "false_negative_rate"),
        *("false_positive_rate", "specificity", "positive_predictive_value", "false_discovery_rate"),
    ),
}
"""The tables of ``ohdsi``, which repeat ``metrics`` as PatientLevelPrediction keeps it, and their columns. Those of
``model_designs`` are ours: its own are ids of settings that only it has."""
