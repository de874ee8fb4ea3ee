"""Intervals of a TPR at a fixed FPR, and of its change on the same images. Letters: m members, n non-members, B replicates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.intervals import CHUNK, percentiles, stream, tpr_interval, tpr_replicates
from s2l_core.metrics.roc import Floats, tpr_at_fpr

Side = tuple[Floats, Floats]
"""Scores of members [m] and non-members [n]."""

HARDLY_A_FALSE_POSITIVE = 0.5
"""False positives expected (FPR times n) up to which the smoothed replicates alone are too narrow."""


def tpr_changes(
    before: Side, after: Side, fprs: tuple[float, ...], *, seed: int, replicates: int, level: float = 0.95
) -> list[tuple[float, float, float]]:
    """The change of the TPR at each FPR with its interval: (difference, low, high).

    Percentiles of a smoothed Bayesian bootstrap (`smoothed_tprs`). Where no more than half a false positive is expected, the interval also
    holds that of the plain bootstrap, which resamples images: there neither alone is wide enough (docs/results/coverage.md). It always
    holds the difference itself. Ranks alone count: where all images lie in the same order before and after, the change is (0, 0, 0).
    With one image in a class a change has the interval (-1, 1).

    Args:
        before, after: of the same images in the same order.
        seed: of the draws.
    """
    differences = [tpr_at_fpr(*after, fpr)[0] - tpr_at_fpr(*before, fpr)[0] for fpr in fprs]
    if _same_order(before, after):
        return [(0.0, 0.0, 0.0)] * len(fprs)
    sizes = len(before[0]), len(before[1])
    if min(sizes) < 2:
        return [(difference, *((-1.0, 1.0) if difference else (0.0, 0.0))) for difference in differences]
    smoothed = smoothed_tprs((before, after), fprs, replicates, stream(seed, "smoothed tpr"))
    rare = tuple(fpr for fpr in fprs if fpr * sizes[1] <= HARDLY_A_FALSE_POSITIVE + 1e-9)
    members, non_members = zip(before, after, strict=True)
    plain = tpr_replicates(members, non_members, rare, replicates, stream(seed, "tpr")) if rare else None
    found = []
    for column, (fpr, difference) in enumerate(zip(fprs, differences, strict=True)):
        ends = [difference, *percentiles(smoothed[1, column] - smoothed[0, column], level=level)]
        if plain is not None and fpr in rare:
            ends += percentiles(plain[1, rare.index(fpr)] - plain[0, rare.index(fpr)], level=level)
        found.append((difference, min(ends), max(ends)))
    return found


def tpr_intervals(side: Side, fprs: tuple[float, ...], *, seed: int, replicates: int, level: float = 0.95) -> list[tuple[float, float]]:
    """The interval of one TPR at each FPR: (low, high).

    Percentiles of the same smoothed Bayesian bootstrap, and the estimate itself. The distribution-free interval takes its place where no
    more than half a false positive is expected, so that the threshold is hardly known, and where scores are equal: what lies between
    images that cannot be told apart is no matter of chance.

    Args:
        seed: of the draws.
    """
    size = len(side[1])
    distinct = min(len(side[0]), size) > 1 and len(np.unique(np.concatenate(side))) == len(side[0]) + size
    smoothed = smoothed_tprs((side,), fprs, replicates, stream(seed, "smoothed tpr"))[0] if distinct else None
    found = []
    for column, fpr in enumerate(fprs):
        if smoothed is None or fpr * size <= HARDLY_A_FALSE_POSITIVE + 1e-9:
            found.append(tpr_interval(*side, fpr, level=level))
        else:
            ends = [tpr_at_fpr(*side, fpr)[0], *percentiles(smoothed[column], level=level)]
            found.append((min(ends), max(ends)))
    return found


def smoothed_tprs(sides: tuple[Side, ...], fprs: tuple[float, ...], replicates: int, random: np.random.Generator) -> NDArray[np.float64]:
    """What the TPRs may be, given the scores: a smoothed Bayesian bootstrap over both classes [sides, FPRs, B].

    Each image, and what lies below all of them, has an exponential weight, the same for all sides (Rubin, Annals of Statistics 9, 1981);
    an image's weight lies in the gap between its score and the next higher one (Banks, Biometrika 75, 1988). So the share of non-members
    above each of them has exactly the distribution that ranks give it, and the threshold lies between two of them: where, is a matter of
    the ROC, which is drawn straight from one to the next. Where in its gap between members a non-member lies is unknown, and drawn for
    each side. Above the highest non-member the TPR falls with a power of the FPR between 0 and 2, also drawn: that of a straight line to
    the origin is 1, heavy tails have more.

    Args:
        sides: before and after, say: scores of the same members [m] and of the same non-members [n].
    """
    values = np.empty((len(sides), len(fprs), replicates))
    streams = random.spawn(3)
    sizes = len(sides[0][0]), len(sides[0][1])
    step = max(1, CHUNK // sum(sizes))
    for start in range(0, replicates, step):
        rows = slice(start, min(start + step, replicates))
        count = rows.stop - rows.start
        weights = [each.standard_exponential((count, size + 1)) for each, size in zip(streams, sizes, strict=False)]
        unknown = streams[2].random((count, len(sides) + 1))
        for index, side in enumerate(sides):
            values[index, :, rows] = _tprs(side, weights[0], weights[1], fprs, unknown[:, index], 2 * unknown[:, -1])
    return values


def _tprs(side: Side, members: Floats, non_members: Floats, fprs: tuple[float, ...], within: Floats, power: Floats) -> Floats:
    """[FPRs, B]; weights [B, m + 1] and [B, n + 1], the last of each for what lies below all images."""
    down, others_down = (np.argsort(-scores, kind="stable") for scores in side)
    found, reached = _reached(members, down), _reached(non_members, others_down)
    n, rows = len(others_down), np.arange(len(found))
    above = np.searchsorted(-side[0][down], -side[1][others_down], side="left")  # members above each non-member, highest first

    def rate(place: NDArray[np.int64]) -> Floats:
        """The share of members above the so-many-th highest non-member; 0 of none, 1 beyond all."""
        count = above[np.clip(place - 1, 0, n - 1)]
        share = (found[rows, count] * (1 - within) + found[rows, count + 1] * within) / found[:, -1]
        return np.where(place == 0, 0.0, np.where(place > n, 1.0, share))

    values = np.empty((len(fprs), len(found)))
    for row, fpr in enumerate(fprs):
        target = fpr * reached[:, -1]
        place = (reached[:, 1:-1] < target[:, None]).sum(axis=1)
        along = (target - reached[rows, place]) / (reached[rows, place + 1] - reached[rows, place])
        low, high = rate(place), rate(place + 1)
        values[row] = np.where(place == 0, high * along**power, low + along * (high - low))
    return values


def _reached(weights: Floats, down: NDArray[np.int64]) -> Floats:
    """The weight of the highest 0, 1, ... images, and of all and what lies below: [B, images + 2]."""
    ordered = np.concatenate([np.zeros((len(weights), 1)), weights[:, down], weights[:, -1:]], axis=1)
    return np.cumsum(ordered, axis=1, out=ordered)


def _same_order(before: Side, after: Side) -> bool:
    old, new = (np.unique(np.concatenate(side), return_inverse=True)[1] for side in (before, after))
    return bool(np.array_equal(old, new))
