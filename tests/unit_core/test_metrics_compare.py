"""metrics.json and pooled.json: shapes, verdicts, warnings, and what pooling covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from s2l_core.metrics.compare import compare, metric_name
from s2l_core.metrics.pooled import cluster_interval, pool, smallest_p
from s2l_core.metrics.roc import auc, delong, tpr_at_fpr
from s2l_core.metrics.verdicts import verdict
from s2l_core.scores import Scores, read_scores, write_scores
from s2l_core.specs.metrics import MetricsSpec

SPEC = MetricsSpec(bootstrap=200)
M, N = 64, 128


def scores(values: NDArray[np.float64], domain: str = "ann", m: int = M) -> Scores:
    member = np.arange(len(values)) < m
    return Scores({"kind": "loss", "draws": 2}, domain, tuple(f"{domain}-{i}" for i in range(len(values))), member, values, 8)


def pair(seed: int, before: float, after: float, domain: str = "ann", *, m: int = M, n: int = N) -> tuple[Scores, Scores]:
    random = np.random.default_rng(seed)
    base, inside = random.normal(size=m + n), np.arange(m + n) < m
    moved = 0.9 * base + 0.4 * random.normal(size=m + n)
    return scores(base + before * inside, domain, m), scores(moved + after * inside, domain, m)


def codes(document: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in document["warnings"]]


def test_metrics_are_those_of_the_roc_and_delong() -> None:
    before, after = pair(0, 0.5, 1.5)
    document = compare(before, after, SPEC)
    entry = document["metrics"]["auc"]
    delta, low, high, p = delong(before.members, before.non_members, after.members, after.non_members)
    assert (entry["delta"], entry["delta_low"], entry["delta_high"], entry["p_value"]) == (delta, low, high, p)
    assert (entry["before"], entry["after"]) == (auc(before.members, before.non_members), auc(after.members, after.non_members))
    tpr = document["metrics"]["tpr_at_fpr_0.01"]
    assert (tpr["after"], tpr["achieved_fpr_after"]) == tpr_at_fpr(after.members, after.non_members, 0.01)
    assert tpr["p_value"] is None
    assert tpr["delta"] == tpr["after"] - tpr["before"]


def test_the_document_has_the_agreed_shape_and_is_json_without_nan() -> None:
    document = compare(*pair(0, 0.5, 1.5), SPEC)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"attack", "n_member", "n_non_member", "metrics", "thresholds", "chance", "identity", "roc", "warnings"}
    assert list(document["metrics"]) == ["auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "asr"]
    assert (document["attack"], document["n_member"], document["n_non_member"]) == ("loss", M, N)
    for entry in document["metrics"].values():
        assert entry["before_low"] <= entry["before"] <= entry["before_high"]
        assert entry["after_low"] <= entry["after"] <= entry["after_high"]
        assert entry["delta_low"] <= entry["delta_high"]
        assert entry["verdict"] in {"amplified", "reduced", "none", "inverted"}
    for curve in document["roc"].values():
        assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0.0, 0.0, 1.0, 1.0)


def test_equal_scores_and_seed_give_equal_documents() -> None:
    first, again = (compare(*pair(0, 0.5, 1.5), SPEC) for _ in range(2))
    other = compare(*pair(0, 0.5, 1.5), MetricsSpec(bootstrap=200, seed=1))
    assert first == again
    assert first["metrics"]["auc"] == other["metrics"]["auc"]
    assert first["metrics"]["tpr_at_fpr_0.01"] != other["metrics"]["tpr_at_fpr_0.01"]


def test_the_un_shaken_base_compared_with_itself_has_no_change_at_all() -> None:
    before, _ = pair(0, 0.5, 1.5)
    for entry in compare(before, before, SPEC)["metrics"].values():
        assert (entry["delta"], entry["delta_low"], entry["delta_high"], entry["verdict"]) == (0.0, 0.0, 0.0, "none")


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(0.5, 2.5, "amplified"), (2.5, 0.5, "reduced"), (0.5, 0.5, "none"), (-2.0, 0.5, "inverted")]
)
def test_the_verdict_says_what_happened(before: float, after: float, expected: str) -> None:
    assert compare(*pair(0, before, after), SPEC)["metrics"]["auc"]["verdict"] == expected


def test_a_tpr_takes_its_orientation_from_the_auc() -> None:
    document = compare(*pair(0, -1.0, 4.0), SPEC)
    assert document["metrics"]["tpr_at_fpr_0.01"]["delta_low"] > 0
    assert document["metrics"]["tpr_at_fpr_0.01"]["verdict"] == "inverted"


def test_an_interval_that_touches_zero_is_no_finding() -> None:
    assert verdict(0.1, 0.0, 0.2, 0.7) == "none"
    assert verdict(-0.1, -0.2, 0.0, 0.7) == "none"
    assert verdict(0.1, 0.05, 0.2, 0.5) == "amplified"


def test_too_few_non_members_are_told_for_each_fpr() -> None:
    document = compare(*pair(0, 0.5, 0.6), SPEC)
    assert codes(document) == ["few_non_members"]
    assert "TPR at FPR 0.001 needs at least 1000 non-members and has 128" in document["warnings"][0]["message"]
    assert codes(compare(*pair(0, 0.5, 0.6, n=99), SPEC)) == ["few_non_members", "few_non_members"]
    assert codes(compare(*pair(0, 0.5, 0.6, n=1000), SPEC)) == []


def test_few_images_inversion_and_constant_scores_are_told() -> None:
    assert "small_sample" in codes(compare(*pair(0, 0.5, 0.6, m=20), SPEC))
    document = compare(*pair(0, -1.0, 0.6), SPEC)
    assert [warning["message"][:20] for warning in document["warnings"] if warning["code"] == "inverted"] == ["the AUC before is 0."]
    assert codes(compare(*pair(0, 0.6, -1.0), SPEC)).count("inverted") == 1
    assert "constant_scores" in codes(compare(scores(np.zeros(M + N)), scores(np.ones(M + N)), SPEC))


def test_scores_of_other_images_or_not_finite_are_refused() -> None:
    before, after = pair(0, 0.5, 0.6)
    with pytest.raises(ValueError, match="the same images in the same order; got 192 images of 'ann' and 192 of 'bob'"):
        compare(before, pair(0, 0.5, 0.6, "bob")[1], SPEC)
    broken = after.score.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        compare(before, scores(broken), SPEC)


def test_metric_names_are_the_agreed_ones() -> None:
    assert [metric_name(fpr) for fpr in (0.01, 0.001, 0.05, 1e-4)] == [
        "tpr_at_fpr_0.01",
        "tpr_at_fpr_0.001",
        "tpr_at_fpr_0.05",
        "tpr_at_fpr_0.0001",
    ]


def test_scores_survive_their_file_and_equal_scores_are_equal_bytes(tmp_path: Path) -> None:
    before, _ = pair(0, 0.5, 1.5)
    for name in ("a", "b"):
        write_scores(tmp_path / name, before)
    again = read_scores(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert again.image_ids == before.image_ids
    assert (again.score == before.score).all()
    assert (again.member == before.member).all()
    assert (again.attack, again.domain, again.network_calls) == (before.attack, "ann", 8)


def test_a_file_that_holds_no_scores_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet", compression="none", use_dictionary=False)
    with pytest.raises(ValueError, match=r"x\.parquet is no table of scores; got columns \['x'\]"):
        read_scores(tmp_path / "x.parquet")


# --- pooling ---


def test_pooling_averages_seeds_within_a_domain_and_then_domains() -> None:
    pairs = [pair(0, 0.5, 1.0, "ann"), pair(1, 0.5, 2.0, "ann"), pair(2, 0.5, 0.5, "bob")]
    document = pool(pairs, SPEC)
    deltas = [compare(*each, SPEC)["metrics"]["auc"]["delta"] for each in pairs]
    entry = document["metrics"]["auc"]
    assert entry["delta"] == pytest.approx(((deltas[0] + deltas[1]) / 2 + deltas[2]) / 2)
    assert entry["by_domain"]["bob"]["delta"] == pytest.approx(deltas[2])
    assert (document["domains"], document["trials"], document["attack"]) == (["ann", "bob"], 3, "loss")
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_offsets_between_domains_do_not_reach_the_pooled_auc() -> None:
    pairs = [pair(seed, 0.8, 0.8, f"domain-{seed}") for seed in range(6)]
    moved = [tuple(scores(side.score + 10 * seed, side.domain) for side in each) for seed, each in enumerate(pairs)]
    plain, offset = pool(pairs, SPEC), pool([(before, after) for before, after in moved], SPEC)
    assert plain["metrics"]["auc"] == offset["metrics"]["auc"]


def test_the_signed_rank_test_is_made_only_where_it_could_reject() -> None:
    from scipy.stats import wilcoxon

    five, six = ([pair(seed, 0.5, 1.5, f"domain-{seed % count}") for seed in range(2 * count)] for count in (5, 6))
    few = pool(five, SPEC)
    assert few["metrics"]["auc"]["wilcoxon_p"] is None
    assert few["metrics"]["auc"]["smallest_p"] == 2 / 2**5
    assert codes(few) == ["few_domains"]
    enough = pool(six, SPEC)
    deltas = [values["delta"] for values in enough["metrics"]["auc"]["by_domain"].values()]
    assert enough["metrics"]["auc"]["wilcoxon_p"] == pytest.approx(wilcoxon(deltas).pvalue) == smallest_p(6) == 1 / 32
    assert codes(enough) == []
    assert enough["metrics"]["auc"]["verdict"] == "amplified"


def test_pooling_the_un_shaken_base_finds_nothing() -> None:
    pairs = [(before, before) for before, _ in (pair(seed, 0.5, 0.5, f"domain-{seed}") for seed in range(6))]
    entry = pool(pairs, SPEC)["metrics"]["auc"]
    assert (entry["delta"], entry["delta_low"], entry["delta_high"], entry["wilcoxon_p"], entry["verdict"]) == (0.0, 0.0, 0.0, 1.0, "none")


def test_equal_changes_of_few_domains_are_no_certainty() -> None:
    before = scores(np.r_[np.zeros(M), np.full(N, 0.5)])
    risen = before.score.copy()
    risen[0] = 1.0  # one more member above all non-members, in each of two domains
    pairs = [(scores(before.score, name), scores(risen, name)) for name in ("ann", "bob")]
    entry = pool(pairs, SPEC)["metrics"]["tpr_at_fpr_0.01"]
    assert entry["delta"] == pytest.approx(1 / M)
    assert (entry["delta_low"], entry["delta_high"], entry["verdict"]) == (-1.0, 1.0, "none")
    assert cluster_interval(np.zeros(3), SPEC) == (0.0, 0.0, 0.0)


def test_one_domain_is_no_pool_and_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match=r"at least two domains; got \['ann'\]"):
        pool([pair(0, 0.5, 0.6), pair(1, 0.5, 0.6)], SPEC)
    with pytest.raises(ValueError, match="the same images"):
        pool([(pair(0, 0.5, 0.6)[0], pair(1, 0.5, 0.6, "bob")[1])], SPEC)


@pytest.mark.parametrize("domains", [3, 8])
def test_the_pooled_interval_covers_the_mean_over_domains_even_with_three(domains: int) -> None:
    random = np.random.default_rng(domains)
    sets, covered = 300, 0
    for index in range(sets):
        deltas = random.normal(0.05, 0.03, domains)
        _, low, high = cluster_interval(deltas, MetricsSpec(bootstrap=300, seed=index))
        covered += low <= 0.05 <= high
    assert 0.91 <= covered / sets <= 0.985
