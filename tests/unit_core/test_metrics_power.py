"""Statements about a design hold when data of that design are drawn: errors, detectable changes, and when a test can reject at all."""

from __future__ import annotations

import itertools
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from s2l_core.metrics.intervals import stream
from s2l_core.metrics.power import (
    auc_error,
    change_error,
    detectable_change,
    detectable_mean_change,
    domains_needed,
    smallest_corrected_p,
)
from s2l_core.metrics.roc import auc, delong, rank_error

Scores = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
SETS = 600


def drawn(m: int, n: int, shift_before: float, shift_after: float, rho: float, seed: int) -> Scores:
    """Normal scores of the same images before and after, correlated by rho; members lie higher by the shifts."""
    random = stream(seed, "power")
    one, two = random.normal(size=m + n), random.normal(size=m + n)
    after = rho * one + sqrt(1 - rho**2) * two
    return one[:m] + shift_before, one[m:], after[:m] + shift_after, after[m:]


def shift_of(area: float) -> float:
    from scipy.special import ndtri

    return float(sqrt(2) * ndtri(area))


@pytest.mark.parametrize(("m", "n"), [(60, 60), (64, 128), (500, 500)])
def test_the_error_is_the_scatter_of_drawn_aucs_and_largest_at_a_half(m: int, n: int) -> None:
    areas = [auc(*drawn(m, n, 0.0, 0.0, 0.5, seed)[:2]) for seed in range(SETS)]
    assert auc_error(0.5, m, n) == pytest.approx(np.std(areas), rel=0.1)
    assert auc_error(0.5, m, n) == pytest.approx(rank_error(areas[:1] * m, [*range(n)]), rel=0.1)
    assert all(auc_error(area, m, n) < auc_error(0.5, m, n) for area in (0.2, 0.35, 0.65, 0.8, 0.99))


@pytest.mark.parametrize(("m", "n", "rho"), [(64, 128, 0.5), (64, 128, 0.9), (200, 200, 0.8)])
def test_a_change_of_the_detectable_size_is_found_as_often_as_stated(m: int, n: int, rho: float) -> None:
    pairs = [drawn(m, n, 0.0, 0.0, rho, seed) for seed in range(SETS)]
    r = float(np.corrcoef([auc(*pair[:2]) for pair in pairs], [auc(*pair[2:]) for pair in pairs])[0, 1])
    change = detectable_change(m, n, correlation=r)
    moved = [drawn(m, n, shift_of(0.5 - change / 2), shift_of(0.5 + change / 2), rho, 10_000 + seed) for seed in range(SETS)]
    found = np.mean([delong(*scores)[3] < 0.05 for scores in moved])
    assert found == pytest.approx(0.8, abs=0.06), "the standard error of this share is 0.016"


def test_more_domains_see_smaller_changes_and_two_see_little() -> None:
    alone = detectable_change(64, 128, correlation=0.9)
    many = [detectable_mean_change(domains, 64, 128, correlation=0.9) for domains in (2, 6, 12, 40)]
    assert many == sorted(many, reverse=True)
    assert many[0] > alone > many[1]
    assert many[-1] == pytest.approx(alone / sqrt(40), rel=0.05)


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_a_mean_has_a_detectable_change_for_every_number_of_domains(level: float) -> None:
    numbers = [*range(2, 130), 500, 2_000]
    found = [detectable_mean_change(domains, 64, 128, correlation=0.9, level=level, power=0.9) for domains in numbers]
    assert all(more < fewer for fewer, more in itertools.pairwise(found))
    assert found[-1] > 0


@pytest.mark.parametrize("domains", [2, 3, 6, 12])
def test_a_mean_change_of_the_detectable_size_is_found_as_often_as_stated(domains: int) -> None:
    from scipy.stats import ttest_1samp

    error = change_error(64, 128, correlation=0.9)
    change = detectable_mean_change(domains, 64, 128, correlation=0.9)
    draws = stream(3, "domains").normal(change, error, size=(4000, domains))
    assert np.mean(ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("tests", [1, 2, 3, 10, 30, 33, 100])
def test_a_test_over_domains_can_reject_from_the_stated_number_on(tests: int) -> None:
    enough = domains_needed(tests)
    assert smallest_corrected_p(enough, tests) <= 0.05 < smallest_corrected_p(enough - 1, tests)
    assert domains_needed(1) == 6


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: auc_error(1.0, 5, 5), "0 < AUC < 1"),
        (lambda: auc_error(0.5, 0, 5), "an image of each class"),
        (lambda: detectable_change(5, 5, correlation=1.0), "from 0 to below 1; got 1.0"),
        (lambda: detectable_mean_change(1, 5, 5, correlation=0.5), "at least two of them; got 1"),
    ],
)
def test_designs_that_are_none_are_refused(call: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()  # type: ignore[operator]
