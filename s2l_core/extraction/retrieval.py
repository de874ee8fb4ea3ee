"""CLIP-RP: the retrieval precision at k, our own measure (docs/extraction.md). Letters: n generated images, s images a side, d features.

For each generated image the k nearest, by the cosine of features, of s members and s non-members together: the share that are members, on
average over the generated images. Where the model knows no more of members than of non-members it is 0.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.blocks import BUDGET_BYTES, spans
from s2l_core.extraction.labels import p_value
from s2l_core.extraction.search import nearest, within
from s2l_core.extraction.similar import directions

Floats = NDArray[np.float64]

ROWS = 256
"""Generated images whose lists end among equals are looked at so many at a time; no part of the meaning."""


def retrieval_precision(
    generated: Floats,
    members: Floats,
    non_members: Floats,
    *,
    k: int,
    permutations: int,
    seed: int = 0,
    budget: int = BUDGET_BYTES,
    device: str = "cpu",
) -> dict[str, Any]:
    """The precision with the two-sided p of permuted labels.

    Args:
        generated: [n, d].
        members: [s, d].
        non_members: [s, d]; as many as members, so that chance is a half.
        k: images retrieved for each generated one; at most s.

    Raises:
        ValueError: there are no images, or not as many non-members as members.
    """
    each = len(members)
    if not len(generated) or not each or len(non_members) != each:
        got = f"{len(generated)} generated images, {each} members and {len(non_members)} non-members"
        raise ValueError(f"the retrieval precision needs generated images, and as many non-members as members; got {got}")
    k = min(k, each)
    places = _places_taken(generated, np.concatenate([members, non_members]), k, budget=budget, device=device)
    return {
        "k": k,
        "each": each,
        "value": float(places[:each].sum() / places.sum()),
        "chance": 0.5,
        "p_value": p_value(places, permutations=permutations, seed=seed, purpose="retrieval labels"),
        "permutations": permutations,
    }


def _places_taken(generated: Floats, pool: Floats, k: int, *, budget: int, device: str) -> Floats:
    """How many of the n k places each image of the pool takes, [2 s]; images that are equally near at the end of a list share what is left.

    Without sharing, of two equal images the one that stands first in the pool would count, a member always.
    """
    ours, theirs = directions(generated, pool)
    found = nearest(ours, theirs, min(k + 1, len(pool)), budget=budget, device=device)
    last = found.squares[:, k - 1]
    shared = last == found.squares[:, k] if k < len(pool) else np.zeros(len(ours), dtype=np.bool_)
    places = np.bincount(found.place[~shared, :k].ravel(), minlength=len(pool)).astype(np.float64)
    rows = np.flatnonzero(shared)
    for part in (rows[span] for span in spans(len(rows), ROWS)):
        blocks = list(within(ours[part], theirs, last[part], budget=budget, device=device))
        query, reference, squares = (np.concatenate([one[column] for one in blocks]) for column in range(3))
        equal = squares == last[part][query]
        np.add.at(places, reference[~equal], 1.0)
        left = k - np.bincount(query[~equal], minlength=len(part))
        np.add.at(places, reference[equal], (left / np.bincount(query[equal], minlength=len(part)))[query[equal]])
    return places
