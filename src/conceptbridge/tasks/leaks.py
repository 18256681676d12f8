"""List predictors that stand suspiciously close to the outcome: by their AUROC, their lift, and their name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import betaincinv

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import is_enough, is_small, possible_counts
from conceptbridge.sites.records import site_database
from conceptbridge.tasks.events import make_concepts

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("text", pa.string()),
        ("domain", pa.string()),
        ("rows", pa.int64()),  # training rows that hold it
        # of its presence alone, on training rows; null if these have one class only, or if a small count could be
        # worked out from it
        ("auroc", pa.float64()),
        ("auroc_rank", pa.int32()),  # 1 is the farthest from 0.5
        ("lift", pa.float64()),  # share of its rows with the event, by that of all rows; null where the AUROC is
        ("similarity", pa.float64()),  # cosine with the nearest of the outcome's names; null if there is no vector
        ("similarity_rank", pa.int32()),
        ("nearest", pa.string()),  # that name
        (
            "suspicious",
            pa.bool_(),
        ),  # its AUROC is as far from 0.5 as a whole model's, or it nearly always has the event
    ]
)
#: a single token whose AUROC is this far from 0.5 is not an ordinary risk factor
FAR = 0.2
#: level of the lower limit of the share of a token's rows with the event, over all tokens looked at (Bonferroni)
LEVEL = 0.05


def make_leaks(
    cdm: Path,
    cohort: Path,
    vocabulary: Path,
    tokens: Path,
    sequences: Path,
    vectors: Path | None,
    task: Mapping[str, Any],
    min_cell_count: int,
    out: Path,
) -> None:
    """Write the list of predictors (``SCHEMA``, suspicious ones and farthest AUROC first) of a task to ``out``.

    Tokens of fewer than ``min_cell_count`` training persons are left out. So is an AUROC that would tell that fewer
    rows than that, with or without the event, hold the token or do not. Whether a token is suspicious is then decided
    from what is shown (``possible_counts``), and not at all where that would narrow a small count further. Names are
    compared by ``vectors`` (text, vector; centred on their mean), if the outcome's concepts are recorded at the site
    and so have a vector.
    """
    table = read_table(tokens, columns=["key", "text", "domain", "rows"])
    auroc, four, persons = _token_auroc(cohort, sequences, len(table))
    names = _outcome_names(cdm, vocabulary, task, out) if vectors is not None else []
    similarity, nearest = _similarity(table["text"].to_pylist(), names, vectors)
    rows = table["rows"].to_numpy()
    shown = np.flatnonzero(is_enough(persons, min_cell_count))
    auroc, similarity, four = auroc[shown], similarity[shown], four[:, shown]
    suspicious = _suspicious(four, persons[shown], min_cell_count)
    # with the cohort's events and rows, an AUROC tells how many of either hold the token
    auroc = np.where(is_small(four, min_cell_count).any(axis=0), np.nan, auroc)
    nearly_all = is_small(four[2:].sum(axis=0), min_cell_count)
    distance = np.abs(auroc - 0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = four[0] / (four[0] + four[1]) / ((four[0] + four[2]) / four.sum(axis=0))
    lift = np.where(np.isnan(auroc), np.nan, lift)
    result = pa.table(
        [
            *(table[name].take(shown) for name in ("key", "text", "domain")),
            pa.array(rows[shown], mask=nearly_all),
            pa.array(np.round(auroc, 3), from_pandas=True),
            _rank(distance),
            pa.array(np.round(lift, 2), from_pandas=True),
            pa.array(np.round(similarity, 3), from_pandas=True),
            _rank(similarity),
            pa.array([nearest[index] for index in shown], pa.string()),
            pa.array(suspicious),
        ],
        schema=SCHEMA,
    )
    write_parquet(result.take(np.lexsort([shown, -np.nan_to_num(distance, nan=-1.0), ~suspicious])), out)


def _suspicious(four: NDArray[np.int64], persons: NDArray[np.int64], min_cell_count: int) -> NDArray[np.bool_]:
    """Say which tokens tell as much as a whole model, or nearly always come with the event.

    Nearly always: the lower limit of the share of the token's rows with the event is above the middle between the share
    of all rows and 1. The limit is Clopper and Pearson's (Biometrika 1934;26:404), one-sided, at ``LEVEL`` divided by
    the number of tokens, with as many rows as ``persons`` hold the token. ``four`` is (4, tokens).
    """
    least, greatest = possible_counts(four, min_cell_count)
    held, events, others = four[0] + four[1], four[0] + four[2], four[1] + four[3]
    if not len(held) or not events[0] or not others[0]:
        return np.zeros(len(held), np.bool_)
    distance = np.array([(k / events - (held - k) / others) / 2 for k in (least, greatest)])
    far = (np.abs(distance).min(axis=0) >= FAR) & (distance.prod(axis=0) > 0)
    share, prevalence = least / held, events / (events + others)
    limit = betaincinv(share * persons, (1 - share) * persons + 1, LEVEL / len(held))
    nearly_always = np.nan_to_num(limit) > (1 + prevalence) / 2
    # a small count has min_cell_count - 1 values
    tells_little = (least == greatest) & ~is_small(four, min_cell_count).any(axis=0)
    tells_little |= greatest - least + 1 >= min_cell_count - 1
    return np.asarray((far | nearly_always) & tells_little)


def _token_auroc(
    cohort: Path, sequences: Path, tokens: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the AUROC of each token's presence among the training rows, the counts behind it, and who holds it.

    The AUROC is half of 1 + sensitivity - false positive rate. The counts (4, tokens) are of rows with and without the
    event that hold the token, and of those that do not; then the persons of the rows that hold it (tokens,).
    """
    people = read_table(cohort, columns=["label", "split", "person_id"])
    training = people["split"].to_numpy(zero_copy_only=False) == "train"
    label = people["label"].to_numpy() == 1
    lists = read_table(sequences, columns=["tokens"])["tokens"].combine_chunks()
    row = np.repeat(np.arange(len(label)), lists.value_lengths().to_numpy(zero_copy_only=False))
    # a row holds a token once, on however many days
    held = row * max(tokens, 1) + lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    # with counts, NumPy sorts, which is 20 times as fast as hashing
    held, _ = np.unique(held, return_counts=True)
    row, token = np.divmod(held, max(tokens, 1))
    shares, held_by, not_by = [], [], []
    for of_class in (training & label, training & ~label):
        holding = np.bincount(token[of_class[row]], minlength=tokens)
        shares.append(holding / of_class.sum() if of_class.any() else np.full(tokens, np.nan))
        held_by.append(holding)
        not_by.append(of_class.sum() - holding)
    # rows are in the order of persons, so that a person's first row of a token begins a run
    person, inside = people["person_id"].to_numpy(), training[row]
    pair = np.lexsort([row[inside], token[inside]])
    of_token, of_person = token[inside][pair], person[row[inside][pair]]
    first = np.ones(len(pair), np.bool_)
    first[1:] = (of_token[1:] != of_token[:-1]) | (of_person[1:] != of_person[:-1])
    persons = np.bincount(of_token[first], minlength=tokens)
    return np.asarray((1 + shares[0] - shares[1]) / 2), np.array([*held_by, *not_by]), persons


def _outcome_names(cdm: Path, vocabulary: Path, task: Mapping[str, Any], near: Path) -> list[str]:
    with site_database(cdm, 1, near) as db:
        make_concepts(db, "outcome", task["outcome"])
        db.read_parquet(str(vocabulary)).create_view("vocabulary")
        texts = db.execute(
            "SELECT DISTINCT text FROM vocabulary WHERE concept_id IN (FROM outcome) AND concept_id <> 0 "
            "AND state = 'present' AND text IS NOT NULL AND NOT private ORDER BY text"
        )
        return [str(row[0]) for row in texts.fetchall()]


def _similarity(
    texts: list[str | None], names: list[str], vectors: Path | None
) -> tuple[NDArray[np.float64], list[str | None]]:
    """Return for each text the cosine with the nearest of ``names``, and that name."""
    best, nearest = np.full(len(texts), np.nan), np.full(len(texts), None, object)
    if vectors is None:
        return best, nearest.tolist()
    table = read_table(vectors, columns=["text", "vector"])
    index = {text: n for n, text in enumerate(table["text"].to_pylist())}
    known = [name for name in names if name in index]
    if not known:
        return best, nearest.tolist()
    flat = table["vector"].combine_chunks().flatten().to_numpy().astype(np.float64)
    matrix = flat.reshape(len(table), -1)
    matrix = matrix - matrix.mean(axis=0)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    for n, text in enumerate(texts):
        if text in index:
            # not BLAS: these sums are the same on any number of threads
            cosines = np.einsum("nd,d->n", matrix[[index[name] for name in known]], matrix[index[text]])
            best[n], nearest[n] = cosines.max(), known[int(cosines.argmax())]
    return best, nearest.tolist()


def _rank(values: NDArray[np.float64]) -> pa.Array:
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    rank = np.empty(len(values), np.int32)
    rank[order] = np.arange(1, len(values) + 1)
    return pa.array(rank, mask=np.isnan(values))
