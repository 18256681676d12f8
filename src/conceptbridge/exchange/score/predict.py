"""Score listed patients with another site's model, and say how much of each patient that model never saw."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.learn.arm_files import load_model, read_entry
from conceptbridge.learn.site import Site
from conceptbridge.learn.translated import translate_draws
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
) -> None:
    """Write one line per listed patient (the test rows of ``site``) to the CSV ``out``.

    ``probability`` is the mean over seeds of the model in the local ``arm`` of ``source``, ``seed_sd`` the standard
    deviation over seeds; both are empty if the source has no model. ``tokens`` are the patient's, and ``unseen_key``
    and ``unseen_text`` the share of them whose key, and whose key and text, are not among those that at least
    ``min_cell_count`` training rows of the source have (``known``). ``rows``: the site's cohort, tokens and sequences.
    ``translation``: the site's tokens in the words of the source, for a one-hot model.

    Raises StudyError if the model was made with another embedding than ``fingerprint``.
    """
    cohort, tokens, sequences = rows
    listed = pq.read_table(cohort, columns=["row_id", "person_id", "index_date", "split"])
    listed = listed.filter(pc.equal(listed["split"], "test"))
    events = read_tokens(sequences, tokens, listed["row_id"].to_numpy())
    by_key, by_text = (share_of_rows(events, new) for new in unseen(events, seen_by([known], min_cell_count)))
    reason = read_entry(arm, source)["reason"]
    probability = np.full((1, len(listed)), np.nan)
    if reason is None:
        trained = load_model(arm / "models" / source, learner, fingerprint)
        if translation is not None:
            trained = translate_draws(trained, read_translations(translation))
        site = replace(site, rows=in_windows(site.rows, trained.space.windows))
        probability = trained.predict(site.draws(trained.space, site.rows.of("test")))
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
