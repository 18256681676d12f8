"""The digits of a saved model's weights: as few as keep every probability of its own rows within a ten-thousandth.

What is beyond tells nothing of a prediction, but can tell of rows: digits are room to remember in. The model that is
used at home is the rounded one, so that it is the one that is sent.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from conceptbridge.learn.learner import Learner

#: the largest change of a probability; rows elsewhere are other rows, so it is half of what may be
TOLERANCE = 5e-5
#: binary digits of a weight that are tried, from the fewest; float32 has 24, of which the last says nothing
BITS = (8, 10, 12, 14, 16, 18, 20, 22)

Probability = NDArray[np.float64]


def round_weights(learner: Learner[Any], model: Any, predict: Callable[[Any], Probability]) -> Any:
    """Return the model with rounded arrays, each member by itself: it does not depend on the members beside it.

    ``predict`` returns a model's probabilities (members, rows). A member of which no number of digits keeps them, and a
    model without arrays (``leaf_digits`` has a forest's), stay as they are.
    """
    if not learner.saves.arrays:
        return model
    members = [_round_member(learner, model.take([at]), predict) for at in range(len(model.seeds))]
    return members[0].join(members[1:])


def _round_member(learner: Learner[Any], member: Any, predict: Callable[[Any], Probability]) -> Any:
    before = predict(member)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        description = member.save(folder)
        saved = {name: load_file(folder / name) for name in learner.saves.arrays}
        for bits in BITS if before.size else ():
            for name, arrays in saved.items():
                save_file({key: rounded(array, bits) for key, array in arrays.items()}, folder / name)
            made = learner.load(folder, description)
            if np.abs(predict(made) - before).max() <= TOLERANCE:
                return made
    return member


def rounded(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Round each number to so many significant binary digits."""
    share, exponent = np.frexp(array)
    result: NDArray[Any] = np.ldexp(np.round(share * 2.0**bits) / 2.0**bits, exponent).astype(array.dtype)
    return result
