"""Intervals of counts of distinct images: against drawn candidates, limits that are known, and scipy."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from s2l_core.metrics.distinct import Counted, change_interval, images_interval, labels_test, sign_test, summed_interval
from s2l_core.metrics.intervals import clopper_pearson


def test_where_nothing_is_shown_the_limit_is_the_rule_of_three() -> None:
    found = images_interval(0, 0, 0, out_of=10_000)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(-np.log(0.05), abs=1e-6)


def test_images_that_were_shown_often_are_sure_and_those_shown_once_are_not() -> None:
    sure, unsure = images_interval(30, 0, 0, out_of=10_000), images_interval(30, 30, 0, out_of=10_000)
    assert (sure.low, sure.high) == (pytest.approx(29.6), pytest.approx(32.9957, abs=1e-3))
    assert unsure.low < 21 < 41 < unsure.high


def test_no_interval_is_wider_than_a_binomial_one_of_all_images() -> None:
    for images in (1, 20, 40, 63, 64):
        low, high = clopper_pearson(images, 64)
        found = images_interval(images, images, 0, out_of=64)
        assert 64 * low - 1e-9 <= found.low <= images <= found.high <= 64 * high + 1e-9


@pytest.mark.parametrize("counts", [(3, 2, 2, 64), (65, 1, 1, 64), (3, -1, 1, 64), (0, 0, 0, 0)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="images shown must be within 0 and all there are"):
        images_interval(*counts[:3], out_of=counts[3])


@pytest.mark.parametrize("expected", [1.0, 8.0, 20.0])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_on_drawn_candidates_the_interval_holds_the_expected_count(power: float, expected: float) -> None:
    """64 images, 512 candidates, chances flat to very skewed: 95 % at least, but for chance and one in fifty."""
    weights, low, high = 1 / np.arange(1, 65) ** power, 1e-9, 0.999 / (1 / np.arange(1, 65) ** power).sum()
    for _ in range(80):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if (1 - (1 - middle * weights) ** 512).sum() < expected else (low, middle)
    chances = low * weights
    drawn = np.random.default_rng(0).multinomial(512, [*chances, 1 - chances.sum()], size=600)[:, :-1]
    found = [images_interval(*((one > 0).sum(), (one == 1).sum(), (one == 2).sum()), out_of=64) for one in drawn]
    assert np.mean([one.low <= expected <= one.high for one in found]) >= 0.92


def test_a_change_adds_up_the_distances_from_the_limits_in_squares() -> None:
    found = change_interval(Counted(4, 1, 8), Counted(10, 7, 15))
    assert found == Counted(6, pytest.approx(6 - 5.0), pytest.approx(6 + np.hypot(5, 3)))


def test_sums_are_wider_where_trials_share_a_domain_than_over_domains() -> None:
    one = Counted(3.0, 1.0, 6.0)
    apart, alike = summed_interval({"alba": [one], "bruno": [one]}), summed_interval({"alba": [one, one]})
    assert apart == Counted(6.0, pytest.approx(6 - 8**0.5), pytest.approx(6 + 18**0.5))
    assert alike == Counted(6.0, pytest.approx(2.0), pytest.approx(12.0))


def test_members_beyond_non_members_are_judged_by_the_labels_alone() -> None:
    """Six of 64 against none: of the ways to name half of 128 images members, few leave all six there."""
    all_six_on_one_side = 2 * comb(64, 6) / comb(128, 6)
    assert labels_test(6, 0, out_of=64) == pytest.approx(all_six_on_one_side)
    assert labels_test(0, 6, out_of=64) == pytest.approx(all_six_on_one_side)
    assert labels_test(7, 7, out_of=64) == labels_test(0, 0, out_of=64) == 1.0


@pytest.mark.parametrize(("new", "lost"), [(0, 0), (5, 0), (6, 0), (0, 6), (7, 3), (4, 4), (20, 31)])
def test_the_sign_test_is_the_exact_binomial_one(new: int, lost: int) -> None:
    assert sign_test(new, lost) == pytest.approx(binomtest(new, new + lost).pvalue if new + lost else 1.0)
