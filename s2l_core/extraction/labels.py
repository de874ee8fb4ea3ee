"""Whether members are met more often than non-members: against labels that mean nothing. Letters: s images a side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2l_core.randomness import keyed_uniforms


def p_value(places: NDArray[np.float64], *, permutations: int, seed: int, purpose: str) -> float:
    """The share of labellings at random in which the members' share of all places is as far from a half; the true one is among them.

    What a model that knows nothing of members generates does not depend on which of two like sets was called members, so that every
    labelling is as likely as the true one, however often one image is met. Equal ones count as far, whatever the last bits.

    Args:
        places: how often each of s members, and then of s non-members, was met.
    """
    each, total = len(places) // 2, places.sum()
    far = abs(places[:each].sum() / total - 0.5) * (1 - 1e-9)
    extreme = 0
    for number in range(permutations):
        order = np.argsort(keyed_uniforms(len(places), purpose, seed, number).numpy(), kind="stable")
        extreme += bool(abs(places[order[:each]].sum() / total - 0.5) >= far)
    return (1 + extreme) / (1 + permutations)
