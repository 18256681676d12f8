"""Count what a site has for a task, before anything is embedded or trained; no small count is shown."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conceptbridge.core.atomic_files import write_json
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.cohort_counts import count_parts, shown_parts
from conceptbridge.disclosure.suppress import hide_parts, hide_small
from conceptbridge.tasks.splits import SPLITS

#: expected shrinkage, and the assumed share of the greatest possible R² (Riley et al., BMJ 2020;368:m441)
SHRINKAGE, R2_SHARE = 0.9, 0.15


def make_survey(
    cohort: Path, tokens: Path, sequences: Path, settings: Mapping[str, Any], min_cell_count: int, out: Path
) -> None:
    """Write what the task has at the site to ``out``: splits, years, sequences, and whether the sample is large enough.

    ``settings`` has the task's ``min_events`` and ``min_rows``. Counts under ``min_cell_count`` are null, and so are as
    many others as it takes to hide them.
    """
    people = read_table(cohort, columns=["person_id", "index_date", "label", "split"]).to_pandas()
    lengths = read_table(sequences, columns=["tokens"])["tokens"].combine_chunks().value_lengths()
    held = read_table(tokens, columns=["rows"])["rows"].to_numpy()

    split = np.select([people["split"] == name for name in SPLITS], range(len(SPLITS)), len(SPLITS))
    counts = count_parts(people["person_id"].to_numpy(), people["label"].to_numpy(), split, len(SPLITS))
    shown = shown_parts(counts, min_cell_count, total_known=False)  # as in the table of splits
    columns = dict(zip(("persons", "rows", "events"), zip(counts[:3], shown[:3], strict=True), strict=True))
    splits = {
        name: {key: int(count[n]) if seen[n] else None for key, (count, seen) in columns.items()}
        for n, name in enumerate(SPLITS)
    }
    training = people.loc[people["split"] == "train", "label"]
    rows, events = len(training), int(training.sum())
    parameters = int((held >= settings["min_rows"]).sum())
    years = people["index_date"].map(lambda day: day.year).value_counts().sort_index()
    # their sum is the total that a hidden split could be worked out from
    of_years = hide_parts(years.tolist(), min_cell_count) if shown.rows.all() else [None] * len(years)
    steps = np.asarray(lengths.to_numpy(zero_copy_only=False), float)
    write_json(
        {
            "splits": splits,
            "years": dict(zip(map(str, years.index), of_years, strict=True)),
            "tokens": len(held),
            "sequence": {
                "median": float(np.median(steps)) if len(steps) else None,
                "ninth decile": float(np.quantile(steps, 0.9)) if len(steps) else None,
                "rows without any": hide_small(int((steps == 0).sum()), min_cell_count),
            },
            "sample": _sample(rows, events, parameters, settings["min_events"], splits["train"]["events"] is not None),
        },
        out,
    )


def parameters_carried(rows: int, events: int) -> int:
    """Return how many parameters a logistic model can have on these rows and events before shrinkage falls below 0.9.

    Criterion (i) of Riley et al. (BMJ 2020;368:m441), solved for the number of parameters, with R² of Cox and Snell at
    15 % of the greatest one that this share of events allows. 0 if there is one class only.
    """
    if not 0 < events < rows:
        return 0
    share = events / rows
    null = events * math.log(share) + (rows - events) * math.log(1 - share)
    r2 = R2_SHARE * (1 - math.exp(2 * null / rows))
    return math.floor(rows * (SHRINKAGE - 1) * math.log(1 - r2 / SHRINKAGE))


def _sample(rows: int, events: int, parameters: int, min_events: int, shown: bool) -> dict[str, Any]:
    fewest = min(events, rows - events)
    carried = parameters_carried(rows, events)
    if fewest < min_events:
        verdict = f"not estimable: fewer than {min_events} training rows with or without the outcome"
        return {"verdict": verdict, "parameters": parameters, "events per parameter": None, "parameters carried": None}
    if parameters <= carried:
        verdict = "enough for a regression on all tokens"
    else:
        verdict = "enough to train, too few for a regression on all tokens without a penalty"
    return {
        "verdict": verdict,
        "parameters": parameters,
        "events per parameter": round(events / parameters, 2) if parameters and shown else None,
        "parameters carried": carried if shown else None,
    }
