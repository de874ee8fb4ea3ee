"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), our own few lines. No network, nothing learned.

Letters: n images, s the side of the grey image, c cells to a side, o orientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2l_core.features.pixels import averaged
from s2l_core.images import ImageRecord, opened
from s2l_core.specs.fidelity import HogFeatures

Floats = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
CLIP = 0.2
"""L2-Hys: a block's unit vector is cut off here and made a unit vector again, so that one hard edge does not drown the rest."""
TINY = 1e-3
"""Added to a block's length: a block without contrast stays near zero instead of showing noise as edges."""


@dataclass(frozen=True)
class Hog:
    """Blocks of 2 x 2 cells, each with one histogram of unsigned gradient directions, [n, (c - 1)^2 * 4 * o]."""

    spec: HogFeatures

    def __call__(self, records: Sequence[ImageRecord]) -> Floats:
        return np.array([self._one(np.asarray(opened(record))) for record in records]).reshape(len(records), -1)

    def prompt_similarity(self, records: Sequence[ImageRecord]) -> Floats | None:
        return None

    def _one(self, pixels: NDArray[np.uint8]) -> Floats:
        grey = averaged(pixels, self.spec.side) @ LUMA
        return _blocks(_cells(grey, self.spec.cell, self.spec.orientations)).ravel()


def load(spec: HogFeatures, *, folder: Path | None, device: str) -> Hog:
    """The extractor; it needs neither a folder nor a device."""
    return Hog(spec)


def _cells(grey: Floats, cell: int, orientations: int) -> Floats:
    """[c, c, o]: gradient magnitudes by direction (0 to 180 degrees), each shared linearly between the two nearest bins."""
    padded = np.pad(grey, 1, mode="edge")
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    magnitude = np.hypot(across, down)
    place = (np.arctan2(down, across) % np.pi) / np.pi * orientations
    lower = np.floor(place).astype(np.int64)
    upper_share = place - lower
    votes = np.zeros((*grey.shape, orientations))
    rows, columns = np.indices(grey.shape)
    np.add.at(votes, (rows, columns, lower % orientations), magnitude * (1 - upper_share))
    np.add.at(votes, (rows, columns, (lower + 1) % orientations), magnitude * upper_share)
    count = grey.shape[0] // cell
    return np.asarray(votes.reshape(count, cell, count, cell, orientations).sum(axis=(1, 3)))


def _blocks(cells: Floats) -> Floats:
    """[(c - 1), (c - 1), 4 o]: neighbouring 2 x 2 cells together, normalised as L2-Hys."""
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=-1)
    cut = np.minimum(_unit(blocks), CLIP)
    return _unit(cut)


def _unit(blocks: Floats) -> Floats:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + TINY**2))
