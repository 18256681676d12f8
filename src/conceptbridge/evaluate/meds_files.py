"""Write a task's cohort as MEDS labels, and what models predict of it in the schema of meds-evaluation.

labels/{split}.parquet                                             ``LABELS``: one row per prediction
predictions/{embedding}/{learner}/{strategy}/{source}/{seed}.parquet  ``PREDICTIONS``: the test rows
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import atomic_folder, write_parquet
from conceptbridge.evaluate.predictions import SPLITS, read_arm, read_cohort, rows_of
from conceptbridge.evaluate.schemas import Arm
from conceptbridge.tasks.splits import MEDS_SPLITS

_ROW = [
    pa.field("subject_id", pa.int64(), nullable=False),
    pa.field("prediction_time", pa.timestamp("us"), nullable=False),
    pa.field("boolean_value", pa.bool_(), nullable=False),
]
LABELS = pa.schema(_ROW)
PREDICTIONS = pa.schema(
    [
        *_ROW,
        pa.field("predicted_boolean_value", pa.bool_()),
        pa.field("predicted_boolean_probability", pa.float32()),
    ]
)
#: all of the index day is known when a prediction is made: microseconds
_DAY = 24 * 3600 * 1_000_000
#: the probability from which on the event is predicted
_THRESHOLD = 0.5


def write_meds(cohort: Path, arms: Mapping[Arm, Path], out: Path) -> None:
    """Write the labels of ``cohort``, and what the ``arms`` (without their sources -> folders) predict, to ``out``.

    A subject is the site's person_id, and the time of a prediction the last microsecond of its index day. A source
    that is not estimable has no predictions. Raises StudyError when an arm's folder is incomplete.
    """
    table = read_cohort(cohort)
    expected = rows_of(table).of(*SPLITS)
    day = table["index_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    time = pa.array((day + 1) * _DAY - 1, pa.timestamp("us"))
    labels = pa.table([table["person_id"], time, pa.array(table["label"].to_numpy() == 1)], schema=LABELS)
    split = table["split"].to_numpy(zero_copy_only=False)
    test = labels.filter(pa.array(split == "test"))
    with atomic_folder(out) as folder:
        for theirs, ours in MEDS_SPLITS.items():
            write_parquet(labels.filter(pa.array(split == ours)), folder / f"labels/{theirs}.parquet")
        for arm, saved in arms.items():
            for told in read_arm(saved, expected):
                place = folder / "predictions" / arm.embedding / arm.learner / arm.strategy / told.source
                for seed, probability in zip(told.seeds, told.probability[:, expected.split == "test"], strict=True):
                    predicted = [pa.array(probability >= _THRESHOLD), pa.array(in_single_precision(probability))]
                    write_parquet(pa.table([*test.columns, *predicted], schema=PREDICTIONS), place / f"{seed}.parquet")


def in_single_precision(probability: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round probabilities (rows,) to single precision and keep their order: what differs still differs.

    Ranks, and so AUROC and AUPRC, stay what they are. A value that would be equal to the next smaller one becomes the
    next number above; near 1, the numbers below.
    """
    values, index = np.unique(probability, return_inverse=True)
    step = np.arange(len(values))
    # as integers, the numbers from 0 to 1 have the order that they have as floating-point numbers
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    bits = step + np.maximum.accumulate(bits - step)
    one = int(np.float32(1).view(np.int32))
    bits = np.minimum(bits, one - step[::-1])
    return bits.astype(np.int32).view(np.float32)[index]
