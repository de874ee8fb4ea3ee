"""Intervals around one number. Letters: m members, n non-members, B bootstrap replicates."""

from __future__ import annotations

import hashlib
from math import exp, hypot, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2l_core.metrics.roc import Floats, allowed_false_positives, checked_scores, normal_quantile, placements, strict_threshold

CHUNK = 1 << 22
"""Numbers drawn at once by the bootstrap; no part of the meaning."""


def auc_interval(member: ArrayLike, non_member: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """DeLong's interval for one AUC, taken on the logit scale, where it stays within 0 and 1 and covers better near the ends.

    At an AUC of 0 or 1 the estimated variance is zero; there the interval is the exact binomial one of min(m, n) independent pairs.
    With a single image in a class it is (0, 1).

    Raises:
        ValueError: a class is empty, or a score is not finite.
    """
    below, above = placements(checked_scores(member, "member"), checked_scores(non_member, "non-member"))
    area, pairs = float(below.mean()), min(len(below), len(above))
    if pairs < 2:
        return 0.0, 1.0
    if min(area, 1 - area) < 1e-12:
        return clopper_pearson(round(area) * pairs, pairs, level=level)
    error = sqrt(float(below.var(ddof=1)) / len(below) + float(above.var(ddof=1)) / len(above))
    half = normal_quantile(level) * error / (area * (1 - area))
    middle = logit(area)
    return logistic(middle - half), logistic(middle + half)


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of a rate.

    Only for rates at a threshold that was set on *other* data: around a TPR whose threshold comes from the same non-members it covers 66
    to 69 % instead of 95.

    Raises:
        ValueError: successes are not within 0 and trials.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"a rate needs 0 <= successes <= trials and a trial; got {successes} of {trials}")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def wilson(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (JASA 22, 1927): near its level on average, and never of zero width."""
    z, rate = normal_quantile(level), successes / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def tpr_interval(member: ArrayLike, non_member: ArrayLike, fpr: float, *, level: float = 0.95) -> tuple[float, float]:
    """An interval for the TPR at an FPR whose threshold is estimated from the same non-members; distribution-free.

    Two things are unknown: the threshold, which lies between two order statistics of the non-members (their ranks are quantiles of a
    binomial), and the rate of members above it (Wilson). Their distances from the estimate are added in squares (Zou and Donner's MOVER,
    Statistics in Medicine 27, 2008). Where few or no false positives are allowed, the threshold is hardly known and the interval is wide:
    it holds the truth more often than it says, where a bootstrap would hold it less (docs/results/coverage.md).

    Raises:
        ValueError: a class is empty, a score is not finite, or `fpr` is not within 0 and 1.
    """
    members, ordered = checked_scores(member, "member"), np.sort(checked_scores(non_member, "non-member"))[::-1]
    rate = float((members > strict_threshold(ordered, fpr)).mean())
    tail, n = (1 - level) / 2, len(ordered)
    fewest, most = binomial_quantile(tail, n, fpr), binomial_quantile(1 - tail, n, fpr)
    at_least = float((members > ordered[fewest - 1]).mean()) if fewest else 0.0
    at_most = float((members >= ordered[most]).mean()) if most < n else 1.0
    low, high = wilson(round(rate * len(members)), len(members), level=level)
    below, above = hypot(rate - min(at_least, rate), rate - low), hypot(max(at_most, rate) - rate, high - rate)
    return max(0.0, rate - below), min(1.0, rate + above)


def binomial_quantile(probability: float, trials: int, rate: float) -> int:
    """The fewest successes k with P(at most k) >= probability."""
    from scipy.special import bdtr

    return int(np.searchsorted(bdtr(np.arange(trials + 1), trials, rate), probability))


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator that depends on seed and purpose alone."""
    text = "\x1f".join(["s2l-metrics", str(seed), *map(str, purpose)])
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")))


def tpr_replicates(
    members: tuple[Floats, ...], non_members: tuple[Floats, ...], fprs: tuple[float, ...], replicates: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """TPRs at fixed FPRs of stratified bootstrap samples: both classes resampled, since the threshold is estimated too.

    Args:
        members: score sets of the same m members (before and after, say): all see the same resampled images.
        non_members: score sets of the same n non-members, one for each set of members.
        fprs: the FPRs.
        replicates: B.

    Returns:
        [sets, FPRs, B]
    """
    m, n = len(members[0]), len(non_members[0])
    ranks = [n - 1 - allowed_false_positives(n, fpr) for fpr in fprs]
    values = np.empty((len(members), len(fprs), replicates))
    step = max(1, CHUNK // (m + n))
    streams = random.spawn(2)
    for start in range(0, replicates, step):
        rows = slice(start, min(start + step, replicates))
        count = rows.stop - rows.start
        chosen, others = (_draw(each, count, size) for each, size in zip(streams, (m, n), strict=True))
        for index, (inside, outside) in enumerate(zip(members, non_members, strict=True)):
            drawn, ordered = inside[chosen], np.sort(outside[others], axis=1)
            for column, rank in enumerate(ranks):
                values[index, column, rows] = 1.0 if rank < 0 else (drawn > ordered[:, rank, None]).mean(axis=1)
    return values


def _draw(random: np.random.Generator, rows: int, size: int) -> NDArray[np.int64]:
    # Row by row from the stream, so that the chunk's size changes no draw.
    return np.minimum((random.random((rows, size)) * size).astype(np.int64), size - 1)


def percentiles(values: Floats, *, level: float) -> tuple[float, float]:
    """The middle part of the replicates that holds a share `level` of them."""
    low, high = np.quantile(values, [(1 - level) / 2, 1 - (1 - level) / 2])
    return float(low), float(high)


def logit(p: float) -> float:
    """log(p / (1 - p)), for p strictly between 0 and 1."""
    return log(p / (1 - p))


def logistic(x: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
