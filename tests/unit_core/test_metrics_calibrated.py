"""Thresholds judged on images that they were not set on, and AUCs of shuffled labels: against brute force, scipy, and drawn sets."""

from __future__ import annotations

import itertools
import tracemalloc
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm, rankdata

from s2l_core.metrics.calibrated import (
    Halves,
    accuracy_change,
    accuracy_interval,
    balanced_threshold,
    false_positives,
    halves,
    judged,
)
from s2l_core.metrics.chance import CHUNK, against_chance, rank_sums
from s2l_core.metrics.intervals import clopper_pearson, stream
from s2l_core.metrics.roc import auc

Floats = NDArray[np.float64]


def drawn(seed: int, m: int, n: int, shift: float = 1.0) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    return random.normal(shift, 1, m), random.normal(0, 1, n)


def balanced(member: Floats, other: Floats, threshold: float) -> float:
    return (float((member > threshold).mean()) + float((other <= threshold).mean())) / 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_no_threshold_is_better_than_the_balanced_one(seed: int, ties: bool) -> None:
    member, other = (values.round() if ties else values for values in drawn(seed, 17, 23))
    best = max(balanced(member, other, cut) for cut in [*member, *other, *(member - 1e-9), *(other - 1e-9), -100.0, 100.0])
    assert balanced(member, other, balanced_threshold(member, other)) == pytest.approx(best)


def test_scores_without_any_difference_call_nobody_a_member() -> None:
    found = judged(np.ones(8), np.ones(10), halves(8, 10, 0))
    assert (found.accuracy, found.member.any(), found.non_member.any()) == (0.5, False, False)


def test_halves_are_halves_keyed_by_seed_and_size_alone() -> None:
    split = halves(64, 129, 3)
    assert (split.member.sum(), split.non_member.sum()) == (32, 64)
    again = halves(64, 129, 3)
    assert (split.member == again.member).all()
    assert (split.non_member == again.non_member).all()
    assert (split.member != halves(64, 129, 4).member).any()
    with pytest.raises(ValueError, match="two images of each class; got 1 members and 9 non-members"):
        halves(1, 9, 0)


def test_no_image_is_judged_by_a_threshold_that_saw_it() -> None:
    member, other = drawn(0, 20, 20)
    split = halves(20, 20, 0)
    before = judged(member, other, split)
    for index in range(20):
        moved = member.copy()
        moved[index] = 1e6  # its own verdict follows; no image of its half can be judged otherwise
        found = judged(moved, other, split)
        same_half = split.member == split.member[index]
        same_half[index] = False
        assert (found.member[same_half] == before.member[same_half]).all()
        assert found.member[index]


def test_an_attacker_with_foreign_thresholds_does_worse_than_the_best_threshold_in_hindsight() -> None:
    gaps = []
    for seed in range(200):
        member, other = drawn(seed, 30, 30, shift=0.5)
        hindsight = balanced(member, other, balanced_threshold(member, other))
        gaps.append(hindsight - judged(member, other, halves(30, 30, seed)).accuracy)
    assert np.mean(gaps) > 0.05
    nothing = [judged(*drawn(seed, 30, 30, shift=0.0), halves(30, 30, seed)).accuracy for seed in range(400)]
    assert np.mean(nothing) == pytest.approx(0.5, abs=0.01), "and is right half of the time where there is nothing to see"


def true_accuracy(member: Floats, other: Floats, split: Halves) -> float:
    """That of the thresholds which `judged` uses, on all images there could be."""
    halved = [(member[split.member != first], other[split.non_member != first]) for first in (True, False)]
    cuts = [balanced_threshold(*half) for half in halved]
    return float(np.mean([(norm.sf(cut - 1) + norm.cdf(cut)) / 2 for cut in cuts]))


def test_the_interval_holds_the_accuracy_of_the_thresholds_used() -> None:
    covered = 0
    for seed in range(300):
        (member, other), split = drawn(seed, 64, 128), halves(64, 128, seed)
        low, high = accuracy_interval(judged(member, other, split))
        covered += low <= true_accuracy(member, other, split) <= high
    assert 0.92 <= covered / 300 <= 0.995


@pytest.mark.parametrize(("m", "n"), [(60, 60), (128, 128)])
def test_luck_in_setting_thresholds_is_no_change(m: int, n: int) -> None:
    called = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        member, other = random.normal(1, 1, m), random.normal(0, 1, n)
        after = 0.9 * (member - 1) + 0.436 * random.normal(size=m) + 1, 0.9 * other + 0.436 * random.normal(size=n)
        _, low, high = accuracy_change((member, other), after, halves(m, n, seed), seed=seed)
        called += not low <= 0 <= high
    assert called / 300 <= 0.07


def test_a_change_that_is_there_is_seen_and_equal_scores_are_none() -> None:
    (member, other), split = drawn(0, 128, 128, 0.5), halves(128, 128, 0)
    assert accuracy_change((member, other), (member, other), split, seed=0) == (0.0, 0.0, 0.0)
    change, low, high = accuracy_change((member, other), (member + 2, other), split, seed=0)
    assert change == pytest.approx(judged(member + 2, other, split).accuracy - judged(member, other, split).accuracy)
    assert 0 < low < change < high
    assert accuracy_change((member + 2, other), (member, other), split, seed=0)[2] < 0


def test_a_difference_without_scatter_is_no_certainty() -> None:
    alike, perfect = np.zeros(2), np.ones(2)
    assert accuracy_change((alike, alike), (perfect, alike), halves(2, 2, 0), seed=0) == (0.5, -1.0, 1.0)


def test_a_threshold_set_elsewhere_lets_more_false_positives_through_than_it_was_set_to() -> None:
    rates = []
    for seed in range(300):
        member, other = drawn(seed, 64, 128)
        rate, low, high = false_positives(judged(member, other, halves(64, 128, seed), 0.01))
        assert (low, high) == clopper_pearson(round(rate * 128), 128)
        rates.append(rate)
    assert np.mean(rates) == pytest.approx(1 / 65, abs=0.003), "the largest of 64 others is exceeded by one in 65"


# --- shuffled labels ---


def test_the_permutation_test_is_the_exact_one_where_all_labelings_can_be_counted() -> None:
    random = np.random.default_rng(1)
    for _ in range(4):
        member, other = random.normal(0.7, 1, 4).round(1), random.normal(0, 1, 5).round(1)
        scores, far = np.concatenate([member, other]), abs(auc(member, other) - 0.5)
        areas = [auc(scores[list(chosen)], np.delete(scores, list(chosen))) for chosen in itertools.combinations(range(9), 4)]
        exact = np.mean([abs(area - 0.5) >= far - 1e-12 for area in areas])
        assert len(areas) == comb(9, 4)
        assert against_chance(member, other, seed=0, shuffles=20_000).p_value == pytest.approx(exact, abs=0.015)


def test_the_permutation_test_agrees_with_mann_and_whitneys() -> None:
    for seed, shift in ((0, 0.0), (1, 0.2), (2, 0.4)):
        member, other = drawn(seed, 64, 128, shift)
        expected = mannwhitneyu(member, other, alternative="two-sided", method="asymptotic").pvalue
        assert against_chance(member, other, seed=seed, shuffles=5000).p_value == pytest.approx(expected, abs=0.02)


def test_shuffled_labels_lie_around_a_half_and_the_control_within_as_often_as_stated() -> None:
    inside = 0
    for seed in range(200):
        found = against_chance(*drawn(seed, 40, 60, 1.5), seed=seed, shuffles=300)
        assert found.low < 0.5 < found.high
        inside += found.low <= found.control <= found.high
        assert found.p_value <= 0.01
    assert 0.9 <= inside / 200 <= 0.99


def test_scores_that_all_are_equal_are_no_evidence() -> None:
    found = against_chance([1.0] * 5, [1.0] * 7, seed=0)
    assert (found.p_value, found.low, found.high, found.control) == (1.0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize("rows", [1, 7, 250])
def test_how_many_shuffles_are_made_at_once_changes_no_bit(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    member, other = drawn(0, 40, 61, 0.5)
    ranks = rankdata(np.concatenate([member, other]).round(1))
    whole = stream(0, "x").permuted(np.broadcast_to(ranks, (1000, 101)), axis=1)[:, :40].sum(axis=1)
    found = against_chance(member, other, seed=3)
    monkeypatch.setattr("s2l_core.metrics.chance.CHUNK", rows * 101)
    np.testing.assert_array_equal(rank_sums(ranks, 40, 1000, stream(0, "x")), whole)
    assert against_chance(member, other, seed=3) == found


def test_shuffles_of_large_sets_take_bounded_memory() -> None:
    ranks = np.arange(1.0, 200_001.0)
    tracemalloc.start()
    sums = rank_sums(ranks, 100_000, 100, stream(0, "x"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 8 * CHUNK, "all 100 at once take 160 MB"
    assert sums.mean() == pytest.approx(100_000 * 200_001 / 2, rel=1e-3)
