"""More inputs for the weights that one-hot vectors are multiplied by, whatever the rest of the network does."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from conceptbridge.learn.networks.network import Matrix, uniform
from conceptbridge.learn.rows import OneHot

#: which of a seed's streams of random numbers the weights of added tokens are from
WIDENED = 3


def widened(read: Matrix, vectors: OneHot, seeds: Sequence[int]) -> Matrix:
    """``read`` (members, inputs, outputs) with weights for the added tokens, as small and random as those of an
    untrained network; what it makes of the source's tokens stays as it was.

    Weights of zero would never be trained: the paper's network learns from the highest number of a row alone, and zero
    is below that of any token that the source knew.
    """
    width = vectors.width
    centred = np.float32(vectors.center > 0)
    drawn = [np.random.default_rng([seed, WIDENED]) for seed in seeds]
    added = np.stack([uniform(rng, (vectors.added, read.shape[2]), width) for rng in drawn])
    if vectors.added > 1:  # a single one is then centred to nothing
        added -= centred * added.mean(axis=1, keepdims=True)
    # a token's numbers are its own weights less the mean of all, which therefore stays what it was
    added += centred * read.mean(axis=1, keepdims=True)
    return np.concatenate([read, added], axis=1)


def mixed(read: Matrix, mix: csr_array, center: float, sharpness: int = 1) -> Matrix:
    """``read`` (members, inputs, outputs) with weights for tokens that are mixes of its own, of which each has a share
    as its weight to the power of ``sharpness``. What the center takes from the weights is taken here, once."""
    own = np.stack([one - np.float32(center) * one.sum(axis=0) for one in read])
    sharp = mix.power(sharpness)
    share = np.asarray(mix.sum(axis=1) / sharp.sum(axis=1), np.float64)[:, None]  # what it has no word for stays out
    added = np.stack([np.asarray(share * (sharp @ of_member), np.float32) for of_member in own])
    return np.concatenate([own, added], axis=1)
