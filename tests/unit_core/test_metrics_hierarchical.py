"""Bootstraps of domains, images and seeds: what a resample is, what each interval speaks of, and how often it holds the truth."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from s2l_core.metrics.hierarchical import Pair, domain_change, drawn_seeds, hierarchical, these_domains
from s2l_core.metrics.intervals import stream
from s2l_core.metrics.pooled import pool
from s2l_core.metrics.resampled import Drawn, drawn_counts, resampled
from s2l_core.metrics.roc import auc, delong, tpr_at_fpr
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec

SPEC = MetricsSpec(fprs=(0.1, 0.01), bootstrap=400)
M, N = 50, 70


def scores(values: NDArray[np.float64], domain: str, m: int = M) -> Scores:
    names = tuple(f"{domain}-{place}" for place in range(len(values)))
    return Scores({"kind": "loss"}, domain, names, np.arange(len(values)) < m, values)


def trials(domain: str, *, seeds: int = 2, rise: float = 0.3, apart: float = 0.0, m: int = M, n: int = N, seed: int = 0) -> list[Pair]:
    """Trials of one domain: members rise after; every other seed by more, and the rest by less, where seeds lie apart."""
    random = stream(seed, domain)
    before, member = random.normal(size=m + n), np.arange(m + n) < m
    pairs = []
    for index in range(seeds):
        after = 0.8 * before + 0.6 * random.normal(size=m + n) + (1.0 + rise + apart * (-1) ** index) * member
        pairs.append((scores(before + member, domain, m), scores(after, domain, m)))
    return pairs


def both(pairs_of_domains: list[list[Pair]], spec: MetricsSpec = SPEC) -> tuple[list[Any], list[Any]]:
    found = [domain_change(pairs, spec) for pairs in pairs_of_domains]
    return hierarchical(found, spec), these_domains(found, spec)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


# --- resamples ---


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_has_the_auc_and_the_tprs_of_images_repeated_as_often_as_they_were_drawn(ties: bool) -> None:
    random = stream(0, "x")
    member, other = random.normal(0.8, 1, M), random.normal(0, 1, N)
    if ties:
        member, other = member.round(), other.round()
    fprs = (0.001, 0.1, 0.5, 1.0)
    drawn = Drawn(drawn_counts(random, 60, M), drawn_counts(random, 60, N))
    values = resampled(member, other, drawn, fprs)
    for sample in range(60):
        inside, outside = np.repeat(member, drawn.members[sample]), np.repeat(other, drawn.non_members[sample])
        assert values[0, sample] == pytest.approx(auc(inside, outside), abs=1e-12)
        assert values[1:, sample].tolist() == [tpr_at_fpr(inside, outside, fpr)[0] for fpr in fprs]


def test_a_sample_is_as_large_as_the_set_and_each_image_is_drawn_once_on_average() -> None:
    counts = drawn_counts(stream(0, "x"), 2000, 20)
    assert (counts.sum(axis=1) == 20).all()
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.1)
    assert counts.var(axis=0).mean() == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_mean_of_the_seeds_that_are_drawn_varies_as_much_as_a_mean_over_seeds_does(seeds: int) -> None:
    values = stream(1, "x").normal(size=seeds)
    means = drawn_seeds(stream(0, "x"), 40_000, seeds, seeds - 1) @ values / (seeds - 1)
    assert means.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.05)


def test_how_much_is_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = domain_change(trials("ann"), SPEC)
    monkeypatch.setattr("s2l_core.metrics.hierarchical.CHUNK", 7 * (M + N))
    np.testing.assert_array_equal(domain_change(trials("ann"), SPEC).replicates, whole.replicates)


# --- intervals ---


def test_the_change_is_the_mean_over_seeds_of_the_change_on_the_same_images() -> None:
    pairs = trials("ann", seeds=3)
    found = domain_change(pairs, SPEC)
    deltas = [delong(old.members, old.non_members, new.members, new.non_members)[0] for old, new in pairs]
    assert found.change[0] == pytest.approx(np.mean(deltas))
    assert found.seed_variance[0] == pytest.approx(np.var(deltas, ddof=1) / 3)


def test_one_domain_with_one_seed_has_about_delongs_interval() -> None:
    pairs = trials("ann", seeds=1, m=200, n=200)
    (old, new), spec = pairs[0], MetricsSpec(bootstrap=4000)
    _, low, high, _ = delong(old.members, old.non_members, new.members, new.non_members)
    assert these_domains([domain_change(pairs, spec)], spec)[0] == pytest.approx((low, high), abs=0.004)


def test_before_and_after_and_all_seeds_see_the_same_resampled_images() -> None:
    pairs = trials("ann", seeds=2)
    shifted = [(old, scores(old.score + 1e-9 * np.arange(len(old.score)), "ann")) for old, _ in pairs]
    assert width(both([shifted, shifted])[1][0]) < 1e-6, "the same images ranked in the same order cannot differ"
    alike = [(pairs[0][0], pairs[0][1])] * 4
    one, four = (domain_change(each, SPEC) for each in (alike[:1], alike))
    np.testing.assert_allclose(four.replicates, one.replicates, atol=1e-12)


def test_scores_that_did_not_change_have_an_interval_of_exactly_zero() -> None:
    still = [[(old, old) for old, _ in trials(name)] for name in ("ann", "bob", "cy")]
    assert both(still) == ([(0.0, 0.0)] * 3, [(0.0, 0.0)] * 3)


def test_these_domains_are_known_better_than_domains_not_seen_where_domains_differ() -> None:
    apart = [trials(f"domain-{place}", rise=0.3 * place) for place in range(6)]
    everywhere, here = both(apart)
    assert width(here[0]) < 0.6 * width(everywhere[0])
    assert all(width(mine) <= width(theirs) for mine, theirs in zip(here, everywhere, strict=True))


def test_domains_that_agree_by_chance_do_not_make_certainty() -> None:
    same = trials("ann", seeds=1)
    twins = [same, [(scores(old.score, "bob"), scores(new.score, "bob")) for old, new in same]]
    everywhere, here = both(twins)
    assert width(everywhere[0]) >= width(here[0]) > 0.05


def test_where_domains_scatter_much_more_than_images_the_interval_is_that_over_whole_domains() -> None:
    apart = [trials(f"domain-{place}", rise=0.5 * place, m=400, n=400) for place in range(6)]
    entry = pool([pair for pairs in apart for pair in pairs], MetricsSpec(bootstrap=4000))["metrics"]["auc"]
    assert entry["hierarchical"]["low"] == pytest.approx(entry["delta_low"], abs=0.01)
    assert entry["hierarchical"]["high"] == pytest.approx(entry["delta_high"], abs=0.01)


def test_seeds_that_lie_apart_widen_what_is_said_of_these_domains_and_few_seeds_are_hardly_known() -> None:
    calm, apart = (these_domains([domain_change(trials("ann", seeds=2, apart=by), SPEC)], SPEC)[0] for by in (0.0, 1.0))
    assert width(apart) > 3 * width(calm)
    many = these_domains([domain_change(trials("ann", seeds=12, apart=1.0), SPEC)], SPEC)[0]
    assert width(many) < width(apart) / 2


def test_the_order_of_trials_and_domains_is_no_part_of_the_meaning() -> None:
    pairs = [pair for name in ("ann", "bob", "cy") for pair in trials(name, seeds=3, apart=0.3)]
    assert pool(pairs, SPEC) == pool(pairs[::-1], SPEC)


def test_offsets_and_scales_of_domains_change_nothing() -> None:
    pairs = [pair for name in ("ann", "bob") for pair in trials(name)]
    moved = [tuple(scores(7 * side.score + 3, side.domain) for side in pair) for pair in pairs]
    assert pool([(old, new) for old, new in moved], SPEC)["metrics"] == pool(pairs, SPEC)["metrics"]


def test_ties_are_resampled_as_ties() -> None:
    tied = [[(scores(old.score.round(), name), scores(new.score.round(), name)) for old, new in trials(name)] for name in ("ann", "bob")]
    everywhere, here = both(tied)
    change = np.mean([domain_change(pairs, SPEC).change for pairs in tied], axis=0)
    for middle, outer, inner in zip(change, everywhere, here, strict=True):
        assert outer[0] <= inner[0] <= middle <= inner[1] <= outer[1]


def test_a_class_of_one_image_says_nothing_of_its_scatter() -> None:
    single = [trials(name, m=1, rise=3.0, seed=5) for name in ("ann", "bob")]
    everywhere, here = both(single)
    assert everywhere[0] == here[0] == (-1.0, 1.0)


def test_one_seed_is_told() -> None:
    one, two = ([pair for name in ("ann", "bob") for pair in trials(name, seeds=seeds)] for seeds in (1, 2))
    told = [warning["message"] for warning in pool(one, SPEC)["warnings"] if warning["code"] == "one_seed"]
    assert len(told) == 1
    assert told[0].startswith("2 of 2 domains have one seed: how much a seed changes there cannot be told")
    assert "one_seed" not in [warning["code"] for warning in pool(two, SPEC)["warnings"]]
    assert "1 of 2 domains" in str(pool([*two[:2], one[1]], SPEC)["warnings"])


def test_one_domain_takes_the_interval_over_these_domains_and_seeds_share_their_images() -> None:
    one = domain_change(trials("ann", seeds=3), SPEC)
    assert these_domains([one], SPEC)[0][0] < one.change[0] < these_domains([one], SPEC)[0][1]
    with pytest.raises(ValueError, match="at least two of them; got 1; `these_domains` takes one"):
        hierarchical([one], SPEC)
    with pytest.raises(ValueError, match="the same images in the same order; got 120 images and 121 of 'ann'"):
        domain_change([*trials("ann", seeds=1), *trials("ann", seeds=1, n=N + 1)], SPEC)


@pytest.mark.parametrize("scatter", [0.0, 0.5])
def test_the_intervals_hold_the_truth_as_often_as_they_say(scatter: float) -> None:
    from scipy.stats import norm

    spec, sets = MetricsSpec(fprs=(0.1,), bootstrap=150), 200
    held = np.zeros(2)
    for index in range(sets):
        rises = 0.3 + scatter * stream(index, "rises").normal(size=4)
        domains = [trials(f"d{place}", seeds=1, rise=float(rise), seed=index + 1) for place, rise in enumerate(rises)]
        truths = norm.cdf(1.3 / sqrt(2 + scatter**2)), norm.cdf((1 + rises) / sqrt(2)).mean()
        for which, (truth, intervals) in enumerate(zip(truths, both(domains, spec), strict=True)):
            held[which] += intervals[0][0] <= truth - norm.cdf(1 / sqrt(2)) <= intervals[0][1]
    assert (held / sets >= 0.91).all()
    assert held[1] / sets <= 0.985
