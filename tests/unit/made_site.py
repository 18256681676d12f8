"""A small made-up site of a task: its rows, its tokens, and a vector for each text."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.embed.vectors import vector_table
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.site import Site, read_site
from conceptbridge.tasks.cohort import SCHEMA as COHORT
from conceptbridge.tasks.sequences import SEQUENCES, TOKENS

WIDTH = 6
CONCEPTS = ["cough", "sprain", "fever", "rash", "thirst"]

#: a site that keeps nothing to itself
NOBODY = SiteSecrets(
    ids=np.zeros(0, np.int64),
    texts=frozenset(),
    phrases=frozenset(),
    cohort_sizes=frozenset(),
    machine_names=(),
    public_dates=frozenset(),
    max_count=0,
    min_cell_count=5,
)


def vectors_of(texts: list[str], seed: int = 0) -> dict[str, np.ndarray]:
    """A vector for each text: the same text has the same one everywhere."""
    return {t: np.random.default_rng([seed, *t.encode()]).normal(size=WIDTH).astype(np.float32) for t in texts}


def write_site(
    folder: Path,
    texts: list[str],
    rows: int = 300,
    events: bool = True,
    seed: int = 0,
    swap: bool = False,
    intercept: float = -0.5,
) -> Path:
    """A site where the first of ``texts`` raises the risk and the second lowers it, or ``swap``ped."""
    rng = np.random.default_rng(seed)
    held = rng.random((rows, len(texts))) < 0.4
    up, down = (1, 0) if swap else (0, 1)
    risk = 1 / (1 + np.exp(-(3 * held[:, up] - 3 * held[:, down] + intercept)))
    labels = (rng.random(rows) < risk) & events
    split = np.array(["train", "validation", "test"])[np.arange(rows) % 3]
    folder.mkdir(parents=True)
    n = np.arange(rows)
    cohort = {
        "row_id": n,
        "person_id": n,
        "index_date": [18000] * rows,
        "label": labels.astype(np.int8),
        "split": split,
        "sex": ["female"] * rows,
        "age": [40] * rows,
        "race": ["unknown"] * rows,
    }
    pq.write_table(
        pa.table({k: pa.array(v, COHORT.field(k).type) for k, v in cohort.items()}, schema=COHORT),
        folder / "cohort.parquet",
    )
    tokens = [
        {
            "token": i,
            "key": f"{text}|present",
            "text": text,
            "concept_id": i,
            "state": "present",
            "domain": "condition",
            "rows": int(held[split == "train", i].sum()),
            "bins": None,
            "scales": [{"unit": "Cel", "center": 37.0, "spread": 0.5}],  # nobody else learns of it
        }
        for i, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(tokens, schema=TOKENS), folder / "tokens.parquet")
    sequences = [
        {"row_id": i, "tokens": np.flatnonzero(h).tolist(), "days": [0] * h.sum(), "values": [None] * h.sum()}
        for i, h in enumerate(held)
    ]
    pq.write_table(pa.Table.from_pylist(sequences, schema=SEQUENCES), folder / "sequences.parquet")
    vectors = vectors_of(texts)
    pq.write_table(vector_table(sorted(texts), np.stack([vectors[t] for t in sorted(texts)])), folder / "table.parquet")
    return folder


def site(folder: Path, name: str, table: bool = True) -> Site:
    """The site that ``write_site`` wrote."""
    files = [folder / f"{kind}.parquet" for kind in ("cohort", "tokens", "sequences")]
    return read_site(name, files, folder / "table.parquet" if table else None)


def made_examples(rng: np.random.Generator, rows: int, tokens: int, longest: int) -> Examples:
    """Rows of no more than ``longest`` tokens, drawn at random."""
    lengths = rng.integers(0, longest + 1, rows)
    return Examples(
        vectors=rng.normal(size=(tokens, WIDTH)).astype(np.float32),
        tokens=rng.integers(0, tokens, lengths.sum()),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=rng.integers(0, 2, rows).astype(np.int8),
    )
