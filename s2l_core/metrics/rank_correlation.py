"""Whether two orders of the same few things agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from s2l_core.metrics.intervals import stream

SHUFFLES = 9999


class RankCorrelation(NamedTuple):
    """Spearman's rho and its two-sided p-value."""

    rho: float
    p_value: float


def rank_correlation(one: ArrayLike, other: ArrayLike) -> RankCorrelation:
    """Spearman's, equal values sharing their ranks, with the p-value of a permutation test.

    The usual p-value, by Student's t, is for many: of six things in one order it says 0, where one order in 360 is as extreme.

    Raises:
        ValueError: the two are of different lengths, or all values of one are equal.
    """
    from scipy.stats import rankdata

    first, second = (rankdata(np.asarray(values, dtype=np.float64)) for values in (one, other))
    if len(first) != len(second) or min(len(np.unique(ranks)) for ranks in (first, second)) < 2:
        raise ValueError(f"a rank correlation needs two columns of one length that vary; got {len(first)} and {len(second)} values")
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    rho = float((first * second).sum()) / scale
    random = stream(0, "rank correlation", len(first))
    shuffled = random.permuted(np.broadcast_to(second, (SHUFFLES, len(second))), axis=1) @ first / scale
    as_far = int((np.abs(shuffled) >= abs(rho) - 1e-12).sum())
    return RankCorrelation(rho, (1 + as_far) / (1 + SHUFFLES))
