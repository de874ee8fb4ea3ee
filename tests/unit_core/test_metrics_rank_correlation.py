"""Rank correlations against scipy's, and their p-values against all orders there are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from s2l_core.metrics.rank_correlation import rank_correlation


@pytest.mark.parametrize("other", [[3, 1, 4, 1, 5, 9, 2], [1, 1, 1, 1, 2, 2, 2], [7, 6, 5, 4, 3, 2, 1]])
def test_rho_is_spearmans_also_with_ties(other: list[float]) -> None:
    one = [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0]
    assert rank_correlation(one, other).rho == pytest.approx(spearmanr(one, other).statistic)


@pytest.mark.parametrize("other", [[1, 2, 3, 4, 5, 6], [2, 1, 3, 4, 6, 5], [1, 1, 2, 2, 3, 3], [3, 6, 1, 5, 2, 4]])
def test_the_p_value_is_the_share_of_all_orders_that_are_as_extreme(other: list[float]) -> None:
    one = np.arange(6.0)
    rho = spearmanr(one, other).statistic
    exact = np.mean([abs(spearmanr(one, order).statistic) >= abs(rho) - 1e-12 for order in permutations(other)])
    assert rank_correlation(one, other).p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999) + 1e-4)


def test_six_domains_in_one_order_are_no_proof_beyond_one_in_360() -> None:
    assert 0.001 < rank_correlation(range(6), range(6)).p_value < 0.006


def test_a_column_without_an_order_is_refused() -> None:
    with pytest.raises(ValueError, match="that vary"):
        rank_correlation([1, 1, 1], [1, 2, 3])
