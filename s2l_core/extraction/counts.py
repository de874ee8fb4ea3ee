"""What near pairs amount to: distinct images found, by which candidates, at which budget. Letters: n candidates, q matched ones.

A candidate shows at most one image, the nearest to it by the rule's distance, of equally near ones the first: b candidates never show more
than b images, and a candidate that is near to everything (a flat one) shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.matcher import Near, NearPairs

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RULES = ("l2", "tile_max")
"""A candidate shows an image by a rule where that distance is below the threshold. What `tile_max` matches `l2` matches too."""


class Shown(NamedTuple):
    """The matched candidates of a rule and the image that each shows, by places in the sets and in the pairs, [q] each, by candidate."""

    candidate: Indices
    image: Indices
    pair: Indices


def shown(pairs: NearPairs, rule: str, threshold: float) -> Shown:
    """What each candidate shows by the rule."""
    distance = _distance(pairs, rule)
    close = np.flatnonzero(distance < threshold)
    order = close[np.lexsort((pairs.image[close], distance[close], pairs.candidate[close]))]
    _, first = np.unique(pairs.candidate[order], return_index=True)
    pair = order[first]
    return Shown(pairs.candidate[pair], pairs.image[pair], pair)


def counts(pairs: NearPairs, rule: str, threshold: float, positions: Sequence[int]) -> dict[str, Any]:
    """The counts of one rule against one set of images.

    Args:
        positions: of the candidates, in the order they were generated in, from 1.

    Returns:
        `images`: distinct images shown. `touched`: distinct images below the threshold for any candidate, shown or not. `candidates`: those
        that show an image. `most`: by how many candidates one image is shown. `found_at`: the position of the candidate that showed the
        first image, the second other one, ...: the count at a budget of b is how many of these are at most b.
    """
    found = shown(pairs, rule, threshold)
    at = np.asarray(positions, dtype=np.int64)[found.candidate]
    order = np.lexsort((at, found.image))
    images, first, by = np.unique(found.image[order], return_index=True, return_counts=True)
    return {
        "images": len(images),
        "touched": len(np.unique(pairs.image[_distance(pairs, rule) < threshold])),
        "candidates": len(found.candidate),
        "most": int(by.max()) if len(by) else 0,
        "found_at": sorted(at[order][first].tolist()),
    }


def count_at(found_at: Sequence[int], budget: int) -> int:
    """How many distinct images the first `budget` candidates show."""
    return int(np.searchsorted(np.asarray(found_at), budget, side="right"))


def precision(members: Near, non_members: Near, rule: str, threshold: float) -> dict[str, Any]:
    """Of the candidates that any rule flags against either set, the share that the rule matches with a member, no non-member being as near.

    With as many non-members as members, a matcher that is right by chance alone has at most a half.

    Returns:
        `flagged`, `members`: candidates. `value`: their ratio, None where nothing is flagged.
    """
    flagged = np.union1d(members.pairs.candidate, non_members.pairs.candidate)
    nearest = []
    for side in (members, non_members):
        found = shown(side.pairs, rule, threshold)
        distance = np.full(len(side.least_l2), np.inf)
        distance[found.candidate] = _distance(side.pairs, rule)[found.pair]
        nearest.append(distance)
    right = int((nearest[0] < nearest[1]).sum())
    return {"flagged": len(flagged), "members": right, "value": right / len(flagged) if len(flagged) else None}


def _distance(pairs: NearPairs, rule: str) -> Floats:
    return pairs.l2 if rule == "l2" else pairs.tile_max
