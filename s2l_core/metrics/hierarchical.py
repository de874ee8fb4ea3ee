"""Intervals that resample all that was drawn at random: domains, their images, their seeds.

Letters: D domains, S seeds of a domain, B bootstrap replicates, K metrics (the AUC and the TPR at each FPR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.intervals import CHUNK, stream
from s2l_core.metrics.resampled import Drawn, drawn_counts, resampled
from s2l_core.metrics.roc import Floats, auc, tpr_at_fpr
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec

Pair = tuple[Scores, Scores]
Interval = tuple[float, float]
Indices = NDArray[np.int64]

MOST = 4000
"""Replicates beyond which a standard deviation gains nothing and memory is lost."""
NO_SCATTER = 1e-12
MANY = 1e9
"""Degrees of freedom with which Student's t is the normal distribution."""


@dataclass(frozen=True)
class DomainChange:
    """The change of every metric on one domain, in the mean over its seeds.

    Attributes:
        change: [K].
        replicates: the same with images and seeds resampled, [K, B].
        seed_variance: what seeds alone add to the variance of `change` [K], estimated from `seeds` of them; 0 where there is but one.
        one_image: a class has a single image, which resampled is itself: the replicates tell nothing of its scatter.
    """

    change: Floats
    replicates: Floats
    seed_variance: Floats
    seeds: int
    one_image: bool

    @property
    def variance(self) -> Floats:
        """That of `change` with the domain held fixed, [K]."""
        return np.asarray(self.replicates.var(axis=1, ddof=1))


def domain_change(pairs: Sequence[Pair], spec: MetricsSpec) -> DomainChange:
    """One domain's change and its bootstrap replicates.

    A replicate draws members and non-members with replacement, the same images for all seeds and for before and after, and S - 1 of the
    S seeds with replacement: the mean of so many has, over draws, the variance of a mean over S seeds (S draws would have less: one half
    of it for two seeds). One seed is kept as it is.

    Args:
        pairs: scores before and after, one pair for each seed, all of the same images.

    Raises:
        ValueError: the pairs are of different images.
    """
    pairs = in_order(pairs)
    _check_one_domain(pairs)
    first, seeds = pairs[0][0], len(pairs)
    sizes = len(first.members), len(first.non_members)
    streams = stream(spec.seed, "hierarchical", first.domain).spawn(3)
    kept = max(1, seeds - 1)
    samples = min(spec.bootstrap, MOST)
    shares = drawn_seeds(streams[2], samples, seeds, kept) / kept
    replicates = np.zeros((1 + len(spec.fprs), samples))
    step = max(1, CHUNK // sum(sizes))
    for start in range(0, samples, step):
        rows = slice(start, min(start + step, samples))
        counts = (drawn_counts(each, rows.stop - rows.start, size) for each, size in zip(streams, sizes, strict=False))
        replicates[:, rows] = _resampled_change(pairs, Drawn(*counts), shares[rows].T, spec.fprs)
    changes = np.array([_values(after, spec.fprs) - _values(before, spec.fprs) for before, after in pairs])
    between = changes.var(axis=0, ddof=1) / seeds if seeds > 1 else np.zeros(changes.shape[1])
    return DomainChange(changes.mean(axis=0), replicates, between, seeds, min(sizes) < 2)


def in_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The same trials in an order that depends on what they hold alone, so that sums and draws do not depend on who came first."""
    return sorted(pairs, key=lambda pair: (pair[0].domain, pair[0].score.tobytes(), pair[1].score.tobytes()))


def drawn_seeds(random: np.random.Generator, samples: int, seeds: int, kept: int) -> Floats:
    """How often each seed is among those drawn, [B, S]."""
    chosen = random.integers(0, seeds, size=(samples, kept)) + seeds * np.arange(samples)[:, None]
    return np.bincount(chosen.ravel(), minlength=samples * seeds).reshape(samples, seeds).astype(np.float64)


def _resampled_change(pairs: Sequence[Pair], drawn: Drawn, shares: Floats, fprs: tuple[float, ...]) -> Floats:
    """[K, B], seeds weighed by their shares [S, B]."""
    total = np.zeros((1 + len(fprs), shares.shape[1]))
    known: dict[bytes, Floats] = {}
    for (before, after), share in zip(pairs, shares, strict=True):
        seen = before.score.tobytes()  # most often one model before, whatever the seed
        if seen not in known:
            known = {seen: resampled(before.members, before.non_members, drawn, fprs)}
        if not np.array_equal(before.score, after.score):
            total += share * (resampled(after.members, after.non_members, drawn, fprs) - known[seen])
    return total


def _values(scores: Scores, fprs: tuple[float, ...]) -> Floats:
    inside, outside = scores.members, scores.non_members
    return np.array([auc(inside, outside), *(tpr_at_fpr(inside, outside, fpr)[0] for fpr in fprs)])


def _check_one_domain(pairs: Sequence[Pair]) -> None:
    first = pairs[0][0]
    for before, _ in pairs:
        if before.image_ids != first.image_ids or not np.array_equal(before.member, first.member):
            raise ValueError(
                f"the seeds of a domain must score the same images in the same order; got {len(first.image_ids)} images and "
                f"{len(before.image_ids)} of {first.domain!r}; images are resampled once for all seeds"
            )


def these_domains(found: Sequence[DomainChange], spec: MetricsSpec) -> list[Interval]:
    """Around the mean change over exactly these domains, one interval for each metric: images and seeds are resampled, domains are not.

    The mean plus or minus Student's t times the replicates' standard deviation. The degrees of freedom are Satterthwaite's: images are
    many, but a scatter that comes from few seeds is itself hardly known. One domain is enough.
    """
    return [
        _around(middle, half, found, metric) for metric, (middle, half) in enumerate(zip(_mean(found), _halves(found, spec), strict=True))
    ]


def _mean(found: Sequence[DomainChange]) -> Floats:
    return np.asarray(np.mean([each.change for each in found], axis=0))


def _halves(found: Sequence[DomainChange], spec: MetricsSpec) -> Floats:
    """Half the width of the interval over these domains, [K]."""
    count = len(found)
    variance = np.sum([each.variance for each in found], axis=0) / count**2
    doubt = np.sum([each.seed_variance**2 / max(1, each.seeds - 1) for each in found], axis=0) / count**4
    freedom = np.divide(variance**2, doubt, out=np.full_like(variance, MANY), where=doubt > variance**2 / MANY)
    return np.asarray([_beyond(degrees, spec) for degrees in freedom] * np.sqrt(variance))


def _beyond(freedom: float, spec: MetricsSpec) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + spec.level / 2))


def hierarchical(found: Sequence[DomainChange], spec: MetricsSpec) -> list[Interval]:
    """Around the mean change over domains not seen, one interval for each metric: domains, their images and their seeds are resampled.

    The scatter of the domains' changes holds that of their images and seeds already: to resample these on top would count it twice. So
    the domains' deviations from their mean are first shrunk to the part that images and seeds do not explain (Carpenter, Goldstein and
    Rasbash, Applied Statistics 52, 2003). The interval is the mean plus or minus Student's t with D - 1 degrees of freedom times the
    replicates' standard deviation. Few domains often agree by chance: the interval is never narrower than that over these domains, nor,
    where their images explain all of their scatter, than what this scatter alone gives.

    Raises:
        ValueError: fewer than two domains.
    """
    count = len(found)
    if count < 2:
        raise ValueError(f"an interval that resamples domains needs at least two of them; got {count}; `these_domains` takes one")
    random, samples = stream(spec.seed, "hierarchical domains"), found[0].replicates.shape[1]
    domain = random.integers(0, count, size=(samples, count))
    replicate = random.integers(0, samples, size=(samples, count))  # a domain drawn twice has other images each time
    beyond, intervals = _beyond(count - 1, spec), []
    for metric, (middle, least) in enumerate(zip(_mean(found), _halves(found, spec), strict=True)):
        error = _error(np.array([each.change[metric] for each in found]), [each.replicates[metric] for each in found], domain, replicate)
        intervals.append(_around(middle, max(beyond * error, least), found, metric))
    return intervals


def _error(changes: Floats, replicates: Sequence[Floats], domain: Indices, replicate: Indices) -> float:
    """The standard error of the mean over domains of [D] changes, given D times [B] replicates; draws of both [B, D]."""
    noise = np.array([each - each.mean() for each in replicates])
    unexplained = float(changes.var(ddof=1)) - float(noise.var(axis=1, ddof=1).mean())
    if unexplained <= 0:
        return sqrt(float(changes.var(ddof=1)) / len(changes))
    shrunk = sqrt(unexplained / float(changes.var())) * (changes - changes.mean())
    return float((shrunk[domain] + noise[domain, replicate]).mean(axis=1).std(ddof=1))


def _around(middle: float, half: float, found: Sequence[DomainChange], metric: int) -> Interval:
    """Cut to [-1, 1]. A change without scatter is taken for one of which nothing is known."""
    middle = float(middle)
    if half < NO_SCATTER or any(each.one_image and each.change[metric] for each in found):
        return (-1.0, 1.0) if abs(middle) > NO_SCATTER else (middle, middle)
    return max(-1.0, middle - float(half)), min(1.0, middle + float(half))
