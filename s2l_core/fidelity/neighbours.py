"""Distances and similarities of each drawn image to a set.

Letters: n drawn images, m images of the set, k compared, p pixels, d features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK_NUMBERS = 2**25
"""Pixels held as float64 at once, on each side; no part of the meaning."""


def pixel_l2(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Floats:
    """sqrt(mean((x - y)^2)) of images uint8 [n, ...] and [m, ...] scaled to [0, 1], for every pair, [n, m].

    Sums of squares of bytes are whole numbers that float64 holds exactly: no order, block or thread changes a bit.
    """
    flat, others = a.reshape(len(a), -1), b.reshape(len(b), -1)
    step = max(1, BLOCK_NUMBERS // flat.shape[1])
    squares = np.empty((len(a), len(b)))
    for top in range(0, len(a), step):
        x = flat[top : top + step].astype(np.float64)
        for left in range(0, len(b), step):
            y = others[left : left + step].astype(np.float64)
            squares[top : top + step, left : left + step] = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
    return np.sqrt(squares / flat.shape[1]) / 255.0


def feature_l2(a: Floats, b: Floats) -> Floats:
    """The Euclidean distance of features [n, d] and [m, d], for every pair, [n, m]."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))


def cosine(a: Floats, b: Floats) -> Floats:
    """The cosine similarity of features [n, d] and [m, d], for every pair, [n, m]; 0 where a feature vector is zero."""
    return _units(a) @ _units(b).T


def nearest_of(distances: Floats, k: int) -> Floats:
    """The distance to the nearest of k images, [n], averaged over all ways to choose k of the m.

    A set of more images has a nearer nearest one by its size alone: members and non-members are compared at one k. With k = m this is the
    minimum.
    """
    return np.asarray(np.sort(distances, axis=1) @ nearest_weights(distances.shape[1], k))


def nearest_weights(m: int, k: int) -> Floats:
    """[m]: the probability C(m - j, k - 1) / C(m, k) that the j-th nearest of m images, j from 1, is the nearest of k chosen ones."""
    if not 1 <= k <= m:
        raise ValueError(f"the nearest of {k} cannot be chosen from {m} images")
    weights = np.zeros(m)
    weights[0] = k / m
    for place in range(m - k):
        weights[place + 1] = weights[place] * (m - k - place) / (m - 1 - place)
    return weights


def _units(values: Floats) -> Floats:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0))
