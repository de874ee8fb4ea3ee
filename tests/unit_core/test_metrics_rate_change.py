"""The interval of a change of TPR: what it holds, what it sees, and how often it holds the truth."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from s2l_core.metrics.intervals import percentiles, stream, tpr_interval, tpr_replicates
from s2l_core.metrics.rate_change import smoothed_tprs, tpr_changes, tpr_intervals
from s2l_core.metrics.roc import tpr_at_fpr

Floats = NDArray[np.float64]
Sides = tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
FPRS = (0.1, 0.01, 0.001)


def drawn(index: int, n: int, before: float = 1.0, after: float = 1.3, correlation: float = 0.8) -> Sides:
    random = stream(index, "drawn", n)
    old = random.normal(size=(2, n))
    new = correlation * old + sqrt(1 - correlation**2) * random.normal(size=(2, n))
    return (old[0] + before, old[1]), (new[0] + after, new[1])


def test_the_difference_is_that_of_the_step_rule_and_lies_in_its_interval() -> None:
    for index in range(20):
        before, after = drawn(index, 60)
        for fpr, (difference, low, high) in zip(FPRS, tpr_changes(before, after, FPRS, seed=index, replicates=200), strict=True):
            assert difference == tpr_at_fpr(*after, fpr)[0] - tpr_at_fpr(*before, fpr)[0]
            assert -1 <= low <= difference <= high <= 1


def test_ranks_alone_count_and_equal_ranks_have_no_change_at_all() -> None:
    before, after = drawn(0, 60)
    found = tpr_changes(before, after, FPRS, seed=0, replicates=200)
    assert tpr_changes(before, tuple(np.exp(side) for side in after), FPRS, seed=0, replicates=200) == found  # type: ignore[arg-type]
    assert tpr_changes(before, tuple(3 * side - 7 for side in before), FPRS, seed=0, replicates=200) == [(0.0, 0.0, 0.0)] * 3  # type: ignore[arg-type]


def test_no_true_positive_before_and_after_is_no_certainty_that_nothing_changed() -> None:
    before, after = drawn(0, 60, -4.0, -4.0)
    difference, low, high = tpr_changes(before, after, (0.01,), seed=0, replicates=400)[0]
    assert difference == 0
    assert low < 0 < high
    assert high - low < 0.15


def test_one_image_in_a_class_tells_nothing() -> None:
    assert tpr_changes((np.array([0.0]), np.arange(3.0)), (np.array([5.0]), np.arange(3.0)), (0.1,), seed=0, replicates=100) == [
        (1.0, -1.0, 1.0)
    ]


def test_the_share_of_non_members_above_each_of_them_has_the_distribution_of_ranks() -> None:
    """Members that lie between two non-members, one to a gap, show where the threshold is: its rank is binomial."""
    from scipy.stats import beta

    n, k = 40, 4
    other = np.arange(n, dtype=np.float64)
    member = np.full(4000, other[-1 - k] + 0.5)  # all of them below the k highest
    fpr = 0.15
    values = smoothed_tprs(((member, other),), (fpr,), 4000, stream(0, "x"))[0, 0]
    assert (values > 0.99).mean() == pytest.approx(beta(k + 1, n - k).cdf(fpr), abs=0.03)
    assert (values < 0.01).mean() == pytest.approx(beta(k, n - k + 1).sf(fpr), abs=0.03)


@pytest.mark.parametrize("n", [60, 500])
def test_where_no_more_than_half_a_false_positive_is_expected_the_plain_bootstrap_is_held_too(n: int) -> None:
    before, after = drawn(3, n)
    _, low, high = tpr_changes(before, after, (0.001,), seed=3, replicates=300)[0]
    plain = tpr_replicates(*zip(before, after, strict=True), (0.001,), 300, stream(3, "tpr"))[:, 0]  # type: ignore[arg-type]
    ends = percentiles(plain[1] - plain[0], level=0.95)
    assert low <= ends[0] < ends[1] <= high


def test_how_much_is_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = drawn(0, 60)
    whole = smoothed_tprs(sides, FPRS, 100, stream(0, "x"))
    monkeypatch.setattr("s2l_core.metrics.rate_change.CHUNK", 1000)
    np.testing.assert_array_equal(smoothed_tprs(sides, FPRS, 100, stream(0, "x")), whole)


def test_ties_are_one_step_and_constant_scores_are_borne() -> None:
    flat, split = (np.ones(40), np.ones(50)), (np.r_[np.ones(20), np.full(20, 2.0)], np.ones(50))
    difference, low, high = tpr_changes(flat, split, (0.05,), seed=0, replicates=400)[0]
    assert difference == 0.5
    assert 0.3 < low < 0.5 < high < 0.75


@pytest.mark.parametrize(("n", "fpr"), [(60, 0.1), (60, 0.01), (60, 0.001), (128, 0.01)])
def test_the_interval_holds_the_truth_where_percentiles_do_not(n: int, fpr: float) -> None:
    """300 sets, whose standard error at 95 % is 1.3 points; percentiles hold .60 of (60, 0.001)."""
    from scipy.stats import norm

    truth = norm.sf(norm.isf(fpr) - 2.3) - norm.sf(norm.isf(fpr) - 1.2)
    held = 0
    for index in range(300):
        _, low, high = tpr_changes(*drawn(index, n, 1.2, 2.3), (fpr,), seed=index, replicates=200)[0]
        held += low <= truth <= high
    assert held / 300 >= 0.92


@pytest.mark.parametrize("fpr", [0.1, 0.01])
def test_the_interval_of_one_tpr_holds_it_as_often_as_it_says_and_is_narrower_than_what_knows_no_distribution(fpr: float) -> None:
    from scipy.stats import norm

    sets, held, widths = 200, 0, np.zeros(2)
    truth = norm.sf(norm.isf(fpr) - 1.0)
    for index in range(sets):
        side = drawn(index, 128)[0]
        ((low, high),) = tpr_intervals(side, (fpr,), seed=index, replicates=200)
        free = tpr_interval(*side, fpr)
        held += low <= truth <= high
        widths += high - low, free[1] - free[0]
        assert 0 <= low <= tpr_at_fpr(*side, fpr)[0] <= high <= 1
    assert 0.91 <= held / sets <= 0.995
    assert widths[0] < widths[1]


def test_where_scores_are_equal_or_the_threshold_is_hardly_known_nothing_is_smoothed() -> None:
    side = drawn(0, 128)[0]
    assert tpr_intervals(side, (0.001,), seed=0, replicates=100) == [tpr_interval(*side, 0.001)]
    tied = (np.round(side[0], 1), np.round(side[1], 1))
    assert tpr_intervals(tied, (0.1,), seed=0, replicates=100) == [tpr_interval(*tied, 0.1)]
    one = (np.array([0.5]), side[1])
    assert tpr_intervals(one, (0.1,), seed=0, replicates=100) == [tpr_interval(*one, 0.1)]
    assert tpr_intervals(side, (0.1,), seed=0, replicates=100) != [tpr_interval(*side, 0.1)]
