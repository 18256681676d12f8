"""A site's profile as a file: what it tells other sites of its tokens. Nothing else is in it."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import is_small
from conceptbridge.translate.profile import HIDDEN, MAX_ANCHORS, Profile

#: one row: the persons that have a token, and where there is an anchor, both; all persons where there is no token. A
#: pair that is hidden has no row.
SCHEMA = pa.schema([("token", pa.string()), ("anchor", pa.string()), ("persons", pa.int64())])


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile (``SCHEMA``, by token and anchor). A pair of two anchors is written once."""
    write_parquet(profile_table(profile), path)


def profile_table(profile: Profile, only: Collection[str] | None = None) -> pa.Table:
    """A profile as its file holds it; ``only``: without the tokens that are not among these."""
    anchor = np.full(len(profile.keys), len(profile.anchors), np.int64)
    anchor[profile.anchors] = np.arange(len(profile.anchors))
    i, column = np.nonzero(profile.pairs != HIDDEN)
    once = (anchor[i] == len(profile.anchors)) | (i < profile.anchors[column])
    i, column = i[once], column[once]
    # keys are in order, so that positions are in the order of keys; a token alone comes before its pairs
    token = np.concatenate([np.arange(len(anchor)), i])
    other = np.concatenate([np.full(len(anchor), -1), profile.anchors[column]])
    persons = np.concatenate([profile.persons, profile.pairs[i, column]])
    order = np.lexsort([other, token])
    if only is not None:
        kept = np.array([key in only for key in profile.keys] + [True], np.bool_)  # the last: no anchor
        order = order[kept[token[order]] & kept[other[order]]]
    total = None if is_small(profile.total, profile.min_cell_count) else profile.total
    keys = pa.array(profile.keys, pa.string())
    columns = [keys.take(pa.array(at, mask=at < 0)) for at in (np.r_[-1, token[order]], np.r_[-1, other[order]])]
    columns.append(pa.concat_arrays([pa.array([total], pa.int64()), pa.array(persons[order], pa.int64())]))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def read_profile(path: Path, min_cell_count: int, max_anchors: int = MAX_ANCHORS, shown: str | None = None) -> Profile:
    """Read what ``write_profile`` wrote. Raises StudyError, which names it as ``shown``, if it is no such file."""
    try:
        table = read_table(path)
        if table.schema.remove_metadata() != SCHEMA:
            raise ValueError(f"its columns are {', '.join(table.column_names)}")
        no_token, no_anchor = pc.is_null(table["token"]), pc.is_null(table["anchor"])
        [total] = table.filter(no_token)["persons"].to_pylist()
        alone = table.filter(pc.and_not(no_anchor, no_token))
        pairs = table.filter(pc.invert(no_anchor))
        keys: list[str] = alone["token"].to_pylist()
        if keys != sorted(set(keys)):
            raise ValueError("its tokens are not in the order of their keys, each once")
        # a hidden pair has no row, and a token of nobody is not told of
        if any(one["persons"].null_count or pc.any(pc.less(one["persons"], 1)).as_py() for one in (alone, pairs)):
            raise ValueError("it has counts that cannot be")
        persons = alone["persons"].to_numpy()
        # as ``count_profile`` chooses them
        anchors = np.sort(np.argsort(-persons, kind="stable")[:max_anchors])
        at = [pc.index_in(pairs[name], value_set=alone["token"].combine_chunks()) for name in ("token", "anchor")]
        if any(one.null_count for one in at):
            raise ValueError("it has a pair of a token that it does not have")
        token, anchor = (one.to_numpy() for one in at)
        column = np.full(len(keys), -1)
        column[anchors] = np.arange(len(anchors))
        if (column[anchor] < 0).any():
            raise ValueError("it has a pair with a token that is no anchor")
        result = np.full((len(keys), len(anchors)), HIDDEN, np.int64)
        count, both = pairs["persons"].to_numpy(), column[token] >= 0
        result[token, column[anchor]] = count
        result[anchor[both], column[token[both]]] = count[both]
        own, anchor_persons = persons[:, None], persons[anchors]
        most, fewest = np.minimum(own, anchor_persons), own + anchor_persons - (total or 0)
        if ((result != HIDDEN) & ((result > most) | (result < fewest))).any() or (persons > (total or 0)).any():
            raise ValueError("it has counts that cannot be")
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{shown or path}: this is no profile of a site ({error}); make it again") from error
    return Profile(keys, persons, total or 0, anchors, result, min_cell_count)
