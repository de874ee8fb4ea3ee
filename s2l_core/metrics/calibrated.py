"""What an attacker achieves whose thresholds were set on other images than those that are judged.

Both classes are cut in two halves; each half is judged with the threshold of the other (two-fold cross-fitting), so that every image is
judged once, by a threshold that never saw it. Letters: m members, n non-members.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.intervals import clopper_pearson, stream, wilson
from s2l_core.metrics.roc import Floats, normal_quantile, strict_threshold

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Halves:
    """Which images are in the first half: bool [m] and bool [n]."""

    member: Bools
    non_member: Bools


def halves(members: int, non_members: int, seed: int) -> Halves:
    """A split that depends on the seed and the numbers of images alone, so that before and after share it.

    Raises:
        ValueError: a class has fewer than two images, so that a half would be empty.
    """
    if min(members, non_members) < 2:
        raise ValueError(f"two halves need two images of each class; got {members} members and {non_members} non-members")
    return Halves(*(_half(size, seed, name) for size, name in ((members, "members"), (non_members, "non-members"))))


def _half(size: int, seed: int, name: str) -> Bools:
    chosen = np.zeros(size, dtype=bool)
    chosen[stream(seed, "halves", name, size).permutation(size)[: size // 2]] = True
    return chosen


def balanced_threshold(member: Floats, non_member: Floats) -> float:
    """The value above which a score is called a member's with the best balanced accuracy on these scores.

    It lies in the middle between two neighbouring scores (beyond the ends at the ends); of equally good ones the largest is taken.
    """
    scores = np.unique(np.concatenate([member, non_member]))
    cuts = np.concatenate([[scores[0] - 1.0], (scores[:-1] + scores[1:]) / 2, [scores[-1] + 1.0]])
    caught = 1.0 - np.searchsorted(np.sort(member), cuts, side="right") / len(member)
    spared = np.searchsorted(np.sort(non_member), cuts, side="right") / len(non_member)
    return float(cuts[len(cuts) - 1 - np.argmax((caught + spared)[::-1])])


@dataclass(frozen=True)
class Judged:
    """Which images were called members, by the threshold of the other half: bool [m] and bool [n]."""

    member: Bools
    non_member: Bools

    @property
    def accuracy(self) -> float:
        """Balanced: the mean of the rates at which members and non-members are called what they are."""
        return (float(self.member.mean()) + 1.0 - float(self.non_member.mean())) / 2


def judged(member: Floats, non_member: Floats, split: Halves, fpr: float | None = None) -> Judged:
    """Every image called a member or not, by the threshold of the half that it is not in.

    Args:
        fpr: the threshold is set to that FPR on the other half; None: to the best balanced accuracy there.
    """
    called = Judged(np.zeros(len(member), dtype=bool), np.zeros(len(non_member), dtype=bool))
    for first in (True, False):
        inside, outside = split.member == first, split.non_member == first
        if fpr is None:
            threshold = balanced_threshold(member[~inside], non_member[~outside])
        else:
            threshold = strict_threshold(non_member[~outside], fpr)
        called.member[inside] = member[inside] > threshold
        called.non_member[outside] = non_member[outside] > threshold
    return called


def accuracy_interval(found: Judged, *, level: float = 0.95) -> tuple[float, float]:
    """Around the balanced accuracy of these two thresholds: Wilson's intervals of the two rates, their distances added in squares."""
    caught, spared = found.member, ~found.non_member
    bounds = [(float(each.mean()), *wilson(int(each.sum()), len(each), level=level)) for each in (caught, spared)]
    below = hypot(*(rate - low for rate, low, _ in bounds)) / 2
    above = hypot(*(high - rate for rate, _, high in bounds)) / 2
    return max(0.0, found.accuracy - below), min(1.0, found.accuracy + above)


def accuracy_change(before: Judged, after: Judged, *, level: float = 0.95) -> tuple[float, float, float]:
    """Balanced accuracy after minus before on the same images: (difference, low, high), from the paired changes of single images.

    No image judged otherwise is (0, 0, 0).
    """
    changes = [after.member.astype(float) - before.member, before.non_member.astype(float) - after.non_member]
    difference = sum(float(change.mean()) for change in changes) / 2
    error = sqrt(sum(float(change.var(ddof=1)) / len(change) for change in changes)) / 2
    half = normal_quantile(level) * error
    return difference, max(-1.0, difference - half), min(1.0, difference + half)


def false_positives(found: Judged, *, level: float = 0.95) -> tuple[float, float, float]:
    """The FPR that a threshold has on images it was not set on: (rate, low, high), Clopper and Pearson's interval."""
    wrong, trials = int(found.non_member.sum()), len(found.non_member)
    return wrong / trials, *clopper_pearson(wrong, trials, level=level)
