"""The table of a paper: one row for each way to change the model and attack, over all domains, with the test that a claim needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dashboards.conditions import split
from dashboards.groups import Group, groups_of
from dashboards.methods import DomainTests, domain_tests, key_of
from dashboards.results import Cell, cells
from dashboards.tables import Table
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan

LABELS = ("way", "part", "attack")
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "verdict", "p_holm", "domains", "trials")
WITHIN = ("hierarchical_low", "hierarchical_high", "these_domains_low", "these_domains_high")

COLUMNS = (*LABELS, *VALUES, *WITHIN)


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many trials are not in them yet."""
    found = cells(plan, ledger)
    return Table(
        rows_of(plan, ledger, found), COLUMNS, LABELS, len(plan.trials), len(plan.trials) - len({cell.trial.key for cell in found})
    )


def rows_of(plan: Plan, ledger: Ledger, found: Sequence[Cell]) -> list[dict[str, Any]]:
    """Flat rows of AUCs, in the report's order: methods, then transfer and controls; under each the attack's other conditions.

    Columns: `way` (the method with all that sets it apart), `part` (`method`, `members`, `unrelated`, ...), `attack`; `before`, `after`,
    `delta` with its interval and verdict: pooled over domains where that was done, of one trial where there is one, else means without an
    interval; `p_holm`, the signed-rank test over domains after Holm's correction, where it counts; `domains`, `trials`; of pools also
    `hierarchical_low` and `_high` (domains, their images and seeds resampled) and `these_domains_low` and `_high` (images and seeds alone).
    """
    groups = groups_of(plan, ledger, found)
    tests = domain_tests(groups)
    return [_row(each, tests) for members in groups.values() for group in members for each in _with_conditions(group)]


def _with_conditions(group: Group) -> Iterator[Group]:
    yield group
    yield from group.again


def _row(group: Group, tests: DomainTests) -> dict[str, Any]:
    summary = group.summary()
    attack = f"{split(group.attack)[0]}@{group.condition}" if group.condition else group.attack
    return {
        "way": group.variant,
        "part": group.role,
        "attack": attack,
        "before": summary.before,
        "after": summary.after,
        "delta": summary.delta,
        "delta_low": summary.low,
        "delta_high": summary.high,
        "verdict": summary.verdict,
        "p_holm": None if group.condition else tests.p.get(key_of(group)),
        "domains": len({line.place.domain for line in group.lines}),
        "trials": len(group.lines),
        **dict(zip(WITHIN, (*(summary.hierarchical or (None, None)), *(summary.these_domains or (None, None))), strict=True)),
    }
