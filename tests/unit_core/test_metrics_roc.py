"""ROC numbers against scikit-learn, scipy, brute force and closed forms."""

from __future__ import annotations

import itertools
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from s2l_core.metrics.intervals import (
    auc_interval,
    binomial_quantile,
    clopper_pearson,
    percentiles,
    stream,
    tpr_interval,
    tpr_replicates,
    wilson,
)
from s2l_core.metrics.roc import auc, delong, roc_curve, tpr_at_fpr

Floats = NDArray[np.float64]


def draw(seed: int, m: int = 40, n: int = 60, shift: float = 0.8, *, ties: bool = False) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    member, non_member = random.normal(shift, 1, m), random.normal(0, 1, n)
    return (member.round(), non_member.round()) if ties else (member, non_member)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns(seed: int, ties: bool) -> None:
    from sklearn.metrics import roc_auc_score

    member, non_member = draw(seed, ties=ties)
    labels = np.r_[np.ones(len(member)), np.zeros(len(non_member))]
    assert auc(member, non_member) == pytest.approx(roc_auc_score(labels, np.r_[member, non_member]), abs=1e-12)


def test_auc_is_the_mann_whitney_statistic() -> None:
    from scipy.stats import mannwhitneyu

    member, non_member = draw(3, ties=True)
    assert auc(member, non_member) == pytest.approx(mannwhitneyu(member, non_member).statistic / (len(member) * len(non_member)), abs=1e-12)


def test_auc_is_half_when_all_scores_are_equal() -> None:
    assert auc([1.0, 1.0, 1.0], [1.0, 1.0]) == 0.5


def test_auc_under_a_half_is_reported_as_it_is() -> None:
    assert auc([0.0, 1.0], [2.0, 3.0]) == 0.0


def brute_tpr(member: Floats, non_member: Floats, fpr: float) -> tuple[float, float]:
    """All thresholds, one after another."""
    best = (0.0, 0.0)
    for threshold in np.unique(np.r_[member, non_member, np.inf]):
        achieved = float((non_member >= threshold).mean())
        tpr = float((member >= threshold).mean())
        if achieved <= fpr and tpr >= best[0]:
            best = (tpr, max(achieved, best[1]) if tpr == best[0] else achieved)
    return best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.05, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("n", [7, 100])
def test_tpr_at_fpr_is_the_best_of_all_thresholds(fpr: float, n: int, ties: bool) -> None:
    for seed in range(10):
        member, non_member = draw(seed, n=n, ties=ties)
        tpr, achieved = tpr_at_fpr(member, non_member, fpr)
        assert tpr == brute_tpr(member, non_member, fpr)[0]
        assert achieved <= fpr


def test_tpr_at_fpr_treats_ties_as_one_step() -> None:
    # At 0 false positives the threshold must lie above the tie of a member and a non-member at 2.
    assert tpr_at_fpr([3.0, 2.0, 2.0, 1.0], [2.0, 0.0, 0.0, 0.0], 0.1) == (0.25, 0.0)
    assert tpr_at_fpr([3.0, 2.0, 2.0, 1.0], [2.0, 0.0, 0.0, 0.0], 0.25) == (1.0, 0.25)


def test_a_whole_number_of_false_positives_survives_the_floats() -> None:
    # 0.29 * 100 is 28.999999999999996.
    assert tpr_at_fpr([29.5] * 4, np.arange(100.0), 0.29)[1] == 0.29
    assert tpr_at_fpr([1.0], np.arange(100.0), 0.29)[1] <= 0.29


def test_all_equal_scores_have_no_true_positive_at_a_low_fpr() -> None:
    assert tpr_at_fpr([1.0] * 5, [1.0] * 5, 0.01) == (0.0, 0.0)


@pytest.mark.parametrize("ties", [False, True])
def test_the_roc_is_scikit_learns_and_holds_its_area(ties: bool) -> None:
    from sklearn.metrics import roc_curve as sklearn_roc

    for seed in range(5):
        member, non_member = draw(seed, ties=ties)
        fpr, tpr = roc_curve(member, non_member)
        theirs = sklearn_roc(np.r_[np.ones(len(member)), np.zeros(len(non_member))], np.r_[member, non_member], drop_intermediate=False)
        assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
        assert set(zip(fpr, tpr, strict=True)) <= set(zip(theirs[0], theirs[1], strict=True))
        assert np.trapezoid(tpr, fpr) == pytest.approx(auc(member, non_member), abs=1e-12)
        assert len(fpr) <= 2 * min(len(member), len(non_member)) + 2


@pytest.mark.parametrize(
    ("member", "non_member", "message"),
    [([], [1.0], "member scores must be a list"), ([1.0], [float("nan")], "got 1 of 1 that are not"), ([[1.0]], [1.0], "shape")],
)
def test_scores_that_are_none_are_refused(member: list[float], non_member: list[float], message: str) -> None:
    for use in (auc, roc_curve, lambda a, b: tpr_at_fpr(a, b, 0.1), auc_interval):
        with pytest.raises(ValueError, match=message):
            use(member, non_member)


def test_an_fpr_in_per_cent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 5; write 1 % as 0\.01"):
        tpr_at_fpr([1.0], [0.0], 5)


# --- DeLong ---


def textbook_delong(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> tuple[float, float]:
    """Difference and standard error from the m x n matrix of comparisons, as printed in 1988."""

    def kernel(member: Floats, non_member: Floats) -> Floats:
        return np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in non_member] for x in member])

    change = kernel(*after) - kernel(*before)
    m, n = change.shape
    return change.mean(), sqrt(change.mean(1).var(ddof=1) / m + change.mean(0).var(ddof=1) / n)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_the_textbooks(ties: bool) -> None:
    from scipy.stats import norm

    for seed in range(4):
        before = draw(seed, ties=ties)
        after = tuple(side + other for side, other in zip(before, draw(seed + 100, shift=0.2, ties=ties), strict=True))
        difference, error = textbook_delong(before, (after[0], after[1]))
        found = delong(*before, *after)
        assert found == pytest.approx(
            (difference, difference - 1.959964 * error, difference + 1.959964 * error, 2 * norm.sf(abs(difference / error))), abs=1e-6
        )


def test_delong_of_identical_scores_finds_nothing() -> None:
    scores = draw(0)
    assert delong(*scores, *scores) == (0.0, 0.0, 0.0, 1.0)


def test_delong_sees_ranks_only() -> None:
    member, non_member = draw(0)
    assert delong(member, non_member, np.exp(member), np.exp(non_member)) == pytest.approx((0.0, 0.0, 0.0, 1.0))


def test_delong_without_variance_knows_what_so_few_pairs_can_tell_and_with_one_image_nothing() -> None:
    low, high = np.arange(3.0), np.arange(3.0) + 10
    assert delong(low, high, high, low) == (1.0, pytest.approx(1 - (1 - 0.025 ** (1 / 3))), 1.0, 0.25)
    alike, perfect = np.zeros(64), np.ones(64)
    difference, below, above, p = delong(alike, alike, perfect, alike)
    assert (difference, p) == (0.5, 2.0**-63)
    assert 0.4 < below < 0.5 < above < 0.6
    assert delong(alike[:2], alike[:2], perfect[:2], alike[:2])[1:] == (pytest.approx(0.5 - (1 - 0.025**0.5)), 1.0, 0.5)
    assert delong([1.0], [0.0, 2.0], [3.0], [0.0, 2.0]) == (0.5, -1.0, 1.0, 1.0)


def test_delong_changes_sign_when_before_and_after_change_places() -> None:
    a, b = draw(0), draw(1)
    there, back = delong(*a, *b), delong(*b, *a)
    assert there == pytest.approx((-back[0], -back[2], -back[1], back[3]))


def test_delong_refuses_different_images() -> None:
    with pytest.raises(ValueError, match=r"got \(40, 60\) and \(41, 60\) members and non-members"):
        delong(*draw(0), *draw(0, m=41))


# --- intervals ---


def test_clopper_pearson_is_scipys() -> None:
    from scipy.stats import binomtest

    for successes, trials in itertools.product([0, 1, 7, 20], [20, 33]):
        expected = binomtest(successes, trials).proportion_ci(0.95, method="exact")
        assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)
    with pytest.raises(ValueError, match="got 3 of 2"):
        clopper_pearson(3, 2)


def test_the_interval_of_an_auc_stays_within_0_and_1_and_is_open_at_a_perfect_one() -> None:
    member, non_member = np.arange(20.0) + 100, np.arange(30.0)
    assert auc_interval(member, non_member) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert auc_interval(non_member, member)[0] == 0.0
    low, high = auc_interval(np.r_[member, -1.0], non_member)
    assert 0 < low < auc(np.r_[member, -1.0], non_member) < high < 1
    assert auc_interval([1.0], [0.0]) == (0.0, 1.0)


def test_the_interval_of_an_auc_of_a_half_lies_evenly_around_it() -> None:
    member = np.arange(50.0)
    low, high = auc_interval(member, member)
    assert low + high == pytest.approx(1.0)
    assert high - low == pytest.approx(0.22, abs=0.02)


def test_bootstrap_replicates_are_the_step_rules_tprs_of_resampled_images() -> None:
    member, non_member = draw(0, ties=True)
    fprs = (0.01, 0.1, 1.0)
    values = tpr_replicates((member,), (non_member,), fprs, 50, stream(3, "x"))
    inside, outside = stream(3, "x").spawn(2)
    for replicate in range(50):
        drawn = member[(inside.random(40) * 40).astype(int)]
        others = non_member[(outside.random(60) * 60).astype(int)]
        assert values[0, :, replicate].tolist() == [tpr_at_fpr(drawn, others, fpr)[0] for fpr in fprs]


def test_how_much_the_bootstrap_draws_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    member, non_member = draw(0)
    whole = tpr_replicates((member,), (non_member,), (0.1,), 100, stream(0, "x"))
    monkeypatch.setattr("s2l_core.metrics.intervals.CHUNK", 1000)
    np.testing.assert_array_equal(tpr_replicates((member,), (non_member,), (0.1,), 100, stream(0, "x")), whole)


def test_streams_of_other_purposes_are_others() -> None:
    values = {stream(*name).random() for name in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1)]}
    assert len(values) == 4
    assert stream(0, "a").random() == stream(0, "a").random()


# --- coverage: honest bounds for 300 sets, whose standard error at 95 % is 1.3 points ---

SETS = 300


def paired(random: np.random.Generator, m: int, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Normal scores with shifts 1.0 before and 1.3 after, correlated by 0.8 over images."""
    member, non_member = random.normal(size=m), random.normal(size=n)
    return (
        member + 1.0,
        non_member,
        0.8 * member + 0.6 * random.normal(size=m) + 1.3,
        0.8 * non_member + 0.6 * random.normal(size=n),
    )


def test_delongs_intervals_cover_what_they_say() -> None:
    from scipy.stats import norm

    random = np.random.default_rng(0)
    before, after = norm.cdf(1.0 / sqrt(2)), norm.cdf(1.3 / sqrt(2))
    single = difference = 0
    for _ in range(SETS):
        scores = paired(random, 64, 128)
        low, high = auc_interval(scores[0], scores[1])
        single += low <= before <= high
        _, low, high, _ = delong(*scores)
        difference += low <= after - before <= high
    assert 0.91 <= single / SETS <= 0.985
    assert 0.91 <= difference / SETS <= 0.985


def test_delong_rejects_at_its_level_when_nothing_changed() -> None:
    random = np.random.default_rng(1)
    rejected = 0
    for _ in range(SETS):
        member, non_member = random.normal(1, 1, 64), random.normal(0, 1, 128)
        after = member + 0.3 * random.normal(size=64), non_member + 0.3 * random.normal(size=128)
        before = member + 0.3 * random.normal(size=64), non_member + 0.3 * random.normal(size=128)
        rejected += delong(*before, *after)[3] < 0.05
    assert rejected / SETS <= 0.085


def test_quantiles_of_a_binomial_are_scipys() -> None:
    from scipy.stats import binom

    for trials, rate in ((1, 0.5), (60, 0.01), (128, 0.1), (500, 0.001), (7, 1.0), (7, 0.0)):
        for probability in (0.025, 0.5, 0.975):
            assert binomial_quantile(probability, trials, rate) == binom.ppf(probability, trials, rate)


def test_wilsons_interval_is_the_textbooks() -> None:
    from scipy.stats import binomtest

    for successes, trials in ((0, 10), (3, 10), (10, 10), (17, 200)):
        expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        assert wilson(successes, trials) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_tpr_holds_the_estimate_and_says_little_where_no_false_positive_is_allowed() -> None:
    random = np.random.default_rng(5)
    for m, n, fpr in ((5, 4, 0.01), (64, 128, 0.001), (64, 128, 0.1), (300, 300, 0.05), (1, 1, 0.5)):
        member, non_member = random.normal(1, 1, m), random.normal(0, 1, n)
        low, high = tpr_interval(member, non_member, fpr)
        assert 0 <= low <= tpr_at_fpr(member, non_member, fpr)[0] <= high <= 1
        assert (low, high) == tpr_interval(member * 3 - 7, non_member * 3 - 7, fpr), "ranks alone count"
    assert tpr_interval(random.normal(1, 1, 64), random.normal(0, 1, 128), 0.001)[0] == 0.0
    assert tpr_interval([2.0] * 50, [1.0] * 200, 0.1) == (pytest.approx(wilson(50, 50)[0]), 1.0)
    assert tpr_interval([1.0] * 50, [1.0] * 200, 0.1)[1] == 1.0, "equal scores: a threshold just below would take all"


@pytest.mark.parametrize(("m", "n", "fpr"), [(60, 60, 0.1), (60, 60, 0.01), (64, 128, 0.01), (500, 500, 0.01)])
def test_the_interval_of_a_tpr_covers_whatever_the_distribution(m: int, n: int, fpr: float) -> None:
    from scipy.stats import gamma, norm, t

    for law in (norm, t(3), gamma(2)):
        truth = law.sf(law.isf(fpr) - law.std())
        covered = 0
        for index in range(SETS):
            random = np.random.default_rng(index)
            member, non_member = law.ppf(random.random(m)) + law.std(), law.ppf(random.random(n))
            low, high = tpr_interval(member, non_member, fpr)
            covered += low <= truth <= high
        assert covered / SETS >= 0.925


def test_the_bootstrap_of_a_tpr_covers_where_clopper_pearson_does_not() -> None:
    from scipy.stats import norm

    random = np.random.default_rng(2)
    fpr, m, n = 0.01, 200, 300
    before, after = norm.sf(norm.isf(fpr) - 1.0), norm.sf(norm.isf(fpr) - 1.3)
    covered = {"bootstrap": 0, "difference": 0, "clopper-pearson": 0}
    for index in range(SETS):
        scores = paired(random, m, n)
        values = tpr_replicates((scores[0], scores[2]), (scores[1], scores[3]), (fpr,), 300, stream(index, "coverage"))[:, 0]
        for name, drawn, truth in (("bootstrap", values[0], before), ("difference", values[1] - values[0], after - before)):
            low, high = percentiles(drawn, level=0.95)
            covered[name] += low <= truth <= high
        low, high = clopper_pearson(round(tpr_at_fpr(scores[0], scores[1], fpr)[0] * m), m)
        covered["clopper-pearson"] += low <= before <= high
    assert covered["bootstrap"] / SETS >= 0.88
    assert covered["difference"] / SETS >= 0.92
    assert covered["clopper-pearson"] / SETS <= 0.75
