"""The controls as a table: one row for each control, way to change the model and attack; what it should do, and whether it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.comparisons import Blind, Comparison, as_themselves, comparisons
from dashboards.conditions import split
from dashboards.controls import Shuffled, moved, quiet, shuffled, within_chance
from dashboards.groups import Group, Groups, groups_of
from dashboards.places import Role
from dashboards.results import Cell, cells
from dashboards.tables import Table
from dashboards.warned import blinds_of
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan

EXPECTED: Mapping[Role, tuple[str, str]] = {
    "no-shake": ("no fine-tuning", "change exactly 0"),
    "members": ("positive control", "rises"),
    "unrelated": ("unrelated pictures", "does not rise"),
    "matched-noise": ("noise of equal size", "does not rise"),
}
BLIND = ("blind baseline", "does not separate")
SHUFFLED = ("shuffled labels", "within its range")

LABELS = ("control", "way", "attack", "should", "did")
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "comparisons", "against", "domains")
COLUMNS = (*LABELS, *VALUES)


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many trials are not in them yet."""
    found = cells(plan, ledger)
    missing = len(plan.trials) - len({cell.trial.key for cell in found})
    return Table(rows_of(plan, ledger, found), COLUMNS, LABELS, len(plan.trials), missing)


def rows_of(plan: Plan, ledger: Ledger, found: Sequence[Cell]) -> list[dict[str, Any]]:
    """Flat rows of AUCs. A control that the grid does not have has one row, whose `did` is `not there`.

    Columns: `control`, `way` (the method that it was done with), `attack`; `should`, and `did`: `yes` or `no`; `before`, `after`, `delta`
    with its interval as in the summary of methods, of the blind baseline and of shuffled labels one AUC as `before`; `comparisons`, and
    `against`: how many of them, taken alone, are not as they should be, which a few of many are by chance; `domains`.
    """
    return control_rows(comparisons(plan, found), groups_of(plan, ledger, found), blinds_of(plan, ledger), found)


def control_rows(compared: Sequence[Comparison], groups: Groups, blinds: Sequence[Blind], found: Sequence[Cell]) -> list[dict[str, Any]]:
    """The same rows of what was put together before."""
    counted, every = as_themselves(compared), [group for members in groups.values() for group in members]
    rows = []
    for role, (control, should) in EXPECTED.items():
        having = [_row(group, _of(group, counted)) for group in every if group.role == role]
        rows += having or [_absent(control, should)]
    return [*rows, _blind(blinds), *_shuffled(found)]


def _of(group: Group, compared: Sequence[Comparison]) -> list[Comparison]:
    key = (group.role, group.variant, group.attack)
    return [each for each in compared if (each.role, each.variant, each.attack) == key]


def _row(group: Group, found: Sequence[Comparison]) -> dict[str, Any]:
    control, should = EXPECTED[group.role]
    summary = group.summary()
    up = sum(each.verdict == "amplified" for each in found)
    together = len(group.pooled) == 1 and summary.verdict == "amplified"
    match group.role:
        case "no-shake":
            against = sum(each.delta != 0 for each in found)
            did = against == 0
        case "members":
            against, did = len(found) - up, bool(moved(found)) or together
        case _:
            against, did = up, quiet(found) and not together
    return {
        "control": control,
        "way": group.variant,
        "attack": group.attack,
        "should": should,
        "did": "yes" if did else "no",
        "before": summary.before,
        "after": summary.after,
        "delta": summary.delta,
        "delta_low": summary.low,
        "delta_high": summary.high,
        "comparisons": len(found),
        "against": against,
        "domains": len({line.place.domain for line in group.lines}),
    }


def _absent(control: str, should: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"control": control, "way": "", "attack": "", "should": should, "did": "not there"}


def _blind(blinds: Sequence[Blind]) -> dict[str, Any]:
    if not blinds:
        return _absent(*BLIND)
    against = sum(blind.separates for blind in blinds)
    mean = sum(float(blind.document["auc"]) for blind in blinds) / len(blinds)
    counts = {"comparisons": len(blinds), "against": against, "domains": len({blind.domain for blind in blinds})}
    return _absent(*BLIND) | {"did": "no" if against else "yes", "before": mean} | counts


def _shuffled(found: Sequence[Cell]) -> list[dict[str, Any]]:
    attacks = dict.fromkeys(cell.attack for cell in found if not split(cell.attack)[1])  # a condition shares the scores beforehand
    of_each = {attack: [cell for cell in found if cell.attack == attack] for attack in attacks}
    return [_shuffled_row(attack, members, shuffled(members)) for attack, members in of_each.items()] or [_absent(*SHUFFLED)]


def _shuffled_row(attack: str, members: Sequence[Cell], found: Sequence[Shuffled]) -> dict[str, Any]:
    counts = {"comparisons": len(found), "against": sum(each.outside for each in found), "domains": len({c.place.domain for c in members})}
    mean = sum(each.auc for each in found) / len(found)
    return _absent(*SHUFFLED) | {"attack": attack, "did": "yes" if within_chance(found) else "no", "before": mean} | counts
