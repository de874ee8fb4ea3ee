"""What an attacker achieves whose thresholds were set on other images than those that are judged.

Both classes are cut in two halves; each half is judged with the threshold of the other (two-fold cross-fitting), so that every image is
judged once, by a threshold that never saw it. Letters: m members, n non-members.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.intervals import clopper_pearson, stream, wilson
from s2l_core.metrics.roc import Floats, normal_quantile, strict_threshold

Bools = NDArray[np.bool_]


class Halves(NamedTuple):
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
    cuts = _cuts(np.unique(np.concatenate([member, non_member])))
    caught = 1.0 - np.searchsorted(np.sort(member), cuts, side="right") / len(member)
    spared = np.searchsorted(np.sort(non_member), cuts, side="right") / len(non_member)
    return float(cuts[len(cuts) - 1 - np.argmax((caught + spared)[::-1])])


def _cuts(scores: Floats) -> Floats:
    """Below, between and above sorted distinct scores."""
    return np.concatenate([[scores[0] - 1.0], (scores[:-1] + scores[1:]) / 2, [scores[-1] + 1.0]])


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


def accuracy_change(
    before: tuple[Floats, Floats], after: tuple[Floats, Floats], split: Halves, *, seed: int, level: float = 0.95, draws: int = 400
) -> tuple[float, float, float]:
    """Balanced accuracy after minus before on the same images: (difference, low, high).

    Thresholds are set on few images, and luck in setting them is no change of the model: the standard error is that of a bootstrap which
    resamples the images of each half and sets the thresholds anew, the same images before and after. Equal scores are (0, 0, 0); a
    difference without any scatter has the interval (-1, 1).

    Args:
        before, after: scores of members [m] and non-members [n].
        seed: of the bootstrap's draws.
    """
    difference = judged(*after, split).accuracy - judged(*before, split).accuracy
    if all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
        return 0.0, 0.0, 0.0
    old, new = (_accuracies(side, split, seed, draws) for side in (before, after))
    error = float((new - old).std(ddof=1))
    if not error:
        return difference, *((-1.0, 1.0) if difference else (0.0, 0.0))
    half = normal_quantile(level) * error
    return difference, max(-1.0, difference - half), min(1.0, difference + half)


def _accuracies(scores: tuple[Floats, Floats], split: Halves, seed: int, draws: int) -> Floats:
    """The balanced accuracy of each resampled set [draws], by thresholds that are set anew on it."""
    cuts = _cuts(np.unique(np.concatenate(scores)))
    right = [scores[0][:, None] > cuts, scores[1][:, None] <= cuts]  # [m, cuts] and [n, cuts]
    found = np.zeros(draws)
    for first in (True, False):
        judged_on, set_on = (
            [_weights(inside == half, seed, f"{half} {place}", draws) for place, inside in enumerate(split)] for half in (first, not first)
        )
        rates = set_on[0] @ right[0] + set_on[1] @ right[1]  # [draws, cuts]
        best = cuts.size - 1 - np.argmax(rates[:, ::-1], axis=1)
        for weights, each in zip(judged_on, right, strict=True):
            found += (weights * each[:, best].T).sum(axis=1) / 4
    return found


@lru_cache(maxsize=64)
def _drawn(size: int, seed: int, name: str, draws: int) -> NDArray[np.float64]:
    """How often each of so many images is in each bootstrap sample, as shares of the sample: [draws, size]."""
    counts = stream(seed, "accuracy", name, size).multinomial(size, np.full(size, 1 / size), size=draws)
    return np.asarray(counts / size)


def _weights(inside: Bools, seed: int, name: str, draws: int) -> NDArray[np.float64]:
    """The same for the images of one half, and 0 for the others: [draws, images]."""
    weights = np.zeros((draws, len(inside)))
    weights[:, inside] = _drawn(int(inside.sum()), seed, name, draws)
    return weights


def false_positives(found: Judged, *, level: float = 0.95) -> tuple[float, float, float]:
    """The FPR that a threshold has on images it was not set on: (rate, low, high), Clopper and Pearson's interval."""
    wrong, trials = int(found.non_member.sum()), len(found.non_member)
    return wrong / trials, *clopper_pearson(wrong, trials, level=level)
