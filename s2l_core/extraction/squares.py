"""Squared distances of two blocks of rows by products of matrices. Letters: b rows, c other rows, d columns.

Bytes: exact. A byte less 128 is a whole number of at most 128 in size, and 1,024 products of such add up to at most 2^24, up to which
float32 holds every whole number: products of 1,024 columns at a time, added up in float64, lose nothing in any order, on any device.

Other numbers: products in float32 with a bound on what they lost, to leave out what is surely too far; `settled` says the rest in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

COLUMNS = 1024
"""Columns multiplied at a time: for bytes the most that float32 adds up exactly."""

LARGEST = 1e15
"""Larger numbers would overflow as float32 products."""

CELL_BYTES = 24
"""Held at once for each pair of a block: the sum, one product, and the product once more as float64."""
ROW_BYTES = COLUMNS * 24
"""Held at once for each row of a block beside the row itself: its columns as float64, their squares, and as float32."""


class Screened(NamedTuple):
    """Squared distances that may be off by at most `slack`.

    Attributes:
        value: float64 [b, c].
        slack: float64 [b, 1]; 0 where the values are exact.
    """

    value: Tensor
    slack: Tensor


def screened(x: Tensor, y: Tensor) -> Screened:
    """Squared distances of rows [b, d] and [c, d], of one type: exact for bytes."""
    if x.dtype == torch.uint8:
        return Screened(byte_squares(x, y), torch.zeros(len(x), 1, dtype=torch.float64, device=x.device))
    return _float_squares(x, y)


def byte_squares(x: Tensor, y: Tensor) -> Tensor:
    """sum((x - y)^2) over the columns of bytes [b, d] and [c, d], exactly, as float64 [b, c]."""
    total = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for columns in _columns(x):
        left, right = (side[:, columns].to(torch.float32).sub_(128) for side in (x, y))
        total.add_(left @ right.T, alpha=-2)
        total.add_(left.square_().sum(dim=1).double()[:, None]).add_(right.square_().sum(dim=1).double())
    return total


def _float_squares(x: Tensor, y: Tensor) -> Screened:
    total = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    norms = [torch.zeros(len(side), dtype=torch.float64, device=x.device) for side in (x, y)]
    for columns in _columns(x):
        left, right = (side[:, columns].to(torch.float32) for side in (x, y))
        total.add_(left @ right.T, alpha=-2)
        for norm, side in zip(norms, (x, y), strict=True):
            norm.add_(side[:, columns].double().square().sum(dim=1))
    total.add_(norms[0][:, None]).add_(norms[1])
    return Screened(total, _slack(norms[0], float(norms[1].max()), x.shape[1]))


def _slack(norms: Tensor, largest: float, columns: int) -> Tensor:
    """What products in float32 lose at most: each of COLUMNS roundings by 2^-24 of |x| |y|, twice, and what lies below float32's smallest.

    The second term covers roundings in float64, those of `settled` too.
    """
    lost = 2 * (COLUMNS + 8) * 2.0**-24 * (norms * largest).sqrt() + 1e-11 * (norms + largest) + columns * 1e-36
    return lost[:, None]


def settled(x: NDArray[Any], y: NDArray[Any], i: Indices, j: Indices, numbers: int) -> NDArray[np.float64]:
    """sum((x_i - y_j)^2) in float64 for pairs of rows, [pairs]. A pair's value does not depend on the pairs beside it.

    Args:
        numbers: about how many are held at once.
    """
    found = np.empty(len(i))
    step = max(1, numbers // max(1, x.shape[1]))
    for first in range(0, len(i), step):
        part = slice(first, first + step)
        difference = x[i[part]].astype(np.float64)
        difference -= y[j[part]]
        found[part] = np.square(difference, out=difference).sum(axis=1)
    return found


def _columns(x: Tensor) -> Iterator[slice]:
    for first in range(0, x.shape[1], COLUMNS):
        yield slice(first, first + COLUMNS)
