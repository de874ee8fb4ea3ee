"""Candidates that are near-duplicates of each other: what a model says over and over (arXiv 2301.13188). Letters: n candidates.

A graph joins two candidates whose distance is below a threshold. Out of it cliques (sets in which every two are joined) are taken one by
one, the largest first, each without the candidates of those before: no candidate is in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from s2l_core.extraction.blocks import BUDGET_BYTES, Rows
from s2l_core.extraction.matcher import compared

EXACT_VERTICES = 64
"""A part of the graph with at most so many candidates is solved exactly; a larger one greedily."""
GREEDY_STARTS = 32
"""The greedy search grows a clique from each of so many candidates with the most neighbours, and takes the largest."""


class Cliques(NamedTuple):
    """Disjoint cliques, largest first, each ordered.

    Attributes:
        exact: whether every part of the graph was small enough for each clique to be a largest one of what was left.
    """

    found: tuple[tuple[int, ...], ...]
    exact: bool


def near_duplicates(images: Rows, *, threshold: float, tiles: int = 4, budget: int = BUDGET_BYTES, device: str = "cpu") -> list[int]:
    """The graph: for each image the set of the images whose tile distance to it is below the threshold, as the bits of an integer.

    It takes n^2 / 4 bytes: 6 MB for 5,000 images.

    Args:
        images: uint8 [n, h, w, 3]; compared as they are, without alignment.
        tiles: to a side; 1: normalised L2.
    """
    n = images.shape[0]
    packed = np.zeros((n, -(-n // 8)), dtype=np.uint8)
    for part in compared(images, images, threshold=threshold, tiles=tiles, later=True, budget=budget, device=device):
        close = part.pairs.tile_max < threshold
        one, other = part.pairs.candidate[close], part.pairs.image[close]
        for row, column in ((one, other), (other, one)):
            np.bitwise_or.at(packed, (row, column >> 3), (1 << (column & 7)).astype(np.uint8))
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def cliques(joined: Sequence[int], size: int) -> Cliques:
    """Disjoint cliques of at least `size` vertices.

    Args:
        joined: for each vertex the bits of its neighbours.
    """
    found: list[tuple[int, ...]] = []
    exact = True
    waiting = [_with_neighbours(joined, (1 << len(joined)) - 1, size)]
    while waiting:
        for part in _components(joined, waiting.pop()):
            small = part.bit_count() <= EXACT_VERTICES
            exact &= small
            best = _largest(joined, part) if small else _greedy(joined, part)
            if len(best) >= size:
                found.append(tuple(sorted(best)))
                waiting.append(_with_neighbours(joined, part & ~_bits(best), size))
    return Cliques(tuple(sorted(found, key=lambda one: (-len(one), one))), exact)


def _with_neighbours(joined: Sequence[int], part: int, size: int) -> int:
    """The part without vertices that have too few neighbours in it for a clique of that size, and those that then have, and so on."""
    while True:
        poor = _bits([vertex for vertex in _members(part) if (joined[vertex] & part).bit_count() < size - 1])
        if not poor:
            return part
        part &= ~poor


def _components(joined: Sequence[int], part: int) -> Iterator[int]:
    while part:
        reached, edge = 0, part & -part
        while edge:
            reached |= edge
            beyond = 0
            for vertex in _members(edge):
                beyond |= joined[vertex]
            edge = beyond & part & ~reached
        yield reached
        part &= ~reached


def _largest(joined: Sequence[int], part: int) -> list[int]:
    """A largest clique of the part. Branch and bound: a set that can be coloured with c colours holds no clique above c."""
    best: list[int] = []

    def grow(clique: list[int], among: int) -> None:
        nonlocal best
        if len(clique) > len(best):
            best = list(clique)
        coloured = _coloured(joined, among)
        for vertex, colours in reversed(coloured):
            if len(clique) + colours <= len(best):
                return
            grow([*clique, vertex], among & joined[vertex])
            among &= ~(1 << vertex)

    grow([], part)
    return best


def _coloured(joined: Sequence[int], part: int) -> list[tuple[int, int]]:
    """The vertices, colour by colour, each with the number of colours up to its own; no two neighbours share one."""
    coloured: list[tuple[int, int]] = []
    colour = 0
    while part:
        colour += 1
        free = part
        while free:
            vertex = (free & -free).bit_length() - 1
            coloured.append((vertex, colour))
            part &= ~(1 << vertex)
            free &= ~(1 << vertex) & ~joined[vertex]
    return coloured


def _greedy(joined: Sequence[int], part: int) -> list[int]:
    """The largest of the cliques that grow from the vertices with the most neighbours, taking others in that order."""
    order = sorted(_members(part), key=lambda vertex: (-(joined[vertex] & part).bit_count(), vertex))
    grown = []
    for start in order[:GREEDY_STARTS]:
        clique, among = [start], joined[start] & part
        for vertex in order:
            if among >> vertex & 1:
                clique.append(vertex)
                among &= joined[vertex]
        grown.append(clique)
    return max(grown, key=len)


def _members(part: int) -> Iterator[int]:
    while part:
        lowest = part & -part
        yield lowest.bit_length() - 1
        part ^= lowest


def _bits(vertices: Sequence[int]) -> int:
    bits = 0
    for vertex in vertices:
        bits |= 1 << vertex
    return bits
