"""How near a set is to samples that the model itself drew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2l_core.images import ImageRecord, to_pixels

SIDE = 64
"""Images are compared at most this large: near ones stay near, and a large set is compared in seconds."""

ROWS = 64


class Refused(ValueError):
    """A set that is not to be trained on; the message says by how much."""


def near_own_samples(records: Sequence[ImageRecord], own: Sequence[ImageRecord], distance: float, *, side: int = SIDE) -> float:
    """The share of images whose nearest own sample is nearer than `distance`.

    Args:
        distance: root mean squared difference of pixels in [0, 1].
        side: images are compared at this size.

    Raises:
        ValueError: there are no images or no samples.
    """
    if not records or not own:
        raise ValueError(f"nearness needs images and samples; got {len(records)} images and {len(own)} samples")
    return float((_nearest(records, own, side) < distance).double().mean())


def own_distance(own: Sequence[ImageRecord], *, quantile: float = 0.9, side: int = SIDE) -> float:
    """How near that share of the samples is to the nearest other one of them.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if len(own) < 2:
        raise ValueError(f"how near samples are to each other takes at least 2; got {len(own)}; draw more, or give a distance")
    return float(torch.quantile(_nearest(own, own, side, same=True), quantile))


def _nearest(records: Sequence[ImageRecord], own: Sequence[ImageRecord], side: int, *, same: bool = False) -> Tensor:
    """The distance of each image to its nearest sample, float64 [n]; `same`: both are one set, and an image is not its own neighbour."""
    samples = _flat(own, side)
    found = []
    for start in range(0, len(records), ROWS):
        part = records[start : start + ROWS]
        # without matrix products, which lose the small differences
        between = torch.cdist(_flat(part, side), samples, compute_mode="donot_use_mm_for_euclid_dist")
        if same:
            between[torch.arange(len(part)), start + torch.arange(len(part))] = torch.inf
        found.append(between.min(dim=1).values)
    nearest: Tensor = torch.cat(found).double() / samples.shape[1] ** 0.5
    return nearest


def _flat(records: Sequence[ImageRecord], side: int) -> Tensor:
    """Pixels in [0, 1], float32 [n, 3 * side * side]."""
    pixels: Tensor = to_pixels(records, side) / 2 + 0.5
    return pixels.flatten(1)
