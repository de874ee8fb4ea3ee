"""Whether drawn images lie nearer to members than to non-members: against labels that mean nothing.

Letters: n drawn images, m members, u non-members, M = m + u, k compared images, P permutations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from s2l_core.fidelity.neighbours import nearest_weights

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

Difference = Callable[[Mask], float]
"""Labels [M], True for a member -> the measure for members minus that for non-members."""


def p_value(difference: Difference, members: int, others: int, *, permutations: int, random: np.random.Generator) -> float:
    """The two-sided p of `difference` at the true labels (members first), under labels dealt out at random.

    Where members and non-members are of one distribution and the model has not learned the members, every dealing is as likely as the
    true one. A bootstrap over the drawn images would not do: the members are a sample as well.
    """
    label = np.arange(members + others) < members
    found = abs(difference(label)) * (1 - 1e-9)  # equal dealings count as equal, whatever the last bits
    extreme = sum(abs(difference(random.permutation(label))) >= found for _ in range(permutations))
    return (1 + extreme) / (1 + permutations)


def nearest_difference(distances: Floats, members: int, k: int) -> Difference:
    """Of the mean distance to the nearest of k (`nearest_of`), for distances [n, M] to members and then non-members."""
    order = np.argsort(distances, axis=1, kind="stable")
    ordered = np.take_along_axis(distances, order, axis=1)
    n, total = distances.shape
    weights = [nearest_weights(count, k) for count in (members, total - members)]

    def difference(label: Mask) -> float:
        inside = label[order]
        rank = np.cumsum(inside, axis=1)
        weight = np.where(inside, weights[0][np.maximum(rank - 1, 0)], -weights[1][np.maximum(np.arange(total) - rank, 0)])
        return float((ordered * weight).sum() / n)

    return difference


def mean_difference(values: Floats) -> Difference:
    """Of the mean over all pairs, for values [n, M] of members and then non-members."""
    column = values.mean(axis=0)
    return lambda label: float(column[label].mean() - column[~label].mean())
