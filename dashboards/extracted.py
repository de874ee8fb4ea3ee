"""Which members trials' models give back, as flat rows: one a trial, matching rule and measure (docs/extraction.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.places import axis_names
from dashboards.results import document_of, flat
from dashboards.tables import Table, by_trial
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan, Trial

FILE = "extraction.json"
LABELS = ("rule", "measure")
Row = dict[str, Any]
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "p_value", "candidates", "images")


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many of the trials that are to have some have none yet."""
    asked = {trial.key for trial in plan.trials if trial.extraction is not None and trial.shake is not None}
    return by_trial(rows(plan, ledger), columns(plan), LABELS, asked)


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Flat rows, sorted by trial, rule and measure; a trial that shakes nothing, or extracts nothing, has none.

    Measures, by each `rule`: `members` and `non_members`, the distinct images shown out of equally many (`images`) of either: the second
    are false matches; `members_all`, out of all members. Their difference has an interval, for other candidates of the same number, and the
    p-value of the sign test on the images that only one of before and after shows. `beyond`, members less non-members: the interval of its
    change, and the p-value, after, of Fisher's exact test of members against non-members. `precision`, and for no rule
    `retrieval_precision`: no interval, and the p-value, after, of permuted labels.
    """
    names = axis_names(plan)
    found = []
    for trial in sorted(plan.trials, key=lambda trial: trial.key):
        both = documents(ledger, trial)
        if both is not None:
            place = {"trial_key": trial.key} | {name: flat(trial.axes.get(name)) for name in names}
            found += [place | row for row in sorted(_measures(*both), key=lambda row: (row["rule"], row["measure"]))]
    return found


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), *LABELS, *VALUES]


def documents(ledger: Ledger, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What a trial's model was found to give back, before and after."""
    node = trial.extraction if trial.shake is not None else None
    before = node.parent("before") if node is not None else None
    if node is None or before is None:
        return None
    old, new = document_of(ledger, before, FILE), document_of(ledger, node, FILE)
    return (old, new) if old is not None and new is not None else None


def _measures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    compared, every = after["compared"], after["n_member"]
    for rule, found in after["rules"].items():
        change = after["change"][rule]
        # the sign test knows which of all members were shown: it speaks of those compared where they are all
        tested = change["members"]["p_value"] if compared == every else None
        yield _counted(after, rule, "members", change["members_compared"], tested, compared)
        yield _counted(after, rule, "members_all", change["members"], change["members"]["p_value"], every)
        yield _counted(after, rule, "non_members", change["non_members"], change["non_members"]["p_value"], compared)
        yield _counted(after, rule, "beyond", change["beyond"], found["beyond"]["p_value"], compared)
        values = before["rules"][rule]["precision"]["value"], found["precision"]["value"]
        yield _row(after, rule, "precision", _difference(*values), found["precision"]["p_value"], compared)
    values = before["retrieval"]["value"], after["retrieval"]["value"]
    yield _row(after, "", "retrieval_precision", _difference(*values), after["retrieval"]["p_value"], compared)


def _counted(document: Mapping[str, Any], rule: str, measure: str, change: Mapping[str, Any], p_value: float | None, images: int) -> Row:
    return _row(document, rule, measure, tuple(change[name] for name in ("before", "after", "delta", "low", "high")), p_value, images)


def _difference(before: float | None, after: float | None) -> tuple[float | None, ...]:
    return before, after, after - before if before is not None and after is not None else None, None, None


def _row(document: Mapping[str, Any], rule: str, measure: str, values: tuple[float | None, ...], p_value: float | None, images: int) -> Row:
    told = *values, p_value, document["n_candidates"], images
    return {"rule": rule, "measure": measure} | dict(zip(VALUES, told, strict=True))
