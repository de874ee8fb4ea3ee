"""Which candidates lie near to which images: every pair, or those that a pre-filter leaves, a block at a time.

Letters: n candidates, m images, p pairs, k kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.extraction.blocks import BUDGET_BYTES, Block, Rows, block, row_bytes, spans, steps
from s2l_core.extraction.distances import CELL_BYTES, Distances, alignments, check_size, distances
from s2l_core.extraction.search import CHOSEN_BYTES
from s2l_core.extraction.squares import ROW_BYTES
from s2l_core.specs.extraction import AlignmentSpec

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

AS_THEY_ARE = AlignmentSpec(shift=0, flip=False)


class NearPairs(NamedTuple):
    """Pairs with an l2 below the threshold, [p] each. (tile_max is never below l2: no pair is near by its tiles alone.)

    Attributes:
        candidate, image: places in the sets.
        alignment: the place of the alignment with the least l2.
    """

    candidate: Indices
    image: Indices
    l2: Floats
    tile_max: Floats
    alignment: Indices


class Near(NamedTuple):
    """The near pairs, ordered by candidate and image, and the least distances of each candidate to all images it was compared with, [n]."""

    pairs: NearPairs
    least_l2: Floats
    least_tile_max: Floats


class Compared(NamedTuple):
    """One block: its candidates, their near pairs by places in the sets, and the least l2 and tile_max of each, [2, b]."""

    span: slice
    pairs: NearPairs
    least: Floats


def near(
    candidates: Rows,
    images: Rows,
    *,
    threshold: float,
    tiles: int = 4,
    alignment: AlignmentSpec = AS_THEY_ARE,
    kept: Indices | None = None,
    budget: int = BUDGET_BYTES,
    device: str = "cpu",
    say: Callable[[float], None] = lambda fraction: None,
) -> Near:
    """The pairs of a candidate and an image that lie nearer than the threshold.

    Args:
        candidates: uint8 [n, h, w, 3].
        images: uint8 [m, h, w, 3].
        alignment: what is tried.
        kept: the images that each candidate is compared with [n, k], as `most_similar` gives them; None: all.
        budget: bytes held at once beside these and the result.

    Raises:
        ValueError: sizes do not go together, or the budget is too small for two images.
    """
    least = np.full((2, candidates.shape[0]), np.inf)
    found: list[NearPairs] = []
    for part in compared(
        candidates, images, threshold=threshold, tiles=tiles, alignment=alignment, kept=kept, budget=budget, device=device
    ):
        np.minimum(least[:, part.span], part.least, out=least[:, part.span])
        found.append(part.pairs)
        say(part.span.stop / candidates.shape[0])
    return Near(_ordered(found), *least)


def compared(
    candidates: Rows,
    images: Rows,
    *,
    threshold: float,
    tiles: int,
    alignment: AlignmentSpec = AS_THEY_ARE,
    kept: Indices | None = None,
    later: bool = False,
    budget: int = BUDGET_BYTES,
    device: str = "cpu",
) -> Iterator[Compared]:
    """What `near` is made of, block by block.

    Args:
        later: only images that come later in the set than the candidate: each pair of one set with itself once.
    """
    n, m = _checked(candidates, images)
    tried = alignments(alignment)
    check_size(candidates.shape[1], candidates.shape[2], tried, tiles)
    row = 3 * row_bytes(candidates) + ROW_BYTES  # as given, mirrored, and a tile of it
    step, images_step = steps(n, m, row=row, cell=CELL_BYTES + CHOSEN_BYTES, budget=budget)
    for span in spans(n, step):
        x = block(candidates, span, device)
        wanted = None if kept is None else kept[span]
        for y, places in _images(images, images_step, wanted, device, after=span.start + 1 if later else 0):
            with exact_arithmetic(x.tensor.device.type):
                found = distances(_pictures(x, candidates), _pictures(y, candidates), tried, tiles)
            if wanted is not None:
                _leave_out(found, ~_among(wanted, places))
            if later:
                _leave_out(found, places <= np.arange(span.start, span.stop)[:, None])
            yield _of_block(found, span, places, threshold)


def _pictures(part: Block, like: Rows) -> Tensor:
    return part.tensor.view(-1, *like.shape[1:])


def _ordered(parts: Sequence[NearPairs]) -> NearPairs:
    candidate, image, l2, tile_max, alignment = (np.concatenate([part[column] for part in parts]) for column in range(5))
    order = np.lexsort((image, candidate))
    return NearPairs(candidate[order], image[order], l2[order], tile_max[order], alignment[order])


def _leave_out(found: Distances, pairs: NDArray[np.bool_]) -> None:
    found.l2[pairs] = np.inf
    found.tile_max[pairs] = np.inf


def _of_block(found: Distances, span: slice, places: Indices, threshold: float) -> Compared:
    i, j = np.nonzero(found.l2 < threshold)
    pairs = NearPairs(i + span.start, places[j], found.l2[i, j], found.tile_max[i, j], found.best[i, j])
    return Compared(span, pairs, np.stack([found.l2.min(axis=1), found.tile_max.min(axis=1)]))


def _images(images: Rows, step: int, wanted: Indices | None, device: str, *, after: int) -> Iterator[tuple[Block, Indices]]:
    """Blocks of images with their places in the set: all, or those that any candidate of the block wants; none that end before `after`."""
    every = None if wanted is None else np.unique(wanted)
    for span in spans(images.shape[0], step):
        places = np.arange(span.start, span.stop)
        if every is not None:
            places = every[(every >= span.start) & (every < span.stop)]
        if len(places) == 0 or span.stop <= after:
            continue
        whole = block(images, span, device)
        chosen = places - span.start
        yield (whole if len(places) == len(whole.rows) else Block(span.start, whole.rows[chosen], whole.tensor[chosen])), places


def _among(wanted: Indices, places: Indices) -> NDArray[np.bool_]:
    """Whether each of the ordered places is one of a row's wanted ones, [b, places]."""
    found = np.zeros((len(wanted), len(places)), dtype=np.bool_)
    column = np.searchsorted(places, wanted)
    row, at = np.nonzero((column < len(places)) & (places[np.minimum(column, len(places) - 1)] == wanted))
    found[row, column[row, at]] = True
    return found


def _checked(candidates: Rows, images: Rows) -> tuple[int, int]:
    told = f"{np.dtype(candidates.dtype)} {list(candidates.shape)} and {np.dtype(images.dtype)} {list(images.shape)}"
    shapes = candidates.shape, images.shape
    if any(np.dtype(rows.dtype) != np.uint8 or len(rows.shape) != 4 for rows in (candidates, images)) or shapes[0][1:] != shapes[1][1:]:
        raise ValueError(f"candidates and images must be uint8 [n, height, width, channels] of one size; got {told}")
    if not (shapes[0][0] and shapes[1][0]):
        raise ValueError(f"there must be a candidate and an image; got {told}")
    return shapes[0][0], shapes[1][0]
