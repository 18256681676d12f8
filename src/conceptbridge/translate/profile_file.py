"""A site's profile as a file: what it tells other sites of its tokens. Nothing else is in it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.translate.profile import HIDDEN, Profile

#: one row: the persons that have a token, and where there is an anchor, both. Hidden pairs have none.
SCHEMA = pa.schema([("token", pa.string()), ("anchor", pa.string()), ("persons", pa.int64())])
#: of the file's metadata: persons in all, the study's minimum, and the anchors' number
_TOTAL, _MINIMUM, _ANCHORS = b"persons", b"min_cell_count", b"anchors"


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile (``SCHEMA``, by token and anchor). A pair of two anchors is written once."""
    names = np.array(profile.keys, dtype=object)
    anchor = np.full(len(names), len(profile.anchors), np.int64)
    anchor[profile.anchors] = np.arange(len(profile.anchors))
    i, column = np.nonzero(profile.pairs != HIDDEN)
    once = (anchor[i] == len(profile.anchors)) | (i < profile.anchors[column])
    i, column = i[once], column[once]
    # keys are in order, so that positions are in the order of keys; a token alone comes before its pairs
    token = np.concatenate([np.arange(len(names)), i])
    other = np.concatenate([np.full(len(names), -1), profile.anchors[column]])
    persons = np.concatenate([profile.persons, profile.pairs[i, column]])
    order = np.lexsort([other, token])
    columns = [
        pa.array(names[token[order]], pa.string()),
        pa.array([None if at < 0 else profile.keys[at] for at in other[order]], pa.string()),
        pa.array(persons[order], pa.int64()),
    ]
    about = {_TOTAL: profile.total, _MINIMUM: profile.min_cell_count, _ANCHORS: len(profile.anchors)}
    told = SCHEMA.with_metadata({key: str(value) for key, value in about.items()})
    write_parquet(pa.Table.from_arrays(columns, schema=told), path)


def read_profile(path: Path) -> Profile:
    """Read what ``write_profile`` wrote. Raises StudyError if it is no such file."""
    try:
        table = pq.read_table(path)
        about = {key: int(table.schema.metadata[key]) for key in (_TOTAL, _MINIMUM, _ANCHORS)}
        alone = table.filter(table["anchor"].is_null())
        pairs = table.filter(table["anchor"].is_valid())
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{path}: this is no profile of a site ({error}); make it again") from error
    keys: list[str] = alone["token"].to_pylist()
    persons = alone["persons"].to_numpy()
    # as ``count_profile`` chooses them
    anchors = np.sort(np.argsort(-persons, kind="stable")[: about[_ANCHORS]])
    place = {key: i for i, key in enumerate(keys)}
    column = {keys[at]: n for n, at in enumerate(anchors)}
    result = np.full((len(keys), len(anchors)), HIDDEN, np.int64)
    for token, anchor, count in zip(*(pairs[name].to_pylist() for name in SCHEMA.names), strict=True):
        result[place[token], column[anchor]] = count
        if token in column:
            result[place[anchor], column[token]] = count
    return Profile(keys, persons, about[_TOTAL], anchors, result, about[_MINIMUM])
