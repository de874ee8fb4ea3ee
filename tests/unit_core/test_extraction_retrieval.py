"""CLIP-RP on constructed cases whose answer is known, and its p-value under the null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2l_core.extraction.retrieval import retrieval_precision

torch.set_num_threads(1)
Floats = NDArray[np.float64]
SPEC: Any = {"k": 5, "permutations": 199}


def directions_at(degrees: Any) -> Floats:
    angle = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def value(generated: Floats, members: Floats, others: Floats, k: int = 5) -> float:
    return float(retrieval_precision(generated, members, others, k=k, permutations=99)["value"])


def test_images_beside_members_alone_retrieve_members_alone() -> None:
    random = np.random.default_rng(0)
    members, others = directions_at(random.uniform(0, 40, 30)), directions_at(random.uniform(140, 180, 30))
    found = retrieval_precision(directions_at(random.uniform(0, 40, 20)), members, others, **SPEC)
    assert found == {"k": 5, "each": 30, "value": 1.0, "chance": 0.5, "p_value": 0.005, "permutations": 199}
    assert value(directions_at(random.uniform(140, 180, 20)), members, others) == 0.0


def test_the_share_is_counted_over_all_lists() -> None:
    """Members at 0, 10, 20, 30 degrees, non-members at 4, 14, 24, 90; two images at 0 and 21: their three nearest hold 2 + 2 members."""
    members, others = directions_at([0, 10, 20, 30]), directions_at([4, 14, 24, 90])
    assert value(directions_at([0]), members, others, 3) == pytest.approx(2 / 3)
    assert value(directions_at([21]), members, others, 3) == pytest.approx(1 / 3)
    assert value(directions_at([0, 21]), members, others, 3) == pytest.approx(1 / 2)
    assert value(directions_at([0]), members, others, 1) == 1.0


def test_the_value_is_that_of_sorting_all_cosines() -> None:
    random = np.random.default_rng(4)
    generated, members, others = random.normal(size=(40, 5)), random.normal(size=(25, 5)) + 0.3, random.normal(size=(25, 5))
    pool = np.concatenate([members, others])
    cosines = (generated @ pool.T) / np.linalg.norm(generated, axis=1)[:, None] / np.linalg.norm(pool, axis=1)
    lists = np.argsort(-cosines, axis=1)[:, :7]
    assert value(generated, members, others, 7) == pytest.approx((lists < 25).mean())


def test_lengths_of_features_mean_nothing() -> None:
    random = np.random.default_rng(1)
    generated, members, others = (random.normal(size=(12, 4)) for _ in range(3))
    long = members * random.uniform(0.01, 100, size=(12, 1))
    assert value(generated, long, others) == value(generated, members, others)


def test_all_alike_is_a_half_whatever_stands_first() -> None:
    same = np.ones((8, 3))
    assert value(same, same, same) == pytest.approx(0.5)
    found = retrieval_precision(same, same, same, **SPEC)
    assert found["p_value"] == 1.0
    assert value(np.zeros((8, 3)), np.zeros((8, 3)), np.zeros((8, 3))) == pytest.approx(0.5)


def test_a_member_and_its_equal_among_non_members_share_the_last_place() -> None:
    members, others = directions_at([0, 40, 80]), directions_at([0, 50, 90])
    assert value(directions_at([1]), members, others, 1) == pytest.approx(0.5)
    assert value(directions_at([1]), members, others, 2) == pytest.approx(0.5)
    assert value(directions_at([1]), members, others, 3) == pytest.approx(2 / 3)


def test_places_are_shared_alike_when_sets_are_large() -> None:
    """Six members at one point, two non-members there as well, k = 4: each takes half a place, six eighths are members'."""
    members, others = directions_at([5] * 6), directions_at([5, 5, 100, 110, 120, 130])
    assert value(directions_at([7] * 300), members, others, 4) == pytest.approx(0.75)


def test_k_is_at_most_the_images_of_a_side() -> None:
    random = np.random.default_rng(2)
    found = retrieval_precision(random.normal(size=(5, 3)), random.normal(size=(4, 3)), random.normal(size=(4, 3)), k=10, permutations=99)
    assert found["k"] == 4


def test_no_budget_and_no_order_changes_the_value() -> None:
    random = np.random.default_rng(3)
    generated, members, others = random.normal(size=(80, 6)), random.normal(size=(60, 6)), random.normal(size=(60, 6))
    others[:10] = members[:10]
    whole = retrieval_precision(generated, members, others, **SPEC)
    assert retrieval_precision(generated, members, others, **SPEC, budget=300_000) == whole
    mixed = retrieval_precision(generated[::-1], members[::-1], others[::-1], **SPEC)
    assert mixed["value"] == pytest.approx(whole["value"], abs=1e-12)
    assert retrieval_precision(generated, others, members, **SPEC)["value"] == pytest.approx(1 - whole["value"], abs=1e-12)


def test_p_is_rarely_small_where_members_and_non_members_are_of_one_distribution() -> None:
    found, values = [], []
    for seed in range(120):
        random = np.random.default_rng(seed)
        generated, members, others = (random.normal(size=(count, 4)) for count in (15, 20, 20))
        one = retrieval_precision(generated, members, others, k=5, permutations=99, seed=seed)
        found.append(one["p_value"])
        values.append(one["value"])
    assert 0.02 < np.mean(np.array(found) <= 0.1) < 0.2
    assert min(found) >= 0.01
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)


def test_the_labels_are_dealt_by_the_seed() -> None:
    random = np.random.default_rng(5)
    sets = [random.normal(size=(10, 3)) for _ in range(3)]
    one, again, other = (retrieval_precision(*sets, **SPEC, seed=seed)["p_value"] for seed in (0, 0, 1))
    assert one == again
    assert one == pytest.approx(other, abs=0.2)


def test_sides_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="as many non-members as members; got 3 generated images, 4 members and 5 non-members"):
        retrieval_precision(np.ones((3, 2)), np.ones((4, 2)), np.ones((5, 2)), **SPEC)
    with pytest.raises(ValueError, match="got 0 generated images, 4 members"):
        retrieval_precision(np.ones((0, 2)), np.ones((4, 2)), np.ones((4, 2)), **SPEC)
