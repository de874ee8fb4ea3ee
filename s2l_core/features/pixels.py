"""The image itself, averaged down. Letters: n images, s the side averaged down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2l_core.images import ImageRecord, opened
from s2l_core.specs.fidelity import PixelFeatures

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pixels:
    """Mean colours of `side` x `side` equal fields, in [-1, 1], [n, 3 side^2]."""

    side: int

    def __call__(self, records: Sequence[ImageRecord]) -> Floats:
        return np.array([averaged(np.asarray(opened(record)), self.side).ravel() for record in records]).reshape(len(records), -1)

    def prompt_similarity(self, records: Sequence[ImageRecord]) -> Floats | None:
        return None


def load(spec: PixelFeatures, *, folder: Path | None, device: str) -> Pixels:
    """The extractor; it needs neither a folder nor a device."""
    return Pixels(spec.side)


def averaged(pixels: NDArray[np.uint8], side: int) -> Floats:
    """Means in [-1, 1] over the side x side equal fields of the centre square, [s, s, 3].

    A field that cuts a pixel takes its share of it, so that no size needs a filter.
    """
    height, width, _ = pixels.shape
    small = min(height, width)
    top, left = (height - small) // 2, (width - small) // 2
    square = pixels[top : top + small, left : left + small].astype(np.float64)
    shares = _shares(small, side)
    return np.asarray(np.einsum("ij,jkc,lk->ilc", shares, square, shares, optimize=True) / 127.5 - 1.0)


def _shares(size: int, side: int) -> Floats:
    """[side, size]: how much of each of the `side` fields is covered by each of the `size` pixels."""
    edges = np.linspace(0.0, size, side + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(overlap, 0.0, None) * (side / size))
