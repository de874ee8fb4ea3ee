"""Distances of images and the matcher: closed forms, copies just under and over the threshold, moved, mirrored, flat backgrounds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2l_core.extraction.distances import Alignment, alignments, distances
from s2l_core.extraction.matcher import Near, near
from s2l_core.extraction.similar import directions, most_similar
from s2l_core.specs.extraction import AlignmentSpec

torch.set_num_threads(1)
Images = NDArray[np.uint8]
AS_IT_IS = (Alignment(),)
PUBLISHED = 0.15


def pictures(count: int, seed: int, side: int = 16) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def both(a: Images, b: Images, tried: tuple[Alignment, ...] = AS_IT_IS, tiles: int = 4) -> Any:
    return distances(torch.from_numpy(a), torch.from_numpy(b), tried, tiles)


def by_hand(a: Images, b: Images, tiles: int) -> tuple[float, float]:
    """l2 and tile_max of two images, written plainly."""
    squares = ((a / 255 - b / 255) ** 2).astype(np.float64)
    height, width = squares.shape[:2]
    rows, columns = ([size * i // tiles for i in range(tiles + 1)] for size in (height, width))
    cut = [squares[top:bottom, left:right].mean() for top, bottom in pairwise(rows) for left, right in pairwise(columns)]
    return float(np.sqrt(squares.mean())), float(np.sqrt(max(cut)))


def over_each_other(candidate: Images, image: Images, one: Alignment) -> tuple[Images, Images]:
    """The parts of a candidate and of an image that lie over each other, found pixel by pixel."""
    candidate = candidate[:, ::-1] if one.flip else candidate
    height, width = image.shape[:2]
    rows = [y for y in range(height) if 0 <= y + one.dy < height]
    columns = [x for x in range(width) if 0 <= x + one.dx < width]
    return candidate[np.ix_([y + one.dy for y in rows], [x + one.dx for x in columns])], image[np.ix_(rows, columns)]


def noisy(image: Images, distance: float, seed: int = 0) -> Images:
    """The image plus noise of one size in every pixel, so that l2 and every tile's distance is what is asked for, to a byte's rounding."""
    step = np.full(image.shape, round(distance * 255))
    sign = np.where(image > 127, -1, 1)
    return (image + sign * step).astype(np.uint8)


# --- distances ---


@pytest.mark.parametrize("tiles", [1, 3, 4])
@pytest.mark.parametrize("side", [8, 11, 16])
def test_both_distances_are_those_written_plainly(side: int, tiles: int) -> None:
    a, b = pictures(5, 1, side), pictures(6, 2, side)
    found = both(a, b, tiles=tiles)
    for i in range(5):
        for j in range(6):
            l2, tile_max = by_hand(a[i], b[j], tiles)
            assert found.l2[i, j] == pytest.approx(l2, rel=1e-12)
            assert found.tile_max[i, j] == pytest.approx(tile_max, rel=1e-12)


def test_with_one_tile_the_two_are_one() -> None:
    found = both(pictures(4, 1), pictures(4, 2), alignments(AlignmentSpec()), tiles=1)
    assert np.array_equal(found.l2, found.tile_max)


def test_a_known_distance_is_given_back() -> None:
    black, grey = np.zeros((1, 8, 8, 3), dtype=np.uint8), np.full((1, 8, 8, 3), 51, dtype=np.uint8)
    found = both(black, grey)
    assert found.l2[0, 0] == found.tile_max[0, 0] == 0.2
    assert both(black, np.full((1, 8, 8, 3), 255, dtype=np.uint8)).l2[0, 0] == 1.0


def test_tile_max_is_never_below_l2() -> None:
    near_equal = np.repeat(pictures(1, 3), 12, axis=0) // 2
    for number, image in enumerate(near_equal):
        image[:, :, 0] += number
    for a, b in ((pictures(9, 1), pictures(9, 2)), (near_equal, near_equal)):
        found = both(a, b, alignments(AlignmentSpec(shift=1)), tiles=3)
        assert (found.tile_max >= found.l2).all()


def test_what_is_tried_is_every_move_and_its_mirror_the_least_first() -> None:
    assert alignments(AlignmentSpec(shift=0, flip=False)) == AS_IT_IS
    assert alignments(AlignmentSpec(shift=0)) == (Alignment(), Alignment(flip=True))
    tried = alignments(AlignmentSpec(shift=2))
    assert len(set(tried)) == len(tried) == 50
    assert tried[0] == Alignment()
    assert set(tried[1:5]) == {Alignment(-1, 0), Alignment(1, 0), Alignment(0, -1), Alignment(0, 1)}
    assert all(one.flip for one in tried[25:])


@pytest.mark.parametrize("one", [Alignment(2, -1), Alignment(-3, 0), Alignment(1, 2, True), Alignment(0, 0, True)])
def test_an_alignment_compares_what_lies_over_each_other(one: Alignment) -> None:
    a, b = pictures(2, 5, 9), pictures(3, 6, 9)
    found = both(a, b, (one,), tiles=2)
    for i in range(2):
        for j in range(3):
            l2, tile_max = by_hand(*over_each_other(a[i], b[j], one), 2)
            assert found.l2[i, j] == pytest.approx(l2, rel=1e-12)
            assert found.tile_max[i, j] == pytest.approx(tile_max, rel=1e-12)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, 0), (-1, 2), (0, -2)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_moved_and_mirrored_copy_is_found_and_its_move_told(dy: int, dx: int, flip: bool) -> None:
    big = pictures(1, 7, 24)[0]
    image, candidate = big[4:20, 4:20], big[4 - dy : 20 - dy, 4 - dx : 20 - dx]
    if flip:
        candidate = candidate[:, ::-1]
    tried = alignments(AlignmentSpec(shift=2))
    found = both(candidate[None].copy(), image[None].copy(), tried)
    assert found.l2[0, 0] == found.tile_max[0, 0] == 0
    assert tried[found.best[0, 0]] == Alignment(dy, dx, flip)


def test_of_equally_good_alignments_the_first_is_told() -> None:
    flat = np.full((1, 8, 8, 3), 77, dtype=np.uint8)
    tried = alignments(AlignmentSpec(shift=1))
    assert both(flat, flat, tried, tiles=2).best[0, 0] == 0


def test_images_too_small_for_the_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"5 x 5 pixels are too small for 4 x 4 tiles and shifts by up to 2; .* 6 pixels at least"):
        both(pictures(1, 1, 5), pictures(1, 2, 5), alignments(AlignmentSpec(shift=2)))


# --- near pairs ---


def matched(candidates: Images, images: Images, **options: Any) -> Near:
    return near(candidates, images, **{"threshold": PUBLISHED, **options})


def pairs(found: Near) -> list[tuple[int, int]]:
    return list(zip(found.pairs.candidate.tolist(), found.pairs.image.tolist(), strict=True))


def test_exact_copies_are_found_and_nothing_else() -> None:
    images = pictures(40, 1)
    candidates = np.concatenate([pictures(5, 2), images[[7, 30, 7]]])
    found = matched(candidates, images)
    assert pairs(found) == [(5, 7), (6, 30), (7, 7)]
    assert not found.pairs.l2.any()
    assert found.least_l2[:5].min() > PUBLISHED


def test_a_copy_just_under_the_threshold_is_near_and_one_just_over_is_not() -> None:
    """38 / 255 = 0.149, 39 / 255 = 0.153."""
    images = pictures(12, 3)
    candidates = np.stack([noisy(images[2], 0.149), noisy(images[5], 0.1530)])
    found = matched(candidates, images)
    assert pairs(found) == [(0, 2)]
    assert found.pairs.l2[0] == found.pairs.tile_max[0] == pytest.approx(38 / 255)
    assert found.least_l2[1] == pytest.approx(39 / 255)


def test_the_threshold_itself_is_not_below_it() -> None:
    black, at = np.zeros((1, 8, 8, 3), dtype=np.uint8), np.full((1, 8, 8, 3), 51, dtype=np.uint8)
    assert pairs(matched(black, at, threshold=0.2)) == []
    assert pairs(matched(black, at, threshold=0.2 + 1e-9)) == [(0, 0)]


def test_a_flat_background_is_near_by_l2_and_not_by_its_tiles() -> None:
    """Two portraits on one white wall, each in another corner: nine tenths are alike."""
    image, candidate = (np.full((16, 16, 3), 255, dtype=np.uint8) for _ in range(2))
    image[0:3, 0:3], candidate[12:15, 12:15] = 120, 120
    found = matched(candidate[None], image[None])
    assert pairs(found) == [(0, 0)]
    assert found.pairs.l2[0] < PUBLISHED < 0.35 < found.pairs.tile_max[0]


def test_alignment_finds_what_plain_distance_does_not() -> None:
    big = np.kron(pictures(1, 8, 10)[0], np.ones((2, 2, 1), dtype=np.uint8))
    image, candidate = np.ascontiguousarray(big[2:18, 2:18]), np.ascontiguousarray(big[3:19, 1:17][:, ::-1])
    assert pairs(matched(candidate[None], image[None])) == []
    assert pairs(matched(candidate[None], image[None], alignment=AlignmentSpec(shift=1))) == [(0, 0)]
    assert pairs(matched(candidate[None], image[None], alignment=AlignmentSpec(shift=1, flip=False))) == []


def alike(count: int, seed: int) -> Images:
    """Images close to one another: many near pairs."""
    random = np.random.default_rng(seed)
    middle = random.integers(60, 190, (16, 16, 3))
    return np.clip(middle + random.normal(0, 27, (count, 16, 16, 3)), 0, 255).astype(np.uint8)


def every(candidates: Images, images: Images, **options: Any) -> Iterator[tuple[int, int]]:
    found = both(candidates, images, alignments(options.get("alignment", AlignmentSpec(shift=0, flip=False))))
    yield from zip(*np.nonzero(found.l2 < PUBLISHED), strict=True)


@pytest.mark.parametrize("alignment", [AlignmentSpec(shift=0, flip=False), AlignmentSpec(shift=1)])
def test_no_budget_changes_a_bit(alignment: AlignmentSpec) -> None:
    candidates, images = alike(25, 1), np.concatenate([alike(30, 2), alike(25, 1)])
    whole = matched(candidates, images, alignment=alignment)
    assert 50 < len(whole.pairs.l2) < 25 * 25
    assert pairs(whole) == list(every(candidates, images, alignment=alignment))
    for budget in (300_000, 1_000_000):
        again = matched(candidates, images, alignment=alignment, budget=budget)
        for one, other in zip((*again.pairs, *again[1:]), (*whole.pairs, *whole[1:]), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("budget", [120_000, 2**26])
def test_a_candidate_is_compared_with_what_is_kept_for_it_alone(budget: int) -> None:
    candidates = alike(20, 1)
    images = np.concatenate([alike(20, 1)[::-1], pictures(10, 4)])
    kept = np.array([[number, 29 - number % 5, 5] for number in range(20)])
    found = matched(candidates, images, kept=kept, budget=budget)
    everything = both(candidates, images)
    allowed = {(i, int(j)) for i in range(20) for j in kept[i]}
    assert set(pairs(found)) == {(i, j) for i, j in allowed if everything.l2[i, j] < PUBLISHED}
    least = [min(everything.l2[i, j] for j in kept[i]) for i in range(20)]
    assert np.array_equal(found.least_l2, least)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of one size; got uint8 \[2, 16, 16, 3\] and uint8 \[2, 8, 8, 3\]"):
        matched(pictures(2, 1), pictures(2, 1, 8))
    with pytest.raises(ValueError, match="there must be a candidate and an image"):
        matched(pictures(2, 1), pictures(2, 1)[:0])


# --- the pre-filter ---


def test_the_pre_filter_keeps_the_most_similar_by_cosine() -> None:
    random = np.random.default_rng(0)
    candidates, images = random.normal(size=(15, 6)), random.normal(size=(40, 6)) * random.uniform(0.1, 50, size=(40, 1))
    kept, cosines = most_similar(candidates, images, 4)
    by_hand = (candidates @ images.T) / np.linalg.norm(candidates, axis=1)[:, None] / np.linalg.norm(images, axis=1)
    assert np.array_equal(kept, np.argsort(-by_hand, axis=1)[:, :4])
    assert cosines == pytest.approx(np.sort(by_hand, axis=1)[:, :-5:-1], abs=1e-12)


def test_a_feature_vector_of_zero_is_similar_to_nothing() -> None:
    """Flat images have no edges at all: their HOG is zero."""
    candidates, images = np.array([[1.0, 0], [0, 0]]), np.array([[0.0, 0], [0.1, 0.2], [-1, 0]])
    ours, theirs = directions(candidates, images)
    cosines = ours @ theirs.T
    assert cosines == pytest.approx(np.array([[0, 1 / 5**0.5, -1], [0, 0, 0]]))
    kept, cosine = most_similar(candidates, images, 3)
    assert kept.tolist() == [[1, 0, 2], [0, 1, 2]]
    assert cosine[1] == pytest.approx([0, 0, 0])


def test_keeping_more_than_there_are_keeps_all() -> None:
    kept, _ = most_similar(np.eye(3), np.eye(3)[:2], 9)
    assert kept.shape == (3, 2)
