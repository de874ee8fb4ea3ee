"""One row a method: what is pooled, how many domains, and a test that is corrected for how many tests there are."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.comparisons import holm
from dashboards.groups import Groups, groups_of
from dashboards.methods import DomainTests, amplified_controls, domain_tests, method_rows, pooled_words, within_domains
from dashboards.results import cells
from tests.ablations_by_hand import METHODS


@pytest.fixture(scope="module")
def groups(many: Any) -> Groups:
    return groups_of(many.plan, many.ledger, cells(many.plan, many.ledger))


@pytest.fixture(scope="module")
def tests(groups: Groups) -> DomainTests:
    return domain_tests(groups)


def row_of(groups: Groups, tests: DomainTests, variant: str, role: str = "method") -> Any:
    return next(row for row in method_rows(groups["secmi"], tests) if (row.group.variant, row.group.role) == (variant, role))


def test_every_method_and_control_is_one_row_methods_first(groups: Groups, tests: DomainTests) -> None:
    rows = [(row.group.role, row.group.variant) for row in method_rows(groups["secmi"], tests)]
    controls = [("members", "dreambooth"), ("unrelated", "dreambooth"), ("matched-noise", "gaussian"), ("no-shake", "none")]
    assert rows == [*(("method", method) for method in METHODS), *controls]


def test_a_row_is_the_pool_over_domains_and_counts_them_by_verdict(groups: Groups, tests: DomainTests) -> None:
    row = row_of(groups, tests, "dreambooth")
    assert row.summary.how == "pooled over 12 domains"
    assert sum(row.verdicts.values()) == 12
    assert row.verdicts["amplified"] >= 10
    assert row_of(groups, tests, "hypernetwork").verdicts["reduced"] >= 8
    assert row_of(groups, tests, "lora").verdicts["none"] >= 10


def test_a_domain_counts_only_where_all_its_seeds_agree(groups: Groups, tests: DomainTests) -> None:
    group = row_of(groups, tests, "dreambooth").group
    first = next(line for line in group.lines if line.place.domain == "person-01")
    before = group.verdicts()["amplified"]
    first.metrics["auc"]["verdict"], kept = "none", first.metrics["auc"]["verdict"]
    after = group.verdicts()["amplified"]
    first.metrics["auc"]["verdict"] = kept
    assert (kept, before - after) == ("amplified", 1)


def test_an_attack_under_another_condition_stands_under_its_own_row_and_is_not_tested(groups: Groups, tests: DomainTests) -> None:
    assert list(groups) == ["secmi"]
    row = row_of(groups, tests, "textual-inversion")
    assert [(again.group.attack, again.group.condition, again.corrected_p) for again in row.again] == [("secmi", "own-caption", None)]
    assert row.corrected_p is not None
    assert [again.group.condition for again in row_of(groups, tests, "end2end").again] == ["base-vae"]


def test_tests_are_those_of_methods_and_corrected_for_their_number(groups: Groups, tests: DomainTests) -> None:
    assert {role for _, role, _ in tests.p} == {"method"}
    assert len(tests.p) == len(METHODS)
    assert tests.smallest == pytest.approx(len(METHODS) * 2.0**-11)
    assert row_of(groups, tests, "dreambooth").corrected_p == pytest.approx(tests.smallest)
    assert row_of(groups, tests, "dreambooth", "members").corrected_p is None
    assert "corrected for the 10 tests" in tests.words
    assert tests.words.endswith("can come out here is 0.005.")


def test_with_too_few_domains_the_words_say_that_no_test_can_reject(ranks: Any) -> None:
    tests = domain_tests(groups_of(ranks.plan, ranks.ledger, cells(ranks.plan, ranks.ledger)))
    assert tests.smallest == pytest.approx(16 * 2.0**-5)
    assert "no test can reject" in tests.words


def test_fewer_domains_than_the_test_needs_are_not_tested(quiet: Any) -> None:
    tests = domain_tests(groups_of(quiet.plan, quiet.ledger, cells(quiet.plan, quiet.ledger)))
    assert (dict(tests.p), tests.words) == ({}, "")


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [([], []), ([0.04], [0.04]), ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.02, 0.02], [0.04, 0.04])],
)
def test_holm_corrects_in_the_order_of_the_p_values_and_never_reorders_them(p_values: list[float], corrected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(corrected)


def test_the_pools_are_told_in_words_with_those_that_stand(groups: Groups, tests: DomainTests) -> None:
    words = pooled_words(groups, tests)
    assert "of 10 pairs of method and attack" in words
    assert "dreambooth (secmi)" in words
    assert "members" not in words


def test_a_control_that_rises_over_all_domains_is_seen_even_where_no_single_domain_shows_it(groups: Groups) -> None:
    found = amplified_controls(groups)
    assert [words.split()[0] for words in found["members"]] == ["secmi"]
    assert "no-shake" not in found


def test_where_each_way_has_one_trial_there_is_no_second_table(groups: Groups, tests: DomainTests) -> None:
    from dataclasses import replace

    single = [replace(group, lines=group.lines[:1], pooled=[]) for group in groups["secmi"]]
    assert method_rows(single, tests) == []


def test_what_lies_within_domains_is_shown_of_every_pool_and_measure(groups: Groups, tests: DomainTests) -> None:
    rows = method_rows(groups["secmi"], tests)
    shown = within_domains(rows)
    first = shown[0]
    assert (first.group, first.measure, first.name) == (rows[0].group, "auc", "all 12 domains, pooled")
    assert first.metric is rows[0].group.pooled[0].auc
    pools = [line for row in rows for each in (row, *row.again) for line in each.group.pooled]
    assert len(shown) == sum(len(line.metrics) for line in pools)
    assert rows[0].summary.these_domains == (first.metric["these_domains"]["low"], first.metric["these_domains"]["high"])
