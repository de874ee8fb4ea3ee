"""The Frechet distance of two sets of features. Letters: a, b sets of n and m images, d features, r rank.

For Gaussians with means u, v and covariances S, T (Dowson and Landau, 1982): |u - v|^2 + tr S + tr T - 2 tr (S T)^(1/2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet_distance(a: Floats, b: Floats) -> float:
    """The squared Frechet distance of Gaussians fitted to features [n, d] and [m, d] (what "FID" is, in other features).

    With S = A'A and T = B'B, the trace of (S T)^(1/2) is the sum of the singular values of A B'. A and B are the triangular factors of the
    centred features, so that no covariance is formed and no root of a matrix is taken: sets with fewer images than features, or with
    features that do not vary, are no special case.

    Fitted to few images it is biased upwards: two sets of one distribution have a distance above zero, which falls with n and m. Compare
    distances of equal n and m only.

    Raises:
        ValueError: a set has fewer than two images, or the features differ in number.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a Frechet distance needs two images on each side; got {len(a)} and {len(b)}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the sets have {a.shape[1]} and {b.shape[1]} features; both must come from one extractor")
    means = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    left, right = _factor(a), _factor(b)
    shared = float(np.linalg.svd(left @ right.T, compute_uv=False).sum())
    return max(0.0, means + float((left**2).sum()) + float((right**2).sum()) - 2 * shared)


def _factor(values: Floats) -> Floats:
    """R [min(n, d), d] with R'R the covariance of the rows."""
    centred = (values - values.mean(axis=0)) / np.sqrt(len(values) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))
