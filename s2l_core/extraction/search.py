"""Exact nearest neighbours and neighbourhoods by L2, a block of pairs at a time.

Letters: n queries, m references, d numbers in a row, k neighbours.

Beside what is given and what is returned a search holds at most `budget` bytes, whatever n and m. The results depend on the rows alone:
not on the budget, the order of blocks, threads or the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.extraction.blocks import BUDGET_BYTES, Block, Rows, block, row_bytes, spans, steps
from s2l_core.extraction.squares import CELL_BYTES, ROW_BYTES, screened, settled

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CHOSEN_BYTES = 96
"""Held for a pair that is chosen; where all distances are equal, that is every pair of a block."""


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first; of equal ones the first in the set.

    Attributes:
        place: in the set, int64 [n, k].
        squares: squared distances, float64 [n, k]; exact whole numbers for bytes.
    """

    place: Indices
    squares: Floats


class Pairs(NamedTuple):
    """Some pairs of a query and a reference: their places, int64 [p], and squared distances, float64 [p]."""

    query: Indices
    reference: Indices
    squares: Floats


def nearest(queries: Rows, references: Rows, k: int, *, budget: int = BUDGET_BYTES, device: str = "cpu") -> Neighbours:
    """The k nearest references of each query by L2, exactly.

    Args:
        queries: uint8 or floating-point [n, ...].
        references: [m, ...], rows of the queries' shape and type.
        budget: bytes held at once beside these and the result.

    Raises:
        ValueError: k is not within 1 and m, rows do not go together, or the budget is too small for two rows.
    """
    n, m = _checked(queries, references)
    if not 1 <= k <= m:
        raise ValueError(f"k is {k}; there are {m} references, so that it must be 1 to {m}")
    search = _Search(queries, references, budget, device)
    found = Neighbours(np.empty((n, k), dtype=np.int64), np.empty((n, k)))
    for x in search.queries():
        best = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
        farthest = np.full(len(x.rows), np.inf)
        for y in search.references():
            new = search.settled(x, y, *_could_be_nearest(x, y, k, farthest))
            best = _nearest_of([best, new], k)
            if y.first + len(y.rows) >= k:
                farthest = best.squares[k - 1 :: k]
        rows = slice(x.first, x.first + len(x.rows))
        found.place[rows] = best.reference.reshape(-1, k)
        found.squares[rows] = best.squares.reshape(-1, k)
    return found


def within(
    queries: Rows, references: Rows, limits: ArrayLike, *, later: bool = False, budget: int = BUDGET_BYTES, device: str = "cpu"
) -> Iterator[Pairs]:
    """All pairs whose squared distance is at most the query's limit, a block at a time.

    In which pieces they come depends on the budget; which they are, and their distances, does not.

    Args:
        limits: one for all queries, or [n].
        later: only references that come later in the set than the query: each pair of one set with itself once.

    Raises:
        ValueError: rows do not go together, or the budget is too small for two rows.
    """
    n, _ = _checked(queries, references)
    limit = np.broadcast_to(np.asarray(limits, dtype=np.float64), (n,))
    search = _Search(queries, references, budget, device)
    for x in search.queries():
        own = limit[x.first : x.first + len(x.rows)]
        for y in search.references(after=x.first + 1 if later else 0):
            found = search.settled(x, y, *_could_be_within(x, y, own, later=later))
            kept = found.squares <= own[found.query]
            yield Pairs(found.query[kept] + x.first, found.reference[kept], found.squares[kept])


class _Search:
    """Blocks of queries and references, and the distances of chosen pairs."""

    def __init__(self, queries: Rows, references: Rows, budget: int, device: str) -> None:
        self._sets, self._device = (queries, references), device
        self._exact = np.dtype(queries.dtype) == np.uint8
        held = 0 if self._exact else budget // 4
        row, cell = row_bytes(queries) * (1 if self._exact else 3) + ROW_BYTES, CELL_BYTES + CHOSEN_BYTES
        self._steps = steps(queries.shape[0], references.shape[0], row=row, cell=cell, budget=budget - held)
        self._numbers = held // 24

    def queries(self) -> Iterator[Block]:
        for span in spans(self._sets[0].shape[0], self._steps[0]):
            yield block(self._sets[0], span, self._device)

    def references(self, *, after: int = 0) -> Iterator[Block]:
        """Blocks in the set's order; without those that end before the row `after`."""
        for span in spans(self._sets[1].shape[0], self._steps[1]):
            if span.stop > after:
                yield block(self._sets[1], span, self._device)

    def settled(self, x: Block, y: Block, i: Indices, j: Indices, value: Floats) -> Pairs:
        """Pairs of places in the blocks with their exact distances; references by their place in the set."""
        exact = value if self._exact else settled(x.rows, y.rows, i, j, self._numbers)
        return Pairs(i, j + y.first, exact)


def _could_be_nearest(x: Block, y: Block, k: int, farthest: Floats) -> tuple[Indices, Indices, Floats]:
    """The pairs of two blocks that can be among the k nearest, by places in the blocks.

    Args:
        farthest: the k-th distance so far: a later reference must be nearer, since of equal ones the first counts.
    """
    with exact_arithmetic(x.tensor.device.type):
        value, slack = screened(x.tensor, y.tensor)
        kth = value.topk(min(k, value.shape[1]), dim=1, largest=False).values[:, -1:]
        chosen = value <= kth + 2 * slack
        chosen &= value < torch.from_numpy(farthest).to(value.device)[:, None] + slack
        return _places(chosen, value)


def _could_be_within(x: Block, y: Block, limits: Floats, *, later: bool) -> tuple[Indices, Indices, Floats]:
    with exact_arithmetic(x.tensor.device.type):
        value, slack = screened(x.tensor, y.tensor)
        chosen = value <= torch.from_numpy(np.array(limits)).to(value.device)[:, None] + slack
        if later:
            places = [torch.arange(one.first, one.first + len(one.rows), device=value.device) for one in (x, y)]
            chosen &= places[1] > places[0][:, None]
        return _places(chosen, value)


def _places(chosen: Tensor, value: Tensor) -> tuple[Indices, Indices, Floats]:
    i, j = chosen.nonzero(as_tuple=True)
    return i.cpu().numpy(), j.cpu().numpy(), value[i, j].cpu().numpy()


def _nearest_of(parts: list[Pairs], k: int) -> Pairs:
    """The k nearest of each query (all, where there are fewer), ordered by query, distance and reference."""
    query, reference, squares = (np.concatenate([part[column] for part in parts]) for column in range(3))
    order = np.lexsort((reference, squares, query))
    ordered = query[order]
    order = order[np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left") < k]
    return Pairs(query[order], reference[order], squares[order])


def _checked(queries: Rows, references: Rows) -> tuple[int, int]:
    kinds = [np.dtype(rows.dtype) for rows in (queries, references)]
    if queries.shape[1:] != references.shape[1:] or kinds[0] != kinds[1] or not (kinds[0] == np.uint8 or kinds[0].kind == "f"):
        told = f"{kinds[0]} {list(queries.shape)} and {kinds[1]} {list(references.shape)}"
        raise ValueError(f"queries and references must be rows of one shape and type, uint8 or floating-point; got {told}")
    return queries.shape[0], references.shape[0]
