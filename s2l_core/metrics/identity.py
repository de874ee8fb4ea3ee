"""Is this person in the training data? A test of a set of images, which is what a data subject asks.

Letters: m images of the person that were trained on, n images that were not, k of the m that the person has at hand, B shuffles, S draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2l_core.metrics.chance import rank_sums
from s2l_core.metrics.intervals import stream
from s2l_core.metrics.roc import Floats, checked_scores

SHUFFLES, DRAWS = 999, 200
LEVEL = 0.05


@dataclass(frozen=True)
class SetTest:
    """Whether a set of images scores higher than images that were not trained on; one-sided.

    Attributes:
        welch_p: Welch's t-test of the means; None where a set has fewer than two images or no spread.
        permutation_p: of the sum of ranks, labels shuffled; holds its level whatever the scores.
    """

    welch_p: float | None
    permutation_p: float


def set_test(claimed: ArrayLike, reference: ArrayLike, *, seed: int, purpose: tuple[str, ...] = (), shuffles: int = SHUFFLES) -> SetTest:
    """The test of a person's images against images known not to be in the training data.

    Args:
        claimed: scores of the person's images [k], higher = more member-like.
        reference: scores of the others [n], of the same kind of image: a set that differs by itself is taken for training.

    Raises:
        ValueError: a set is empty, or a score is not finite.
    """
    from scipy.stats import ttest_ind

    mine, others = checked_scores(claimed, "claimed"), checked_scores(reference, "reference")
    spread = min(len(mine), len(others)) > 1 and bool(np.ptp(mine) or np.ptp(others))
    welch = float(ttest_ind(mine, others, equal_var=False, alternative="greater").pvalue) if spread else None
    null = _null(len(mine), len(others), shuffles, seed, purpose)
    return SetTest(welch, float(_p_values(mine[None], others, null)[0]))


def recognised(
    member: ArrayLike, non_member: ArrayLike, *, seed: int, purpose: tuple[str, ...] = (), draws: int = DRAWS, level: float = LEVEL
) -> dict[int, float]:
    """Size of a set -> share of sets of so many of the person's images that the permutation test recognises at `level`.

    Sizes are 1, 2, 4, ... and m; sets are drawn without putting back, S of each size.

    Raises:
        ValueError: a set is empty, or a score is not finite.
    """
    members, others = checked_scores(member, "member"), checked_scores(non_member, "non-member")
    sizes = [*(size for size in (1 << power for power in range(32)) if size < len(members)), len(members)]
    found = {}
    for size in sizes:
        sets = members[_sets(size, len(members), draws if size < len(members) else 1, seed, purpose)]
        p_values = _p_values(sets, others, _null(size, len(others), SHUFFLES, seed, purpose))
        found[size] = float((p_values <= level).mean())
    return found


def images_needed(found: dict[int, float], *, power: float = 0.8) -> int | None:
    """The smallest of the sizes from which on the test recognises a share `power` of sets; None where not even all images do."""
    enough = [size for size in found if all(found[other] >= power for other in found if other >= size)]
    return min(enough) if enough else None


@lru_cache(maxsize=256)
def _sets(size: int, members: int, draws: int, seed: int, purpose: tuple[str, ...]) -> NDArray[np.int64]:
    """Which images are in each set: int64 [S, size]. Before and after, and all trials of a domain, ask for the same."""
    random = stream(seed, "recognised", size, *purpose)
    places = np.broadcast_to(np.arange(members), (draws, members))
    return np.ascontiguousarray(random.permuted(places, axis=1)[:, :size])


@lru_cache(maxsize=256)
def _null(k: int, n: int, shuffles: int, seed: int, purpose: tuple[str, ...]) -> Floats:
    """Sums of k of the ranks 1 to k + n, drawn at random: float64 [B]."""
    random = stream(seed, "ranks", k, n, *purpose)
    ranks = np.arange(1, k + n + 1, dtype=np.float64)
    return rank_sums(ranks, k, shuffles, random)


def _p_values(sets: NDArray[np.float64], others: Floats, null: Floats) -> Floats:
    """The one-sided p of each set [S, k]: its ranks among itself and the others, ties in the middle."""
    from scipy.stats import rankdata

    k = sets.shape[1]
    joined = np.concatenate([sets, np.broadcast_to(others, (len(sets), len(others)))], axis=1)
    sums = rankdata(joined, axis=1)[:, :k].sum(axis=1)
    as_high = (null[None, :] >= sums[:, None] - 1e-9).sum(axis=1)
    return np.asarray((1.0 + as_high) / (1.0 + len(null)))
