"""What an AUC is when membership means nothing: labels are shuffled. Letters: m members, n non-members, B shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from s2l_core.metrics.intervals import percentiles, stream
from s2l_core.metrics.roc import Floats, checked_scores

SHUFFLES = 999
CHUNK = 1 << 22
"""Ranks shuffled at once; no part of the meaning."""


@dataclass(frozen=True)
class Chance:
    """An AUC beside those of shuffled labels.

    Attributes:
        p_value: two-sided: how often shuffled labels give an AUC as far from a half, the given labels counted in.
        low, high: the middle part, of the level asked for, of the shuffled AUCs.
        control: the AUC of one more shuffle, which should lie within low and high as often as the level says.
    """

    p_value: float
    low: float
    high: float
    control: float


def against_chance(
    member: ArrayLike, non_member: ArrayLike, *, seed: int, purpose: Sequence[str] = (), shuffles: int = SHUFFLES, level: float = 0.95
) -> Chance:
    """The permutation test of an AUC, exact in its level whatever the scores, ties and all.

    Args:
        purpose: names the shuffles beside the seed, so that those of different questions are independent.

    Raises:
        ValueError: a class is empty, or a score is not finite.
    """
    from scipy.stats import rankdata

    members, others = checked_scores(member, "member"), checked_scores(non_member, "non-member")
    ranks = rankdata(np.concatenate([members, others]))
    m, n = len(members), len(others)
    drawn = rank_sums(ranks, m, shuffles + 1, stream(seed, "shuffle", *purpose))
    areas = (drawn - m * (m + 1) / 2) / (m * n)
    area = (float(ranks[:m].sum()) - m * (m + 1) / 2) / (m * n)
    as_far = int((np.abs(areas[1:] - 0.5) >= abs(area - 0.5) - 1e-12).sum())
    return Chance((1 + as_far) / (1 + shuffles), *percentiles(areas[1:], level=level), control=float(areas[0]))


def rank_sums(ranks: Floats, m: int, shuffles: int, random: np.random.Generator) -> Floats:
    """The sum of the ranks that each shuffle gives to the members [shuffles], so many shuffles at once as memory is spent on."""
    step = max(1, CHUNK // len(ranks))
    sums = np.empty(shuffles)
    for start in range(0, shuffles, step):
        rows = slice(start, min(start + step, shuffles))
        sums[rows] = random.permuted(np.broadcast_to(ranks, (rows.stop - rows.start, len(ranks))), axis=1)[:, :m].sum(axis=1)
    return sums
