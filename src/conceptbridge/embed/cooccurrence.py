"""Vectors learned from what occurs together in patients: positive pointwise mutual information, then a truncated SVD.

The data-driven baseline that clinical people know from cui2vec (Beam et al., 2020), in its count-based form (Levy and
Goldberg, 2014, "Neural word embedding as implicit matrix factorization").
"""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.linalg import eigsh

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.embed.vectors import Matrix
from conceptbridge.study.backends import SiteFiles

logger = logging.getLogger(__name__)


def learn(sites: Sequence[SiteFiles], width: int, min_cell_count: int) -> tuple[list[str], Matrix]:
    """Learn from the training rows of ``sites``: the texts that have a vector, sorted, and vectors (texts, width).

    Texts are what sites share. Pairs that fewer than ``min_cell_count`` persons have count as none; a text without any
    pair has no vector.
    """
    texts, persons = read_persons(sites)
    counts = (persons.T @ persons).tocoo()
    vectors, used = factorise(counts, persons.shape[0], width, min_cell_count)
    logger.info("%d of %d texts occur together with another", int(used.sum()), len(texts))
    return [text for text, has in zip(texts, used, strict=True) if has], vectors[used]


def read_persons(sites: Sequence[SiteFiles]) -> tuple[list[str], csr_array]:
    """All sites' texts, sorted, and which persons have which in their training rows: 0 or 1, shape (persons, texts).

    Raises StudyError when the sequences are not those of the cohort.
    """
    parts: list[tuple[np.ndarray, np.ndarray, int, list[str | None]]] = []
    for cohort, tokens, sequences in sites:
        people = read_table(cohort, columns=["row_id", "person_id", "split"])
        rows = read_table(sequences, columns=["row_id", "tokens"])
        if not people["row_id"].equals(rows["row_id"]):
            raise StudyError(f"{sequences}: its rows are not those of {cohort}; delete both and run again")
        training = pa.compute.equal(people["split"], "train")
        ids, number = np.unique(people["person_id"].filter(training).to_numpy(), return_inverse=True)
        lists = rows["tokens"].filter(training).combine_chunks()
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
        in_row = lists.flatten().to_numpy(zero_copy_only=False)
        parts.append((np.repeat(number, lengths), in_row, len(ids), read_table(tokens)["text"].to_pylist()))
    texts = sorted({text for *_, own in parts for text in own if text is not None})
    index = {text: i for i, text in enumerate(texts)}
    matrices = []
    for person, token, count, own in parts:
        column = np.array([-1 if text is None else index[text] for text in own], np.int64)[token]
        named = column >= 0
        ones = np.ones(int(named.sum()), np.float64)
        matrix = csr_array(coo_array((ones, (person[named], column[named])), shape=(count, len(texts))))
        matrix.data[:] = 1  # the conversion has summed what a person has several times
        matrices.append(matrix)
    return texts, csr_array(vstack(matrices))


def factorise(
    counts: coo_array, persons: int, width: int, min_cell_count: int
) -> tuple[Matrix, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Vectors from counts of persons, shape (texts, width), and which texts have one.

    ``counts``: n_ij persons have both i and j, n_ii have i; symmetric. The positive part of log(n_ij N / (n_i n_j)) off
    the diagonal is factorised as V S V' with the ``width`` largest eigenvalues, and V sqrt(S) are the vectors. Where
    there are fewer positive eigenvalues, the last columns are zero. The largest entry of a column is positive.
    """
    size = counts.shape[0]
    of_text = counts.diagonal()
    row, column, n = counts.row, counts.col, counts.data
    pair = (row != column) & is_enough(n, min_cell_count)
    row, column, n = row[pair], column[pair], n[pair]
    information = np.log(n * persons / (of_text[row] * of_text[column]))
    positive = information > 0
    ppmi = csr_array((information[positive], (row[positive], column[positive])), shape=(size, size))
    used = np.diff(ppmi.indptr) > 0
    vectors = np.zeros((size, width), np.float32)
    if used.any():
        within = ppmi[used][:, used]
        rank = min(width, within.shape[0])
        if rank > within.shape[0] // 2 or within.shape[0] < 500:
            values, axes = np.linalg.eigh(within.toarray())
        else:
            # a fixed first vector: the same result every time
            start = np.full(within.shape[0], within.shape[0] ** -0.5)
            values, axes = eigsh(within, k=rank, which="LA", v0=start)
        best = np.argsort(-values, kind="stable")[:rank]
        values, axes = np.maximum(values[best], 0), axes[:, best]
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        vectors[np.ix_(used, np.arange(rank))] = axes * signs * np.sqrt(values)
    return vectors, used
