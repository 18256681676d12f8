"""Features as LightGBM keeps them: in bins."""

import warnings
from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.learn.feature_blocks import Blocks, of_rows
from conceptbridge.learn.pooled_features import Features

#: dense columns that are put in bins at once
SIDE_BY_SIDE = 64


class Binned(lgb.Dataset):
    """A dataset whose rows (``data``) are shown to a source's forest some at a time, never written out together."""

    def _set_init_score_by_predictor(self, predictor: Any, data: Any, used_indices: Any) -> "Binned":
        if predictor is None or data is None:
            super()._set_init_score_by_predictor(predictor, data, used_indices)
        else:
            self.set_init_score(of_rows(data, lambda some: predictor.predict(some, raw_score=True).ravel()))
        return self


def datasets(
    given: Sequence[Features], labels: Sequence[NDArray[np.int8]], parameters: dict[str, Any]
) -> list[lgb.Dataset]:
    """One dataset each, in the bins of the first; without what they were made of."""
    if sparse.issparse(given[0]):
        made = _together(given, labels, parameters)
    else:
        made = _of_blocks(
            [Blocks.of(some) if isinstance(some, np.ndarray) else some for some in given], labels, parameters
        )
    for data in made:
        data.data = None
    return made


def _together(
    given: Sequence[Any], labels: Sequence[NDArray[np.int8]], parameters: dict[str, Any]
) -> list[lgb.Dataset]:
    """One dataset each, in the bins of the first."""
    made: list[lgb.Dataset] = []
    for some, of_some in zip(given, labels, strict=True):
        like = made[0] if made else None
        data = Binned(some, of_some, reference=like, params=parameters, free_raw_data=False)
        made.append(data.construct())
    return made


def _of_blocks(
    given: Sequence[Blocks], labels: Sequence[NDArray[np.int8]], parameters: dict[str, Any]
) -> list[lgb.Dataset]:
    """The same of dense features, some columns after others, so that they are never written out together. By columns
    they are put in bins in half the time."""
    made: list[lgb.Dataset] = []
    for first in range(0, given[0].shape[1], SIDE_BY_SIDE):
        tables = []
        for blocks in given:
            turned = np.asfortranarray(blocks.written_out(slice(first, first + SIDE_BY_SIDE)))
            names = [f"Column_{first + i}" for i in range(turned.shape[1])]  # what LightGBM calls those of a matrix
            arrays = [pa.array(turned[:, i]) for i in range(len(names))]
            tables.append(pa.Table.from_arrays(arrays, names=names))
        some = _together(tables, labels, parameters)
        for data in some:
            data.data = None
        if not made:
            made = some
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it cannot add up what the datasets were made of
            for data, more in zip(made, some, strict=True):
                data.add_features_from(more)
    return made
