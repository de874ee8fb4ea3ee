"""How another set of candidates of the same size would come out: intervals and tests of counts of distinct images.

The images are given; candidates are independent draws. What is estimated is the expected number D of distinct images that so many
candidates show. Letters: s images, f1 and f2 of them shown exactly once and twice.

Of two limits the narrower one counts at each end:

- D is a sum of s unlike indicators that hinder each other, and no such sum spreads wider than a binomial of its mean (Hoeffding, Annals of
  Mathematical Statistics 27, 1956): Clopper and Pearson's limits of D out of s.
- An image that was shown often would be shown again. Leaving out one candidate changes D only where its image is shown once, so that the
  variance of D is at most the expected f1 (Efron and Stein, Annals of Statistics 9, 1981): Poisson limits of that uncertain part, with the
  f1 that is seen. Below, images shown twice count as uncertain too, since luck may have shown them twice; above, the limit is the mid-P
  one, which is 3.0 images where none was shown: the rule of three.

How often they hold the truth is measured by tests/benchmarks/coverage_of_extraction.py: docs/results/extraction-coverage.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import hypot, sqrt
from typing import NamedTuple

from s2l_core.metrics.intervals import clopper_pearson

TAIL = 0.025
"""Of 95 % intervals, on either side."""
SURE = 0.4
"""Images that may be missed where each was shown three times or more: with means of at least 3 they are 3 + 9/2 times rarer than those
shown once or twice, of which there are at most 3.0 where none was seen."""


class Counted(NamedTuple):
    """A number of images, or a difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float


def images_interval(images: int, once: int, twice: int, *, out_of: int) -> Counted:
    """Distinct images shown, and what may be expected of candidates of the same number.

    Args:
        once, twice: those of them that exactly one and two candidates show.
        out_of: images that the candidates were matched with.

    Raises:
        ValueError: no such counts are possible.
    """
    if not 0 <= once + twice <= images <= out_of or min(once, twice) < 0 or out_of < 1:
        got = f"{images} images, {once} of them once and {twice} twice, out of {out_of}"
        raise ValueError(f"images shown must be within 0 and all there are, and those shown once and twice among them; got {got}")
    least, most = (out_of * rate for rate in clopper_pearson(images, out_of))
    unsure = once + twice
    low = images - unsure + _poisson_low(unsure) if unsure else images - SURE
    return Counted(float(images), max(least, low), min(most, images - once + _poisson_high(once)))


def change_interval(before: Counted, after: Counted) -> Counted:
    """After minus before, by the distances of either from its limits added in squares (Zou and Donner, Statistics in Medicine 27, 2008).

    As if the two were independent. Before and after see the same noise; where that makes them go together, the interval is too wide.
    """
    delta = after.value - before.value
    low = hypot(after.value - after.low, before.high - before.value)
    return Counted(delta, delta - low, delta + hypot(after.high - after.value, before.value - before.low))


def summed_interval(parts: Mapping[str, Sequence[Counted]]) -> Counted:
    """The sum over all parts. Within a group (a domain) they share candidates or noise, and may err together: their distances from their
    limits are added; groups are independent, and theirs are added in squares."""
    total, low, high = 0.0, 0.0, 0.0
    for group in parts.values():
        total += sum(one.value for one in group)
        low += sum(one.value - one.low for one in group) ** 2
        high += sum(one.high - one.value for one in group) ** 2
    return Counted(total, total - sqrt(low), total + sqrt(high))


def labels_test(members: int, non_members: int, *, out_of: int) -> float:
    """Fisher's exact two-sided p-value of distinct members shown against distinct non-members, of `out_of` each: what a model that knows
    nothing of members shows does not depend on which of two like images was called one."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[members, out_of - members], [non_members, out_of - non_members]])[1])


def sign_test(new: int, lost: int) -> float:
    """The exact two-sided p-value of images shown after alone (`new`) against those shown before alone (`lost`): if nothing changed, either
    is as likely for each of them. 1 where there are none."""
    from scipy.special import bdtr

    return 1.0 if new == lost else min(1.0, 2 * float(bdtr(min(new, lost), new + lost, 0.5)))


@cache
def _poisson_low(count: int) -> float:
    """The exact lower limit of a Poisson mean."""
    from scipy.special import gammaincinv

    return float(gammaincinv(count, TAIL)) if count else 0.0


@cache
def _poisson_high(count: int) -> float:
    """The upper limit of a Poisson mean under which fewer, and half of the chance of as many, are no likelier than the tail."""
    from scipy.optimize import brentq
    from scipy.special import pdtr

    def beyond(mean: float) -> float:
        fewer = float(pdtr(count - 1, mean)) if count else 0.0
        return (fewer + float(pdtr(count, mean))) / 2 - TAIL

    return float(brentq(beyond, count, count + 12 + 8 * sqrt(count), xtol=1e-10))
