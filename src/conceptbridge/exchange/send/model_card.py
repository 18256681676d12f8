"""Write the model card of a bundle: what the model is, its data, how it performs at its source, its limitations."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

#: metrics that a card lists, as readers know them
SHOWN = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "calibration_in_the_large": "Calibration in the large",
    "calibration_slope": "Calibration slope",
}
#: what the Hugging Face Hub calls those that it has a name for
_HUB_NAMES = {"auroc": "roc_auc", "auprc": "average_precision", "brier": "brier_score"}


def card(
    about: Mapping[str, Any], metrics: Mapping[str, Any], tokens: int, looks_at: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the card as Markdown, from a bundle's ``about`` and ``metrics``; it names ``tokens`` concepts.

    ``looks_at`` are the findings that change predictions most: text, share, effect. The card begins with the YAML that
    the Hugging Face Hub reads, so that it can be the README of a repository there.
    """
    embedding, definition = about["embedding"], about["definition"]
    outcome, predictors = definition["outcome"], definition["predictors"]
    first, last = outcome["days"]
    trained, windows = metrics["trained"], predictors.get("windows", "none")
    lines = [
        *_header(about, metrics["metrics"]),
        f"# {about['task']}: {about['learner']} on {embedding['name']}, trained at {about['source']}",
        "",
        "## Intended use",
        f"The probability that a person has the outcome {first} to {last} days after the index event, from what was "
        f"recorded on the days {predictors['days'][0]} to {predictors['days'][1]} around it "
        f"({', '.join(predictors['domains'])}).",
        *([] if windows == "none" else [f"Seen in windows of days: {', '.join(f'{a} to {b}' for a, b in windows)}."]),
        f"Index: {_event(definition['index'])}. Outcome: {_event(outcome)}.",
        "For research. Validate it, and in most cases recalibrate it, at the hospital that uses it.",
        "",
        "## Data",
        *_cohort(metrics["cohort"]),
        f"Training rows: {_count(trained['train_rows'])}, with the event: {_count(trained['train_events'])} "
        f"(counts under {about['min_cell_count']} are withheld).",
        f"Concepts of at least {about['min_cell_count']} training persons, which the bundle names: {tokens}.",
        "",
        "## Model",
        f"{about['learner']}, {about['seeds']} seeds, all included. {embedding['name']} turns text into vectors:",
        "",
        *(f"- {key}: {value}" for key, value in embedding["entry"].items()),
        f"- fingerprint: {embedding['fingerprint']}",
        "",
        "## Performance at its source",
        *([f"There is no model: {about['reason']}.", ""] if about["reason"] else []),
        *_metrics(metrics["metrics"]),
        "",
        *_looks_at(looks_at),
        "## Limitations",
        f"- It was trained at one hospital, {about['source']}, and reflects how that hospital records.",
        "- A concept that it has never seen is placed by its name alone; a one-hot model ignores it, and one with "
        "ancestors knows it by these.",
        "- Estimates are from the source's own test rows and differ elsewhere. Read the coverage report before use.",
        f"- Made with conceptbridge {about['version']}.",
        "",
    ]
    return "\n".join(lines)


def _header(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The front matter of a model card as huggingface_hub reads it; a model without an estimate has no results."""
    results = [
        {"type": _HUB_NAMES[row["metric"]], "name": SHOWN[row["metric"]], "value": round(row["estimate"], 3)}
        for row in rows
        if row["split"] == "test" and row["metric"] in _HUB_NAMES and row["estimate"] is not None
    ]
    kind = "tabular-classification"
    header: dict[str, Any] = {
        "library_name": "conceptbridge",
        "pipeline_tag": kind,
        "tags": ["omop", "clinical-prediction", about["learner"], about["embedding"]["name"]],
    }
    if results:
        data = {"type": "omop", "name": f"{about['task']} at {about['source']}", "split": "test"}
        of_task = {"task": {"type": kind, "name": about["task"]}, "dataset": data, "metrics": results}
        header["model-index"] = [{"name": f"{about['task']}-{about['source']}", "results": [of_task]}]
    return ["---", *yaml.safe_dump(header, sort_keys=False).splitlines(), "---", ""]


def _looks_at(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What predictions rest on most, as a table with its heading."""
    if not rows:
        return []
    return [
        "## What it looks at",
        "The findings and values that change its predictions most where they are left out, on validation and test rows "
        "of its source. Share: of all that such changes add up to. Effect: what a finding adds to the log odds; of a "
        "value, what one spread more does. None of them is shown to be a cause.",
        "",
        "| finding or value | share | effect |",
        "| --- | ---: | ---: |",
        *(
            f"| {str(row['text']).replace('|', '/')} | {100 * row['share']:.2g} % | {row['effect']:+.2g} |"
            for row in rows
        ),
        "",
    ]


def _event(event: Mapping[str, Any]) -> str:
    concepts = event["concepts"]
    if isinstance(concepts, Mapping):
        return f"{event['domain']}, a concept set (SHA-256 {concepts['sha256'][:12]})"
    named = [*map(str, concepts), *event.get("codes", [])]
    return f"{event['domain']}" + (f" {', '.join(named)}" if named else "")


def _cohort(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["The source did not test the model on its own rows."]
    head = [
        "| split | persons | rows | events | first year | last year |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = ("persons", "rows", "events", "first_year", "last_year")
    return [*head, *(f"| {row['split']} | {' | '.join(_count(row[name]) for name in names)} |" for row in rows), ""]


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = [row for row in rows if row["split"] == "test" and row["metric"] in SHOWN and row["estimate"] is not None]
    if not shown:
        return ["No estimate."]
    lines = ["| on test rows | estimate | 95 % limits |", "| --- | ---: | --- |"]
    for row in shown:
        known = row["lower"] is not None and row["upper"] is not None
        limits = f"{row['lower']:.3f} to {row['upper']:.3f}" if known else ""
        lines.append(f"| {SHOWN[row['metric']]} | {row['estimate']:.3f} | {limits} |")
    return lines


def _count(value: int | None) -> str:
    return "" if value is None else str(value)
