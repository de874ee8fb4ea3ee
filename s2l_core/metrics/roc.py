"""Exact ROC numbers of scores where higher means more member-like.

Letters in shapes: m members, n non-members.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def auc(member: ArrayLike, non_member: ArrayLike) -> float:
    """The probability that a random member scores above a random non-member, ties counted as half (the rank AUC, exact).

    Raises:
        ValueError: a class is empty, or a score is not finite.
    """
    above, _ = placements(checked_scores(member, "member"), checked_scores(non_member, "non-member"))
    return float(above.mean())


def tpr_at_fpr(member: ArrayLike, non_member: ArrayLike, fpr: float) -> tuple[float, float]:
    """The largest TPR on the step ROC whose FPR is at most `fpr`, and the FPR that is achieved there; ties are one step.

    The threshold is a matter of the non-members alone: where the ROC is flat, the achieved FPR is the largest that `fpr` allows.

    Raises:
        ValueError: a class is empty, a score is not finite, or `fpr` is not within 0 and 1.
    """
    members, non_members = checked_scores(member, "member"), checked_scores(non_member, "non-member")
    threshold = strict_threshold(non_members, fpr)
    return float((members > threshold).mean()), float((non_members > threshold).mean())


def strict_threshold(non_member: Floats, fpr: float) -> float:
    """The value that scores must exceed so that at most a share `fpr` of the non-members [n] does."""
    allowed = allowed_false_positives(len(non_member), fpr)
    if allowed == len(non_member):
        return -np.inf
    return float(np.partition(non_member, len(non_member) - 1 - allowed)[len(non_member) - 1 - allowed])


def allowed_false_positives(n: int, fpr: float) -> int:
    """The largest whole k with k / n <= fpr.

    Raises:
        ValueError: `fpr` is not within 0 and 1.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"an FPR is a number from 0 to 1; got {fpr}; write 1 % as 0.01")
    k = min(n, int(fpr * n) + 1)
    while k / n > fpr:  # fpr * n rounds
        k -= 1
    return k


def roc_curve(member: ArrayLike, non_member: ArrayLike) -> tuple[Floats, Floats]:
    """The corners of the ROC from (0, 0) to (1, 1) as (FPR, TPR); ties are one slanted step, points on a straight run are left out."""
    members, non_members = checked_scores(member, "member"), checked_scores(non_member, "non-member")
    thresholds = np.unique(np.concatenate([members, non_members]))[::-1]
    true = np.concatenate([[0], len(members) - np.searchsorted(np.sort(members), thresholds, side="left")])
    false = np.concatenate([[0], len(non_members) - np.searchsorted(np.sort(non_members), thresholds, side="left")])
    right, up = np.diff(false), np.diff(true)
    straight = right[:-1] * up[1:] == right[1:] * up[:-1]
    corner = np.concatenate([[True], ~straight, [True]])
    return false[corner] / len(non_members), true[corner] / len(members)


def delong(
    member_before: ArrayLike, non_member_before: ArrayLike, member_after: ArrayLike, non_member_after: ArrayLike, *, level: float = 0.95
) -> tuple[float, float, float, float]:
    """AUC after minus AUC before on the same images: (difference, low, high, two-sided p), by DeLong's paired covariance.

    The interval is the normal one, cut to [-1, 1]. Identical rankings give (0, 0, 0, 1). A difference without any estimated variance is
    taken for one that k = min(m, n) independent pairs all show: p = 2^(1 - k), and the interval reaches as far as the binomial one of k
    in k.
    A class of a single image tells nothing about variance: (difference, -1, 1, 1).

    Args:
        member_before, member_after: scores of the same m members in the same order.
        non_member_before, non_member_after: scores of the same n non-members in the same order.
        level: coverage of the interval.

    Raises:
        ValueError: a class is empty, a score is not finite, or before and after are of different lengths.

    Source: DeLong et al., Biometrics 44 (1988); ranks as in Sun and Xu, IEEE SPL 21 (2014).
    """
    before = placements(checked_scores(member_before, "member"), checked_scores(non_member_before, "non-member"))
    after = placements(checked_scores(member_after, "member"), checked_scores(non_member_after, "non-member"))
    _check_paired(before, after)
    changes = (after[0] - before[0], after[1] - before[1])
    difference = float(after[0].mean() - before[0].mean())
    if min(len(change) for change in changes) < 2:
        return difference, -1.0, 1.0, 1.0
    error = sqrt(sum(float(change.var(ddof=1)) / len(change) for change in changes))
    if error < 1e-12:  # rounding of ranks
        if abs(difference) < 1e-12:
            return difference, difference, difference, 1.0
        pairs = min(len(change) for change in changes)
        slack = 1.0 - ((1.0 - level) / 2) ** (1 / pairs)
        return difference, max(-1.0, difference - slack), min(1.0, difference + slack), 2.0 ** (1 - pairs)
    z = normal_quantile(level)
    return difference, max(-1.0, difference - z * error), min(1.0, difference + z * error), two_sided_p(difference / error)


def rank_error(member: ArrayLike, non_member: ArrayLike) -> float:
    """The standard error of an AUC when scores say nothing: Mann and Whitney's, with the variance that ties leave.

    Raises:
        ValueError: a class is empty, or a score is not finite.
    """
    members, non_members = checked_scores(member, "member"), checked_scores(non_member, "non-member")
    total = len(members) + len(non_members)
    _, counts = np.unique(np.concatenate([members, non_members]), return_counts=True)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    return sqrt(max((total + 1 - ties) / (12 * len(members) * len(non_members)), 1e-15))


def placements(member: Floats, non_member: Floats) -> tuple[Floats, Floats]:
    """Share of non-members below each member [m], and share of members above each non-member [n]; ties count half."""
    sorted_members, sorted_non_members = np.sort(member), np.sort(non_member)
    below = _midrank(sorted_non_members, member) / len(non_member)
    above = 1.0 - _midrank(sorted_members, non_member) / len(member)
    return below, above


def _midrank(ordered: Floats, values: Floats) -> Floats:
    """How many of `ordered` are smaller, plus half of those that are equal."""
    return (np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")) / 2.0


def normal_quantile(level: float) -> float:
    """The z of a two-sided interval of that coverage (1.96 for 0.95)."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def two_sided_p(z: float) -> float:
    """The probability that a standard normal number is at least that far from 0."""
    from scipy.special import ndtr

    return float(min(1.0, 2.0 * ndtr(-abs(z))))


def checked_scores(values: ArrayLike, name: str) -> Floats:
    """The scores as float64 [n].

    Raises:
        ValueError: none are given, they are no list, or one is not finite.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name} scores must be a list of at least one number; got an array of shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} scores must be finite; got {int((~np.isfinite(scores)).sum())} of {len(scores)} that are not")
    return scores


def _check_paired(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> None:
    sizes = [tuple(len(part) for part in side) for side in (before, after)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"before and after must be of the same images; got {sizes[0]} and {sizes[1]} members and non-members")
