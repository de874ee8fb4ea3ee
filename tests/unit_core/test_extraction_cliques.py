"""Near-duplicates among candidates: the graph against brute force, cliques of known graphs, and what greedy promises."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2l_core.extraction import cliques as module
from s2l_core.extraction.cliques import cliques, near_duplicates

torch.set_num_threads(1)


def graph(vertices: int, edges: Any) -> list[int]:
    joined = [0] * vertices
    for one, other in edges:
        joined[one] |= 1 << other
        joined[other] |= 1 << one
    return joined


def random_graph(vertices: int, share: float, seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    return graph(vertices, [pair for pair in combinations(range(vertices), 2) if random.random() < share])


def largest_by_hand(joined: list[int]) -> int:
    """The size of a largest clique, by trying all sets."""
    best = 0
    for chosen in range(1 << len(joined)):
        members = [vertex for vertex in range(len(joined)) if chosen >> vertex & 1]
        if len(members) > best and all(joined[one] >> other & 1 for one, other in combinations(members, 2)):
            best = len(members)
    return best


def are_cliques(joined: list[int], found: tuple[tuple[int, ...], ...]) -> None:
    for clique in found:
        assert all(joined[one] >> other & 1 for one, other in combinations(clique, 2))
    everyone = [vertex for clique in found for vertex in clique]
    assert len(set(everyone)) == len(everyone)


# --- cliques of known graphs ---


def test_separate_cliques_are_found_the_largest_first() -> None:
    edges = [*combinations(range(4, 9), 2), *combinations(range(10, 13), 2), *combinations((0, 1, 2, 3), 2), (3, 4), (9, 10)]
    assert cliques(graph(13, edges), 3) == ((((4, 5, 6, 7, 8)), (0, 1, 2, 3), (10, 11, 12)), True)
    assert cliques(graph(13, edges), 5).found == ((4, 5, 6, 7, 8),)
    assert cliques(graph(13, edges), 6).found == ()


def test_cliques_that_share_a_vertex_are_taken_apart() -> None:
    edges = [*combinations(range(5), 2), *combinations(range(4, 8), 2)]
    assert cliques(graph(8, edges), 3).found == ((0, 1, 2, 3, 4), (5, 6, 7))
    assert cliques(graph(8, edges), 4).found == ((0, 1, 2, 3, 4),), "without the shared one the second has three"


def test_a_chain_of_near_duplicates_is_no_clique() -> None:
    assert cliques(graph(30, [(number, number + 1) for number in range(29)]), 3).found == ()
    assert cliques(graph(0, []), 2) == ((), True)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_clique_is_a_largest_one(share: float, seed: int) -> None:
    joined = random_graph(13, share, seed)
    found = cliques(joined, 2)
    are_cliques(joined, found.found)
    assert found.exact
    assert len(found.found[0]) == largest_by_hand(joined)


def test_one_far_from_greedy_is_found_exactly() -> None:
    """A hub with many neighbours that are joined to nothing else draws greed away from the clique."""
    edges = [*combinations(range(6), 2), *((10, other) for other in range(11, 40)), (10, 0)]
    assert cliques(graph(40, edges), 6).found == ((0, 1, 2, 3, 4, 5),)


def test_a_large_part_is_solved_greedily_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = [*combinations(range(70), 2), *combinations(range(100, 112), 2)]
    found = cliques(graph(120, edges), 10)
    assert found.found == (tuple(range(70)), tuple(range(100, 112)))
    assert not found.exact
    monkeypatch.setattr(module, "EXACT_VERTICES", 0)
    for seed in range(6):
        joined = random_graph(40, 0.7, seed)
        greedy = cliques(joined, 4)
        are_cliques(joined, greedy.found)
        assert not greedy.exact
        assert greedy.found


def test_a_collapsed_model_takes_no_time() -> None:
    """2,000 candidates that are all alike but for some pairs: one part of the graph."""
    random = np.random.default_rng(0)
    alike = (1 << 2000) - 1
    joined = [alike & ~(1 << vertex) for vertex in range(2000)]
    for one, other in random.integers(0, 2000, size=(300, 2)):
        joined[one] &= ~(1 << int(other))
        joined[other] &= ~(1 << int(one))
    found = cliques(joined, 10)
    are_cliques(joined, found.found[1:])
    assert len(found.found[0]) > 1500


# --- the graph ---


def images_around(centres: NDArray[np.uint8], each: int, noise: float, seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    copies = np.repeat(centres, each, axis=0)
    return np.clip(copies + random.normal(0, noise, copies.shape), 0, 255).astype(np.uint8)


CENTRES = np.random.default_rng(1).integers(40, 215, (6, 12, 12, 3), dtype=np.uint8)


def by_hand(images: NDArray[np.uint8], threshold: float, tiles: int) -> list[int]:
    side = images.shape[1]
    cut = [slice(side * i // tiles, side * (i + 1) // tiles) for i in range(tiles)]
    edges = []
    for one, other in combinations(range(len(images)), 2):
        squares = (images[one] / 255 - images[other] / 255) ** 2
        if np.sqrt(max(squares[down, across].mean() for down in cut for across in cut)) < threshold:
            edges.append((one, other))
    return graph(len(images), edges)


@pytest.mark.parametrize("tiles", [1, 4])
@pytest.mark.parametrize("budget", [150_000, 700_000, 2**28])
def test_the_graph_is_that_of_brute_force(tiles: int, budget: int) -> None:
    images = images_around(CENTRES, 6, 20, 2)
    expected = by_hand(images, 0.15, tiles)
    assert 10 < sum(one.bit_count() for one in expected) / 2 < 36 * 35 / 2
    assert near_duplicates(images, threshold=0.15, tiles=tiles, budget=budget) == expected


def test_a_model_that_repeats_itself_is_seen_and_one_that_does_not_is_not() -> None:
    repeated = np.concatenate([images_around(CENTRES[:2], 12, 5, 3), CENTRES])
    found = cliques(near_duplicates(repeated, threshold=0.15), 10)
    assert found.found == ((*range(12), 24), (*range(12, 24), 25))
    assert cliques(near_duplicates(CENTRES, threshold=0.15), 2).found == ()


def test_flat_backgrounds_make_no_clique_by_tiles() -> None:
    """Twelve portraits on one white wall, each with its own small figure in another place."""
    walls = np.full((12, 16, 16, 3), 255, dtype=np.uint8)
    for number, wall in enumerate(walls):
        top, left = 4 * (number % 4), 4 * (number // 4)
        wall[top : top + 3, left : left + 3] = 130
    assert cliques(near_duplicates(walls, threshold=0.15, tiles=1), 10).found == (tuple(range(12)),)
    assert cliques(near_duplicates(walls, threshold=0.15, tiles=4), 2).found == ()
