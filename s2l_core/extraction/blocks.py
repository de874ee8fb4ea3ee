"""Sets that are read in blocks, and how large a block may be. Letters: n rows, d numbers in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod, sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2l_core.images import ImageRecord, square_pixels

BUDGET_BYTES = 2**28
"""What a search may hold beside what it is given and what it returns."""


class Rows(Protocol):
    """A set that gives a block of itself at a time: an array, a memory map, or a loader of blocks.

    Attributes:
        shape: (n, ...).
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


KEPT_BYTES = 2**30
"""A set of images that takes no more is decoded once and kept; a larger one is decoded again whenever a block of it is asked for."""


class EncodedImages:
    """Images of records as uint8 [n, side, side, 3], decoded when they are asked for."""

    def __init__(self, records: Sequence[ImageRecord], side: int) -> None:
        self._records, self._side = records, side
        self._kept: NDArray[np.uint8] | None = None
        self.shape, self.dtype = (len(records), side, side, 3), np.dtype(np.uint8)

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]:
        if self._kept is None and prod(self.shape) > KEPT_BYTES:
            return square_pixels(self._records[rows], self._side)
        if self._kept is None:
            self._kept = square_pixels(self._records, self._side)
        return self._kept[rows]


class Block(NamedTuple):
    """Rows of a set: where they begin, as they are [b, d], and on the device."""

    first: int
    rows: NDArray[Any]
    tensor: Tensor


def block(source: Rows, span: slice, device: str) -> Block:
    """A block of rows, each flattened.

    Raises:
        ValueError: a number is not finite, or too large.
    """
    rows = source[span]
    rows = rows.reshape(len(rows), -1)
    if rows.dtype != np.uint8 and not bool((np.abs(rows) < 1e15).all()):
        raise ValueError(f"rows {span.start} to {span.stop} hold numbers that are not finite or beyond 1e15; leave them out, or scale them")
    writable = np.require(rows, requirements=["C", "W"])  # torch warns of read-only memory
    return Block(span.start, rows, torch.from_numpy(writable).to(device))


def spans(count: int, step: int) -> Iterator[slice]:
    """0..count cut into pieces of `step`."""
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def steps(n: int, m: int, *, row: int, cell: int, budget: int) -> tuple[int, int]:
    """How many of n and of m rows a block takes, so that rows of `row` bytes and pairs of `cell` bytes stay within the budget.

    Raises:
        ValueError: not even one row of each fits.
    """
    if budget < 2 * row + cell:
        raise ValueError(f"a budget of {budget:,} bytes holds no two rows of {row:,} bytes; give {2 * row + cell:,} at least")
    square = int((sqrt(row**2 + cell * budget) - row) / cell)  # 2 row s + cell s^2 = budget
    first = max(1, min(n, square))
    second = max(1, min(m, (budget - first * row) // (row + first * cell)))
    return first, second


def row_bytes(source: Rows) -> int:
    """The size of one row as it is given."""
    return int(prod(source.shape[1:])) * int(np.dtype(source.dtype).itemsize)
