"""One row for each way to change the model: what an attack gained over all domains, and whether that stands the test over domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.comparisons import LEVEL, holm
from dashboards.groups import Group, Groups, Summary
from dashboards.places import Role
from dashboards.words import listed, plural, short

Key = tuple[str, Role, str]

WITHIN = (
    "One change, three 95 % intervals, which differ in what is drawn again. Whole domains: it speaks of domains not seen, and is the one "
    "that the other tables show and the verdict goes by. Domains, images and seeds: the same question, without trusting a few domains that "
    "agree by chance. Images and seeds: it speaks of exactly these domains; other images of these people and another seed might have "
    "given it."
)
"""What the intervals of a pool are about."""


@dataclass(frozen=True)
class MethodRow:
    """A row of the compact table.

    Attributes:
        corrected_p: of the signed-rank test over domains, after Holm's correction; None where there is no test, or none that counts.
        again: the same under other conditions of the attack.
    """

    group: Group
    summary: Summary
    verdicts: dict[str, int]
    corrected_p: float | None
    again: list[MethodRow]


@dataclass(frozen=True)
class DomainTests:
    """The signed-rank tests over domains, one for each method and attack, corrected for their number.

    Attributes:
        p: attack, role and variant -> the corrected p.
        smallest: the least corrected p that so many domains and tests can give; over 5 %, no test can reject.
    """

    p: Mapping[Key, float]
    smallest: float

    @property
    def words(self) -> str:
        """How the tests are to be read; empty when there are none."""
        if not self.p:
            return ""
        told = (
            f"p: signed-rank test over domains (Wilcoxon), corrected for the {plural(len(self.p), 'test')} of methods and attacks in this "
            f"report (Holm). The smallest p that can come out here is {p_words(self.smallest)}"
        )
        return told + ("." if self.smallest <= LEVEL else ": no test can reject; it takes more domains, or fewer tests.")


def domain_tests(groups: Groups) -> DomainTests:
    """The tests of all methods and attacks. Controls, transfer and attacks under a condition are no evidence of their own: not tested."""
    tested = [(key_of(group), group.summary()) for members in groups.values() for group in members if group.role == "method"]
    tests = [(key, summary.signed_rank_p, summary.smallest_p) for key, summary in tested if summary.signed_rank_p is not None]
    corrected = holm([p for _, p, _ in tests])
    smallest = min([1.0, *(len(tests) * least for _, _, least in tests if least is not None)])
    return DomainTests({key: p for (key, _, _), p in zip(tests, corrected, strict=True)}, smallest)


def key_of(group: Group) -> Key:
    return group.attack, group.role, group.variant


def method_rows(groups: Iterable[Group], tests: DomainTests) -> list[MethodRow]:
    """The rows of one attack; none when no way has more than one trial, so that the rows would say nothing new."""
    groups = list(groups)
    return [_row(group, tests) for group in groups] if any(len(group.lines) > 1 for group in groups) else []


def _row(group: Group, tests: DomainTests) -> MethodRow:
    p = None if group.condition else tests.p.get(key_of(group))
    return MethodRow(group, group.summary(), group.verdicts(), p, [_row(each, tests) for each in group.again])


@dataclass(frozen=True)
class Within:
    """The intervals of one pooled change that resample what lies within domains; `metric` has the change itself."""

    group: Group
    name: str
    measure: str
    metric: Mapping[str, Any]


def within_domains(rows: Iterable[MethodRow]) -> list[Within]:
    """Those of every pool and measure behind the rows, in their order."""
    groups = [each.group for row in rows for each in (row, *row.again)]
    pools = [(group, line) for group in groups for line in group.pooled]
    return [Within(group, line.name, measure, metric) for group, line in pools for measure, metric in line.metrics.items()]


def p_words(p: float | None) -> str:
    """A p-value with three digits; `none` where no test could be made."""
    if p is None:
        return "none"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _pooled_methods(groups: Groups) -> list[Group]:
    return [group for members in groups.values() for group in members if group.role == "method" and len(group.pooled) == 1]


def pooled_words(groups: Groups, tests: DomainTests) -> str:
    """What the pools over domains say of methods, in a sentence or two; empty where nothing is pooled."""
    pooled = _pooled_methods(groups)
    if not pooled:
        return ""
    up = [group for group in pooled if group.summary().verdict == "amplified"]
    told = f"Over all domains together, an attack became better beyond its interval in {len(up)} of {_pairs(len(pooled))}"
    stand = [group for group in up if tests.p.get(key_of(group), 1.0) <= LEVEL]
    if not up or not tests.p:
        return f"{told}."
    if not stand:
        return f"{told}; none of them stands the test over domains after correction for the number of tests (Holm)."
    named = listed([f"{group.variant} ({group.attack})" for group in stand])
    return f"{told}; {len(stand)} of them {'stands' if len(stand) == 1 else 'stand'} the corrected test over domains: {named}."


def pooled_up(groups: Groups) -> int:
    """In how many pools over domains an attack on a method became better."""
    return sum(group.summary().verdict == "amplified" for group in _pooled_methods(groups))


def amplified_controls(groups: Groups) -> dict[Role, list[str]]:
    """Part -> which of its pools over domains an attack became better in, in words; for controls in which it should not."""
    found: dict[Role, list[str]] = {}
    for members in groups.values():
        for group in members:
            if len(group.pooled) == 1 and group.summary().verdict == "amplified":
                found.setdefault(group.role, []).append(f"{group.attack} {short(group.summary().delta)}")
    return found


def _pairs(count: int) -> str:
    return "1 pair of method and attack" if count == 1 else f"{count} pairs of method and attack"
