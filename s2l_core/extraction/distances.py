"""Distances of images on [0, 1]: normalised L2 and the largest tile's, after alignment.

Letters: b candidates, c images, h and w their size, t tiles to a side.

    l2(a, b)       = sqrt(mean((a - b)^2))                        over all pixels and channels
    tile_max(a, b) = max over the t x t tiles of l2 of the tile   (never below l2)

An alignment moves the candidate by (dy, dx), mirrored first or not; what overlaps is compared, and cut into tiles. Each distance is the
least over all alignments, so that tile_max stays at or above l2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2l_core.extraction.squares import byte_squares
from s2l_core.specs.extraction import AlignmentSpec

Floats = NDArray[np.float64]


class Alignment(NamedTuple):
    """Candidate pixel (y + dy, x + dx), of the mirrored candidate where `flip`, lies over image pixel (y, x)."""

    dy: int = 0
    dx: int = 0
    flip: bool = False


class Distances(NamedTuple):
    """Of all pairs of two blocks [b, c].

    Attributes:
        l2: the least over alignments.
        tile_max: the least over alignments.
        best: int64, the place of the first alignment with the least l2.
    """

    l2: Floats
    tile_max: Floats
    best: NDArray[np.int64]


CELL_BYTES = 96
"""Held at once for each pair of a block: four sums and two least distances as float64, two products, and what is compared."""


def alignments(spec: AlignmentSpec) -> tuple[Alignment, ...]:
    """All that are tried; of equally good ones the first counts: unmirrored before mirrored, short moves before long ones."""
    reach = range(-spec.shift, spec.shift + 1)
    moves = sorted(((dy, dx) for dy in reach for dx in reach), key=lambda move: (abs(move[0]) + abs(move[1]), move))
    return tuple(Alignment(dy, dx, flip) for flip in ((False, True) if spec.flip else (False,)) for dy, dx in moves)


def distances(candidates: Tensor, images: Tensor, tried: tuple[Alignment, ...], tiles: int) -> Distances:
    """Both distances of uint8 images [b, h, w, 3] and [c, h, w, 3], for every pair. No block, thread or device changes a bit.

    Raises:
        ValueError: the images are too small for the tiles and shifts.
    """
    check_size(images.shape[1], images.shape[2], tried, tiles)
    shape = (len(candidates), len(images))
    l2, tile_max = (torch.full(shape, torch.inf, dtype=torch.float64, device=images.device) for _ in range(2))
    best = torch.zeros(shape, dtype=torch.int64, device=images.device)
    for place, alignment in enumerate(tried):
        mean, worst = _squares(*_overlap(candidates, images, alignment), tiles)
        best[mean < l2] = place
        torch.minimum(l2, mean, out=l2)
        torch.minimum(tile_max, worst, out=tile_max)
    return Distances(_scaled(l2), _scaled(tile_max), best.cpu().numpy())


def check_size(height: int, width: int, tried: tuple[Alignment, ...], tiles: int) -> None:
    """Every tile of every overlap holds a pixel.

    Raises:
        ValueError: one does not.
    """
    shift = max(max(abs(one.dy), abs(one.dx)) for one in tried)
    if min(height, width) - shift < tiles:
        raise ValueError(
            f"images of {height} x {width} pixels are too small for {tiles} x {tiles} tiles and shifts by up to {shift}; "
            f"take fewer tiles, shorter shifts, or images of {tiles + shift} pixels at least"
        )


def _overlap(candidates: Tensor, images: Tensor, alignment: Alignment) -> tuple[Tensor, Tensor]:
    moved = candidates.flip(2) if alignment.flip else candidates
    height, width = images.shape[1:3]
    (top, up), (left, right) = _ranges(height, alignment.dy), _ranges(width, alignment.dx)
    return moved[:, top, left], images[:, up, right]


def _ranges(size: int, move: int) -> tuple[slice, slice]:
    """What of the candidate and what of the image overlap, along one side."""
    return slice(max(0, move), size + min(0, move)), slice(max(0, -move), size - max(0, move))


def _squares(candidates: Tensor, images: Tensor, tiles: int) -> tuple[Tensor, Tensor]:
    """Mean squared differences of bytes over the images, and over the worst tile, [b, c] each."""
    total = torch.zeros(len(candidates), len(images), dtype=torch.float64, device=images.device)
    worst = torch.zeros_like(total)
    for down, across in _tiles(images.shape[1], images.shape[2], tiles):
        ours, theirs = (side[:, down, across].flatten(1) for side in (candidates, images))
        squares = byte_squares(ours, theirs)
        total += squares
        torch.maximum(worst, squares.div_(ours.shape[1]), out=worst)
    return total.div_(images[0].numel()), worst


def _tiles(height: int, width: int, tiles: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = ([slice(size * i // tiles, size * (i + 1) // tiles) for i in range(tiles)] for size in (height, width))
    yield from ((down, across) for down in rows for across in columns)


def _scaled(mean_squares: Tensor) -> Floats:
    """On [0, 1]. The sums are exact whole numbers; division and root are rounded once each, everywhere alike."""
    return np.asarray(np.sqrt(mean_squares.cpu().numpy()) / 255.0)
