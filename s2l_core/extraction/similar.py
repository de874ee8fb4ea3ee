"""Images that are similar in features: the pre-filter. Letters: n candidates, m images, d features, k kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2l_core.extraction.blocks import BUDGET_BYTES
from s2l_core.extraction.search import nearest

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def most_similar(
    candidates: Floats, images: Floats, keep: int, *, budget: int = BUDGET_BYTES, device: str = "cpu"
) -> tuple[Indices, Floats]:
    """The `keep` images most similar to each candidate by the cosine of features [n, d] and [m, d]: places [n, k] and cosines [n, k].

    Of equally similar ones the first counts. A feature vector of zero is similar to nothing: its cosine is 0.
    """
    ours, theirs = directions(candidates, images)
    found = nearest(ours, theirs, min(keep, len(images)), budget=budget, device=device)
    return found.place, 1 - found.squares / 2


def directions(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Features as unit vectors, whose squared distance is 2 - 2 cos. One of zero gets a direction of its own side: its cosine is 0."""
    return _directions(one, 0), _directions(other, 1)


def _directions(values: Floats, side: int) -> Floats:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    units = np.zeros((len(values), values.shape[1] + 2))
    np.divide(values, lengths, out=units[:, :-2], where=lengths > 0)
    units[lengths[:, 0] == 0, side - 2] = 1.0
    return units
