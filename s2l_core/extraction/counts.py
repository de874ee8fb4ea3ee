"""What near pairs amount to: distinct images found, by which candidates, at which budget. Letters: n candidates, q matched ones.

A candidate shows at most one image, the nearest to it by the rule's distance, of equally near ones the first: b candidates never show more
than b images, and a candidate that is near to everything (a flat one) shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.labels import p_value
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
        that show an image. `most`: by how many candidates one image is shown. `shown_once`, `shown_twice`: images that exactly so many
        candidates show. `found_at`: the position of the candidate that showed the
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
        "shown_once": int((by == 1).sum()),
        "shown_twice": int((by == 2).sum()),
        "found_at": sorted(at[order][first].tolist()),
    }


def count_at(found_at: Sequence[int], budget: int) -> int:
    """How many distinct images the first `budget` candidates show."""
    return int(np.searchsorted(np.asarray(found_at), budget, side="right"))


def precision(
    members: Near, non_members: Near, rule: str, threshold: float, *, each: int, permutations: int, seed: int = 0
) -> dict[str, Any]:
    """Of the candidates that any rule flags against either set, the share that the rule matches with a member, no non-member being as near.

    Args:
        each: images in either set; as many non-members as members.

    Returns:
        `flagged`: candidates near to an image of either set. `members`, `non_members`: those that show an image of that set, and none of
        the other as near. `value`: members / flagged, None where nothing is flagged. `p_value`: whether members are shown more often (or
        less) than non-members, None where neither is.
    """
    flagged = len(np.union1d(members.pairs.candidate, non_members.pairs.candidate))
    sides = [shown(side.pairs, rule, threshold) for side in (members, non_members)]
    distances = [_by_candidate(side, one, rule) for side, one in zip((members, non_members), sides, strict=True)]
    places = np.zeros(2 * each)
    for number, one in enumerate(sides):
        nearer = distances[number][one.candidate] < distances[1 - number][one.candidate]
        np.add.at(places, one.image[nearer] + number * each, 1.0)
    right, wrong = int(places[:each].sum()), int(places[each:].sum())
    return {
        "flagged": flagged,
        "members": right,
        "non_members": wrong,
        "value": right / flagged if flagged else None,
        "p_value": p_value(places, permutations=permutations, seed=seed, purpose="match labels") if right + wrong else None,
    }


def _by_candidate(side: Near, found: Shown, rule: str) -> Floats:
    """The distance of each candidate to the image that it shows, [n]; infinite where it shows none."""
    distance = np.full(len(side.least_l2), np.inf)
    distance[found.candidate] = _distance(side.pairs, rule)[found.pair]
    return distance


def _distance(pairs: NearPairs, rule: str) -> Floats:
    return pairs.l2 if rule == "l2" else pairs.tile_max
