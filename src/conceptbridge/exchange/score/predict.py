"""Score listed patients with another site's model, and say how much of each patient that model never saw."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.core.read_parquet import read_table
from conceptbridge.exchange.score.explain import SCHEMA, explain, write_explained
from conceptbridge.learn.arm_files import load_model, read_entry
from conceptbridge.learn.site import Site
from conceptbridge.learn.token_words import names_of
from conceptbridge.learn.translated import readings, translate_draws
from conceptbridge.learn.windows import in_windows
from conceptbridge.tasks.tokens import read_tokens, seen_by, share_of_rows, unseen
from conceptbridge.translate.run_translation import read_translations

logger = logging.getLogger(__name__)


def score(
    site: Site,
    learner: str,
    arm: Path,
    source: str,
    fingerprint: str,
    rows: tuple[Path, Path, Path],
    known: Path,
    min_cell_count: int,
    out: Path,
    translation: Path | None = None,
    explained: Path | None = None,
) -> None:
    """Write one line per listed patient (the test rows of ``site``) to the CSV ``out``.

    ``probability`` is the mean over seeds of the model in the local ``arm`` of ``source``, ``seed_sd`` the standard
    deviation over seeds; both are empty if the source has no model. ``tokens`` are the patient's, and ``unseen_key``
    and ``unseen_text`` the share of them whose key, and whose key and text, are not among those that at least
    ``min_cell_count`` training rows of the source have (``known``). ``rows``: the site's cohort, tokens and sequences.
    ``translation``: the site's tokens in the words of the source, for a one-hot model. To ``explained`` goes what
    speaks for and against the outcome in those with the highest probabilities (``explain.explain``); None: nothing.

    Raises StudyError if the model was made with another embedding than ``fingerprint``.
    """
    cohort, tokens, sequences = rows
    listed = read_table(cohort, columns=["row_id", "person_id", "index_date", "split"])
    listed = listed.filter(pc.equal(listed["split"], "test"))
    events = read_tokens(sequences, tokens, listed["row_id"].to_numpy())
    by_key, by_text = (share_of_rows(events, new) for new in unseen(events, seen_by([known], min_cell_count)))
    reason = read_entry(arm, source)["reason"]
    probability = np.full((1, len(listed)), np.nan)
    reasons = SCHEMA.empty_table()
    if reason is None:
        trained = load_model(arm / "models" / source, learner, fingerprint)
        if translation is not None:
            tables = read_translations(translation)
            trained = translate_draws(trained, tables)
        site = replace(site, rows=in_windows(site.rows, trained.space.windows))
        site = replace(site, rows=site.rows.take(site.rows.of("test")))
        probability = trained.predict(site.draws(trained.space, np.arange(len(listed))))
        if explained is not None:
            read_as = {} if translation is None else readings(tables[0], trained.space.windows)
            named = read_table(known, columns=["key", "text"]).to_pydict()
            names = names_of(named["key"], named["text"])
            reasons = explain(trained, site, listed, probability.mean(axis=0), read_as, names)
    else:
        logger.warning("no model from %s: %s", source, reason)
    spread = probability.std(axis=0, ddof=1) if len(probability) > 1 else np.full(len(listed), np.nan)
    table = pa.table(
        {
            "person_id": listed["person_id"],
            "index_date": listed["index_date"],
            "probability": pa.array(probability.mean(axis=0), from_pandas=True),
            "seed_sd": pa.array(spread, from_pandas=True),
            "tokens": np.bincount(events.row, minlength=events.rows),
            "unseen_key": pa.array(by_key, from_pandas=True),
            "unseen_text": pa.array(by_text, from_pandas=True),
        }
    )
    with atomic_file(out) as temporary:
        pacsv.write_csv(table, temporary)
    if explained is not None:
        write_explained(reasons, explained)
