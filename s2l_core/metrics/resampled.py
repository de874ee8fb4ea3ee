"""AUC and TPRs of bootstrap samples, from how often each image was drawn. Letters: m members, n non-members, B samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.roc import Floats, allowed_false_positives

Counts = NDArray[np.int64]


class Drawn(NamedTuple):
    """How often each image is in each sample: [B, m] and [B, n]; every row sums to the number of images."""

    members: Counts
    non_members: Counts


def drawn_counts(random: np.random.Generator, samples: int, size: int) -> Counts:
    """How often each of so many images is in each sample of as many, drawn with replacement: [B, size]."""
    # Row by row from the stream, so that how many are drawn at once changes no draw.
    chosen = np.minimum((random.random((samples, size)) * size).astype(np.int64), size - 1)
    rows = size * np.arange(samples, dtype=np.int64)[:, None]
    return np.bincount((chosen + rows).ravel(), minlength=samples * size).reshape(samples, size)


def resampled(member: Floats, non_member: Floats, drawn: Drawn, fprs: tuple[float, ...]) -> Floats:
    """The AUC, and the TPR at each FPR, of every sample: [1 + FPRs, B]. They are those of scores repeated as often as they were drawn."""
    m, n = len(member), len(non_member)
    down, others_down = np.argsort(-member, kind="stable"), np.argsort(-non_member, kind="stable")
    ordered, others = member[down], non_member[others_down]
    counts = drawn.non_members[:, others_down]
    found = np.zeros((len(counts), m + 1), dtype=np.int64)  # how many drawn members are among the highest 0, 1, ... m
    np.cumsum(drawn.members[:, down], axis=1, out=found[:, 1:])
    above, not_below = (np.searchsorted(-ordered, -others, side=side) for side in ("left", "right"))
    pairs = (counts * found[:, above]).sum(axis=1)
    if not np.array_equal(above, not_below):
        pairs = (pairs + (counts * found[:, not_below]).sum(axis=1)) / 2
    values = np.empty((1 + len(fprs), len(counts)))
    values[0] = pairs / (m * n)
    rows, reached = np.arange(len(counts)), counts.cumsum(axis=1)
    for row, fpr in enumerate(fprs, start=1):
        allowed = allowed_false_positives(n, fpr)
        values[row] = 1.0 if allowed == n else found[rows, above[(reached > allowed).argmax(axis=1)]] / m
    return values
