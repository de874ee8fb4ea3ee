"""The test of a person's set of images: its level, its power, and against scipy and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, ttest_ind

from s2l_core.metrics.identity import images_needed, recognised, set_test

Floats = NDArray[np.float64]


def drawn(seed: int, k: int, n: int, shift: float) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    return random.normal(shift, 1, k), random.normal(0, 1, n)


def test_welchs_test_is_scipys_and_one_sided() -> None:
    mine, others = drawn(0, 20, 60, 0.6)
    found = set_test(mine, others, seed=0)
    assert found.welch_p == pytest.approx(ttest_ind(mine, others, equal_var=False, alternative="greater").pvalue)
    assert set_test(-mine, -others, seed=0).welch_p == pytest.approx(1 - float(found.welch_p or 0))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_the_permutation_test_agrees_with_mann_and_whitneys(shift: float) -> None:
    mine, others = drawn(1, 30, 90, shift)
    expected = mannwhitneyu(mine, others, alternative="greater", method="asymptotic").pvalue
    assert set_test(mine, others, seed=0, shuffles=9999).permutation_p == pytest.approx(expected, abs=0.015)


def test_the_permutation_test_is_the_exact_one_where_all_sets_can_be_counted() -> None:
    mine, others = drawn(2, 2, 6, 1.0)
    scores = np.concatenate([mine, others])
    ranks = scores.argsort().argsort() + 1.0
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, 2)]
    exact = np.mean([one >= ranks[:2].sum() for one in sums])
    assert set_test(mine, others, seed=0, shuffles=20_000).permutation_p == pytest.approx(exact, abs=0.015)


def test_one_image_is_judged_by_its_rank_among_the_others() -> None:
    others = np.arange(99.0)
    found = set_test([1000.0], others, seed=0, shuffles=9999)
    assert found.welch_p is None
    assert found.permutation_p == pytest.approx(0.01, abs=0.004)
    assert set_test([-1.0], others, seed=0).permutation_p == 1.0


@pytest.mark.parametrize("k", [1, 5, 30])
def test_people_who_were_not_trained_on_are_accused_no_more_often_than_stated(k: int) -> None:
    found = [set_test(*drawn(seed, k, 80, 0.0), seed=seed, shuffles=499) for seed in range(1000)]
    assert 0.03 <= np.mean([one.permutation_p <= 0.05 for one in found]) <= 0.07
    if k > 1:
        assert 0.03 <= np.mean([(one.welch_p or 1) <= 0.05 for one in found]) <= 0.075


def test_more_images_recognise_a_person_more_often_and_all_of_them_is_one_set() -> None:
    member, non_member = drawn(3, 64, 128, 0.8)
    found = recognised(member, non_member, seed=0)
    assert list(found) == [1, 2, 4, 8, 16, 32, 64]
    assert found[1] < 0.5 < found[16] <= found[64] == 1.0
    needed = images_needed(found)
    assert needed in (8, 16)
    assert found == recognised(member, non_member, seed=0), "keyed by the seed"
    nothing = recognised(*drawn(4, 64, 128, 0.0), seed=0)
    assert max(share for size, share in nothing.items() if size < 32) < 0.2


def test_the_number_needed_is_told_only_where_larger_sets_do_as_well() -> None:
    assert images_needed({1: 0.1, 2: 0.85, 4: 0.7, 8: 0.9, 10: 1.0}) == 8
    assert images_needed({1: 0.1, 2: 0.3}) is None
    assert images_needed({1: 1.0}) == 1


def test_equal_scores_are_no_evidence() -> None:
    found = set_test([1.0] * 4, [1.0] * 9, seed=0)
    assert found.welch_p is None
    assert 0.3 < found.permutation_p < 0.7
    assert recognised([1.0] * 3, [1.0] * 5, seed=0) == {1: 0.0, 2: 0.0, 3: 0.0}
